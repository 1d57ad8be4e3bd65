//! The shell of sessions on Tcl channels, for a `-socket` of the script's own
//! (`tls::socket`, say). It does what a connection's machine says
//! ([`pop3_proto::connection`]) on the interpreter's thread, from channel events. A
//! script callback is a plain call; what takes many of them goes on in steps
//! ([`jobs`](super::jobs)), and what may wait for files is done by other threads.
//!
//! Here are a session's steps and its end; `accept` is its begin, `requests` what it
//! asks and awaits, `alarm` its timer.

mod accept;
mod alarm;
mod requests;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use pop3_proto::connection::{Action, Connection as Machine, End, Stall};
use pop3_proto::hook::EventKind;
use pop3_proto::limits::LINGER_BYTES;
use pop3_proto::session::{EndReason, Tally};

use self::alarm::Alarm;
use self::requests::Awaited;
use super::callbacks;
use super::server::ServerObject;
use super::step::STEP_TIME;
use crate::descriptors::Reserve;
use crate::ffi::channel::{Channel, Read};
use crate::ffi::interp::Preserved;
use crate::net::{ConnectionState, Counted, Permit};
use crate::store::hold::{Ended, Hold, MAX_IDLE_WAIT};
use crate::store::ids::{Client, ConnectionId};
use crate::store::source::Source;
use crate::text::characters;

pub use accept::AcceptCommand;

/// Bytes read from a channel or a message at a time.
const CHUNK: usize = 16 * 1024;

/// A session on a Tcl channel.
pub struct ChannelSession {
    /// How scripts name the connection: the channel's name.
    pub name: String,
    /// Names it in jobs and log lines.
    pub id: ConnectionId,
    server: Rc<ServerObject>,
    channel: Channel,
    peer: SocketAddr,
    machine: RefCell<Machine>,
    /// The rest of the message that is being sent.
    source: RefCell<Option<Box<Source>>>,
    /// What must come before anything else is done.
    awaited: RefCell<Option<Awaited>>,
    hold: Arc<Hold>,
    alarm: Alarm,
    /// Whether bytes may be written: not before a TLS channel has shaken hands.
    ready: Cell<bool>,
    /// Whether it is a TLS channel, once it is ready.
    encrypted: Cell<bool>,
    /// A step is under way further up on the stack: a callback has entered the event
    /// loop.
    busy: Cell<bool>,
    /// Since when it is put off because too many callbacks are under way.
    postponed: Cell<Option<Instant>>,
    left: Cell<bool>,
    /// Whether its tally is among those of the sessions that have ended.
    counted: Counted,
    permit: RefCell<Option<Permit>>,
    /// Free again when the channel is closed.
    descriptors: Reserve,
}

/// What follows a step.
enum Step {
    /// The next one.
    Again,
    /// Other events of the interpreter, then the next one.
    Yield,
    /// An event of the channel, of the timer, or what is awaited.
    Wait,
    /// Nothing: the channel is closed.
    Stop,
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
        ConnectionState::of(&self.machine.borrow(), self.peer)
    }

    /// Does whatever can be done now, within bounds.
    pub fn advance(self: &Rc<Self>) {
        if self.busy.get() {
            return;
        }
        let Some(_level) = self.server.world.depth.descend() else {
            return self.postpone();
        };
        if let Some(since) = self.postponed.take() {
            // It was not the client that kept anybody waiting.
            self.machine.borrow_mut().forgive(since.elapsed());
        }
        self.busy.set(true);
        // A fault of ours must not leave the mailbox locked.
        let step = catch_unwind(AssertUnwindSafe(|| self.steps()));
        self.busy.set(false);
        match step {
            Ok(Step::Again | Step::Yield) => self.yield_turn(),
            Ok(Step::Wait) => self.wait(),
            Ok(Step::Stop) => {}
            Err(_) => {
                self.leave(End::Dropped);
                self.close();
            }
        }
    }

    fn postpone(&self) {
        self.postponed
            .set(self.postponed.get().or_else(|| Some(Instant::now())));
        self.alarm.stop();
        self.channel.watch(false, false);
        let sleeper = (self.server.id, Arc::from(&*self.name));
        self.server.world.wakes.postpone(sleeper);
    }

    /// Steps until one must wait, or for as long as others may be kept waiting.
    fn steps(self: &Rc<Self>) -> Step {
        let begun = Instant::now();
        loop {
            match self.step() {
                Step::Again if begun.elapsed() < STEP_TIME => {}
                step => return step,
            }
        }
    }

    fn step(self: &Rc<Self>) -> Step {
        if self.is_killed() {
            return Step::Stop;
        }
        if !self.channel.is_open() {
            self.machine.borrow_mut().handle_end_of_input();
        }
        if !self.machine.borrow().is_abandoned() {
            if !self.ready.get() && self.left.get() {
                // It has made room, and can be told nothing.
                self.close();
                return Step::Stop;
            }
            if !self.ready.get() {
                return self.shake_hands();
            }
            if self.channel.waiting() > 0 {
                return self.wait_for_taking();
            }
            if let Some(awaited) = self.awaited.take() {
                return self.hear(awaited);
            }
        }
        let action = self.machine.borrow_mut().next(Instant::now());
        match action {
            Action::Read(room) => return self.read(room),
            Action::Write => self.write(),
            Action::Ask(request) => return self.ask(request),
            Action::CountFailure(mechanism) => self.count_failure(mechanism),
            Action::Feed => return self.feed(),
            Action::Pause => return Step::Wait,
            // `up` does not take `-tls` and a `-socket` of the script's own together.
            Action::StartTls => self.machine.borrow_mut().handle_tls_failed(),
            Action::Yield => return Step::Yield,
            Action::Leave(end) => self.leave(end),
            Action::ShutWrite => self.shut_writing(),
            Action::Close => {
                self.close();
                return Step::Stop;
            }
        }
        Step::Again
    }

    fn read(&self, room: usize) -> Step {
        let mut buffer = [0; CHUNK];
        let room = room.min(buffer.len());
        let read = self.channel.read(&mut buffer[..room]);
        let mut machine = self.machine.borrow_mut();
        match read {
            Read::Bytes(n) => machine.handle_read(&buffer[..n]),
            Read::End => machine.handle_end_of_input(),
            Read::Blocked => {
                machine.handle_read_blocked();
                return Step::Wait;
            }
        }
        Step::Again
    }

    /// Hands all output to Tcl, which writes what the client takes.
    fn write(&self) {
        // A channel that a script implements may look at this connection.
        let output = self.machine.borrow().output().to_vec();
        let whole = self.channel.write(&output);
        let mut machine = self.machine.borrow_mut();
        match whole {
            true => machine.handle_written(output.len()),
            false => machine.handle_broken(ErrorKind::BrokenPipe),
        }
    }

    /// The client must take what Tcl has still to write.
    fn wait_for_taking(&self) -> Step {
        let stall = match self.alarm.watches_stalls() {
            true => Stall::Deadline,
            false => Stall::System,
        };
        let mut machine = self.machine.borrow_mut();
        machine.handle_write_blocked(Instant::now(), stall);
        Step::Wait
    }

    /// The farewell is written. Where a half-close shows the client the end, what it
    /// still sends is waited for. Elsewhere (TLS) only what has come is thrown away.
    fn shut_writing(&self) {
        if !self.encrypted.get() && self.channel.shut_writing() {
            if self.server.world.may_linger() {
                return;
            }
        } else {
            self.throw_away();
        }
        self.machine.borrow_mut().handle_end_of_input();
    }

    fn throw_away(&self) {
        let mut buffer = [0; CHUNK];
        let mut left = LINGER_BYTES;
        while let Read::Bytes(n) = self.channel.read(&mut buffer) {
            left = left.saturating_sub(n);
            if left == 0 {
                return;
            }
        }
    }

    /// Ends the session for all others: unlocks, takes it out of the list, logs it.
    fn leave(self: &Rc<Self>, end: End) {
        if self.left.replace(true) {
            return;
        }
        self.server.world.depart(self);
        // An `unlock` may enter the event loop, where the end of the stream would be an
        // event for ever.
        self.channel.watch(false, false);
        let given_up = self.awaited.take();
        let is_closed = matches!(end, End::Closed | End::Session(EndReason::Closed));
        if given_up.is_some_and(|awaited| awaited.is_login()) && !is_closed {
            // It has cost as much as one that was answered.
            self.server.engine.count_failure(self.peer.ip());
        }
        self.unlock();
        self.permit.take();
        self.server.remove_channel(&self.name);
        if !matches!(end, End::Session(_)) {
            self.channel.break_off();
        }
        self.log_end(end);
        self.tell_end(end);
        self.server.connection_closed();
    }

    /// Tells the hook of its end, if that wants to be told.
    fn tell_end(&self, end: End) {
        let event = {
            let machine = self.machine.borrow();
            let session = machine.session();
            session
                .is_watched(EventKind::End)
                .then(|| session.end_event(end))
        };
        if let Some(event) = event {
            callbacks::tell_end(&self.server, &event, self.client(), &self.name);
        }
    }

    fn unlock(&self) {
        if let Ended::Owed(lock) = self.hold.end() {
            if let Err(lock) = self.server.access().settle(lock) {
                callbacks::unlock(&self.server, &lock.mailbox, self.client());
            }
        }
    }

    /// When the connection began.
    pub fn begun(&self) -> Instant {
        self.machine.borrow().begun()
    }

    /// Whether nobody has logged in, and no login is being checked.
    pub fn is_stranger(&self) -> bool {
        !self.busy.get() && self.machine.borrow().session().is_stranger()
    }

    /// Ends a connection that nobody has logged in to, so that another one has its place;
    /// whether it ends.
    pub fn make_room(self: &Rc<Self>) -> bool {
        let ends = self.is_stranger() && self.machine.borrow_mut().make_room();
        if ends {
            self.leave(End::Session(EndReason::MadeRoom));
            self.advance();
        }
        ends
    }

    /// Ends the session for the server's script, unlocked when this returns; the client is told
    /// `text` if that can be. A callback of its own may call it.
    pub fn close_for_script(self: &Rc<Self>, text: &str) {
        let end = self.machine.borrow_mut().close(text);
        self.leave(end);
        self.wait_idle(Instant::now() + MAX_IDLE_WAIT);
        self.advance();
    }

    /// What it has done, unless that is counted already.
    pub fn uncounted(&self) -> Option<Tally> {
        (!self.counted.is_set()).then(|| self.machine.borrow().session().tally())
    }

    /// Reserves the descriptors of a session, if need be those of connections that nobody
    /// has logged in to; false if there are not enough.
    fn reserve_session(&self) -> bool {
        self.descriptors.for_session(|| self.server.make_room())
    }

    /// Gives them back: the login failed.
    fn release_session(&self) {
        self.descriptors.without_session();
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
            self.log_end(End::Killed);
            self.tell_end(End::Killed);
        }
        self.channel.break_off();
        self.close();
    }

    fn is_killed(&self) -> bool {
        self.left.get() && !self.channel.is_open()
    }

    fn close(&self) {
        self.alarm.stop();
        self.channel.close();
        self.server.world.has_departed(&self.name);
    }

    /// As log records name it.
    fn client(&self) -> Client {
        Client {
            connection: self.id,
            user: characters(self.machine.borrow().session().user()).into_owned(),
            peer: self.peer,
        }
    }

    fn log_end(&self, reason: End) {
        let tally = self.machine.borrow().session().tally();
        let session = || (self.client(), self.begun().elapsed());
        let done = (tally, &self.counted);
        self.server.log().ended(done, session, reason);
    }
}
