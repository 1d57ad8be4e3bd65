//! What a server tells about itself: the source of log lines.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::store::ids::{ConnectionId, ServerId};
use crate::store::StoreError;
use pop3_proto::connection::End;
use pop3_proto::session::Tally;
use pop3_proto::{Refusal, Request};

/// How much it matters; Tcllib's `log` has levels of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work, and somebody should look.
    Error,
    /// Something was refused.
    Warning,
    /// What sessions come to: connections, logins, ends.
    Notice,
    /// Each request of each session.
    Debug,
}

/// Something that happened. Holds no secret.
#[derive(Debug)]
pub enum Event<'a> {
    /// New connections cannot be taken for now.
    AcceptFailed {
        /// What the system said.
        error: &'a io::Error,
    },
    /// A connection was turned away with an −ERR line.
    Refused {
        /// Whose.
        peer: SocketAddr,
        /// Why.
        reason: Refused,
    },
    /// A connection was taken.
    Accepted {
        /// Its name.
        connection: ConnectionId,
        /// Whose.
        peer: SocketAddr,
    },
    /// A session asks users or mailboxes.
    Asked {
        /// Which session.
        connection: ConnectionId,
        /// What.
        request: &'a Request,
    },
    /// A login has been checked.
    Login {
        /// Which session.
        connection: ConnectionId,
        /// From where.
        peer: SocketAddr,
        /// The user's name as the client sent it: it may hold any character.
        user: &'a str,
        /// Why it failed; none if the mailbox is open now.
        refused: Option<Refusal>,
    },
    /// A built-in store failed; the client was told without detail.
    StoreFailed {
        /// Which session.
        connection: ConnectionId,
        /// The detail.
        error: &'a StoreError,
    },
    /// A message could not be read to its end.
    ReadFailed {
        /// Which session.
        connection: ConnectionId,
        /// What the system said.
        error: &'a io::Error,
    },
    /// A session has ended. The one line for each.
    Ended {
        /// Which.
        connection: ConnectionId,
        /// From where.
        peer: SocketAddr,
        /// The last user name the client gave: it may hold any character.
        user: &'a str,
        /// What it did.
        tally: Tally,
        /// From the accepted connection to its end.
        duration: Duration,
        /// Why it ended.
        reason: End,
    },
}

impl Event<'_> {
    /// How much it matters: as in Tcllib's pop3d, as far as there are such events.
    pub fn level(&self) -> Level {
        match self {
            Self::AcceptFailed { .. } | Self::StoreFailed { .. } | Self::ReadFailed { .. } => {
                Level::Error
            }
            Self::Refused { .. } => Level::Warning,
            // There an unknown user is a warning and a wrong secret a notice. These are
            // not told apart, and an attack must not hide.
            Self::Login {
                refused: Some(Refusal::Credentials),
                ..
            } => Level::Warning,
            Self::Accepted { .. } | Self::Login { .. } | Self::Ended { .. } => Level::Notice,
            Self::Asked { .. } => Level::Debug,
        }
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server has as many connections as it may have.
    Connections,
    /// This address has as many as it may have.
    PerAddress,
    /// The server is being destroyed.
    Dead,
    /// The process may not open enough files for one more session.
    Descriptors,
    /// Tcl could not watch one more.
    Channels,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "too many connections",
            Self::PerAddress => "too many connections from this address",
            Self::Dead => "server destroyed",
            Self::Descriptors => "too few descriptors",
            Self::Channels => "too many channels for Tcl to watch",
        })
    }
}

/// Who wants to know. All methods are called on network threads or, within
/// [`Server::kill`](super::Server::kill), on the caller's; they must not block,
/// and of the network side's locks at most that of the one connection is held.
pub trait Observer: Send + Sync {
    /// Whether events of this level are wanted; asked before anything is built for
    /// them, so it should cost no more than reading an atomic.
    fn wants(&self, level: Level) -> bool;

    /// Something happened. Only for levels that are wanted.
    fn event(&self, server: ServerId, event: &Event<'_>);

    /// A connection is no longer in the server's list, and its lock is released
    /// or on its way to the interpreter: for `destroy defer`. Called once for each
    /// connection that did not end by `kill`, after its [`Event::Ended`].
    fn closed(&self, server: ServerId, connection: ConnectionId);
}
