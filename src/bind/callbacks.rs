//! The script's `-auth`, `-storage`, `-login` and `-hook` command prefixes: what they are
//! asked, in which order, and what becomes of everything that they may do.
//!
//! A callback is a list, never a string, and runs at the global level, as a coroutine. It may do
//! anything, even destroy its own server, and wait: so nothing is borrowed while it runs and
//! everything is looked at afresh afterwards.
//!
//! Here are logins, sizes, messages and deletions; `call` calls and waits; `hook` has what
//! happens in sessions, `uids` the unique ids, with `digests` where the storage gives none and
//! `unknown` to tell that, `complaints` what becomes of failures.

mod call;
mod complaints;
mod counts;
mod digests;
mod hook;
mod login;
mod uids;
mod unknown;

use std::rc::Rc;

use self::complaints::Asked;
pub use self::counts::{CallbackCount, CallbackCounts};
use super::escape::shortened;
use super::message::{self, Fetching, Got};
use super::server::ServerObject;
use super::step::Turn;
use super::tasks::Owner;
use crate::ffi::interp::Raised;
use crate::ffi::Value;
use crate::store::ids::Client;
use crate::store::jobs::{Job, Outcome, UnlockNow, Work};
use crate::store::reason::Reason;
use crate::store::{Message, Wait};
use crate::text;
use pop3_proto::hook::Event;
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

/// Runs a job for `server`: at once, as far as no callback yields and it is not long. Then it
/// is answered.
pub fn run(server: &Rc<ServerObject>, job: Job) {
    let owner = Owner {
        server: server.id,
        session: job.session(),
    };
    let own = server.clone();
    server.world.spawn(Some(owner), async move {
        let callbacks = Callbacks {
            server: &own,
            job: Some(&job),
            client: &job.client,
        };
        let outcome = callbacks.outcome(&job).await;
        job.answer(outcome);
    });
}

/// Calls the storage's `unlock` for a client's session. An error reaches nobody but the log.
/// An `unlock` that yields goes on by itself, even when the server is destroyed.
pub fn unlock(server: &Rc<ServerObject>, mailbox: &str, client: Client) {
    let callbacks = Callbacks {
        server,
        job: None,
        client: &client,
    };
    let _nobody_waits = callbacks.begin_unlock(mailbox);
}

/// Tells the hook of the end of a client's session, on a connection of this name. An error reaches nobody but the log. A
/// hook that yields goes on by itself, even when the server is destroyed.
pub fn tell_end(server: &Rc<ServerObject>, event: &Event, client: Client, connection: &str) {
    let callbacks = Callbacks {
        server,
        job: None,
        client: &client,
    };
    let _nobody_waits = callbacks.begin_end(event, connection);
}

/// The callbacks of one server, for a job or for the end of a session.
struct Callbacks<'a> {
    server: &'a Rc<ServerObject>,
    job: Option<&'a Job>,
    /// For whom, for the log.
    client: &'a Client,
}

impl Callbacks<'_> {
    /// Does the job.
    async fn outcome(&self, job: &Job) -> Outcome {
        let reply = match &job.work {
            // Others that waited with it have failed since it was asked.
            Work::Login(_) | Work::Check(_) | Work::Lookup { .. }
                if self.server.engine.refuses_logins(self.client.peer.ip()) =>
            {
                Reply::Refused(Refusal::TooManyFailures)
            }
            Work::Login(attempt) => {
                let opened = self.login(job, attempt).await;
                opened.unwrap_or_else(Reply::Refused)
            }
            Work::Check(attempt) => match self.check(attempt).await {
                Ok(mailbox) => return Outcome::Mailbox(mailbox),
                Err(trouble) => Reply::Refused(trouble.at(LoginStep::Users)),
            },
            Work::Open { mailbox } => {
                let opened = self.open(job, mailbox).await;
                opened.unwrap_or_else(Reply::Refused)
            }
            Work::Lookup { user } => match self.lookup(user).await {
                Ok(account) => return Outcome::Account(account),
                Err(trouble) => Reply::Refused(trouble.at(LoginStep::Users)),
            },
            Work::Ask {
                mailbox,
                count,
                request,
            } => match self.ask(job, mailbox, *count, request).await {
                Ok(outcome) => return outcome,
                Err(Trouble(failure)) => Reply::Failed(failure),
            },
            Work::Release(lock, _) => {
                self.unlock(&lock.mailbox).await;
                Reply::Updated
            }
            Work::Hook(event) => self.hook(event).await,
            Work::Ended(event, _) => {
                let connection = self.server.connection_name(self.client.connection);
                if let Some(over) = self.begin_end(event, &connection) {
                    // If nothing tells, the interpreter has gone.
                    let _ = over.await;
                }
                Reply::Updated
            }
        };
        Outcome::Reply(reply)
    }

    /// What a session asks of its mailbox.
    async fn ask(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
        request: &Request,
    ) -> Result<Outcome, Trouble> {
        let reply = match request {
            Request::Fetch { number, extent } => {
                let message = self.fetch(mailbox, *number, *extent).await?;
                return Ok(Outcome::Message(message));
            }
            Request::Size(number) => {
                let octets = self.size(mailbox, Some(*number)).await?;
                Reply::Sizes([octets].into())
            }
            Request::SizesOf(numbers) => {
                let sizes = self.sizes(mailbox, numbers.iter().copied()).await?;
                Reply::Sizes(sizes.into())
            }
            Request::Sizes => {
                let sizes = self.sizes(mailbox, numbers_after(0, count)).await?;
                Reply::Sizes(sizes.into())
            }
            Request::Uids => Reply::Uids(self.all_uids(job, mailbox, count).await?.into()),
            Request::Uid(number) => {
                let uid = self.one_uid(job, mailbox, *number, count).await?;
                Reply::Uids([uid].into())
            }
            Request::Update { delete } => {
                let deleted = self.delete(mailbox, delete).await;
                // Whether or not that went well the mailbox is unlocked, once.
                if job.take_lock().is_some() {
                    self.unlock(mailbox).await;
                }
                deleted?;
                Reply::Updated
            }
            Request::Login(_) | Request::Keys { .. } | Request::Hook(_) => {
                Reply::Failed(Failure::Temporary)
            }
        };
        Ok(Outcome::Reply(reply))
    }

    /// Logs in: the check, `lock`, `stat`, `size`.
    async fn login(&self, job: &Job, attempt: &Attempt) -> Result<Reply, Refusal> {
        let mailbox = self.check(attempt).await;
        match mailbox.map_err(|trouble| trouble.at(LoginStep::Users))? {
            Some(mailbox) => self.open(job, &mailbox).await,
            None => Err(Refusal::Credentials),
        }
    }

    /// `lock`, `stat`, `size`. A mailbox that cannot be counted is unlocked again.
    async fn open(&self, job: &Job, mailbox: &str) -> Result<Reply, Refusal> {
        match self.lock(mailbox).await {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::InUse),
            // Not the lock's fault, and nothing that waiting for another session mends.
            Err(trouble @ Trouble(Failure::Permanent)) => {
                return Err(trouble.at(LoginStep::Mailbox));
            }
            Err(trouble) => return Err(trouble.at(LoginStep::Lock)),
        }
        if let Err(UnlockNow(lock)) = job.keep_lock(mailbox) {
            self.unlock(&lock.mailbox).await;
            return Err(Trouble(Failure::Temporary).at(LoginStep::Server));
        }
        match self.count(mailbox).await {
            Ok((count, octets)) => Ok(Reply::Opened {
                storage: mailbox.into(),
                count,
                octets,
            }),
            Err(trouble) => {
                // Unless the session has ended meanwhile, which unlocks.
                if job.take_lock().is_some() {
                    self.unlock(mailbox).await;
                }
                Err(trouble.at(LoginStep::Mailbox))
            }
        }
    }

    async fn lock(&self, mailbox: &str) -> Result<bool, Trouble> {
        let locked = self.storage("lock", mailbox, &[]).await?;
        let wrong = || self.wrong(Asked::new("lock", mailbox), Some(&locked), "a boolean");
        locked.to_bool().ok_or_else(wrong)
    }

    async fn count(&self, mailbox: &str) -> Result<(u32, u64), Trouble> {
        let said = self.storage("stat", mailbox, &[]).await?;
        let asked = Asked::new("stat", mailbox);
        let count = said.to_int().and_then(|n| u32::try_from(n).ok());
        let count = count.ok_or_else(|| self.wrong(asked, Some(&said), "a number of messages"))?;
        Ok((count, self.size(mailbox, None).await?))
    }

    async fn size(&self, mailbox: &str, number: Option<MsgNo>) -> Result<u64, Trouble> {
        let argument = number.map(|n| Value::int(n.get().into()));
        let said = self.storage("size", mailbox, argument.as_slice()).await?;
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

    /// The sizes of some messages. There may be a hundred thousand of them.
    async fn sizes(
        &self,
        mailbox: &str,
        numbers: impl Iterator<Item = MsgNo>,
    ) -> Result<Vec<u64>, Trouble> {
        let mut sizes = Vec::new();
        let mut turn = Turn::begin();
        for number in numbers {
            turn.next_item().await;
            sizes.push(self.size(mailbox, Some(number)).await?);
        }
        Ok(sizes)
    }

    /// RETR: `size`, `get`; TOP: `get`.
    async fn fetch(
        &self,
        mailbox: &str,
        number: MsgNo,
        extent: Extent,
    ) -> Result<Message, Trouble> {
        let size = match extent {
            Extent::Whole => Some(self.size(mailbox, Some(number)).await?),
            Extent::Top(_) => None,
        };
        let mut message = self.get(mailbox, number, size).await?.message;
        // A client may wait for as many octets as were announced.
        message.octets = message.octets.min(size.unwrap_or(u64::MAX));
        Ok(message)
    }

    /// `get`, of a message that has `size` octets, as far as that was asked.
    async fn get(&self, mailbox: &str, number: MsgNo, size: Option<u64>) -> Result<Got, Trouble> {
        self.check_wanted()?;
        let call = self.for_client(Some(Fetching {
            number,
            opened: None,
            size,
        }));
        let words = [Value::text(mailbox), Value::int(number.get().into())];
        let got = self.call(&call, &self.storage_method("get"), &words).await;
        let got = got.map_err(|raised| self.raised("get", &raised))?;
        let fetching = call.fetching.take().ok_or(Trouble(Failure::Temporary))?;
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

    async fn delete(&self, mailbox: &str, numbers: &[MsgNo]) -> Result<(), Trouble> {
        if numbers.is_empty() {
            return Ok(());
        }
        let numbers: Vec<_> = numbers.iter().map(|n| Value::int(n.get().into())).collect();
        self.storage("dele", mailbox, &[Value::list(&numbers)])
            .await?;
        Ok(())
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

    /// Calls a method of the users.
    async fn users(&self, method: &str, user: &Value) -> Result<Value, Raised> {
        let call = self.for_client(None);
        let user = std::slice::from_ref(user);
        self.call(&call, &self.users_method(method), user).await
    }

    /// Calls a method of the storage, for a session.
    async fn storage(&self, method: &str, mailbox: &str, args: &[Value]) -> Result<Value, Trouble> {
        self.check_wanted()?;
        let words = [&[Value::text(mailbox)], args].concat();
        let call = self.for_client(None);
        let said = self.call(&call, &self.storage_method(method), &words).await;
        said.map_err(|raised| self.raised(method, &raised))
    }
}

/// The numbers after the first `done` messages.
fn numbers_after(done: usize, count: u32) -> impl Iterator<Item = MsgNo> {
    let first = u32::try_from(done).unwrap_or(u32::MAX).saturating_add(1);
    (first..=count).filter_map(MsgNo::new)
}
