//! A POP3 server for Tcl scripts.
//!
//! The way of a message, from the mailbox to the client, crosses these rooms;
//! each knows only the ones above it:
//!
//! - [`protocol`] – POP3 itself, pure: bytes and replies in, requests and bytes out.
//! - [`backend`] – what a session asks of users and mailboxes, and the built-in stores.
//! - [`net`] – sockets: the event loops, the listener and the driver of one connection.
//! - [`mime`] – the fallback `mime` package: parts of messages, without Tcl.
//! - [`ffi`] – the one door to Tcl's C interface.
//! - [`bind`] – the interpreter's side: object commands and callbacks.
//!
//! `load` enters by `Pop3d_Init`; tcl/load.tcl makes the packages' commands.

#[macro_use]
pub mod ffi;
pub mod backend;
pub mod bind;
pub mod mime;
pub mod net;
pub use pop3_proto as protocol;

export_init!(bind::world::World::enter);
