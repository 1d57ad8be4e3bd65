//! How long a session waits for its client, and lets it wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{with, ChannelSession};
use crate::ffi::channel::Channel;
use crate::ffi::notifier::Timer;
use crate::net::{longest_stall, End};
use crate::protocol::limits::Limits;

/// A session's deadline, and the timer that looks whether it is over.
#[derive(Default)]
pub(super) struct Alarm {
    deadline: Cell<Option<(Instant, End)>>,
    timer: RefCell<Option<Timer>>,
    /// When the timer fires.
    armed: Cell<Option<Instant>>,
    /// How many commands had come when the session began to be idle, and when it has been
    /// for too long. Bytes that are no command do not change it.
    idle: Cell<Option<(u64, Instant)>>,
    /// How long the client may take nothing, where the system does not see to that.
    stall: Option<Duration>,
}

impl Alarm {
    /// For a session on `channel`.
    pub(super) fn new(channel: &Channel, limits: &Limits) -> Self {
        let stall = longest_stall(limits);
        Self {
            stall: (!channel.limit_writing(stall)).then_some(stall),
            ..Self::default()
        }
    }

    /// Stops the timer; the next wait sets it again.
    pub(super) fn stop(&self) {
        self.armed.set(None);
        self.timer.take();
    }
}

impl ChannelSession {
    /// Waits for the channel, but not for ever.
    pub(super) fn wait(self: &Rc<Self>) {
        if self.delayed.get() {
            self.channel.watch(false, false);
            return;
        }
        let writing = self.channel.waiting() > 0;
        let awaits = self.awaited.borrow().is_some();
        self.channel.watch(!writing && !awaits, writing);
        let authenticated = self.session.borrow().is_authenticated();
        let deadline = match authenticated {
            false => self.login_deadline().map(|at| (at, End::LoginTimeout)),
            true if writing => {
                let stalled = self.alarm.stall.map(|time| Instant::now() + time);
                stalled.map(|at| (at, End::WriteTimeout))
            }
            true => self.idle_deadline().map(|at| (at, End::Idle)),
        };
        if writing || awaits {
            self.alarm.idle.take();
        }
        // For what is awaited nobody is impatient but the client.
        let deadline = deadline.filter(|_| writing || !awaits);
        self.alarm.deadline.set(deadline);
        let sooner = |armed: Instant| deadline.is_some_and(|(at, _)| at < armed);
        if self.alarm.armed.get().is_none_or(sooner) {
            self.arm();
        }
    }

    fn login_deadline(&self) -> Option<Instant> {
        let timeout = self.config.limits.login_timeout;
        (!timeout.is_zero()).then_some(self.since + timeout)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let idle = self.config.limits.idle;
        let commands = self.session.borrow().tally().commands;
        let known = self.alarm.idle.get().filter(|(then, _)| *then == commands);
        let (_, at) = known.unwrap_or_else(|| (commands, Instant::now() + idle));
        self.alarm.idle.set(Some((commands, at)));
        (!idle.is_zero()).then_some(at)
    }

    /// Sets the timer for the deadline. Later deadlines do not touch it: it looks
    /// again when it fires.
    fn arm(self: &Rc<Self>) {
        let at = self.alarm.deadline.get().map(|(at, _)| at);
        self.alarm.armed.set(at);
        let timer = at.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            self.after(left, ChannelSession::timer_fired)
        });
        *self.alarm.timer.borrow_mut() = timer;
    }

    fn after(self: &Rc<Self>, time: Duration, call: fn(&Rc<Self>)) -> Timer {
        // Rounded up, so that the time has passed when it fires.
        let milliseconds = time.as_millis().saturating_add(1);
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        let weak = Rc::downgrade(self);
        Timer::after(milliseconds, Box::new(move || with(&weak, call)))
    }

    fn timer_fired(self: &Rc<Self>) {
        let over = self
            .alarm
            .deadline
            .get()
            .filter(|(at, _)| *at <= Instant::now());
        match over {
            // RFC 1939 §3: the autologout does not enter the UPDATE state.
            Some((_, end)) if !self.busy.get() => match self.server.world.depth.descend() {
                Some(_level) => {
                    self.leave(end);
                    self.close();
                }
                // It goes on later, and then sets the timer again.
                None => self.advance(),
            },
            // A callback is under way: what comes after it sets the timer again.
            Some(_) => self.alarm.stop(),
            None => self.arm(),
        }
    }

    /// The reply to a failed login waits (limits.rs, `login_delay`).
    pub(super) fn delay(self: &Rc<Self>, time: Duration) {
        self.delayed.set(true);
        let login = self.login_deadline();
        let left = login.map(|at| at.saturating_duration_since(Instant::now()));
        let call: fn(&Rc<Self>) = match left {
            Some(left) if left < time => |connection| {
                connection.leave(End::LoginTimeout);
                connection.close();
            },
            _ => |connection| {
                connection.delayed.set(false);
                connection.alarm.stop();
                connection.advance();
            },
        };
        let timer = self.after(left.map_or(time, |left| left.min(time)), call);
        *self.alarm.timer.borrow_mut() = Some(timer);
    }
}
