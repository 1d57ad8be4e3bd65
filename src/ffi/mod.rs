//! The one door to Tcl's C interface, and all of the crate's `unsafe`.
//!
//! - [`stubs`] – every `Tcl_*` function we or the `tcl` crate call, forwarded to the
//!   stub table of the interpreter that loaded us;
//! - [`entry`] – where `load` enters;
//! - [`value`] – Tcl values, reference counted;
//! - [`interp`] – evaluation, results, variables, namespaces;
//! - [`command`] – object commands, and the barrier that no panic crosses;
//! - [`coroutine`] – commands that run as coroutines;
//! - [`channel`] – Tcl channels of sessions; [`input`] – a script's channel, read to its end;
//! - [`notifier`] – waking an interpreter's thread, and the event source that runs its jobs;
//!
//! What leaves this room is safe to call, on the thread that the handle belongs to;
//! the handles are neither `Send` nor `Sync` where Tcl's objects are bound to a thread.

#![allow(unsafe_code, reason = "the one door to Tcl's C interface")]

// The `tcl` crate's handle of an interpreter is used for interpreters; its `Obj`
// generates (and copies) the string representation of a value when its reference
// count goes to 1 or 0, which no message of megabytes can afford: hence `value`.

pub mod channel;
pub mod command;
pub mod coroutine;
pub mod descriptor;
pub mod entry;
pub mod input;
pub mod interp;
pub mod notifier;
pub mod stubs;
pub mod thread;
pub mod value;

pub use tcl::Interp;
pub use value::Value;
