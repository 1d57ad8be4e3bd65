//! What a session asks of users and mailboxes, and the built-in stores.
//!
//! [`Users`] and [`Storage`] are what the built-in stores offer to sessions
//! without the interpreter.

pub mod access;
mod answer;
pub mod hold;
pub mod ids;
pub mod jobs;
pub mod reason;
mod scram;
pub mod source;

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::text::{names, proves};
use pop3_proto::{Failure, MsgNo, Proof, Secret};
use reason::{is_permanent, Reason};

/// One user's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What PASS or APOP is checked against.
    pub password: Secret,
    /// The reference by which the storage knows the user's mailbox.
    pub storage: Box<str>,
}

/// Whether somebody still waits for what is being done.
pub type Wanted<'a> = &'a dyn Fn() -> bool;

impl Account {
    /// The storage reference, if the proof fits. An empty one fails the login, as in
    /// Tcllib.
    pub fn admits(self, proof: &Proof) -> Option<Box<str>> {
        let admitted = proves(proof, &self.password) && !self.storage.is_empty();
        admitted.then_some(self.storage)
    }
}

/// A user database: the direct way for `-auth`.
pub trait Users: Send + Sync {
    /// The entry of `user`, if there is one.
    fn lookup(&self, user: &str) -> Option<Account>;

    /// The password of the user whom a client names, if there is one.
    fn password(&self, user: &[u8]) -> Option<Secret> {
        let (name, other) = names(user);
        let account = self.lookup(&name);
        let account = account.or_else(|| self.lookup(&other?));
        account.map(|account| account.password)
    }

    /// The storage reference of the user whom a client names, if the proof fits.
    fn verify(&self, user: &[u8], proof: &Proof) -> Option<Box<str>> {
        let (name, other) = names(user);
        let account = self.lookup(&name);
        let account = account.or_else(|| self.lookup(&other?));
        account?.admits(proof)
    }
}

/// A set of mailboxes: the direct way for `-storage`.
///
/// Calls may block on files: they are made off the async threads.
pub trait Storage: Send + Sync {
    /// Locks `mailbox` and takes the list of its messages; what arrives later
    /// waits for the next session.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another session, in this process or another,
    /// has it; [`StoreError::Missing`] when there is no such mailbox.
    fn lock(&self, mailbox: &str) -> Result<Arc<dyn Maildrop>, StoreError>;

    /// As [`lock`](Self::lock), but what takes long is given up as soon as `wanted` says no;
    /// what comes then is of no use.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    fn lock_while(
        &self,
        mailbox: &str,
        wanted: Wanted<'_>,
    ) -> Result<Arc<dyn Maildrop>, StoreError> {
        let _ = wanted;
        self.lock(mailbox)
    }

    /// As [`lock`](Self::lock), if that takes microseconds, so that it may be called on
    /// an async thread: a hop to another thread costs more. None if it may take longer,
    /// or fails; then nothing is locked.
    fn lock_at_once(&self, mailbox: &str) -> Option<Arc<dyn Maildrop>> {
        let _ = mailbox;
        None
    }
}

/// A locked mailbox: a fixed list of messages.
///
/// Dropping the last reference unlocks too, so a lock cannot outlive its session.
pub trait Maildrop: Send + Sync {
    /// Number of messages.
    fn count(&self) -> u32;
    /// Octets of all messages, as [`sizes`](Self::sizes) counts them.
    fn octets(&self) -> Result<u64, StoreError>;
    /// Size of one message in octets.
    fn size(&self, number: MsgNo) -> Result<u64, StoreError>;
    /// Size of every message in octets.
    fn sizes(&self) -> Result<Arc<[u64]>, StoreError>;
    /// Unique id of one message.
    fn uid(&self, number: MsgNo) -> Result<Box<str>, StoreError>;
    /// Unique id of every message.
    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError>;
    /// Whether sizes, unique ids one by one, and [`unlock`](Self::unlock) need no
    /// waiting for files, so that they may be asked on an async thread.
    fn is_in_memory(&self) -> bool {
        false
    }
    /// Opens one message and reads its begin into `buffer` if that needs no waiting
    /// for a disk; none if it may, or if it fails: then [`get`](Self::get) is asked.
    fn begin_cached(&self, number: MsgNo, buffer: &mut [u8]) -> Option<Begin> {
        let _ = (number, buffer);
        None
    }
    /// Opens one message.
    fn get(&self, number: MsgNo) -> Result<Message, StoreError>;
    /// Deletes messages for good. All are tried; the first error is returned.
    fn delete(&self, numbers: &[MsgNo]) -> Result<(), StoreError>;
    /// Ends the lock. A second call does nothing.
    fn unlock(&self);
    /// Whether the lock has not ended. Afterwards everything else fails, even if somebody
    /// else locks the mailbox meanwhile.
    fn is_locked(&self) -> bool;
}

/// A message on its way to a client.
#[derive(Debug)]
pub struct Message {
    /// Octets to announce in the reply to RETR: never more than will be sent.
    pub octets: u64,
    /// Where the stored bytes come from.
    pub content: Content,
}

/// A message whose begin is read already.
#[derive(Debug)]
pub struct Begin {
    /// As for [`Message`].
    pub octets: u64,
    /// How many bytes of it are in the reader's buffer.
    pub length: usize,
    /// What follows them, if anything.
    pub rest: Option<Content>,
}

/// The stored bytes of a message.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Data(Arc<[u8]>),
    /// In a file, of this size when it was opened: what it grows by later is not sent,
    /// and if it shrinks the connection is broken rather than the client left waiting.
    File(File, u64),
}

/// What can go wrong in a store. The text is for the log, never for the client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another session has the mailbox.
    #[error("mailbox \"{0}\" is locked")]
    InUse(String),
    /// There is no such mailbox, or it cannot be used.
    #[error("{0}")]
    Missing(String),
    /// The session's lock has ended, by `unlock` from elsewhere.
    #[error("mailbox \"{0}\" is not locked")]
    NotLocked(String),
    /// There is no message of that number.
    #[error("id \"{0}\" out of range")]
    NoMessage(u32),
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
    /// What the client may know of it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Missing(_) => Failure::Permanent,
            Self::Io { source, .. } | Self::Message { source, .. } if is_permanent(source) => {
                Failure::Permanent
            }
            Self::InUse(_)
            | Self::NotLocked(_)
            | Self::NoMessage(_)
            | Self::Io { .. }
            | Self::Message { .. } => Failure::Temporary,
        }
    }
}
