//! Names of servers and connections, and whose a connection is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a server object in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// Names a connection in this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// The client of a connection, as log records name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its connection.
    pub connection: ConnectionId,
    /// The last user name that it gave: any characters, and empty before the first.
    pub user: String,
    /// Its address; an IPv4-mapped one as IPv4.
    pub peer: SocketAddr,
}

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
