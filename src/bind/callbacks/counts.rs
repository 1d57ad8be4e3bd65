//! How often callbacks were called, how often they failed, and how long they took.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The methods of `-auth` and `-storage`; `login` and `hook` are the command prefixes of
/// `-login` and `-hook`.
const METHODS: [&str; 11] = [
    "exists", "lookup", "login", "lock", "stat", "size", "get", "uidl", "dele", "unlock", "hook",
];

/// What is known of the calls of one method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackCount {
    /// Calls that are over.
    pub calls: u64,
    /// Errors and wrong results that are logged as failures. That there is no such user is
    /// none, in whatever way `lookup` says it.
    pub failures: u64,
    /// What the calls took together.
    pub time: Duration,
    /// What the longest took.
    pub longest: Duration,
}

/// The counts of a server's callbacks, by method.
#[derive(Default)]
pub struct CallbackCounts([Cell<CallbackCount>; METHODS.len()]);

/// A call under way, until it is dropped.
pub struct Timed<'a> {
    count: Option<&'a Cell<CallbackCount>>,
    begun: Instant,
}

impl CallbackCounts {
    fn of(&self, method: &str) -> Option<&Cell<CallbackCount>> {
        let at = METHODS.iter().position(|known| *known == method)?;
        Some(&self.0[at])
    }

    /// A call that has begun; waits in it are part of it.
    pub fn timed(&self, method: &str, begun: Instant) -> Timed<'_> {
        Timed {
            count: self.of(method),
            begun,
        }
    }

    /// A call, or what it returned, was no good.
    pub fn failed(&self, method: &str) {
        if let Some(count) = self.of(method) {
            let CallbackCount { failures, .. } = count.get();
            count.set(CallbackCount {
                failures: failures + 1,
                ..count.get()
            });
        }
    }

    /// All of them, with their methods.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, CallbackCount)> + '_ {
        METHODS.into_iter().zip(self.0.iter().map(Cell::get))
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.count {
            let (before, took) = (count.get(), self.begun.elapsed());
            count.set(CallbackCount {
                calls: before.calls + 1,
                time: before.time.saturating_add(took),
                longest: before.longest.max(took),
                ..before
            });
        }
    }
}
