//! A locked mailbox, and the registry of all that are locked in this process.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use super::listing::locked;
use super::lock::DirLock;
use super::message_file::regular;
use super::octets::{Counter, Known};
use super::stamp::Stamp;
use crate::store::{Begin, Content, Maildrop, Message, StoreError};
use pop3_proto::MsgNo;

/// The messages of one mailbox as they were when it was locked. Shared by the
/// sessions that find the mailbox unchanged.
///
/// An index is below [`count`](Self::count). `dir` is the open directory of the mailbox,
/// from which everything is reached; it may have moved since.
pub trait Messages: Send + Sync {
    /// Number of messages.
    fn count(&self) -> usize;
    /// Size of every message, in octets.
    fn sizes(&self) -> &Arc<[u64]>;
    /// Sum of the sizes.
    fn octets(&self) -> u64;
    /// Unique id of one message.
    fn uid(&self, index: usize) -> Box<str>;
    /// Unique id of every message.
    fn uids(&self) -> Arc<[Box<str>]>;
    /// Where in the mailbox the message is now.
    ///
    /// # Errors
    /// When it has gone.
    fn path(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<PathBuf>;
    /// What is known of the octets of a message whose file has this stamp.
    fn octets_known(&self, index: usize, stamp: &Stamp) -> Known;
    /// Opens a message.
    ///
    /// # Errors
    /// When it has gone or cannot be read.
    fn open(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<(File, Stamp)>;
    /// Opens what has a message's name, if that needs no waiting for a disk; none also on
    /// failure.
    fn open_cached(&self, dir: BorrowedFd<'_>, index: usize) -> Option<File>;
    /// The size of a message's file, if its name tells it.
    fn size_told(&self, index: usize) -> Option<u64>;
    /// Deletes a message; one that has gone already is deleted.
    ///
    /// # Errors
    /// When it cannot be deleted, or another message has its place.
    fn delete(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<()>;
}

/// A mailbox in the hands of a session or a script.
pub struct Locked {
    id: u64,
    name: Box<str>,
    dir: Box<Path>,
    messages: Arc<dyn Messages>,
    /// Whether the files are on a disk of this machine.
    local: bool,
    /// The directory that is locked. Its path may become another one's.
    at: Arc<OwnedFd>,
    /// Present until the lock ends.
    lock: Mutex<Option<DirLock>>,
    registry: Arc<Registry>,
}

impl Locked {
    /// Puts a freshly locked mailbox into the registry.
    pub fn new(
        registry: &Arc<Registry>,
        name: &str,
        dir: PathBuf,
        lock: DirLock,
        messages: Arc<dyn Messages>,
        local: bool,
    ) -> Arc<Self> {
        registry.insert(|id| Self {
            id,
            name: name.into(),
            dir: dir.into(),
            messages,
            at: lock.share_dir(),
            lock: Mutex::new(Some(lock)),
            local,
            registry: registry.clone(),
        })
    }

    /// The messages, while the lock is held.
    fn messages(&self) -> Result<&dyn Messages, StoreError> {
        if !self.is_locked() {
            return Err(StoreError::NotLocked(self.name.to_string()));
        }
        Ok(&*self.messages)
    }

    fn message(&self, number: MsgNo) -> Result<(&dyn Messages, usize), StoreError> {
        let messages = self.messages()?;
        if number.index() >= messages.count() {
            return Err(StoreError::NoMessage(number.get()));
        }
        Ok((messages, number.index()))
    }

    /// Where a message is now.
    ///
    /// # Errors
    /// As for [`get`](Maildrop::get).
    pub fn path(&self, number: MsgNo) -> Result<PathBuf, StoreError> {
        let (messages, index) = self.message(number)?;
        let path = self.is_in_place();
        let path = path.and_then(|()| messages.path(self.at.as_fd(), index));
        let path = path.map_err(|source| self.failed("read", number, source))?;
        Ok(self.dir.join(path))
    }

    /// An error unless the mailbox's path is still the directory that is locked.
    fn is_in_place(&self) -> io::Result<()> {
        match &*locked(&self.lock) {
            Some(lock) if lock.is_at(&self.dir)? => Ok(()),
            _ => Err(io::Error::other("it is not the mailbox that was locked")),
        }
    }

    fn failed(&self, what: &str, number: MsgNo, source: io::Error) -> StoreError {
        let what = format!("couldn't {what} message {number} of \"{}\"", self.name);
        StoreError::Message { what, source }
    }
}

impl Maildrop for Locked {
    fn count(&self) -> u32 {
        self.messages.count() as u32
    }

    fn octets(&self) -> Result<u64, StoreError> {
        Ok(self.messages()?.octets())
    }

    fn size(&self, number: MsgNo) -> Result<u64, StoreError> {
        let (messages, index) = self.message(number)?;
        Ok(messages.sizes()[index])
    }

    fn sizes(&self) -> Result<Arc<[u64]>, StoreError> {
        Ok(self.messages()?.sizes().clone())
    }

    fn uid(&self, number: MsgNo) -> Result<Box<str>, StoreError> {
        let (messages, index) = self.message(number)?;
        Ok(messages.uid(index))
    }

    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError> {
        Ok(self.messages()?.uids())
    }

    fn is_in_memory(&self) -> bool {
        self.local
    }

    fn begin_cached(&self, number: MsgNo, buffer: &mut [u8]) -> Option<Begin> {
        let (messages, index) = self.message(number).ok()?;
        let file = messages.open_cached(self.at.as_fd(), index)?;
        match messages.size_told(index) {
            Some(size) if Begin::is_read_whole(size, buffer) => {
                Begin::read_whole(&file, size, buffer)
            }
            _ => {
                let (file, stamp) = regular(file).ok()?;
                let known = messages.octets_known(index, &stamp);
                Begin::read(file, stamp.size, known, buffer)
            }
        }
    }

    fn get(&self, number: MsgNo) -> Result<Message, StoreError> {
        let (messages, index) = self.message(number)?;
        let open = || {
            let (file, stamp) = messages.open(self.at.as_fd(), index)?;
            let octets = match messages.octets_known(index, &stamp) {
                Known::Size => stamp.size,
                Known::Counted(octets) => octets,
                Known::Told(octets) => Counter::new().check(&file, stamp.size, octets)?,
                Known::Nothing => Counter::new().count(&file, stamp.size)?,
            };
            let content = Content::File(file, stamp.size);
            Ok(Message { octets, content })
        };
        open().map_err(|source| self.failed("read", number, source))
    }

    fn delete(&self, numbers: &[MsgNo]) -> Result<(), StoreError> {
        // All numbers are checked first, as Tcllib does: a wrong one deletes nothing.
        for &number in numbers {
            self.message(number)?;
        }
        let Some(&first) = numbers.first() else {
            return Ok(());
        };
        // A session deletes nothing from a mailbox that was taken away from its users.
        let there = self.is_in_place();
        there.map_err(|source| self.failed("delete", first, source))?;
        let mut result = Ok(());
        for &number in numbers {
            let done = self.messages.delete(self.at.as_fd(), number.index());
            let done = done.map_err(|source| self.failed("delete", number, source));
            result = result.and(done);
        }
        result
    }

    fn unlock(&self) {
        let lock = locked(&self.lock).take();
        if lock.is_some() {
            self.registry.forget(&self.dir, self.id);
        }
    }

    fn is_locked(&self) -> bool {
        locked(&self.lock).is_some()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The mailboxes that are locked in this process.
#[derive(Default)]
pub struct Registry(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_dir: HashMap<Box<Path>, Entry>,
    last_id: u64,
}

struct Entry {
    id: u64,
    session: Weak<Locked>,
    /// Present when a script locked the mailbox, which nothing else holds.
    kept: Option<Arc<Locked>>,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.session.strong_count() > 0
    }
}

impl Registry {
    fn insert(&self, make: impl FnOnce(u64) -> Locked) -> Arc<Locked> {
        let mut entries = locked(&self.0);
        entries.last_id += 1;
        let session = Arc::new(make(entries.last_id));
        let entry = Entry {
            id: session.id,
            session: Arc::downgrade(&session),
            kept: None,
        };
        let replaced = entries.by_dir.insert(session.dir.clone(), entry);
        drop(entries);
        // Dropping a session takes it out of the registry: never while that is locked.
        drop(replaced);
        session
    }

    /// Keeps a mailbox locked until it is unlocked by name, for a script.
    pub fn keep(&self, session: Arc<Locked>) {
        let mut entries = locked(&self.0);
        match entries.by_dir.get_mut(&session.dir) {
            Some(entry) if entry.id == session.id => entry.kept = Some(session),
            // Unlocked by name meanwhile.
            _ => drop(entries),
        }
    }

    /// Who has the mailbox `dir`.
    pub fn find(&self, dir: &Path) -> Option<Arc<Locked>> {
        locked(&self.0).by_dir.get(dir)?.session.upgrade()
    }

    /// Whether somebody in this process has the mailbox `dir`.
    pub fn has(&self, dir: &Path) -> bool {
        let entries = locked(&self.0);
        entries.by_dir.get(dir).is_some_and(Entry::is_live)
    }

    /// Whether somebody in this process has `dir` or a mailbox inside it.
    pub fn has_within(&self, dir: &Path) -> bool {
        let entries = locked(&self.0);
        let mut entries = entries.by_dir.iter();
        entries.any(|(path, entry)| path.starts_with(dir) && entry.is_live())
    }

    /// Ends every lock: for the end of the store's object.
    pub fn unlock_all(&self) {
        let all: Vec<Arc<Locked>> = {
            let entries = locked(&self.0);
            let entries = entries.by_dir.values();
            entries
                .filter_map(|entry| entry.session.upgrade())
                .collect()
        };
        all.iter().for_each(|session| session.unlock());
    }

    /// Takes a session out, unless a newer one has its place.
    fn forget(&self, dir: &Path, id: u64) {
        let mut entries = locked(&self.0);
        let removed = match entries.by_dir.get(dir) {
            Some(entry) if entry.id == id => entries.by_dir.remove(dir),
            _ => None,
        };
        drop(entries);
        drop(removed);
    }
}
