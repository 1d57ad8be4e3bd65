//! The second driver: sessions on Tcl channels, for a `-socket` of the script's own
//! (`tls::socket`, say). It runs on the interpreter's thread, from channel events. A
//! script callback is a plain call; what takes many of them goes on in steps
//! ([`jobs`](super::jobs)), and what may wait for files is done by other threads.
//!
//! Here are a session's steps and its end; `accept` is its begin, `requests` what it
//! asks, `body` the messages that it sends, `deadlines` its time.

mod accept;
mod body;
mod deadlines;
mod requests;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use self::body::Source;
use self::deadlines::Alarm;
use self::requests::Awaited;
use super::callbacks;
use super::server::ServerObject;
use crate::backend::access::text;
use crate::backend::hold::{Ended, Hold};
use crate::backend::script::ConnectionId;
use crate::ffi::channel::{Channel, Read};
use crate::ffi::interp::Preserved;
use crate::net::{ConnectionState, End, Event, Permit};
use crate::protocol::session::{Config, Session};

pub use accept::AcceptCommand;

/// Bytes read from a channel or a message at a time.
const CHUNK: usize = 16 * 1024;

/// Steps of one session before other events of the interpreter have their turn.
const STEPS_PER_EVENT: u32 = 32;

/// A session on a Tcl channel.
pub struct ChannelSession {
    /// How scripts name the connection: the channel's name.
    pub name: String,
    /// Names it in jobs and log lines.
    pub id: ConnectionId,
    server: Rc<ServerObject>,
    channel: Channel,
    peer: SocketAddr,
    since: Instant,
    config: Arc<Config>,
    session: RefCell<Session>,
    /// The rest of the message that is being sent.
    message: RefCell<Option<Source>>,
    /// What must come before anything else is done.
    awaited: RefCell<Option<Awaited>>,
    hold: Arc<Hold>,
    alarm: Alarm,
    /// Whether bytes may be written: not before a TLS channel has shaken hands.
    ready: Cell<bool>,
    /// A step is under way further up on the stack: a callback has entered the event
    /// loop.
    busy: Cell<bool>,
    /// The reply to a failed login waits.
    delayed: Cell<bool>,
    left: Cell<bool>,
    _permit: Permit,
}

/// What the next step is.
enum Step {
    Again,
    /// Until the channel or the timer has an event.
    Wait,
    Leave(End),
}

fn with(weak: &Weak<ChannelSession>, f: impl FnOnce(&Rc<ChannelSession>)) {
    if let Some(connection) = weak.upgrade() {
        // A callback may delete the interpreter: not before all is done.
        let _preserved = Preserved::new(&connection.server.identity.interp);
        f(&connection);
    }
}

impl ChannelSession {
    /// What the connection is at.
    pub fn state(&self) -> ConnectionState {
        ConnectionState {
            snapshot: self.session.borrow().snapshot(),
            peer: self.peer,
        }
    }

    /// Does whatever can be done now, within bounds.
    pub fn advance(self: &Rc<Self>) {
        if self.left.get() || self.delayed.get() || self.busy.get() {
            return;
        }
        let Some(_level) = self.server.world.depth.descend() else {
            // Meanwhile it is not the client who keeps anybody waiting.
            self.alarm.stop();
            self.channel.watch(false, false);
            self.server.world.wakes.postpone(self.server.id, &self.name);
            return;
        };
        self.busy.set(true);
        // A fault of ours must not leave the mailbox locked.
        let step = catch_unwind(AssertUnwindSafe(|| self.steps()));
        let step = step.unwrap_or(Step::Leave(End::Dropped));
        self.busy.set(false);
        match step {
            _ if self.left.get() => {}
            Step::Leave(end) => {
                self.leave(end);
                self.close();
            }
            // The channel is writable at once: its event comes after others' events.
            Step::Again => self.channel.watch(false, true),
            Step::Wait => self.wait(),
        }
    }

    fn steps(self: &Rc<Self>) -> Step {
        for _ in 1..STEPS_PER_EVENT {
            match self.step() {
                Step::Again => {}
                step => return step,
            }
        }
        self.step()
    }

    fn step(self: &Rc<Self>) -> Step {
        if !self.channel.is_open() {
            return Step::Leave(End::PeerClosed);
        }
        if !self.ready.get() {
            return self.shake_hands();
        }
        if self.channel.waiting() > 0 {
            return Step::Wait;
        }
        if let Some(awaited) = self.awaited.take() {
            return self.hear(awaited);
        }
        let delay = self.session.borrow_mut().poll_delay();
        if let Some(delay) = delay {
            self.delay(delay);
            return Step::Wait;
        }
        let request = self.session.borrow_mut().poll_request();
        if let Some(request) = request {
            return self.ask(request);
        }
        if self.message.borrow().is_some() && self.is_hungry() {
            self.feed();
            return Step::Again;
        }
        self.exchange()
    }

    /// Writes what there is to write, else reads.
    fn exchange(self: &Rc<Self>) -> Step {
        let end = self.session.borrow().end_reason();
        if let Some(reason) = end {
            // Out of the list before the farewell: a client that comes back at once
            // finds its mailbox free.
            self.leave(End::Session(reason));
        }
        if let Some(written) = self.write() {
            if end.is_some() {
                // Tcl writes the rest of the farewell in the background.
                self.close();
                return Step::Wait;
            }
            return match written {
                true => Step::Again,
                false => Step::Leave(End::Broken(ErrorKind::BrokenPipe)),
            };
        }
        if end.is_some() {
            self.close();
            return Step::Wait;
        }
        let mut buffer = [0; CHUNK];
        let room = self.session.borrow().input_room().min(buffer.len());
        match self.channel.read(&mut buffer[..room]) {
            Read::Bytes(n) => {
                self.session.borrow_mut().handle_input(&buffer[..n]);
                Step::Again
            }
            Read::Blocked => Step::Wait,
            Read::End => Step::Leave(End::PeerClosed),
        }
    }

    /// Writes all output; whether the channel is whole still, or none if there was none.
    fn write(&self) -> Option<bool> {
        let output = self.session.borrow().output().to_vec();
        if output.is_empty() {
            return None;
        }
        self.session.borrow_mut().consume_output(output.len());
        Some(self.channel.write(&output))
    }

    /// Ends the session for all others: unlocks, takes it out of the list, tells.
    fn leave(&self, end: End) {
        if self.left.replace(true) {
            return;
        }
        // An `unlock` may enter the event loop, where the end of the stream would be an
        // event for ever.
        self.channel.watch(false, false);
        self.awaited.take();
        self.unlock();
        self.server.remove_channel(&self.name);
        if !matches!(end, End::Session(_)) {
            self.channel.break_off();
        }
        self.tell_end(end);
        self.server.connection_closed();
    }

    fn unlock(&self) {
        if let Ended::Owed(lock) = self.hold.end() {
            if let Err(lock) = self.server.access().settle(lock) {
                callbacks::unlock(&self.server, &lock.mailbox, Some(self.id));
            }
        }
    }

    /// Waits until no other thread works on its mailbox, but not longer than `until`; after
    /// [`kill`](Self::kill).
    pub fn wait_idle(&self, until: Instant) {
        self.hold.wait_idle(until);
    }

    /// Ends the session from outside, for the destruction of its server.
    pub fn kill(&self) {
        if !self.left.replace(true) {
            self.unlock();
            self.tell_end(End::Killed);
        }
        self.channel.break_off();
        self.close();
    }

    fn close(&self) {
        self.alarm.stop();
        self.channel.close();
    }

    fn tell_end(&self, reason: End) {
        let (user, tally) = {
            let session = self.session.borrow();
            (session.snapshot().name, session.tally())
        };
        self.server.tell(&Event::Ended {
            connection: self.id,
            peer: self.peer,
            user: &text(&user),
            tally,
            duration: self.since.elapsed(),
            reason,
        });
    }
}
