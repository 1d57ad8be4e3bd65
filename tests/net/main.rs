//! The network side over real sockets on loopback, with stores made here.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod addresses;
mod dialogs;
mod ends;
mod limits;
mod listener;
mod load;
mod script;
mod support;

#[path = "../tls/pki.rs"]
mod pki;

use pop3d::tls::{ClientCertificates, PemPair, Settings};
