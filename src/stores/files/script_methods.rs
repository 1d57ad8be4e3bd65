//! Mailboxes in directories as scripts use them, by their names.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::mailbox_store::{message, of_store, MailboxStore};
use super::lock::DirLock;
use super::locked::Locked;
use super::mailbox_dir::remove_mailbox;
use super::mailbox_error::{Fault, MailboxError};
use super::mailboxes::{failed, Mailboxes};
use crate::store::{Mailbox, Wait};
use crate::system::rename_new;
use crate::text::{from_native, shown};

impl MailboxStore for Mailboxes {
    fn add(&self, mailbox: &str) -> Result<(), MailboxError> {
        let Some(dir) = self.find(mailbox)? else {
            return Err(MailboxError::AddOutside(mailbox.into()));
        };
        self.layout
            .create(&dir)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => MailboxError::AddExisting(mailbox.into()),
                _ => failed("can't create", mailbox, error),
            })
    }

    fn remove(&self, mailbox: &str) -> Result<(), MailboxError> {
        let missing = || MailboxError::RemoveMissing(mailbox.into());
        let dir = self.find(mailbox)?.ok_or_else(missing)?;
        let looked = |error| failed("couldn't read", mailbox, error);
        let found = metadata_if_there(fs::metadata(&dir)).map_err(looked)?;
        let is_dir = found.ok_or_else(missing)?.is_dir();
        let is_link = fs::symlink_metadata(&dir).map_err(looked)?.is_symlink();
        let locks = self.seize(mailbox, &dir, is_dir)?;
        let locks = locks.ok_or_else(|| MailboxError::RemoveLocked(mailbox.into()))?;
        self.layout.forget(&dir);
        let removed = match is_link || !is_dir {
            true => fs::remove_file(&dir),
            false => remove_mailbox(&dir),
        };
        drop(locks);
        removed.map_err(|error| failed("error deleting", mailbox, error))
    }

    fn rename(&self, old: &str, new: &str) -> Result<(), MailboxError> {
        let missing = || MailboxError::MoveMissing(old.into());
        let from = self.find(old)?.ok_or_else(missing)?;
        let looked = |error| failed("couldn't read", old, error);
        let found = metadata_if_there(fs::metadata(&from)).map_err(looked)?;
        let is_dir = found.ok_or_else(missing)?.is_dir();
        let names = |error: fn(Box<str>, Box<str>) -> MailboxError| error(old.into(), new.into());
        let exists = || names(|old, new| MailboxError::MoveExisting { old, new });
        let to = self.find(new)?;
        let to = to.ok_or_else(|| names(|old, new| MailboxError::MoveOutside { old, new }))?;
        if metadata_if_there(to.symlink_metadata())
            .map_err(looked)?
            .is_some()
        {
            return Err(exists());
        }
        let locks = self.seize(old, &from, is_dir)?;
        let locks = locks.ok_or_else(|| MailboxError::MoveLocked(old.into()))?;
        self.layout.forget(&from);
        let renamed = rename_new(&from, &to);
        drop(locks);
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed("error renaming", old, error),
        })
    }

    fn list(&self) -> Result<Vec<String>, MailboxError> {
        let base = self.base()?;
        let unreadable = |error| failed("couldn't read directory", &shown(base.as_os_str()), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&base).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // What is no text in the system encoding cannot be a storage reference.
            let Some(name) = from_native(&entry.file_name()) else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let fault = self.fault(&entry.path());
            let fault = fault.map_err(|error| failed("couldn't read", &name, error))?;
            if fault.is_none() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, mailbox: &str) -> Result<bool, MailboxError> {
        let Some(dir) = self.find(mailbox)? else {
            return Ok(false);
        };
        let exists = || {
            let there = metadata_if_there(fs::metadata(&dir))?.is_some();
            let missing = |fault| matches!(fault, Fault::NotMailbox | Fault::LinkedPlace);
            Ok(there && !self.layout.fault(&dir)?.is_some_and(missing))
        };
        exists().map_err(|error| failed("couldn't read", mailbox, error))
    }

    fn is_locked(&self, mailbox: &str) -> Result<bool, MailboxError> {
        let Some(dir) = self.find(mailbox)? else {
            return Ok(false);
        };
        if self.registry.has(&dir) {
            return Ok(true);
        }
        DirLock::is_held(&dir).map_err(|error| failed("couldn't lock", mailbox, error))
    }

    fn lock_kept(&self, mailbox: &str) -> Result<bool, MailboxError> {
        match self.open(mailbox, Wait::UNTIL_DONE) {
            Ok(session) => {
                self.registry.keep(session);
                Ok(true)
            }
            Err(MailboxError::Locked(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self, mailbox: &str) -> Result<(), MailboxError> {
        if let Some(session) = self.find(mailbox)?.and_then(|dir| self.registry.find(&dir)) {
            session.unlock();
        }
        Ok(())
    }

    fn session(&self, mailbox: &str) -> Result<Option<Arc<dyn Mailbox>>, MailboxError> {
        Ok(self
            .locked(mailbox)?
            .map(|session| session as Arc<dyn Mailbox>))
    }
}

impl Mailboxes {
    /// Ends every lock: for the end of the object.
    pub fn unlock_all(&self) {
        self.registry.unlock_all();
    }

    /// The file of one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`get`](MailboxStore::get).
    pub fn path_of(&self, mailbox: &str, id: i64) -> Result<PathBuf, MailboxError> {
        let (session, number) = message(self.locked(mailbox)?, id)?;
        session.path(number).map_err(of_store)
    }

    /// The lock that this process has on a mailbox that can be used.
    fn locked(&self, mailbox: &str) -> Result<Option<Arc<Locked>>, MailboxError> {
        let dir = self.check(mailbox)?;
        Ok(self.registry.find(&dir))
    }
}

/// The metadata of something; `None` where there is nothing.
///
/// # Errors
/// When the system does not say.
fn metadata_if_there(found: io::Result<fs::Metadata>) -> io::Result<Option<fs::Metadata>> {
    match found.map(Some) {
        Err(error) => match Fault::of_error(error)? {
            Fault::Missing => Ok(None),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        },
        found => found,
    }
}
