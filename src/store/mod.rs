//! What sessions ask of users and mailboxes.
//!
//! A store that sessions use without the interpreter implements [`Users`], or [`Storage`]
//! with its locked [`Mailbox`]es. One whose messages scripts deliver and remove implements
//! [`MessageStore`](delivery::MessageStore).

pub mod access;
mod answer;
mod checks;
pub mod delivery;
pub mod hold;
pub mod ids;
pub mod jobs;
#[cfg(all(test, feature = "model"))]
mod models;
pub mod reason;
pub mod scram;
pub mod source;
mod sync;
mod users;

use std::fs::File;
use std::io;
use std::sync::Arc;

use pop3_proto::{Failure, MsgNo, Request};
use reason::{advice_on, is_permanent, Reason};

pub use users::{Account, Check, Users, Verdict};

/// How long a call to a store may take.
#[derive(Clone, Copy)]
pub enum Wait<'a> {
    /// Microseconds: an event loop asks. A store that needs longer, or does not know, answers
    /// [`StoreError::WouldBlock`] and has done nothing. It is then asked again on a thread
    /// that may block.
    No,
    /// As long as this gives true. Afterwards the answer is of no use, so long work may end
    /// early with any result.
    While(&'a dyn Fn() -> bool),
}

impl Wait<'_> {
    /// As long as it takes.
    pub const UNTIL_DONE: Wait<'static> = Wait::While(&|| true);

    /// Whether the call may take long.
    pub fn may_block(self) -> bool {
        matches!(self, Self::While(_))
    }

    /// Whether the answer is still of use.
    pub fn is_wanted(self) -> bool {
        match self {
            Self::No => true,
            Self::While(is_wanted) => is_wanted(),
        }
    }
}

/// A set of mailboxes, which sessions use without the interpreter.
pub trait Storage: Send + Sync {
    /// Locks `mailbox` and takes the list of its messages. What arrives later waits for the
    /// next session.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another session, in this process or another,
    /// has it; [`StoreError::Missing`] when there is no such mailbox;
    /// [`StoreError::WouldBlock`] only for [`Wait::No`].
    fn lock(&self, mailbox: &str, wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError>;
}

/// A locked mailbox: a fixed list of messages.
///
/// All methods may block, and are called on threads that may, except
/// [`count`](Self::count), [`octets`](Self::octets), [`is_locked`](Self::is_locked),
/// [`unlocks_at_once`](Self::unlocks_at_once) and [`try_now`](Self::try_now). Dropping the last reference unlocks too, so that a lock cannot
/// outlive its session.
pub trait Mailbox: Send + Sync {
    /// Number of messages.
    fn count(&self) -> u32;
    /// Octets of all messages, as [`sizes`](Self::sizes) counts them. They are found out when
    /// the mailbox is locked.
    fn octets(&self) -> Result<u64, StoreError>;
    /// Size of one message in octets.
    fn size(&self, number: MsgNo) -> Result<u64, StoreError>;
    /// Size of every message in octets.
    fn sizes(&self) -> Result<Arc<[u64]>, StoreError>;
    /// Unique id of one message.
    fn uid(&self, number: MsgNo) -> Result<Box<str>, StoreError>;
    /// Unique id of every message.
    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError>;
    /// Opens one message, and counts its octets if need be.
    fn get(&self, number: MsgNo, wait: Wait<'_>) -> Result<Message, StoreError>;
    /// Deletes messages for good. All are tried; the first error is returned.
    fn delete(&self, numbers: &[MsgNo]) -> Result<(), StoreError>;
    /// Ends the lock. A second call does nothing.
    fn unlock(&self);
    /// Whether the lock has not ended. Afterwards everything else fails, even if another
    /// session locks the mailbox meanwhile.
    fn is_locked(&self) -> bool;

    /// Whether [`unlock`](Self::unlock) takes microseconds.
    fn unlocks_at_once(&self) -> bool {
        // It is all that such a request asks for.
        let request = Request::Update { delete: Vec::new() };
        matches!(self.try_now(&request, &mut []), Immediate::Ready)
    }

    /// What an event loop can do itself, within microseconds, to answer `request`. Of a
    /// message as much as is at hand may be read into `buffer`.
    fn try_now(&self, request: &Request, buffer: &mut [u8]) -> Immediate {
        let _ = (request, buffer);
        Immediate::WouldBlock
    }
}

/// What [`Mailbox::try_now`] gives.
#[derive(Debug)]
pub enum Immediate {
    /// The request may take longer.
    WouldBlock,
    /// The methods that answer the request take microseconds.
    Ready,
    /// The request was for a message, whose first bytes are in the buffer.
    Started(StartedMessage),
}

/// A message on its way to a client.
#[derive(Debug)]
pub struct Message {
    /// Octets to announce in the reply to RETR: never more than will be sent.
    pub octets: u64,
    /// Where the stored bytes come from.
    pub content: Content,
}

/// A message whose first bytes have been read.
#[derive(Debug)]
pub struct StartedMessage {
    /// Octets to announce, as for [`Message`].
    pub octets: u64,
    /// How many bytes were read into the caller's buffer.
    pub length: usize,
    /// What follows them, if anything.
    pub rest: Option<Content>,
}

/// The stored bytes of a message.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Data(Arc<[u8]>),
    /// In a file, of this size when it was opened. What it grows by later is not sent. If it
    /// shrinks, the connection is broken rather than the client left waiting.
    File(File, u64),
}

/// What can go wrong in a store. The text is for the log, never for the client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another session has the mailbox.
    #[error("mailbox \"{0}\" is locked")]
    InUse(String),
    /// There is no such mailbox, or it cannot be used: what is wrong, and what to do.
    #[error("{0}")]
    Missing(String, Option<&'static str>),
    /// The session's lock has ended, by `unlock` from elsewhere.
    #[error("mailbox \"{0}\" is not locked")]
    NotLocked(String),
    /// There is no message of that number.
    #[error("id \"{0}\" out of range")]
    NoMessage(u32),
    /// The answer would take longer than [`Wait::No`] allows.
    #[error("the store must wait")]
    WouldBlock,
    /// A file could not be used.
    #[error("{what}: {}", Reason(source))]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// One message could not be read or deleted; the others may be.
    #[error("{what}: {}", Reason(source))]
    Message {
        /// What was tried, with the number and the mailbox.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// What to do about it, where the text does not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Missing(_, advice) => *advice,
            Self::Io { source, .. } | Self::Message { source, .. } => advice_on(source),
            Self::InUse(_) | Self::NotLocked(_) | Self::NoMessage(_) | Self::WouldBlock => None,
        }
    }

    /// What the client is told of it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Missing(..) => Failure::Permanent,
            Self::Io { source, .. } | Self::Message { source, .. } if is_permanent(source) => {
                Failure::Permanent
            }
            Self::InUse(_)
            | Self::NotLocked(_)
            | Self::NoMessage(_)
            | Self::WouldBlock
            | Self::Io { .. }
            | Self::Message { .. } => Failure::Temporary,
        }
    }
}
