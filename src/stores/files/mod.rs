//! What all stores share whose messages are files.
//!
//! [`mailboxes`] is the store, [`layout`] what a kind of mailbox must provide, [`lock`] the
//! lock across processes, [`locked`] a session's mailbox, [`listing`] and [`stamp`] its
//! files, [`octets`] and [`octets_file`] their sizes on the wire, [`message_file`] one
//! message, [`delivery`] and [`arrival`] how scripts put messages in and take them out. All
//! files are opened by [`reach`].

pub(crate) mod arrival;
mod delivery;
pub(crate) mod layout;
pub(crate) mod listing;
pub(crate) mod lock;
pub(crate) mod locked;
pub(crate) mod mailbox_dir;
pub mod mailbox_error;
pub mod mailboxes;
pub(crate) mod message_file;
pub(crate) mod octets;
pub(crate) mod octets_file;
pub(crate) mod reach;
mod script_methods;
pub(crate) mod stamp;
