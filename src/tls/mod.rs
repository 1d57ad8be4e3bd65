//! TLS: certificates and their files, and the TLS side of one connection, on rustls.
//!
//! [`Tls`] is what a server has: certificates, and how clients prove who they are. It
//! hands each new handshake what is current. [`Session`] is what a connection has: it
//! turns a socket's bytes into the connection's, and knows no socket. [`Facts`] is what
//! a handshake has settled.

mod certificate;
mod error;
mod facts;
mod files;
mod server;
mod session;

pub use error::Error;
pub use facts::{ClientNames, Facts};
pub use server::{ClientCertificates, PemPair, Settings, Tls};
pub use session::{Session, CHUNK};
