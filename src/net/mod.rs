//! Sockets: the event loops, the listener and the driver of one connection. Knows
//! nothing of Tcl.
//!
//! Which thread calls what: an interpreter's thread makes [`Server`]s and calls
//! their methods; the loops' threads run the sessions, call the
//! [`Observer`] and push to the server's
//! [`JobQueue`](crate::store::jobs::JobQueue). [`Server::close_listener`] and
//! [`Server::kill`] wait for network threads, which never wait for an
//! interpreter's thread; so call them with no lock held that an observer or an
//! alert takes.

mod addresses;
mod admission;
mod body;
mod connection;
mod counters;
mod driver;
mod failures;
mod handshake;
mod listener;
mod logins;
mod proxied;
mod record;
mod requests;
mod runtime;
mod server;
mod transport;
mod wait;

pub use addresses::AddressList;
pub use admission::Permit;
pub use counters::{Counted, Named, Stats};
pub use listener::Endpoint;
pub use logins::AddressRules;
pub use record::{Event, Level, Log, Observer, Record, Refused};
pub use runtime::{blocking, init, shutdown};
pub use server::{place, ConnectionState, Server};
