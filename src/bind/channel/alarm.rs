//! The timer of a session on a Tcl channel.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pop3_proto::limits::Limits;

use super::requests::Awaited;
use super::{with, ChannelSession};
use crate::ffi::channel::Channel;
use crate::ffi::notifier::Timer;

/// How often a session that awaits an answer, or lets time pass, looks whether its client is there still:
/// no channel event tells of a client that breaks the connection, unless it is read.
const LOOK: Duration = Duration::from_secs(1);

/// A session that has yielded goes on after so long at the latest.
const TURN: Duration = Duration::from_millis(50);

/// A timer that is set for a session's deadline, or earlier.
#[derive(Default)]
pub(super) struct Alarm {
    deadline: Cell<Option<Instant>>,
    timer: RefCell<Option<Timer>>,
    /// When the timer fires.
    armed: Cell<Option<Instant>>,
    /// The system does not bound how long the client may take nothing.
    watches_stalls: bool,
}

impl Alarm {
    /// For a session on `channel`.
    pub(super) fn new(channel: &Channel, limits: &Limits) -> Self {
        Self {
            watches_stalls: !channel.limit_writing(limits.longest_stall()),
            ..Self::default()
        }
    }

    /// Whether the machine's deadline must bound how long the client may take nothing.
    pub(super) fn watches_stalls(&self) -> bool {
        self.watches_stalls
    }

    /// Stops the timer; the next wait sets it again.
    pub(super) fn stop(&self) {
        self.armed.set(None);
        self.timer.take();
    }
}

impl ChannelSession {
    /// Waits for the channel, for what is awaited, or for the deadline.
    pub(super) fn wait(self: &Rc<Self>) {
        let writing = self.channel.waiting() > 0;
        let awaits = self.awaited.borrow().is_some();
        let pauses = self.machine.borrow().is_pausing();
        let reading = !writing && !awaits && !pauses;
        self.channel.watch(reading, writing);
        let deadline = self.machine.borrow().deadline();
        let look = || Instant::now() + LOOK;
        let deadline = match (awaits, pauses) {
            (true, _) if !writing => Some(look()),
            (_, true) => deadline.map(|at| at.min(look())),
            _ => deadline,
        };
        self.alarm.deadline.set(deadline);
        let sooner = |armed: Instant| deadline.is_some_and(|at| at < armed);
        if self.alarm.armed.get().is_none_or(sooner) {
            self.arm();
        }
    }

    /// Goes on when others have had their turn: a channel is writable nearly always, and its
    /// event comes after those of others. The timer is for channels that have no such event
    /// any more: one whose client takes nothing, or whose TLS handshake has failed.
    pub(super) fn yield_turn(self: &Rc<Self>) {
        self.channel.watch(false, true);
        self.alarm.deadline.set(Some(Instant::now() + TURN));
        self.arm();
    }

    /// Sets the timer for the deadline. Later deadlines do not touch it: it looks
    /// again when it fires.
    fn arm(self: &Rc<Self>) {
        let at = self.alarm.deadline.get();
        self.alarm.armed.set(at);
        let timer = at.map(|at| {
            // Rounded up, so that the time has passed when it fires.
            let left = at.saturating_duration_since(Instant::now());
            let milliseconds = left.as_millis().saturating_add(1);
            let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
            let weak = Rc::downgrade(self);
            let fired = move || with(&weak, Self::timer_fired);
            Timer::after(milliseconds, Box::new(fired))
        });
        *self.alarm.timer.borrow_mut() = timer;
    }

    fn timer_fired(self: &Rc<Self>) {
        let now = Instant::now();
        if self.alarm.deadline.get().is_none_or(|at| at > now) {
            return self.arm();
        }
        self.alarm.stop();
        if self.busy.get() {
            // A callback is under way: what comes after it sets the timer again.
            return;
        }
        let gone = |awaited: &Awaited| awaited.may_be_given_up() && self.channel.is_broken();
        let broken = self.awaited.borrow().as_ref().map(gone);
        match broken {
            // What is awaited comes still: its coming is an event.
            Some(false) => return self.wait(),
            Some(true) => {
                let mut machine = self.machine.borrow_mut();
                machine.handle_broken(ErrorKind::ConnectionReset);
            }
            None => self.let_time_pass(now),
        }
        self.advance();
    }
    /// The time for which the machine waits is over; or a look is due whether the client of a
    /// pause is there still.
    fn let_time_pass(&self, now: Instant) {
        let mut machine = self.machine.borrow_mut();
        let is_gone = machine.is_pausing() && machine.may_be_given_up() && self.channel.is_broken();
        match is_gone {
            true => machine.handle_broken(ErrorKind::ConnectionReset),
            false => machine.handle_timeout(now),
        }
    }
}
