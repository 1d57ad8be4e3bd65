//! A locked mailbox, and the registry of all that are locked in this process.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use super::listing::lock;
use super::lock::DirLock;
use super::message_file::regular;
use super::octets::{Counter, ListedOctets};
use super::stamp::Stamp;
use crate::store::{Content, Immediate, Mailbox, Message, StartedMessage, StoreError, Wait};
use pop3_proto::{MsgNo, Request};

/// The messages of one mailbox as they were when it was listed. Sessions that find the
/// mailbox unchanged share one listing.
///
/// Every `index` is below [`count`](Self::count). `dir` is the open directory of the mailbox,
/// from which everything is reached. It may have moved since it was listed.
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
    /// The message of this unique id.
    fn find(&self, uid: &str) -> Option<usize> {
        self.uids().iter().position(|known| **known == *uid)
    }
    /// Whether what has a message's name now, a file of this stamp, has its unique id.
    fn has_uid(&self, index: usize, stamp: &Stamp) -> bool;
    /// When a message arrived, in seconds since 1970.
    ///
    /// # Errors
    /// When it has gone, or the system does not say.
    fn received(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<i64>;
    /// Where in the mailbox the message is now.
    ///
    /// # Errors
    /// When it has gone.
    fn path(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<PathBuf>;
    /// What the listing says of the octets of a message whose file has this stamp.
    fn listed_octets(&self, index: usize, stamp: &Stamp) -> ListedOctets;
    /// Opens what has a message's name now. The caller checks that it is a regular file.
    ///
    /// # Errors
    /// When it has gone, or cannot be opened within `wait`.
    fn open(&self, dir: BorrowedFd<'_>, index: usize, wait: Wait<'_>) -> io::Result<File>;
    /// The size of a message's file, if its name tells it.
    fn named_size(&self, index: usize) -> Option<u64>;
    /// Deletes a message; one that has gone already is deleted.
    ///
    /// # Errors
    /// When it cannot be deleted, or another message has its place.
    fn delete(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<()>;
}

/// A mailbox that a session or a script has locked.
pub struct Locked {
    id: u64,
    name: Box<str>,
    dir: Box<Path>,
    messages: Arc<dyn Messages>,
    /// Whether the directory and its lock file are on a disk of this machine.
    is_local: bool,
    /// The directory that is locked, from which messages are reached.
    open_dir: Arc<OwnedFd>,
    /// Present until the lock ends. Locked for moments only: event loops look whether it is
    /// there, and a disk may hang. What asks the disk shares it.
    lock: Mutex<Option<Arc<DirLock>>>,
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
    ) -> Arc<Self> {
        // It may take long to find that out: the registry is not yet locked.
        let is_local = lock.is_local();
        registry.insert(|id| Self {
            id,
            name: name.into(),
            dir: dir.into(),
            messages,
            is_local,
            open_dir: lock.share_dir(),
            lock: Mutex::new(Some(Arc::new(lock))),
            registry: registry.clone(),
        })
    }

    /// The messages, while the lock is held.
    ///
    /// # Errors
    /// When the lock has ended.
    pub fn messages(&self) -> Result<&dyn Messages, StoreError> {
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
    /// Those of [`get`](Mailbox::get).
    pub fn path(&self, number: MsgNo) -> Result<PathBuf, StoreError> {
        let (messages, index) = self.message(number)?;
        let path = self.is_in_place();
        let path = path.and_then(|()| messages.path(self.open_dir.as_fd(), index));
        let path = path.map_err(|source| self.failed("read", number, source))?;
        Ok(self.dir.join(path))
    }

    /// Opens a message and reads its start, if that needs no waiting for a disk.
    fn start(&self, number: MsgNo, buffer: &mut [u8]) -> Option<StartedMessage> {
        let (messages, index) = self.message(number).ok()?;
        let file = messages.open(self.open_dir.as_fd(), index, Wait::No).ok()?;
        let listed = |stamp: &Stamp| messages.listed_octets(index, stamp);
        StartedMessage::read(file, messages.named_size(index), listed, buffer)
    }

    /// An error unless the mailbox's path is still the directory that is locked.
    fn is_in_place(&self) -> io::Result<()> {
        let held = lock(&self.lock).clone();
        match held {
            Some(lock) if lock.is_at(&*self.dir)? => Ok(()),
            _ => Err(io::Error::other("it is not the mailbox that was locked")),
        }
    }

    /// Deletes messages, each given by its index and its unique id, until one cannot be
    /// deleted.
    ///
    /// # Errors
    /// The text names that one, and how many were deleted before it.
    pub fn expunge(&self, messages: &[(usize, &str)]) -> Result<(), StoreError> {
        let there = self.is_in_place();
        for (done, (index, uid)) in messages.iter().enumerate() {
            let deleted = match &there {
                Ok(()) => self.messages.delete(self.open_dir.as_fd(), *index),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            deleted.map_err(|source| {
                let mut what = format!("couldn't delete message \"{uid}\" of \"{}\"", self.name);
                if done > 0 {
                    let _infallible = write!(what, " ({done} others are deleted)");
                }
                StoreError::Message { what, source }
            })?;
        }
        Ok(())
    }

    fn failed(&self, what: &str, number: MsgNo, source: io::Error) -> StoreError {
        let what = format!("couldn't {what} message {number} of \"{}\"", self.name);
        StoreError::Message { what, source }
    }
}

/// The message of an open file that has this stamp, and its octets.
///
/// # Errors
/// When they cannot be counted.
pub fn to_message(
    messages: &dyn Messages,
    index: usize,
    file: File,
    stamp: &Stamp,
    wait: Wait<'_>,
) -> io::Result<Message> {
    let octets = match messages.listed_octets(index, stamp) {
        ListedOctets::FileSize => stamp.size,
        ListedOctets::Counted(octets) => octets,
        ListedOctets::Claimed(octets) => Counter::new(wait).check(&file, stamp.size, octets)?,
        ListedOctets::Unknown => Counter::new(wait).count(&file, stamp.size)?,
    };
    let content = Content::File(file, stamp.size);
    Ok(Message { octets, content })
}

impl Mailbox for Locked {
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

    fn get(&self, number: MsgNo, wait: Wait<'_>) -> Result<Message, StoreError> {
        let (messages, index) = self.message(number)?;
        let open = || {
            let file = messages.open(self.open_dir.as_fd(), index, wait)?;
            let (file, stamp) = regular(file)?;
            to_message(messages, index, file, &stamp, wait)
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
            let done = self.messages.delete(self.open_dir.as_fd(), number.index());
            let done = done.map_err(|source| self.failed("delete", number, source));
            result = result.and(done);
        }
        result
    }

    fn unlock(&self) {
        let Some(held) = lock(&self.lock).take() else {
            return;
        };
        self.registry.forget(&self.dir, self.id);
        // The lock ends now, also while another thread asks the disk by it.
        if let Err(shared) = Arc::try_unwrap(held) {
            shared.release();
        }
    }

    fn is_locked(&self) -> bool {
        lock(&self.lock).is_some()
    }

    fn try_now(&self, request: &Request, buffer: &mut [u8]) -> Immediate {
        match request {
            _ if !self.is_local => Immediate::WouldBlock,
            Request::Fetch { number, .. } => self
                .start(*number, buffer)
                .map_or(Immediate::WouldBlock, Immediate::Started),
            Request::Update { delete } if !delete.is_empty() => Immediate::WouldBlock,
            // The ids of a large mailbox are worth another thread.
            Request::Uids => Immediate::WouldBlock,
            // None of these is asked of a mailbox.
            Request::Login(_) | Request::Keys { .. } | Request::Hook(_) => Immediate::WouldBlock,
            Request::Sizes | Request::Size(_) | Request::SizesOf(_) => Immediate::Ready,
            Request::Uid(_) | Request::Update { .. } => Immediate::Ready,
        }
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
        let mut entries = lock(&self.0);
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
        let mut entries = lock(&self.0);
        match entries.by_dir.get_mut(&session.dir) {
            Some(entry) if entry.id == session.id => entry.kept = Some(session),
            // Unlocked by name meanwhile.
            _ => drop(entries),
        }
    }

    /// The session or script that has the mailbox `dir`.
    pub fn find(&self, dir: &Path) -> Option<Arc<Locked>> {
        lock(&self.0).by_dir.get(dir)?.session.upgrade()
    }

    /// Whether the mailbox `dir` is locked in this process.
    pub fn has(&self, dir: &Path) -> bool {
        let entries = lock(&self.0);
        entries.by_dir.get(dir).is_some_and(Entry::is_live)
    }

    /// Whether `dir` or a mailbox inside it is locked in this process.
    pub fn has_within(&self, dir: &Path) -> bool {
        let entries = lock(&self.0);
        let mut entries = entries.by_dir.iter();
        entries.any(|(path, entry)| path.starts_with(dir) && entry.is_live())
    }

    /// Ends every lock: for the end of the store's object.
    pub fn unlock_all(&self) {
        let all: Vec<Arc<Locked>> = {
            let entries = lock(&self.0);
            let entries = entries.by_dir.values();
            entries
                .filter_map(|entry| entry.session.upgrade())
                .collect()
        };
        all.iter().for_each(|session| session.unlock());
    }

    /// Takes a session out, unless a newer one has its place.
    fn forget(&self, dir: &Path, id: u64) {
        let mut entries = lock(&self.0);
        let removed = match entries.by_dir.get(dir) {
            Some(entry) if entry.id == id => entries.by_dir.remove(dir),
            _ => None,
        };
        drop(entries);
        drop(removed);
    }
}
