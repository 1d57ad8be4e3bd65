//! What is fuzzed: each target takes any bytes, and panics if something does not hold.
//!
//! `fuzz_targets` has them run by libFuzzer; `tests/fuzz.rs` replays the corpora, and runs
//! each for a moment.

#![allow(clippy::unwrap_used, reason = "a target fails by it")]

mod body;
mod connection;
mod hash;
mod input;
mod line;
mod maildir;
mod mime;
mod octets;
mod proxied;
mod sasl;
mod tls;

type Target = (&'static str, fn(&[u8]));

/// Name and function of each.
pub const TARGETS: [Target; 10] = [
    ("body", body::run),
    ("connection", connection::run),
    ("hash", hash::run),
    ("line", line::run),
    ("maildir", maildir::run),
    ("mime", mime::run),
    ("octets", octets::run),
    ("proxied", proxied::run),
    ("sasl", sasl::run),
    ("tls", tls::run),
];

/// Runs the target of this name.
#[allow(dead_code, reason = "the tests run all of them")]
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    target(data);
}
