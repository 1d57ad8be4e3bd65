//! A mailbox in memory as a session that has locked it sees it.

use std::sync::Arc;

use super::shelf::{Listing, Shelf};
use crate::store::{Immediate, Mailbox, Message, StoreError, Wait};
use pop3_proto::{MsgNo, Request};

/// From so many messages on, an event loop leaves to another thread what is done to each of
/// them: making their ids, or deleting them. For fewer that takes as long as the way there.
const MANY: usize = 1024;

/// From so many octets on, an event loop leaves it to another thread to give the memory of
/// deleted messages back to the system.
const LARGE: u64 = 16 << 20;

/// A locked mailbox.
pub struct Session {
    shelf: Arc<Shelf>,
    listing: Arc<Listing>,
    /// Whether the lock ends with this value.
    owns_lock: bool,
}

impl Session {
    /// The mailbox of a session, whose lock ends with it.
    pub fn owner(shelf: Arc<Shelf>, listing: Arc<Listing>) -> Self {
        Self {
            shelf,
            listing,
            owns_lock: true,
        }
    }

    /// The mailbox as a script sees it, whoever has locked it.
    pub fn view(shelf: Arc<Shelf>, listing: Arc<Listing>) -> Self {
        Self {
            shelf,
            listing,
            owns_lock: false,
        }
    }

    /// Keeps the mailbox locked until it is unlocked by name, for a script.
    pub fn keep(mut self) {
        self.owns_lock = false;
    }

    /// The list of the messages, while the lock holds.
    fn listing(&self) -> Result<&Listing, StoreError> {
        match self.is_locked() {
            true => Ok(&self.listing),
            false => Err(StoreError::NotLocked(self.listing.mailbox.to_string())),
        }
    }
}

impl Mailbox for Session {
    fn count(&self) -> u32 {
        self.listing.sizes.len() as u32
    }

    fn octets(&self) -> Result<u64, StoreError> {
        Ok(self.listing()?.octets)
    }

    fn size(&self, number: MsgNo) -> Result<u64, StoreError> {
        let size = self.listing()?.sizes.get(number.index()).copied();
        size.ok_or(StoreError::NoMessage(number.get()))
    }

    fn sizes(&self) -> Result<Arc<[u64]>, StoreError> {
        Ok(self.listing()?.sizes.clone())
    }

    fn uid(&self, number: MsgNo) -> Result<Box<str>, StoreError> {
        let stored = self.shelf.message(&self.listing, number)?;
        Ok(Box::from(&*stored.uid))
    }

    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError> {
        self.shelf.uids(&self.listing)
    }

    fn get(&self, number: MsgNo, _wait: Wait<'_>) -> Result<Message, StoreError> {
        let stored = self.shelf.message(&self.listing, number)?;
        Ok(stored.message())
    }

    fn delete(&self, numbers: &[MsgNo]) -> Result<(), StoreError> {
        self.shelf.delete(&self.listing, numbers)
    }

    fn unlock(&self) {
        self.shelf.unlock(&self.listing);
    }

    fn is_locked(&self) -> bool {
        self.shelf.is_locked_for(&self.listing)
    }

    fn try_now(&self, request: &Request, _buffer: &mut [u8]) -> Immediate {
        let Listing { sizes, octets, .. } = &*self.listing;
        match request {
            Request::Uids if sizes.len() >= MANY => Immediate::WouldBlock,
            Request::Update { delete } if delete.len() >= MANY => Immediate::WouldBlock,
            Request::Update { delete } if !delete.is_empty() && *octets >= LARGE => {
                Immediate::WouldBlock
            }
            _ => Immediate::Ready,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.owns_lock {
            self.unlock();
        }
    }
}
