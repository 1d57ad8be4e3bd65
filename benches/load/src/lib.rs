//! Load generator, raw server and benchmark for the POP3 server.
//!
//! `corpus` makes the mail, `mailbox` lays it out in directories and says what
//! a server must send for it, `client` asks for it and verifies every byte,
//! `procfs` reads what the servers cost, `bench` runs the whole table.

pub mod args;
pub mod bench;
pub mod client;
pub mod corpus;
pub mod histogram;
pub mod mailbox;
pub mod procfs;
pub mod stream;
