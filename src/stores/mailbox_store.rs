//! What scripts do with mailboxes, by their names, in place of a session. Message numbers are
//! any integers, and errors have the texts that scripts know.

use std::io;
use std::sync::Arc;

use super::files::mailbox_error::MailboxError;
use crate::store::delivery::MessageStore;
use crate::store::{Mailbox, Message, StoreError, Wait};
use pop3_proto::MsgNo;

/// A set of mailboxes as scripts use it. Scripts and sessions see the same locks.
pub trait MailboxStore: MessageStore {
    /// Makes an empty mailbox.
    ///
    /// # Errors
    /// When the name is taken, or is none.
    fn add(&self, mailbox: &str) -> Result<(), MailboxError>;

    /// Removes a mailbox with all that is in it.
    ///
    /// # Errors
    /// When there is none, or it is locked in this or another process.
    fn remove(&self, mailbox: &str) -> Result<(), MailboxError>;

    /// Gives the mailbox `old` the name `new`. Its messages keep their unique ids.
    ///
    /// # Errors
    /// When there is no `old`, it is locked, or `new` is there already.
    fn rename(&self, old: &str, new: &str) -> Result<(), MailboxError>;

    /// The names of the mailboxes, sorted. A store may have others inside of these.
    ///
    /// # Errors
    /// When it cannot be found out which there are.
    fn list(&self) -> Result<Vec<String>, MailboxError>;

    /// Whether there is a mailbox of that name, though maybe none that can be used.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn exists(&self, mailbox: &str) -> Result<bool, MailboxError>;

    /// Whether the mailbox is locked in this or another process.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn is_locked(&self, mailbox: &str) -> Result<bool, MailboxError>;

    /// Locks a mailbox for a script, until [`unlock`](Self::unlock). False when it is locked
    /// already.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    fn lock_kept(&self, mailbox: &str) -> Result<bool, MailboxError>;

    /// Ends the lock that a script or a session of this process has on a mailbox. The
    /// session's handle then counts as unlocked. Without a lock it does nothing.
    ///
    /// # Errors
    /// When it cannot be found out which mailbox that is.
    fn unlock(&self, mailbox: &str) -> Result<(), MailboxError>;

    /// The mailbox, which can be used, as whoever in this process has it locked sees it. The
    /// lock goes on when this is dropped.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    fn session(&self, mailbox: &str) -> Result<Option<Arc<dyn Mailbox>>, MailboxError>;

    /// Number of messages in a locked mailbox.
    ///
    /// # Errors
    /// When the mailbox cannot be used or is not locked in this process.
    fn stat(&self, mailbox: &str) -> Result<u32, MailboxError> {
        let session = self.session(mailbox)?;
        let session = session.ok_or_else(|| MailboxError::NotLocked(mailbox.into()))?;
        Ok(session.count())
    }

    /// Octets of all messages of a mailbox; 0 when it is not locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    fn size(&self, mailbox: &str) -> Result<u64, MailboxError> {
        let session = self.session(mailbox)?;
        Ok(session
            .and_then(|session| session.octets().ok())
            .unwrap_or(0))
    }

    /// Octets of one message of a locked mailbox, as they were when it was locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used, or has no such message, or is not locked.
    fn size_of(&self, mailbox: &str, id: i64) -> Result<u64, MailboxError> {
        let (session, number) = message(self.session(mailbox)?, id)?;
        session.size(number).map_err(of_store)
    }

    /// Unique id of one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`size_of`](Self::size_of).
    fn uid(&self, mailbox: &str, id: i64) -> Result<Box<str>, MailboxError> {
        let (session, number) = message(self.session(mailbox)?, id)?;
        session.uid(number).map_err(of_store)
    }

    /// Unique ids of all messages of a mailbox; none when it is not locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used, or a message has been deleted since it was locked.
    fn uids(&self, mailbox: &str) -> Result<Arc<[Box<str>]>, MailboxError> {
        let session = self.session(mailbox)?;
        match session.map(|session| session.uids()) {
            None | Some(Err(StoreError::NotLocked(_))) => Ok(Arc::default()),
            Some(uids) => uids.map_err(of_store),
        }
    }

    /// Opens one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`size_of`](Self::size_of), and when the message has gone.
    fn get(&self, mailbox: &str, id: i64) -> Result<Message, MailboxError> {
        let (session, number) = message(self.session(mailbox)?, id)?;
        session.get(number, Wait::UNTIL_DONE).map_err(of_store)
    }

    /// Deletes messages of a locked mailbox, whose numbers stay as they are. All
    /// are tried; the first error is returned.
    ///
    /// # Errors
    /// When the mailbox cannot be used, or has no such message (then nothing is
    /// deleted), or a message cannot be deleted.
    fn delete(&self, mailbox: &str, ids: &[i64]) -> Result<(), MailboxError> {
        let session = self.session(mailbox)?;
        let Some(&first) = ids.first() else {
            return Err(MailboxError::NothingToDelete);
        };
        let numbers: Result<Vec<MsgNo>, _> = ids.iter().map(|&id| number(id)).collect();
        let session = session.ok_or(MailboxError::OutOfRange(first))?;
        session.delete(&numbers?).map_err(of_store)
    }
}

/// A locked mailbox, and the number of a message in it.
///
/// # Errors
/// When it is not locked, or `id` can be no number of a message.
pub(super) fn message<M>(session: Option<M>, id: i64) -> Result<(M, MsgNo), MailboxError> {
    let session = session.ok_or(MailboxError::OutOfRange(id))?;
    Ok((session, number(id)?))
}

fn number(id: i64) -> Result<MsgNo, MailboxError> {
    let number = u32::try_from(id).ok().and_then(MsgNo::new);
    number.ok_or(MailboxError::OutOfRange(id))
}

/// What the script sees of an error that sessions see too.
pub(super) fn of_store(error: StoreError) -> MailboxError {
    match error {
        StoreError::InUse(mailbox) => MailboxError::Locked(mailbox.into()),
        StoreError::NotLocked(mailbox) => MailboxError::NotLocked(mailbox.into()),
        StoreError::NoMessage(number) => MailboxError::OutOfRange(number.into()),
        StoreError::Io { what, source } | StoreError::Message { what, source } => {
            MailboxError::Io { what, source }
        }
        StoreError::WouldBlock => MailboxError::WouldBlock,
        StoreError::Missing(text, _) => MailboxError::Io {
            what: text,
            source: io::ErrorKind::NotFound.into(),
        },
    }
}
