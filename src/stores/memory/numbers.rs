//! Numbers of messages in memory, and the unique ids made of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::dbox::hex;
use crate::keyed::keyed;

/// The numbers of one store, in the order of delivery. All its mailboxes share them: one
/// that is removed and added again has new ids.
pub struct Numbers {
    next: AtomicU64,
    /// Differs between stores and processes: a client that knows ids from another one must
    /// not take a new message for one that it has seen.
    prefix: Box<str>,
}

impl Numbers {
    /// The numbers of a new store.
    pub fn new() -> Self {
        static STORES: AtomicU64 = AtomicU64::new(0);
        let store = STORES.fetch_add(1, Ordering::Relaxed);
        // The key is a random one of the process.
        let digest = keyed(&[b"pop3d::memory", &store.to_le_bytes()]);
        Self {
            next: AtomicU64::new(1),
            prefix: hex(&digest[..8]),
        }
    }

    /// The next number: greater than all before.
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The unique id that the message of this number has if a script chooses none.
    pub fn uid(&self, number: u64) -> String {
        format!("{}.{number}", self.prefix)
    }
}
