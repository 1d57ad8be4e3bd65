//! The script's `-auth` and `-storage` command prefixes: what they are asked, in
//! which order, and what becomes of everything that they may do.
//!
//! A callback is a list, never a string, and runs at the global level. It may do
//! anything, even destroy its own server, so nothing is borrowed while it runs and
//! everything is looked at afresh afterwards.
//!
//! Here are logins, sizes, messages and deletions; `uids` has the unique ids, with
//! `digests` where the storage gives none and `unknown` to tell that, `complaints` what
//! becomes of failures.

mod complaints;
mod counts;
mod digests;
mod login;
mod uids;
mod unknown;

use std::mem;
use std::rc::Rc;

use self::complaints::Asked;
pub use self::counts::{CallbackCount, CallbackCounts};
use super::escape::shortened;
use super::message::{self, Fetching, Got};
use super::options::PREFIX;
use super::server::ServerObject;
use super::step::step;
use crate::ffi::interp::{self, Raised};
use crate::ffi::Value;
use crate::store::ids::Client;
use crate::store::jobs::{Job, Outcome, UnlockNow, Work};
use crate::store::reason::Reason;
use crate::store::{Message, Wait};
use crate::text;
use pop3_proto::{Attempt, Extent, Failure, LoginStep, MsgNo, Refusal, Reply, Request};

/// What `get` may return.
const MESSAGE: &str = "a mime token, \"file PATH\", \"data BYTES\" or \"text TEXT\"";

/// A callback that did not do its part. It has been logged already.
pub struct Trouble(Failure);

impl Trouble {
    /// What a login that has come to this step ends with.
    fn at(self, step: LoginStep) -> Refusal {
        Refusal::Failed(step, self.0)
    }
}

/// How far a long job is. Digests are kept with the session instead.
#[derive(Default)]
pub struct Progress {
    sizes: Vec<u64>,
}

/// Runs a job for `server` and answers it, or, when it is long, a part of it: then it
/// comes back with its progress.
pub fn run(server: &Rc<ServerObject>, job: Job, mut progress: Progress) -> Option<(Job, Progress)> {
    let callbacks = Callbacks {
        server,
        job: Some(&job),
        client: &job.client,
    };
    match callbacks.outcome(&job, &mut progress) {
        Some(outcome) => {
            job.answer(outcome);
            None
        }
        None => Some((job, progress)),
    }
}

/// Calls the storage's `unlock` for a client's session. An error reaches
/// nobody but the log.
pub fn unlock(server: &Rc<ServerObject>, mailbox: &str, client: Client) {
    let callbacks = Callbacks {
        server,
        job: None,
        client: &client,
    };
    callbacks.unlock(mailbox);
}

/// The callbacks of one server, for a job or for the end of a session.
struct Callbacks<'a> {
    server: &'a Rc<ServerObject>,
    job: Option<&'a Job>,
    /// For whom, for the log.
    client: &'a Client,
}

impl Callbacks<'_> {
    /// Does the job; none when a part of it is left.
    fn outcome(&self, job: &Job, progress: &mut Progress) -> Option<Outcome> {
        let reply = match &job.work {
            // Others that waited with it have failed since it was asked.
            Work::Login(_) | Work::Check(_) | Work::Lookup { .. }
                if self.server.engine.refuses_logins(self.client.peer.ip()) =>
            {
                Reply::Refused(Refusal::TooManyFailures)
            }
            Work::Login(attempt) => {
                let opened = self.login(job, attempt);
                opened.unwrap_or_else(Reply::Refused)
            }
            Work::Check(attempt) => match self.check(attempt) {
                Ok(mailbox) => return Some(Outcome::Mailbox(mailbox)),
                Err(trouble) => Reply::Refused(trouble.at(LoginStep::Users)),
            },
            Work::Open { mailbox } => self.open(job, mailbox).unwrap_or_else(Reply::Refused),
            Work::Lookup { user } => match self.lookup(user) {
                Ok(account) => return Some(Outcome::Account(account)),
                Err(trouble) => Reply::Refused(trouble.at(LoginStep::Users)),
            },
            Work::Ask {
                mailbox,
                count,
                request,
            } => match self.ask(job, mailbox, *count, request, progress) {
                Ok(outcome) => return outcome,
                Err(Trouble(failure)) => Reply::Failed(failure),
            },
            Work::Release(lock, _) => {
                self.unlock(&lock.mailbox);
                Reply::Updated
            }
        };
        Some(Outcome::Reply(reply))
    }

    /// What a session asks of its mailbox; none when a part of it is left.
    fn ask(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
        request: &Request,
        Progress { sizes }: &mut Progress,
    ) -> Result<Option<Outcome>, Trouble> {
        let reply = match request {
            Request::Fetch { number, extent } => {
                let message = self.fetch(mailbox, *number, *extent)?;
                return Ok(Some(Outcome::Message(message)));
            }
            Request::Size(number) => {
                let octets = self.size(mailbox, Some(*number))?;
                Some(Reply::Sizes([octets].into()))
            }
            Request::SizesOf(numbers) => {
                let left = numbers[sizes.len()..].iter().copied();
                self.more_sizes(mailbox, left, sizes)?;
                (sizes.len() == numbers.len()).then(|| Reply::Sizes(mem::take(sizes).into()))
            }
            Request::Sizes => {
                let left = numbers_after(sizes.len(), count);
                self.more_sizes(mailbox, left, sizes)?;
                (sizes.len() == count as usize).then(|| Reply::Sizes(mem::take(sizes).into()))
            }
            Request::Uids => {
                let uids = self.all_uids(job, mailbox, count)?;
                uids.map(|uids| Reply::Uids(uids.into()))
            }
            Request::Uid(number) => {
                let uid = self.one_uid(job, mailbox, *number, count)?;
                uid.map(|uid| Reply::Uids([uid].into()))
            }
            Request::Update { delete } => {
                let deleted = self.delete(mailbox, delete);
                // Whether or not that went well the mailbox is unlocked, once.
                if job.take_lock().is_some() {
                    self.unlock(mailbox);
                }
                deleted?;
                Some(Reply::Updated)
            }
            Request::Login(_) | Request::Keys { .. } => Some(Reply::Failed(Failure::Temporary)),
        };
        Ok(reply.map(Outcome::Reply))
    }

    /// Logs in: the check, `lock`, `stat`, `size`.
    fn login(&self, job: &Job, attempt: &Attempt) -> Result<Reply, Refusal> {
        let mailbox = self.check(attempt);
        match mailbox.map_err(|trouble| trouble.at(LoginStep::Users))? {
            Some(mailbox) => self.open(job, &mailbox),
            None => Err(Refusal::Credentials),
        }
    }

    /// `lock`, `stat`, `size`. A mailbox that cannot be counted is unlocked again.
    fn open(&self, job: &Job, mailbox: &str) -> Result<Reply, Refusal> {
        match self.lock(mailbox) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::InUse),
            // Not the lock's fault, and nothing that waiting for another session mends.
            Err(trouble @ Trouble(Failure::Permanent)) => {
                return Err(trouble.at(LoginStep::Mailbox));
            }
            Err(trouble) => return Err(trouble.at(LoginStep::Lock)),
        }
        if let Err(UnlockNow(lock)) = job.keep_lock(mailbox) {
            self.unlock(&lock.mailbox);
            return Err(Trouble(Failure::Temporary).at(LoginStep::Server));
        }
        match self.count(mailbox) {
            Ok((count, octets)) => Ok(Reply::Opened {
                storage: mailbox.into(),
                count,
                octets,
            }),
            Err(trouble) => {
                // Unless the callback has ended the session, which unlocks.
                if job.take_lock().is_some() {
                    self.unlock(mailbox);
                }
                Err(trouble.at(LoginStep::Mailbox))
            }
        }
    }

    fn lock(&self, mailbox: &str) -> Result<bool, Trouble> {
        let locked = self.storage("lock", mailbox, &[])?;
        let wrong = || self.wrong(Asked::new("lock", mailbox), Some(&locked), "a boolean");
        locked.to_bool().ok_or_else(wrong)
    }

    fn count(&self, mailbox: &str) -> Result<(u32, u64), Trouble> {
        let said = self.storage("stat", mailbox, &[])?;
        let asked = Asked::new("stat", mailbox);
        let count = said.to_int().and_then(|n| u32::try_from(n).ok());
        let count = count.ok_or_else(|| self.wrong(asked, Some(&said), "a number of messages"));
        Ok((count?, self.size(mailbox, None)?))
    }

    fn size(&self, mailbox: &str, number: Option<MsgNo>) -> Result<u64, Trouble> {
        let argument = number.map(|n| Value::int(n.get().into()));
        let said = self.storage("size", mailbox, argument.as_slice())?;
        let size = said.to_int().and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| {
            let asked = Asked {
                method: "size",
                of: mailbox,
                number,
            };
            self.wrong(asked, Some(&said), "a number of octets")
        })
    }

    /// Asks for a few more sizes.
    fn more_sizes(
        &self,
        mailbox: &str,
        numbers: impl Iterator<Item = MsgNo>,
        sizes: &mut Vec<u64>,
    ) -> Result<(), Trouble> {
        for number in step(numbers) {
            sizes.push(self.size(mailbox, Some(number))?);
        }
        Ok(())
    }

    /// RETR: `size`, `get`; TOP: `get`.
    fn fetch(&self, mailbox: &str, number: MsgNo, extent: Extent) -> Result<Message, Trouble> {
        let size = match extent {
            Extent::Whole => Some(self.size(mailbox, Some(number))?),
            Extent::Top(_) => None,
        };
        let mut message = self.get(mailbox, number, size)?.message;
        // A client may wait for as many octets as were announced.
        message.octets = message.octets.min(size.unwrap_or(u64::MAX));
        Ok(message)
    }

    /// `get`, of a message that has `size` octets, as far as that was asked.
    fn get(&self, mailbox: &str, number: MsgNo, size: Option<u64>) -> Result<Got, Trouble> {
        let under_way = &self.server.world.fetching;
        under_way.borrow_mut().push(Fetching {
            number,
            opened: None,
            size,
        });
        let got = self.storage("get", mailbox, &[Value::int(number.get().into())]);
        // Callbacks nest: the last to begin is the first to end.
        let fetching = under_way.borrow_mut().pop();
        let (got, fetching) = (got?, fetching.ok_or(Trouble(Failure::Temporary))?);
        let finalize = self.server.finalizes() || self.server.storage_is_ours();
        let interp = &self.server.identity.interp;
        let wrong = |expected: &str| {
            let asked = Asked::message("get", mailbox, number);
            self.wrong(asked, Some(&got), expected)
        };
        let is_wanted = || self.check_wanted().is_ok();
        let wait = Wait::While(&is_wanted);
        message::from_value(interp, &got, fetching, finalize, wait).map_err(|error| match error {
            message::Error::Script(raised) => {
                let said = shortened(&got.to_text());
                let returned = format!("get returned \"{said}\", taken for a mime token");
                let note = format!("{returned}; expected {MESSAGE}");
                self.raised("get", &raised.with_note(&note))
            }
            message::Error::Unreadable(path, error) => {
                let (path, reason) = (text::shown(path.as_os_str()), Reason(&error));
                wrong(&format!("readable: {path}: {reason}"))
            }
            message::Error::NoBytes => {
                wrong("bytes, as one character is above 255; text is returned as \"text TEXT\"")
            }
            message::Error::Form => wrong(MESSAGE),
        })
    }

    fn delete(&self, mailbox: &str, numbers: &[MsgNo]) -> Result<(), Trouble> {
        if numbers.is_empty() {
            return Ok(());
        }
        let numbers: Vec<_> = numbers.iter().map(|n| Value::int(n.get().into())).collect();
        self.storage("dele", mailbox, &[Value::list(&numbers)])?;
        Ok(())
    }

    fn unlock(&self, mailbox: &str) {
        if !interp::is_deleted(&self.server.identity.interp) {
            let said = self.call_storage(&[Value::text("unlock"), Value::text(mailbox)]);
            let _logged = said.map_err(|raised| self.raised("unlock", &raised));
        }
    }

    fn call_auth(&self, words: &[Value]) -> Result<Value, Raised> {
        let prefix = self.server.auth_prefix();
        self.call(&words[0].to_text(), &prefix, words)
    }

    fn call_storage(&self, words: &[Value]) -> Result<Value, Raised> {
        let prefix = self.server.storage_prefix();
        self.call(&words[0].to_text(), &prefix, words)
    }

    /// Calls a command prefix; `method` is what the call counts as.
    fn call(&self, method: &str, prefix: &Value, words: &[Value]) -> Result<Value, Raised> {
        let _timed = self.server.callbacks.begin(method);
        let interp = &self.server.identity.interp;
        match prefix.to_list() {
            // Taken away while the job waited. Without it the method itself would be
            // taken for a command.
            Some(prefix) if prefix.is_empty() => {
                let error = ["::error", "no command prefix is set", "", "POP3D CALLBACK"];
                interp::call(interp, &error.map(Value::text))
            }
            Some(prefix) => interp::call(interp, &[&prefix, words].concat()),
            None => {
                let option = match method {
                    "exists" | "lookup" => "-auth",
                    "login" => "-login",
                    _ => "-storage",
                };
                let value = shortened(&prefix.to_text());
                let message = format!("bad value \"{value}\" for {option}: expected {PREFIX}");
                Err(Raised::new(&message, &["POP3D", "CALLBACK"]))
            }
        }
    }

    /// Whether the callback before this one has not destroyed the server, or let the
    /// session end: then its mailbox is unlocked already.
    fn check_wanted(&self) -> Result<(), Trouble> {
        let unwanted = self.server.is_gone() || self.job.is_some_and(|job| !job.is_wanted());
        match unwanted {
            true => Err(Trouble(Failure::Temporary)),
            false => Ok(()),
        }
    }

    /// Calls a method of the storage, for a session.
    fn storage(&self, method: &str, mailbox: &str, args: &[Value]) -> Result<Value, Trouble> {
        self.check_wanted()?;
        let words = [&[Value::text(method), Value::text(mailbox)], args].concat();
        self.call_storage(&words)
            .map_err(|raised| self.raised(method, &raised))
    }
}

/// The numbers after the first `done` messages.
fn numbers_after(done: usize, count: u32) -> impl Iterator<Item = MsgNo> {
    let first = u32::try_from(done).unwrap_or(u32::MAX).saturating_add(1);
    (first..=count).filter_map(MsgNo::new)
}
