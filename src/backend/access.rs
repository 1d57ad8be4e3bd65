//! How a session's requests reach users and mailboxes: directly, when the
//! built-in stores serve them, or by jobs to the interpreter's thread.
//!
//! One code path for both drivers: the network's, which waits, and the one on Tcl
//! channels, whose [`Runner`] has every answer at once.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot::{error::RecvError, Receiver};

use super::hold::{Hold, Lock, View};
use super::script::{Outcome, Work};
use super::{Account, Maildrop, Message, Storage, StoreError, Users};
use crate::protocol::{Failure, MsgNo, Proof, Refusal, Reply, Request};

/// How users or mailboxes are reached now.
pub enum Way<T: ?Sized> {
    /// Without the interpreter.
    Direct(Arc<T>),
    /// By jobs to the interpreter's thread, which evaluates a command prefix.
    Script,
    /// Not at all: without users every login fails, without storage every
    /// mailbox is empty.
    None,
}

impl<T: ?Sized> Clone for Way<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(store) => Self::Direct(store.clone()),
            Self::Script => Self::Script,
            Self::None => Self::None,
        }
    }
}

/// The two ways of one server. Read afresh for every request, so that a renamed or
/// traced command takes effect at once, in running sessions too.
pub struct Access {
    users: RwLock<Way<dyn Users>>,
    storage: RwLock<Way<dyn Storage>>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            users: RwLock::new(Way::None),
            storage: RwLock::new(Way::None),
        }
    }
}

/// The answer to a session's request.
#[derive(Debug)]
pub struct Answer {
    /// For [`Session::handle_reply`](crate::protocol::session::Session::handle_reply).
    pub reply: Reply,
    /// The message to stream after [`Reply::Fetching`].
    pub message: Option<Message>,
    /// What a built-in store said, for the log. Scripts' errors are logged where
    /// they happen.
    pub trouble: Option<StoreError>,
}

impl Answer {
    fn failed(failure: Failure) -> Self {
        Reply::Failed(failure).into()
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            message: None,
            trouble: None,
        }
    }
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        let reply = Reply::Fetching {
            octets: message.octets,
        };
        Self {
            reply,
            message: Some(message),
            trouble: None,
        }
    }
}

/// A store failed within a session.
impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        Self {
            trouble: Some(error),
            ..Self::failed(Failure::Temporary)
        }
    }
}

/// How a driver gets work done elsewhere.
///
/// An end whose sender was dropped means that nobody could do it (the interpreter
/// or the runtime is ending, the work panicked); the session gets a temporary
/// failure. A driver that has answers at once sends before it returns the end, and
/// then the future of [`Access::perform`] is ready when polled first.
pub trait Runner {
    /// Has the interpreter's thread do `work`, as a
    /// [`Job`](super::script::Job) with this hold.
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome>;

    /// Runs `work` where it may block on files.
    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer>;
}

impl Access {
    /// Changes the way to users.
    pub fn set_users(&self, way: Way<dyn Users>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// Changes the way to mailboxes.
    pub fn set_storage(&self, way: Way<dyn Storage>) {
        *self.storage.write().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// The way to users now.
    pub fn users(&self) -> Way<dyn Users> {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The way to mailboxes now.
    pub fn storage(&self) -> Way<dyn Storage> {
        self.storage
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn storage_is_script(&self) -> bool {
        let way = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*way, Way::Script)
    }

    /// Releases a lock that its session no longer needs.
    ///
    /// # Errors
    /// The lock itself when the script must run `unlock` for it: by
    /// [`Work::Release`], or at once on the interpreter's thread.
    pub fn settle(&self, lock: Lock) -> Result<(), Lock> {
        match &lock.maildrop {
            // A built-in store that is wrapped by a script meanwhile: its `unlock`
            // goes to the script, as all its other calls do.
            Some(_) if self.storage_is_script() => Err(lock),
            Some(maildrop) => {
                maildrop.unlock();
                Ok(())
            }
            None => Err(lock),
        }
    }

    /// Answers one request of the session that `hold` belongs to.
    pub async fn perform<R: Runner>(
        &self,
        hold: &Arc<Hold>,
        request: Request,
        runner: &R,
    ) -> Answer {
        if let Request::Login { user, proof } = request {
            return self.login(hold, &user, proof, runner).await;
        }
        match hold.view() {
            None => without_mailbox(request),
            Some(View {
                maildrop: Some(maildrop),
                ..
            }) if !self.storage_is_script() => direct(hold, maildrop, request, runner).await,
            Some(view) => by_script(hold, view, request, runner).await,
        }
    }

    /// Answers a request at once if a built-in store can do so without waiting; else
    /// none, and [`perform`](Self::perform) is to be asked.
    ///
    /// A hop to another thread costs as much as a small message.
    pub fn at_once(&self, hold: &Arc<Hold>, request: &Request) -> Option<Answer> {
        let maildrop = hold.view()?.maildrop?;
        if !maildrop.is_in_memory() || self.storage_is_script() {
            return None;
        }
        let _busy = hold.begin()?;
        match request {
            Request::Fetch { number, .. } => maildrop.get_cached(*number).map(Answer::from),
            Request::Update { delete } if !delete.is_empty() => None,
            // Those of a large mailbox are worth the hop.
            Request::Uids | Request::Login { .. } => None,
            quick => Some(ask(hold, &*maildrop, quick)),
        }
    }

    async fn login<R: Runner>(
        &self,
        hold: &Arc<Hold>,
        user: &[u8],
        proof: Proof,
        runner: &R,
    ) -> Answer {
        let user = text(user);
        let account = match self.users() {
            Way::None => None,
            Way::Direct(users) => users.lookup(&user),
            Way::Script if self.storage_is_script() => {
                let work = Work::Login {
                    user: user.into(),
                    proof,
                };
                return opened(runner.script(hold, work).await);
            }
            Way::Script => {
                match runner
                    .script(hold, Work::Lookup { user: user.into() })
                    .await
                {
                    Ok(Outcome::Account(account)) => account,
                    other => return opened(other),
                }
            }
        };
        // COMPAT 1: an empty storage reference fails the login.
        let account = account.filter(|a| proof.matches(&a.password) && !a.storage.is_empty());
        match account {
            Some(Account { storage, .. }) => self.open(hold, storage, runner).await,
            None => Reply::Refused(Refusal::Credentials).into(),
        }
    }

    async fn open<R: Runner>(&self, hold: &Arc<Hold>, mailbox: Box<str>, runner: &R) -> Answer {
        match self.storage() {
            Way::None => Reply::Opened {
                storage: mailbox,
                count: 0,
                octets: 0,
            }
            .into(),
            Way::Script => opened(runner.script(hold, Work::Open { mailbox }).await),
            Way::Direct(storage) => {
                let hold = hold.clone();
                let job = move || lock(&hold, &*storage, mailbox);
                runner
                    .blocking(Box::new(job))
                    .await
                    .unwrap_or_else(|_| refused(Failure::Temporary))
            }
        }
    }
}

/// Locks and counts a mailbox of a built-in store.
fn lock(hold: &Arc<Hold>, storage: &dyn Storage, mailbox: Box<str>) -> Answer {
    let Some(_busy) = hold.begin() else {
        return refused(Failure::Temporary);
    };
    // The lock is dropped, and with it released, on every way out but the last.
    let opened = storage
        .lock(&mailbox)
        .and_then(|drop| Ok((drop.octets()?, drop)));
    match opened {
        Ok((octets, maildrop)) => {
            let count = maildrop.count();
            match hold.keep(Lock::direct(Arc::from(&*mailbox), maildrop)) {
                Ok(()) => Reply::Opened {
                    storage: mailbox,
                    count,
                    octets,
                }
                .into(),
                Err(_) => refused(Failure::Temporary),
            }
        }
        Err(StoreError::InUse(_)) => Reply::Refused(Refusal::InUse).into(),
        Err(error) => Answer {
            trouble: Some(error),
            ..refused(Failure::Temporary)
        },
    }
}

fn refused(failure: Failure) -> Answer {
    Reply::Refused(Refusal::Failed(failure)).into()
}

/// What the interpreter answered to a login.
fn opened(outcome: Result<Outcome, RecvError>) -> Answer {
    match outcome {
        Ok(Outcome::Reply(reply @ (Reply::Opened { .. } | Reply::Refused(_)))) => reply.into(),
        Ok(Outcome::Reply(Reply::Failed(failure))) => refused(failure),
        _ => refused(Failure::Temporary),
    }
}

/// The answers of an empty mailbox, for a server without storage.
fn without_mailbox(request: Request) -> Answer {
    match request {
        Request::Sizes => Reply::Sizes(Arc::default()).into(),
        Request::Uids => Reply::Uids(Arc::default()).into(),
        Request::SizesOf(numbers) if numbers.is_empty() => Reply::Sizes(Arc::default()).into(),
        Request::Update { .. } => Reply::Updated.into(),
        // The session names no message that its maildrop does not have.
        _ => Answer::failed(Failure::Temporary),
    }
}

/// A request to a built-in store.
async fn direct<R: Runner>(
    hold: &Arc<Hold>,
    maildrop: Arc<dyn Maildrop>,
    request: Request,
    runner: &R,
) -> Answer {
    let hold = hold.clone();
    let job = move || match hold.begin() {
        Some(_busy) => ask(&hold, &*maildrop, &request),
        None => Answer::failed(Failure::Temporary),
    };
    runner
        .blocking(Box::new(job))
        .await
        .unwrap_or_else(|_| Answer::failed(Failure::Temporary))
}

/// Asks a built-in store; may block on files.
fn ask(hold: &Hold, maildrop: &dyn Maildrop, request: &Request) -> Answer {
    let answer = match request {
        Request::Sizes => maildrop.sizes().map(|sizes| Reply::Sizes(sizes).into()),
        Request::SizesOf(numbers) => numbers
            .iter()
            .map(|n| maildrop.size(*n))
            .collect::<Result<Arc<[u64]>, _>>()
            .map(|sizes| Reply::Sizes(sizes).into()),
        Request::Uid(number) => maildrop
            .uid(*number)
            .map(|uid| Reply::Uids([uid].into()).into()),
        Request::Uids => maildrop.uids().map(|uids| Reply::Uids(uids).into()),
        Request::Fetch { number, .. } => maildrop.get(*number).map(Answer::from),
        Request::Update { delete } => update(hold, maildrop, delete),
        Request::Login { .. } => Ok(Answer::failed(Failure::Temporary)),
    };
    answer.unwrap_or_else(Answer::from)
}

fn update(hold: &Hold, maildrop: &dyn Maildrop, delete: &[MsgNo]) -> Result<Answer, StoreError> {
    let deleted = match delete {
        [] => Ok(()),
        numbers => maildrop.delete(numbers),
    };
    // RFC 1939 §6: the lock ends whether or not everything could be removed.
    if hold.take().is_some() {
        maildrop.unlock();
    }
    deleted.map(|()| Reply::Updated.into())
}

/// A request to a script, and whether its answer fits.
async fn by_script<R: Runner>(
    hold: &Arc<Hold>,
    view: View,
    request: Request,
    runner: &R,
) -> Answer {
    let View { mailbox, count, .. } = view;
    let expected = match &request {
        Request::SizesOf(numbers) => numbers.len(),
        Request::Uid(_) => 1,
        _ => count as usize,
    };
    let work = match request {
        Request::Sizes => Work::Sizes { mailbox, count },
        Request::SizesOf(numbers) => Work::SizesOf { mailbox, numbers },
        Request::Uid(number) => Work::Uid { mailbox, number },
        Request::Uids => Work::Uids { mailbox, count },
        Request::Fetch { number, extent } => Work::Fetch {
            mailbox,
            number,
            extent,
        },
        Request::Update { delete } => Work::Update { mailbox, delete },
        Request::Login { .. } => return Answer::failed(Failure::Temporary),
    };
    match runner.script(hold, work).await {
        Ok(Outcome::Message(message)) => message.into(),
        Ok(Outcome::Reply(reply)) if fits(&reply, expected) => reply.into(),
        _ => Answer::failed(Failure::Temporary),
    }
}

fn fits(reply: &Reply, expected: usize) -> bool {
    match reply {
        Reply::Sizes(sizes) => sizes.len() == expected,
        Reply::Uids(uids) => uids.len() == expected,
        Reply::Updated | Reply::Failed(_) => true,
        Reply::Opened { .. } | Reply::Refused(_) | Reply::Fetching { .. } => false,
    }
}

/// A name as scripts see it: UTF-8, or else each byte the character of its number,
/// as Tcl reads such bytes.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect()),
    }
}
