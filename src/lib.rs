//! A POP3 server for Tcl scripts.
//!
//! The way of a message, from the mailbox to the client, crosses these rooms;
//! each knows only the ones above it:
//!
//! - [`pop3_proto`] – POP3 itself, without I/O: a crate of its own.
//! - [`system`] – what systems do differently.
//! - [`tls`] – certificates, and the TLS side of one connection.
//! - [`store`] – what a session asks of users and mailboxes, and how that reaches them.
//! - [`stores`] – the built-in users and mailboxes.
//! - [`net`] – sockets: the event loops, the listener and the driver of one connection.
//! - [`tcl_mime`] – the fallback `mime` package: parts of messages, a crate of its own.
//! - [`ffi`] – the one door to Tcl's C interface.
//! - [`bind`] – the interpreter's side: object commands and callbacks.
//!
//! `load` enters by `Pop3d_Init`; tcl/load.tcl makes the packages' commands.

#[macro_use]
pub mod ffi;
pub mod bind;
pub mod descriptors;
mod keyed;
pub mod net;
pub mod store;
pub mod stores;
pub mod system;
pub mod text;
pub mod tls;

export_init!(bind::world::World::enter);
