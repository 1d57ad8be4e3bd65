//! The interpreter's side: object commands, the jobs that call back into scripts,
//! and the driver of sessions on Tcl channels.
//!
//! - [`world`] – what one interpreter has of us: its servers and its job queue;
//! - [`object`] – what servers, user databases and mailbox databases have in common
//!   as Tcl objects;
//! - [`server`] with [`options`] – `::pop3d::new` and its objects;
//! - [`callbacks`] – the script's `-auth`, `-storage`, `-login` and `-hook` command prefixes,
//!   [`verdict`] – and what the last of them may return;
//! - [`listen`] – what `up` opens; [`direct`] – when stores are used
//!   without scripts, [`watched`] – and when no longer;
//! - [`channel`] – the second driver: sessions on Tcl channels;
//! - [`network_events`] – what network threads have for the interpreter; [`log`] – how log
//!   lines are written, [`escape`] – how they show texts of clients and scripts;
//!   [`reports`] – what goes to `interp bgerror`;
//! - [`message`] – what a storage's `get` may return, as bytes;
//! - [`mime`] – the fallback package `mime`, for machines without Tcllib;
//! - [`calls`] – the callbacks that are under way, as coroutines; [`tasks`] – jobs that wait
//!   for them;
//! - [`jobs`] – runs the job queue from the event loop; [`wakes`] – what else wakes it;
//!   [`step`] – how much is done before others have their turn, [`depth`] – and how much on
//!   top of each other;
//! - [`users`], [`mailboxes`], [`memory`] – the objects of `pop3d::udb`, of `pop3d::dbox` and
//!   `pop3d::maildir`, and of `pop3d::memory`; [`delivery`] – methods on single messages.

pub mod callbacks;
pub mod calls;
pub mod channel;
pub mod delivery;
pub mod depth;
pub mod direct;
pub mod escape;
pub mod jobs;
pub mod listen;
pub mod log;
pub mod mailboxes;
pub mod memory;
pub mod message;
pub mod mime;
pub mod network_events;
pub mod object;
pub mod options;
pub mod reports;
pub mod server;
pub mod step;
pub mod tasks;
pub mod token;
pub mod users;
pub mod verdict;
pub mod wakes;
pub mod watched;
pub mod world;
