//! What scripts do with single messages: deliver them, list them, fetch and remove them by
//! their unique ids. No session and no lock is needed for that.

use std::io::{self, Read};

use super::reason::Reason;
use super::{Message, StoreError};

/// A set of mailboxes whose messages scripts put in and take out by their unique ids.
///
/// All methods may block. Names of mailboxes follow the same rules as in sessions.
pub trait MessageStore: Send + Sync {
    /// Puts a message into `mailbox`: all of `source`, byte for byte. When this returns, the
    /// message is there for good; when it fails, nothing of it is. The mailbox may be locked:
    /// the session that has it does not see the message, the next one does.
    ///
    /// Returns the unique id that UIDL will show. It is `uid` if one is given.
    ///
    /// No lock is held while `source` is read, as a script may be behind it.
    ///
    /// # Errors
    /// See [`DeliverError`].
    fn deliver(
        &self,
        mailbox: &str,
        source: &mut dyn Read,
        uid: Option<&Uid>,
    ) -> Result<Box<str>, DeliverError>;

    /// The messages that a session would list if it began now, in its order.
    ///
    /// # Errors
    /// When the mailbox cannot be used or listed.
    fn messages(&self, mailbox: &str) -> Result<Vec<StoredMessage>, StoreError>;

    /// Opens the message of this unique id.
    ///
    /// # Errors
    /// See [`FetchError`].
    fn fetch(&self, mailbox: &str, uid: &str) -> Result<Message, FetchError>;

    /// Deletes the messages of these unique ids for good. Nothing is deleted unless all of
    /// them are there. An id that is given twice counts once.
    ///
    /// # Errors
    /// See [`ExpungeError`].
    fn expunge(&self, mailbox: &str, uids: &[Box<str>]) -> Result<(), ExpungeError>;
}

/// A message as [`MessageStore::messages`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its unique id.
    pub uid: Box<str>,
    /// Octets, as LIST would announce them.
    pub octets: u64,
    /// When it arrived, in seconds since 1970.
    pub received: i64,
}

/// The longest unique id (RFC 1939 §7).
pub const UID_LENGTH: usize = 70;

/// A unique id that a script has chosen: 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7),
/// of which no store need carry all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(Box<str>);

impl Uid {
    /// `uid`, if it is one.
    pub fn new(uid: &str) -> Option<Self> {
        is_uid(uid.as_bytes()).then(|| Self(uid.into()))
    }

    /// The characters, all of them ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether these bytes are a unique id (RFC 1939 §7).
pub fn is_uid(bytes: &[u8]) -> bool {
    (1..=UID_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Why a message was not delivered. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The mailbox cannot be used, or has no room.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no mailbox of that name. [`MessageStore::deliver`] makes none: a misspelt
    /// name must not swallow mail.
    #[error("mailbox \"{0}\" does not exist: make it by the method \"add\"")]
    NoMailbox(Box<str>),
    /// The store cannot carry this unique id.
    #[error("unique id \"{uid}\" cannot be used: {why}")]
    UnfitUid {
        /// The id.
        uid: Box<str>,
        /// What is wrong with it, or was expected.
        why: &'static str,
    },
    /// Another message of the mailbox has this unique id.
    #[error("unique id \"{uid}\" is that of another message of mailbox \"{mailbox}\"")]
    UsedUid {
        /// The mailbox.
        mailbox: Box<str>,
        /// The id.
        uid: Box<str>,
    },
    /// The message could not be read from its source.
    #[error("couldn't read the message: {}", Reason(.0))]
    Source(io::Error),
}

/// Why a message could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The mailbox or the message cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no message of this unique id.
    #[error("mailbox \"{mailbox}\" has no message with the unique id \"{uid}\"")]
    Unknown {
        /// The mailbox.
        mailbox: Box<str>,
        /// The id.
        uid: Box<str>,
    },
}

/// Why messages were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ExpungeError {
    /// A session has the mailbox ([`StoreError::InUse`]), or the mailbox cannot be used:
    /// nothing was deleted. [`StoreError::Message`]: that message could not be deleted;
    /// those before it were, if the text says so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no messages of these unique ids. Nothing was deleted.
    #[error(
        "mailbox \"{mailbox}\" has no message with the unique id {}",
        listed(uids)
    )]
    Unknown {
        /// The mailbox.
        mailbox: Box<str>,
        /// The ids that there are not, in the order in which they were given.
        uids: Vec<Box<str>>,
    },
}

/// Ids in quotes with commas between them.
fn listed(uids: &[Box<str>]) -> String {
    let quoted: Vec<String> = uids.iter().map(|uid| format!("\"{uid}\"")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_those_of_the_rfc() {
        let (longest, longer) = ("x".repeat(70), "x".repeat(71));
        let table = [
            ("a", true),
            ("!~/:.", true),
            (&*longest, true),
            ("", false),
            (&*longer, false),
            ("a b", false),
            ("a\n", false),
            ("a\x7f", false),
            ("\u{e4}", false),
        ];
        for (uid, want) in table {
            assert_eq!(Uid::new(uid).is_some(), want, "{uid:?}");
        }
    }
}
