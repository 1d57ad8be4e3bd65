//! How long a session waits for its client, and lets it wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{with, ChannelSession};
use crate::ffi::notifier::Timer;
use crate::net::End;

/// A client that takes nothing for so long is given up, as by the network driver.
pub(super) const WRITE_STALL: Duration = Duration::from_secs(300);

/// A session's deadline, and the timer that looks whether it is over.
#[derive(Default)]
pub(super) struct Alarm {
    deadline: Cell<Option<(Instant, End)>>,
    timer: RefCell<Option<Timer>>,
    /// When the timer fires.
    armed: Cell<Option<Instant>>,
}

impl Alarm {
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
        let limits = &self.config.limits;
        let after = |time: Duration| (!time.is_zero()).then(|| Instant::now() + time);
        let stalled = after(WRITE_STALL).filter(|_| writing);
        let stalled = stalled.map(|at| (at, End::WriteTimeout));
        let silent = if self.session.borrow().is_authenticated() {
            after(limits.idle).map(|at| (at, End::Idle))
        } else {
            let timeout = limits.login_timeout;
            (!timeout.is_zero()).then_some((self.since + timeout, End::LoginTimeout))
        };
        let deadline = stalled.into_iter().chain(silent).min_by_key(|(at, _)| *at);
        // For what is awaited nobody is impatient but the client.
        let deadline = deadline.filter(|_| writing || !awaits);
        self.alarm.deadline.set(deadline);
        let sooner = |armed: Instant| deadline.is_some_and(|(at, _)| at < armed);
        if self.alarm.armed.get().is_none_or(sooner) {
            self.arm();
        }
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
            Some((_, end)) if !self.busy.get() => {
                self.leave(end);
                self.close();
            }
            // A callback is under way: what comes after it sets the timer again.
            Some(_) => self.alarm.stop(),
            None => self.arm(),
        }
    }

    /// The reply to a failed login waits (limits.rs, `login_delay`).
    pub(super) fn delay(self: &Rc<Self>, time: Duration) {
        self.delayed.set(true);
        let timer = self.after(time, |connection| {
            connection.delayed.set(false);
            connection.alarm.stop();
            connection.advance();
        });
        *self.alarm.timer.borrow_mut() = Some(timer);
    }
}
