//! A base directory full of mailboxes: what `pop3d::dbox` and `pop3d::maildir`
//! objects are made of. Scripts and sessions see the same locks.
//!
//! A mailbox is a directory inside the base directory, and its name the path from there. No
//! name leads out of the base directory, but a symbolic link in it is followed: only those
//! that may write there can make one. `remove` of a link removes the link. Once a mailbox is
//! locked, all files are reached from the open directory, whatever has its path then.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustix::fs::{access, Access};

use super::arrival::Sweeps;
pub use super::layout::{Layout, Links, Octets, Rules};
use super::listing::MailboxDir;
use super::lock::{DirLock, LockFile};
use super::locked::{Locked, Registry};
use super::mailbox_dir::{if_there, lock_within, path_within};
use super::mailbox_error::{Fault, MailboxError};
use super::reach::{open_dir, DirPath};
use crate::descriptors::out_of_the_way;
use crate::store::{Mailbox, Storage, StoreError, Wait};
use crate::system::is_local;

/// Mailboxes below a base directory.
pub struct Mailboxes {
    pub(super) layout: Box<dyn Layout>,
    base: ArcSwapOption<Base>,
    rules: ArcSwap<Rules>,
    pub(super) registry: Arc<Registry>,
    pub(super) sweeps: Sweeps,
}

/// The base directory.
struct Base {
    path: Arc<Path>,
    /// The open directory, if it is on a disk of this machine. What is reached from there
    /// without crossing a mount is on that disk too, so that no other machine or process can
    /// hold up those that open it.
    local: Option<OwnedFd>,
}

impl Mailboxes {
    /// Mailboxes of this layout, of no use before [`set_base`](Self::set_base).
    pub fn new(layout: impl Layout + 'static, rules: Rules) -> Self {
        Self {
            layout: Box::new(layout),
            base: ArcSwapOption::empty(),
            rules: ArcSwap::from_pointee(rules),
            registry: Arc::default(),
            sweeps: Sweeps::default(),
        }
    }

    /// What counts as the size of a message, from the next lock on.
    pub fn set_octets(&self, octets: Octets) {
        self.rules.rcu(|rules| Rules { octets, ..**rules });
    }

    /// What counts as the size of a message.
    pub fn octets(&self) -> Octets {
        self.rules().octets
    }

    /// What becomes of links among the messages, from the next lock on. (Maildirs have
    /// none, whatever is chosen.)
    pub fn set_links(&self, links: Links) {
        self.rules.rcu(|rules| Rules { links, ..**rules });
    }

    /// What becomes of links among the messages.
    pub fn links(&self) -> Links {
        self.rules().links
    }

    pub(super) fn rules(&self) -> Rules {
        **self.rules.load()
    }

    /// Makes `path` the base directory, which a script calls `shown`. A relative
    /// path is one of the current directory of now.
    ///
    /// # Errors
    /// When it is not a directory to read and write; the old one stays.
    pub fn set_base(&self, shown: &str, path: &Path) -> Result<(), MailboxError> {
        if shown.is_empty() {
            return Err(MailboxError::NoDirectory);
        }
        let fault = |fault| MailboxError::Base {
            directory: shown.into(),
            fault,
        };
        let path = std::path::absolute(path).map_err(|_| fault(Fault::Missing))?;
        let found = Fault::of(&path).map_err(|error| failed("couldn't read", shown, error))?;
        if let Some(found) = found {
            return Err(fault(found));
        }
        let dir = open_dir(&path).and_then(out_of_the_way);
        let base = Base {
            path: path.into(),
            local: dir.ok().filter(|dir| is_local(dir)),
        };
        self.base.store(Some(Arc::new(base)));
        Ok(())
    }

    /// The base directory, absolute.
    ///
    /// # Errors
    /// Before [`set_base`](Self::set_base).
    pub fn base(&self) -> Result<Arc<Path>, MailboxError> {
        self.base_dir().map(|base| base.path.clone())
    }

    fn base_dir(&self) -> Result<Arc<Base>, MailboxError> {
        self.base.load_full().ok_or(MailboxError::NoBase)
    }

    /// Where `mailbox` is, or would be; `None` when its name leads out of the base
    /// directory or is no name.
    pub(super) fn find(&self, mailbox: &str) -> Result<Option<PathBuf>, MailboxError> {
        let base = self.base()?;
        Ok(path_within(&base, mailbox))
    }

    /// Where a mailbox is that can be used.
    pub(super) fn check(&self, mailbox: &str) -> Result<PathBuf, MailboxError> {
        let unusable = |fault| MailboxError::Unusable {
            mailbox: mailbox.into(),
            fault,
        };
        let dir = self
            .find(mailbox)?
            .ok_or_else(|| unusable(Fault::Outside))?;
        match self.fault(&dir) {
            Ok(None) => Ok(dir),
            Ok(Some(fault)) => Err(unusable(fault)),
            Err(error) => Err(failed("couldn't read", mailbox, error)),
        }
    }

    /// Why the directory `dir` is no mailbox that can be used.
    pub(super) fn fault(&self, dir: &Path) -> io::Result<Option<Fault>> {
        match Fault::of(dir)? {
            None => self.layout.fault(dir),
            fault => Ok(fault),
        }
    }

    /// Locks a mailbox and lists it.
    pub(super) fn open(&self, mailbox: &str, wait: Wait<'_>) -> Result<Arc<Locked>, MailboxError> {
        let base = self.base_dir()?;
        let Some(dir) = path_within(&base.path, mailbox) else {
            return Err(MailboxError::Unusable {
                mailbox: mailbox.into(),
                fault: Fault::Outside,
            });
        };
        if self.registry.has(&dir) {
            return Err(MailboxError::Locked(mailbox.into()));
        }
        let lock = match wait {
            Wait::No => lock_now(&base, &dir).ok_or(MailboxError::WouldBlock)?,
            Wait::While(_) => self.lock_dir(mailbox, &dir)?,
        };
        let here = MailboxDir {
            path: &dir,
            fd: lock.dir(),
            is_locked: true,
        };
        let messages = self.layout.list(here, self.rules(), wait);
        let messages = messages.map_err(|error| match wait {
            Wait::No => MailboxError::WouldBlock,
            Wait::While(_) => self.explain("couldn't list", mailbox, error),
        })?;
        Ok(Locked::new(&self.registry, mailbox, dir, lock, messages))
    }

    /// Locks the directory of a mailbox.
    fn lock_dir(&self, mailbox: &str, dir: &Path) -> Result<DirLock, MailboxError> {
        let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        let usable = access(dir, rights).map_err(io::Error::from);
        // Few questions to a mailbox that was good before; all of them, in the order
        // of their error texts, to any other.
        let lock = match usable.and_then(|()| DirLock::acquire(dir, LockFile::MustExist)) {
            Err(_) => {
                self.check(mailbox)?;
                DirLock::acquire(dir, LockFile::Create)
            }
            lock => lock,
        };
        lock.map_err(|error| self.explain("couldn't lock", mailbox, error))?
            .ok_or_else(|| MailboxError::Locked(mailbox.into()))
    }

    /// The error to report of a mailbox that cannot be locked or listed.
    pub(super) fn explain(&self, what: &str, mailbox: &str, error: io::Error) -> MailboxError {
        match self.check(mailbox) {
            Err(explained @ MailboxError::Unusable { .. }) => explained,
            // Removed and made again at this very moment, by somebody who had its lock.
            _ if error.kind() == io::ErrorKind::NotFound => MailboxError::Locked(mailbox.into()),
            _ => failed(what, mailbox, error),
        }
    }

    /// The locks of a mailbox that is about to go and of those inside it. `None` while one of
    /// them is locked in this or another process.
    pub(super) fn seize(
        &self,
        mailbox: &str,
        dir: &Path,
        is_dir: bool,
    ) -> Result<Option<Vec<DirLock>>, MailboxError> {
        let mut locks = Vec::new();
        if !is_dir {
            return Ok(Some(locks));
        }
        if self.registry.has_within(dir) {
            return Ok(None);
        }
        let mut seize = || {
            match if_there(DirLock::acquire(dir, LockFile::Create))? {
                Some(Some(lock)) => locks.push(lock),
                Some(None) => return Ok(false),
                // What cannot be locked is not locked. Removing it will give the error.
                None => {}
            }
            lock_within(dir, &mut locks)
        };
        let free = seize().map_err(|error| failed("couldn't lock", mailbox, error))?;
        Ok(free.then_some(locks))
    }
}

impl Storage for Mailboxes {
    fn lock(&self, mailbox: &str, wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError> {
        Ok(self.open(mailbox, wait)?)
    }
}

/// Locks the directory `dir` below `base` within microseconds; `None` if that may take
/// longer, or fails. Whether the mailbox can be used is not asked: a kept listing shows that
/// it could.
fn lock_now(base: &Base, dir: &Path) -> Option<DirLock> {
    let path = DirPath {
        from: base.local.as_ref()?.as_fd(),
        path: dir.strip_prefix(&base.path).ok()?,
        wait: Wait::No,
    };
    DirLock::acquire(path, LockFile::MustExist).ok()?
}

/// The error of an operation that the system refused.
pub(super) fn failed(what: &str, name: &str, source: io::Error) -> MailboxError {
    MailboxError::Io {
        what: format!("{what} \"{name}\""),
        source,
    }
}
