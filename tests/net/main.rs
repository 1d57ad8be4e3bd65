//! The network side over real sockets on loopback, with stores made here.

mod dialogs;
mod ends;
mod limits;
mod listener;
mod load;
mod script;
mod support;
