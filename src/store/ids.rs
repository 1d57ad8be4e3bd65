//! Names of servers and connections.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a server object in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// Names a connection in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// A new one.
            #[allow(clippy::new_without_default, reason = "each is another")]
            pub fn new() -> Self {
                Self(next())
            }

            /// Its number.
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
id!(ServerId);
id!(ConnectionId);
