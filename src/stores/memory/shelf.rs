//! The messages of one mailbox in memory, and its lock.
//!
//! The mutex of a shelf is held for look-ups and lists only, never while bytes of a message
//! are copied or freed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use super::super::files::listing::lock;
use super::super::files::octets::{count, sum};
use super::numbers::Numbers;
use crate::store::{Content, Message, StoreError};
use pop3_proto::MsgNo;

/// One mailbox.
#[derive(Default)]
pub struct Shelf(Mutex<Contents>);

/// What is in it.
#[derive(Default)]
pub struct Contents {
    /// By their numbers, so in the order of delivery. To delete one costs the same wherever
    /// it is.
    messages: BTreeMap<u64, Stored>,
    numbers: HashMap<Arc<str>, u64>,
    /// What the session or script that has the mailbox locked sees of it.
    locked: Option<Arc<Listing>>,
    /// The mailbox is no more; whoever has found it before is too late.
    removed: bool,
}

/// A message. A copy shares the bytes.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its unique id.
    pub uid: Arc<str>,
    /// Octets on the wire.
    pub octets: u64,
    /// When it was delivered, in seconds since 1970.
    pub received: i64,
    /// The bytes as they were delivered.
    pub bytes: Arc<[u8]>,
}

impl Stored {
    /// What a session or a script gets of it.
    pub fn message(self) -> Message {
        Message {
            octets: self.octets,
            content: Content::Data(self.bytes),
        }
    }
}

/// A message that has no place yet.
pub struct Arrival {
    /// Octets on the wire.
    octets: u64,
    received: i64,
    bytes: Arc<[u8]>,
}

impl Arrival {
    /// A message that has just come. Its octets are counted here, once for all.
    pub fn new(bytes: Vec<u8>) -> Self {
        let now = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
        Self {
            octets: count(&bytes),
            received: i64::try_from(now).unwrap_or(i64::MAX),
            bytes: bytes.into(),
        }
    }
}

/// The messages of a mailbox when it was locked. What arrives later is not in it.
#[derive(Debug)]
pub struct Listing {
    /// The mailbox's name. It stays as long as the lock.
    pub mailbox: Box<str>,
    numbers: Box<[u64]>,
    /// Octets of every message.
    pub sizes: Arc<[u64]>,
    /// Their sum.
    pub octets: u64,
}

/// Why a mailbox cannot be locked or removed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A session or a script has it locked.
    Locked,
    /// It has been removed.
    Removed,
}

/// Why a message was not put in.
#[derive(Debug, PartialEq, Eq)]
pub enum PutError {
    /// The mailbox has been removed.
    Removed,
    /// Another message has the unique id.
    UsedUid,
}

/// Why messages were not deleted.
#[derive(Debug, PartialEq, Eq)]
pub enum TakeError {
    /// A session or a script has the mailbox locked.
    Locked,
    /// There are no messages of these unique ids, each of which is told once.
    Unknown(Vec<Box<str>>),
}

impl Shelf {
    /// Puts a message in, as the last one. Returns its unique id, which is `uid` if one is
    /// given.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(
        &self,
        arrival: Arrival,
        uid: Option<&str>,
        numbers: &Numbers,
    ) -> Result<Box<str>, PutError> {
        let mut contents = lock(&self.0);
        if contents.removed {
            return Err(PutError::Removed);
        }
        let (number, uid) = contents.name(uid, numbers).ok_or(PutError::UsedUid)?;
        let stored = Stored {
            uid: Arc::from(&*uid),
            octets: arrival.octets,
            received: arrival.received,
            bytes: arrival.bytes,
        };
        contents.numbers.insert(stored.uid.clone(), number);
        contents.messages.insert(number, stored);
        Ok(uid)
    }

    /// All messages, also those that came after the mailbox was locked.
    pub fn all(&self) -> Vec<Stored> {
        lock(&self.0).messages.values().cloned().collect()
    }

    /// The message of this unique id.
    pub fn find(&self, uid: &str) -> Option<Stored> {
        let contents = lock(&self.0);
        let number = contents.numbers.get(uid)?;
        contents.messages.get(number).cloned()
    }

    /// Deletes the messages of these unique ids, if all of them are there.
    ///
    /// # Errors
    /// See [`TakeError`]. Nothing is deleted then.
    pub fn expunge(&self, uids: &[Box<str>]) -> Result<(), TakeError> {
        let mut contents = lock(&self.0);
        if contents.locked.is_some() {
            return Err(TakeError::Locked);
        }
        let mut seen = HashSet::new();
        let unknown = uids
            .iter()
            .filter(|uid| !contents.numbers.contains_key(&***uid));
        let unknown: Vec<_> = unknown.filter(|uid| seen.insert(*uid)).cloned().collect();
        if !unknown.is_empty() {
            return Err(TakeError::Unknown(unknown));
        }
        let taken: Vec<_> = uids.iter().map(|uid| contents.take_uid(uid)).collect();
        drop(contents);
        drop(taken);
        Ok(())
    }

    /// Locks the mailbox, which has this name now, for whoever gets its list.
    ///
    /// # Errors
    /// Those of [`Refusal`].
    pub fn lock(&self, mailbox: &str) -> Result<Arc<Listing>, Refusal> {
        let mut contents = lock(&self.0);
        if contents.removed {
            return Err(Refusal::Removed);
        }
        if contents.locked.is_some() {
            return Err(Refusal::Locked);
        }
        let listing = Arc::new(contents.list(mailbox));
        contents.locked = Some(listing.clone());
        Ok(listing)
    }

    /// The list of whoever has the mailbox locked.
    pub fn locked(&self) -> Option<Arc<Listing>> {
        lock(&self.0).locked.clone()
    }

    /// Whether this list is that of whoever has the mailbox locked.
    pub fn is_locked_for(&self, listing: &Arc<Listing>) -> bool {
        lock(&self.0).is_locked_for(listing)
    }

    /// Ends the lock that gave this list. Without it, nothing happens.
    pub fn unlock(&self, listing: &Arc<Listing>) {
        let mut contents = lock(&self.0);
        if contents.is_locked_for(listing) {
            contents.locked = None;
        }
    }

    /// Empties the mailbox for good. The messages are freed when the caller drops what is
    /// returned, which may take long.
    ///
    /// # Errors
    /// [`Refusal::Locked`], and nothing is done.
    pub fn remove(&self) -> Result<Contents, Refusal> {
        let mut contents = lock(&self.0);
        match contents.locked {
            Some(_) => Err(Refusal::Locked),
            None => Ok(contents.close()),
        }
    }

    /// Ends the lock, and empties the mailbox for good.
    pub fn close(&self) -> Contents {
        lock(&self.0).close()
    }

    /// A message of a list, while the mailbox is locked for it.
    ///
    /// # Errors
    /// When it is not, or there is no message of that number any more.
    pub fn message(&self, listing: &Arc<Listing>, number: MsgNo) -> Result<Stored, StoreError> {
        let contents = lock(&self.0);
        let messages = contents.messages_of(listing)?;
        let stored = listing.numbers.get(number.index());
        let stored = stored.and_then(|stored| messages.get(stored));
        stored.cloned().ok_or(StoreError::NoMessage(number.get()))
    }

    /// The unique ids of all messages of a list, while the mailbox is locked for it.
    ///
    /// # Errors
    /// When it is not, or one of the messages has been deleted since.
    pub fn uids(&self, listing: &Arc<Listing>) -> Result<Arc<[Box<str>]>, StoreError> {
        let contents = lock(&self.0);
        // What the list has comes first, as numbers grow.
        let mut found = contents.messages_of(listing)?.iter();
        let uids = listing.numbers.iter().zip(1..);
        let uids = uids.map(|(number, shown)| match found.next() {
            Some((found, stored)) if found == number => Ok(Box::from(&*stored.uid)),
            _ => Err(StoreError::NoMessage(shown)),
        });
        uids.collect()
    }

    /// Deletes messages of a list, while the mailbox is locked for it. One that is no more
    /// is deleted already.
    ///
    /// # Errors
    /// When it is not, or has no message of one of the numbers; then nothing is deleted.
    pub fn delete(&self, listing: &Arc<Listing>, wanted: &[MsgNo]) -> Result<(), StoreError> {
        let number = |number: &MsgNo| {
            let stored = listing.numbers.get(number.index()).copied();
            stored.ok_or(StoreError::NoMessage(number.get()))
        };
        let numbers: Result<Vec<u64>, _> = wanted.iter().map(number).collect();
        let mut contents = lock(&self.0);
        contents.messages_of(listing)?;
        let deleted: Vec<_> = numbers?
            .iter()
            .map(|&number| contents.take(number))
            .collect();
        drop(contents);
        drop(deleted);
        Ok(())
    }
}

impl Contents {
    /// The next number, and the unique id that a message has with it. None when another
    /// message has the id that a script has chosen.
    fn name(&self, chosen: Option<&str>, numbers: &Numbers) -> Option<(u64, Box<str>)> {
        let is_used = |uid: &str| self.numbers.contains_key(uid);
        if let Some(uid) = chosen {
            return (!is_used(uid)).then(|| (numbers.next(), uid.into()));
        }
        loop {
            let number = numbers.next();
            let uid = numbers.uid(number);
            // A script may have chosen this one for another message.
            if !is_used(&uid) {
                return Some((number, uid.into()));
            }
        }
    }

    fn list(&self, mailbox: &str) -> Listing {
        let sizes: Arc<[u64]> = self.messages.values().map(|stored| stored.octets).collect();
        Listing {
            mailbox: mailbox.into(),
            numbers: self.messages.keys().copied().collect(),
            octets: sum(&sizes),
            sizes,
        }
    }

    fn is_locked_for(&self, listing: &Arc<Listing>) -> bool {
        let locked = self.locked.as_ref();
        locked.is_some_and(|locked| Arc::ptr_eq(locked, listing))
    }

    /// The messages, while the mailbox is locked for this list.
    fn messages_of(&self, listing: &Arc<Listing>) -> Result<&BTreeMap<u64, Stored>, StoreError> {
        match self.is_locked_for(listing) {
            true => Ok(&self.messages),
            false => Err(StoreError::NotLocked(listing.mailbox.to_string())),
        }
    }

    /// Takes a message out, for the caller to drop when the mutex is free.
    fn take(&mut self, number: u64) -> Option<Stored> {
        let stored = self.messages.remove(&number)?;
        self.numbers.remove(&stored.uid);
        Some(stored)
    }

    fn take_uid(&mut self, uid: &str) -> Option<Stored> {
        let number = *self.numbers.get(uid)?;
        self.take(number)
    }

    /// Takes everything out, for the caller to drop when the mutex is free.
    fn close(&mut self) -> Self {
        let closed = Self {
            removed: true,
            ..Self::default()
        };
        mem::replace(self, closed)
    }
}
