//! What sessions' requests are answered, and how built-in stores answer them.

use std::sync::Arc;

use super::hold::{Hold, Lock};
use super::{Maildrop, Message, Storage, StoreError};
use pop3_proto::{Failure, LoginStep, MsgNo, Refusal, Reply, Request};

/// The answer to a session's request.
#[derive(Debug)]
pub struct Answer {
    /// For [`Session::handle_reply`](pop3_proto::session::Session::handle_reply).
    pub reply: Reply,
    /// The message to stream after [`Reply::Fetching`].
    pub message: Option<Message>,
    /// What a built-in store said, for the log. Scripts' errors are logged where
    /// they happen.
    pub trouble: Option<StoreError>,
}

impl Answer {
    /// Why a login was refused, if this answers one; none if it was not.
    pub fn refusal(&self) -> Option<Refusal> {
        match &self.reply {
            Reply::Opened { .. } => None,
            Reply::Refused(refusal) => Some(*refusal),
            _ => Some(Refusal::Failed(LoginStep::Server, Failure::Temporary)),
        }
    }

    /// A login that is refused because its session could not open its files.
    pub fn too_few_descriptors() -> Self {
        let error = StoreError::Io {
            what: "couldn't open a session".into(),
            source: std::io::Error::from_raw_os_error(libc::EMFILE),
        };
        Self {
            trouble: Some(error),
            ..refused(LoginStep::Server, Failure::Temporary)
        }
    }

    pub(super) fn failed(failure: Failure) -> Self {
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
        let failed = Self::failed(error.failure());
        Self {
            trouble: Some(error),
            ..failed
        }
    }
}

/// Locks and counts a mailbox of a built-in store; may wait for files.
pub(super) fn lock(hold: &Arc<Hold>, storage: &dyn Storage, mailbox: &str) -> Answer {
    match hold.begin() {
        Some(_busy) => {
            let wanted = || !hold.is_ended();
            opened(hold, mailbox, storage.lock_while(mailbox, &wanted))
        }
        None => refused(LoginStep::Server, Failure::Temporary),
    }
}

/// The same if it takes microseconds; else none, and nothing is locked.
pub(super) fn lock_at_once(
    hold: &Arc<Hold>,
    storage: &dyn Storage,
    mailbox: &str,
) -> Option<Answer> {
    let _busy = hold.begin()?;
    let locked = storage.lock_at_once(mailbox)?;
    Some(opened(hold, mailbox, Ok(locked)))
}

/// Hands a lock over to the session. On every way out but that one it is dropped, and
/// with it released.
fn opened(
    hold: &Arc<Hold>,
    mailbox: &str,
    locked: Result<Arc<dyn Maildrop>, StoreError>,
) -> Answer {
    match locked.and_then(|drop| Ok((drop.octets()?, drop))) {
        Ok((octets, maildrop)) => {
            let count = maildrop.count();
            match hold.keep(Lock::direct(Arc::from(mailbox), maildrop)) {
                Ok(()) => Reply::Opened {
                    storage: mailbox.into(),
                    count,
                    octets,
                }
                .into(),
                Err(_) => refused(LoginStep::Server, Failure::Temporary),
            }
        }
        Err(StoreError::InUse(_)) => Reply::Refused(Refusal::InUse).into(),
        Err(error) => Answer {
            reply: refused(LoginStep::Mailbox, error.failure()).reply,
            message: None,
            trouble: Some(error),
        },
    }
}

pub(super) fn refused(step: LoginStep, failure: Failure) -> Answer {
    Reply::Refused(Refusal::Failed(step, failure)).into()
}

/// The answers of an empty mailbox, for a server without storage.
pub(super) fn without_mailbox(request: Request) -> Answer {
    match request {
        Request::Sizes => Reply::Sizes(Arc::default()).into(),
        Request::Uids => Reply::Uids(Arc::default()).into(),
        Request::SizesOf(numbers) if numbers.is_empty() => Reply::Sizes(Arc::default()).into(),
        Request::Update { .. } => Reply::Updated.into(),
        // The session names no message that its maildrop does not have.
        _ => Answer::failed(Failure::Temporary),
    }
}

/// Asks a built-in store; may block on files.
pub(super) fn ask(hold: &Hold, maildrop: &dyn Maildrop, request: &Request) -> Answer {
    let answer = match request {
        Request::Sizes => maildrop.sizes().map(|sizes| Reply::Sizes(sizes).into()),
        Request::Size(number) => maildrop
            .size(*number)
            .map(|octets| Reply::Sizes([octets].into()).into()),
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
        Request::Login(_) | Request::Keys { .. } => Ok(Answer::failed(Failure::Temporary)),
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
