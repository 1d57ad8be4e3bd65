//! The built-in stores. Sessions use them by the contract in [`store`](crate::store),
//! without the interpreter; scripts use the same objects by name.
//!
//! - [`udb`]: users in a file.
//! - [`dbox`]: a mailbox is a directory, a message a file in it.
//! - [`maildir`]: `new/` and `cur/`, beside any delivery agent.
//! - [`memory`]: messages that a script delivers, without files.
//! - [`password`]: hashed passwords of users.
//! - [`files`]: what the mailboxes in files share; [`mailbox_store`]: what scripts do with
//!   mailboxes.

pub mod dbox;
pub mod files;
pub mod mailbox_store;
pub mod maildir;
pub mod memory;
pub mod password;
mod tcl_list;
pub mod udb;
