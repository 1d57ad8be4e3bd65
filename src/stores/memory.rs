//! Mailboxes in memory: what `pop3d::memory` objects are made of.
//!
//! Nothing is written anywhere: what a script delivers is there until it is deleted, the
//! mailbox is removed or the store goes. Octets are counted once, at delivery. Sessions and
//! scripts share the bytes of a message, which stay as long as one of them reads them.
//!
//! - [`shelf`]: the messages of one mailbox, and its lock.
//! - [`session`]: the mailbox as a session that has locked it sees it.
//! - [`numbers`]: the order of messages, and their unique ids.

mod numbers;
mod session;
mod shelf;

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use self::numbers::Numbers;
use self::session::Session;
use self::shelf::{Arrival, PutError, Refusal, Shelf, TakeError};
use super::files::listing::lock;
use super::files::mailbox_error::{Fault, MailboxError};
use super::mailbox_store::{message, of_store, MailboxStore};
use crate::store::delivery::{
    DeliverError, ExpungeError, FetchError, MessageStore, StoredMessage, Uid,
};
use crate::store::{Mailbox, Message, Storage, StoreError, Wait};

/// The most bytes of a message: a value of Tcl 8.6 can have no more.
const LONGEST: u64 = i32::MAX as u64;

/// Mailboxes in memory. Every text can be the name of one.
pub struct MemoryBoxes {
    shelves: Mutex<HashMap<Box<str>, Arc<Shelf>>>,
    numbers: Numbers,
}

impl MemoryBoxes {
    /// A store without mailboxes.
    pub fn new() -> Self {
        Self {
            shelves: Mutex::default(),
            numbers: Numbers::new(),
        }
    }

    /// The bytes of one message of a locked mailbox.
    ///
    /// # Errors
    /// Those of [`get`](MailboxStore::get).
    pub fn bytes(&self, mailbox: &str, id: i64) -> Result<Arc<[u8]>, MailboxError> {
        let shelf = self.shelf(mailbox)?;
        let (listing, number) = message(shelf.locked(), id)?;
        let stored = shelf.message(&listing, number).map_err(of_store)?;
        Ok(stored.bytes)
    }

    /// Ends every lock, and frees all messages that nobody reads: for the end of the object.
    pub fn close(&self) {
        let shelves = std::mem::take(&mut *lock(&self.shelves));
        for shelf in shelves.values() {
            drop(shelf.close());
        }
    }

    fn find(&self, mailbox: &str) -> Option<Arc<Shelf>> {
        lock(&self.shelves).get(mailbox).cloned()
    }

    fn shelf(&self, mailbox: &str) -> Result<Arc<Shelf>, MailboxError> {
        self.find(mailbox).ok_or_else(|| missing(mailbox))
    }

    fn open(&self, mailbox: &str) -> Result<Session, MailboxError> {
        let shelf = self.shelf(mailbox)?;
        match shelf.lock(mailbox) {
            Ok(listing) => Ok(Session::owner(shelf, listing)),
            Err(Refusal::Locked) => Err(MailboxError::Locked(mailbox.into())),
            Err(Refusal::Removed) => Err(missing(mailbox)),
        }
    }
}

impl Default for MemoryBoxes {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage for MemoryBoxes {
    fn lock(&self, mailbox: &str, _wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError> {
        Ok(Arc::new(self.open(mailbox)?))
    }
}

impl MailboxStore for MemoryBoxes {
    fn add(&self, mailbox: &str) -> Result<(), MailboxError> {
        match lock(&self.shelves).entry(mailbox.into()) {
            Entry::Occupied(_) => Err(MailboxError::AddExisting(mailbox.into())),
            Entry::Vacant(free) => {
                free.insert(Arc::default());
                Ok(())
            }
        }
    }

    fn remove(&self, mailbox: &str) -> Result<(), MailboxError> {
        let mut shelves = lock(&self.shelves);
        let Some(shelf) = shelves.get(mailbox) else {
            return Err(MailboxError::RemoveMissing(mailbox.into()));
        };
        let contents = shelf.remove();
        let contents = contents.map_err(|_| MailboxError::RemoveLocked(mailbox.into()))?;
        shelves.remove(mailbox);
        drop(shelves);
        drop(contents);
        Ok(())
    }

    fn rename(&self, old: &str, new: &str) -> Result<(), MailboxError> {
        let mut shelves = lock(&self.shelves);
        let Some(shelf) = shelves.get(old) else {
            return Err(MailboxError::MoveMissing(old.into()));
        };
        if shelves.contains_key(new) {
            let (old, new) = (old.into(), new.into());
            return Err(MailboxError::MoveExisting { old, new });
        }
        if shelf.locked().is_some() {
            return Err(MailboxError::MoveLocked(old.into()));
        }
        let shelf = shelf.clone();
        shelves.remove(old);
        shelves.insert(new.into(), shelf);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, MailboxError> {
        let shelves = lock(&self.shelves);
        let mut names: Vec<String> = shelves.keys().map(|name| name.to_string()).collect();
        drop(shelves);
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, mailbox: &str) -> Result<bool, MailboxError> {
        Ok(self.find(mailbox).is_some())
    }

    fn is_locked(&self, mailbox: &str) -> Result<bool, MailboxError> {
        let locked = self.find(mailbox).and_then(|shelf| shelf.locked());
        Ok(locked.is_some())
    }

    fn lock_kept(&self, mailbox: &str) -> Result<bool, MailboxError> {
        match self.open(mailbox) {
            Ok(session) => {
                session.keep();
                Ok(true)
            }
            Err(MailboxError::Locked(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self, mailbox: &str) -> Result<(), MailboxError> {
        if let Some(shelf) = self.find(mailbox) {
            if let Some(listing) = shelf.locked() {
                shelf.unlock(&listing);
            }
        }
        Ok(())
    }

    fn session(&self, mailbox: &str) -> Result<Option<Arc<dyn Mailbox>>, MailboxError> {
        let shelf = self.shelf(mailbox)?;
        let listing = shelf.locked();
        Ok(listing.map(|listing| Arc::new(Session::view(shelf, listing)) as Arc<dyn Mailbox>))
    }
}

impl MessageStore for MemoryBoxes {
    fn deliver(
        &self,
        mailbox: &str,
        source: &mut dyn Read,
        uid: Option<&Uid>,
    ) -> Result<Box<str>, DeliverError> {
        let none = || DeliverError::NoMailbox(mailbox.into());
        let shelf = self.find(mailbox).ok_or_else(none)?;
        let bytes = read(source).map_err(DeliverError::Source)?;
        let put = shelf.put(Arrival::new(bytes), uid.map(Uid::as_str), &self.numbers);
        put.map_err(|error| match (error, uid) {
            (PutError::UsedUid, Some(uid)) => DeliverError::UsedUid {
                mailbox: mailbox.into(),
                uid: uid.as_str().into(),
            },
            (PutError::Removed | PutError::UsedUid, _) => none(),
        })
    }

    fn messages(&self, mailbox: &str) -> Result<Vec<StoredMessage>, StoreError> {
        let all = self.shelf(mailbox)?.all();
        let messages = all.iter().map(|stored| StoredMessage {
            uid: Box::from(&*stored.uid),
            octets: stored.octets,
            received: stored.received,
        });
        Ok(messages.collect())
    }

    fn fetch(&self, mailbox: &str, uid: &str) -> Result<Message, FetchError> {
        let shelf = self.shelf(mailbox).map_err(StoreError::from)?;
        let stored = shelf.find(uid).ok_or_else(|| FetchError::Unknown {
            mailbox: mailbox.into(),
            uid: uid.into(),
        })?;
        Ok(stored.message())
    }

    fn expunge(&self, mailbox: &str, uids: &[Box<str>]) -> Result<(), ExpungeError> {
        let shelf = self.shelf(mailbox).map_err(StoreError::from)?;
        shelf.expunge(uids).map_err(|error| match error {
            TakeError::Locked => StoreError::InUse(mailbox.into()).into(),
            TakeError::Unknown(uids) => ExpungeError::Unknown {
                mailbox: mailbox.into(),
                uids,
            },
        })
    }
}

/// All bytes of a message.
fn read(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::other("it has more than 2147483647 bytes")),
        false => Ok(bytes),
    }
}

fn missing(mailbox: &str) -> MailboxError {
    MailboxError::Unusable {
        mailbox: mailbox.into(),
        fault: Fault::Missing,
    }
}
