//! Answers to sessions' requests, and how built-in stores give them.

use std::sync::Arc;

use super::hold::{Hold, Lock};
use super::{Mailbox, Message, Storage, StoreError, Wait};
use pop3_proto::{Failure, LoginStep, MsgNo, Refusal, Reply, Request};

/// The answer to a session's request.
#[derive(Debug)]
pub struct Answer {
    /// For [`Session::handle_reply`](pop3_proto::session::Session::handle_reply).
    pub reply: Reply,
    /// The message to stream after [`Reply::Fetching`].
    pub message: Option<Message>,
    /// The error of a built-in store, for the log. Scripts' errors are logged where
    /// they happen.
    pub trouble: Option<StoreError>,
}

impl Answer {
    /// Why a login was refused, if this answers a login. `None` if it was not refused.
    pub fn refusal(&self) -> Option<Refusal> {
        match &self.reply {
            Reply::Opened { .. } => None,
            Reply::Refused(refusal) => Some(*refusal),
            _ => Some(Refusal::Failed(LoginStep::Server, Failure::Temporary)),
        }
    }

    /// Refuses a login because there are no descriptors for its session's files.
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

/// Locks and counts a mailbox of a built-in store. The trouble is
/// [`StoreError::WouldBlock`] if that takes longer than `wait`; then nothing is locked.
pub(super) fn lock(
    hold: &Arc<Hold>,
    storage: &dyn Storage,
    mailbox: &str,
    wait: Wait<'_>,
) -> Answer {
    let Some(_busy) = hold.begin() else {
        return refused(LoginStep::Server, Failure::Temporary);
    };
    let locked = storage.lock(mailbox, wait);
    match locked.and_then(|locked| Ok((locked.octets()?, locked))) {
        Ok((octets, locked)) => {
            let count = locked.count();
            // A lock that the hold refuses is dropped, and with it released.
            match hold.keep(Lock::direct(Arc::from(mailbox), locked)) {
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
        // The session names no message that its mailbox does not have.
        _ => Answer::failed(Failure::Temporary),
    }
}

/// Asks a built-in store. Whether that may block is for the caller to know
/// ([`Mailbox::try_now`]). Long work stops when the session has ended.
pub(super) fn ask(hold: &Hold, mailbox: &dyn Mailbox, request: &Request) -> Answer {
    let is_wanted = || !hold.is_ended();
    let answer = match request {
        Request::Sizes => mailbox.sizes().map(|sizes| Reply::Sizes(sizes).into()),
        Request::Size(number) => mailbox
            .size(*number)
            .map(|octets| Reply::Sizes([octets].into()).into()),
        Request::SizesOf(numbers) => sizes_of(mailbox, numbers).map(Answer::from),
        Request::Uid(number) => mailbox
            .uid(*number)
            .map(|uid| Reply::Uids([uid].into()).into()),
        Request::Uids => mailbox.uids().map(|uids| Reply::Uids(uids).into()),
        Request::Fetch { number, .. } => mailbox
            .get(*number, Wait::While(&is_wanted))
            .map(Answer::from),
        Request::Update { delete } => update(hold, mailbox, delete),
        Request::Login(_) | Request::Keys { .. } | Request::Hook(_) => {
            Ok(Answer::failed(Failure::Temporary))
        }
    };
    answer.unwrap_or_else(Answer::from)
}

/// The sizes of some messages. They may be a hundred thousand, and are asked for on an event
/// loop: the mailbox is asked once.
fn sizes_of(mailbox: &dyn Mailbox, numbers: &[MsgNo]) -> Result<Reply, StoreError> {
    let all = mailbox.sizes()?;
    let size = |number: &MsgNo| {
        let size = all.get(number.index()).copied();
        size.ok_or(StoreError::NoMessage(number.get()))
    };
    let sizes: Result<Arc<[u64]>, _> = numbers.iter().map(size).collect();
    Ok(Reply::Sizes(sizes?))
}

fn update(hold: &Hold, mailbox: &dyn Mailbox, delete: &[MsgNo]) -> Result<Answer, StoreError> {
    let deleted = match delete {
        [] => Ok(()),
        numbers => mailbox.delete(numbers),
    };
    // RFC 1939 §6: the lock ends whether or not everything could be removed.
    if hold.take().is_some() {
        mailbox.unlock();
    }
    deleted.map(|()| Reply::Updated.into())
}
