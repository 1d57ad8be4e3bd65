//! What kinds of mailboxes share whose messages are files.
//!
//! [`mailboxes`] is the object, [`layout`] what a kind must know, [`lock`] the lock
//! across processes, [`locked`] a session's mailbox, [`listing`] and [`stamp`] its
//! files, [`octets`] and [`octets_file`] their sizes on the wire, [`message_file`] one
//! message.

mod by_name;
pub mod layout;
pub mod listing;
pub mod lock;
pub mod locked;
pub(crate) mod mailbox_dir;
pub mod mailbox_error;
pub mod mailboxes;
pub mod message_file;
pub mod octets;
pub(crate) mod octets_file;
pub mod stamp;
