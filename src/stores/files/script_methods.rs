//! What scripts call on a mailbox, in place of a session. The mailbox is found by its name,
//! message numbers are any integers, and errors have the texts that scripts know.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::locked::Locked;
use super::mailbox_error::MailboxError;
use super::mailboxes::Mailboxes;
use crate::store::{Mailbox, Message, StoreError, Wait};
use pop3_proto::MsgNo;

impl Mailboxes {
    /// Locks a mailbox for a script, until [`unlock`](Self::unlock). False when it is locked
    /// already.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    pub fn lock_kept(&self, mailbox: &str) -> Result<bool, MailboxError> {
        match self.open(mailbox, Wait::UNTIL_DONE) {
            Ok(session) => {
                self.registry.keep(session);
                Ok(true)
            }
            Err(MailboxError::Locked(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the lock that a script or a session of this process has on a mailbox. The
    /// session's handle then counts as unlocked. Without a lock it does nothing.
    ///
    /// # Errors
    /// When there is no base directory.
    pub fn unlock(&self, mailbox: &str) -> Result<(), MailboxError> {
        if let Some(session) = self.find(mailbox)?.and_then(|dir| self.registry.find(&dir)) {
            session.unlock();
        }
        Ok(())
    }

    /// Ends every lock: for the end of the object.
    pub fn unlock_all(&self) {
        self.registry.unlock_all();
    }

    /// Number of messages in a locked mailbox.
    ///
    /// # Errors
    /// When the mailbox cannot be used or is not locked in this process.
    pub fn stat(&self, mailbox: &str) -> Result<u32, MailboxError> {
        let session = self.session(mailbox)?;
        let session = session.ok_or_else(|| MailboxError::NotLocked(mailbox.into()))?;
        Ok(session.count())
    }

    /// Octets of all messages of a mailbox; 0 when it is not locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    pub fn size(&self, mailbox: &str) -> Result<u64, MailboxError> {
        let session = self.session(mailbox)?;
        Ok(session
            .and_then(|session| session.octets().ok())
            .unwrap_or(0))
    }

    /// Octets of one message of a locked mailbox, as they were when it was locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used, or has no such message, or is not locked.
    pub fn size_of(&self, mailbox: &str, id: i64) -> Result<u64, MailboxError> {
        let (session, number) = self.message(mailbox, id)?;
        session.size(number).map_err(of_store)
    }

    /// Unique id of one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`size_of`](Self::size_of).
    pub fn uid(&self, mailbox: &str, id: i64) -> Result<Box<str>, MailboxError> {
        let (session, number) = self.message(mailbox, id)?;
        session.uid(number).map_err(of_store)
    }

    /// Unique ids of all messages of a mailbox; none when it is not locked.
    ///
    /// # Errors
    /// When the mailbox cannot be used.
    pub fn uids(&self, mailbox: &str) -> Result<Arc<[Box<str>]>, MailboxError> {
        let session = self.session(mailbox)?;
        Ok(session
            .and_then(|session| session.uids().ok())
            .unwrap_or_default())
    }

    /// The file of one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`size_of`](Self::size_of), and when the message has gone.
    pub fn path_of(&self, mailbox: &str, id: i64) -> Result<PathBuf, MailboxError> {
        let (session, number) = self.message(mailbox, id)?;
        session.path(number).map_err(of_store)
    }

    /// Opens one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`path_of`](Self::path_of).
    pub fn get(&self, mailbox: &str, id: i64) -> Result<Message, MailboxError> {
        let (session, number) = self.message(mailbox, id)?;
        session.get(number, Wait::UNTIL_DONE).map_err(of_store)
    }

    /// Deletes messages of a locked mailbox, whose numbers stay as they are. All
    /// are tried; the first error is returned.
    ///
    /// # Errors
    /// When the mailbox cannot be used, or has no such message (then nothing is
    /// deleted), or a message cannot be deleted.
    pub fn delete(&self, mailbox: &str, ids: &[i64]) -> Result<(), MailboxError> {
        let session = self.session(mailbox)?;
        if ids.is_empty() {
            return Err(MailboxError::NothingToDelete);
        }
        let numbers: Result<Vec<MsgNo>, _> = ids.iter().map(|&id| number(id)).collect();
        let session = session.ok_or(MailboxError::OutOfRange(ids[0]))?;
        session.delete(&numbers?).map_err(of_store)
    }

    /// The lock that this process has on a mailbox that can be used.
    fn session(&self, mailbox: &str) -> Result<Option<Arc<Locked>>, MailboxError> {
        let dir = self.check(mailbox)?;
        Ok(self.registry.find(&dir))
    }

    fn message(&self, mailbox: &str, id: i64) -> Result<(Arc<Locked>, MsgNo), MailboxError> {
        let session = self.session(mailbox)?;
        let session = session.ok_or(MailboxError::OutOfRange(id))?;
        Ok((session, number(id)?))
    }
}

fn number(id: i64) -> Result<MsgNo, MailboxError> {
    let number = u32::try_from(id).ok().and_then(MsgNo::new);
    number.ok_or(MailboxError::OutOfRange(id))
}

/// What the script sees of an error that sessions see too.
fn of_store(error: StoreError) -> MailboxError {
    match error {
        StoreError::InUse(mailbox) => MailboxError::Locked(mailbox.into()),
        StoreError::NotLocked(mailbox) => MailboxError::NotLocked(mailbox.into()),
        StoreError::NoMessage(number) => MailboxError::OutOfRange(number.into()),
        StoreError::Io { what, source } | StoreError::Message { what, source } => {
            MailboxError::Io { what, source }
        }
        StoreError::WouldBlock => MailboxError::WouldBlock,
        StoreError::Missing(text) => MailboxError::Io {
            what: text,
            source: io::ErrorKind::NotFound.into(),
        },
    }
}
