//! The shell of one connection: does what its machine says
//! ([`pop3_proto::connection`]), on a socket and by the clock.
//!
//! Its future lives as long as the connection, so it holds no buffer, and what is
//! rarely under way is boxed.

use std::cell::RefCell;
use std::future::{pending, Future};
use std::io;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3_proto::connection::{Action, End, Stall};
use tokio::time::sleep_until;

use super::connection::Connection;
use super::server::Ticket;
use super::wait::{first, Either, Timer, Woken};
use crate::store::source::Source;

/// When there is no time-out at all: the runtime's timer wants some time.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// What one thread reads into; bytes stay in it only between two awaits. Enough that
/// system calls are few, little enough to stay in the processor's cache; and what comes of
/// it for the client, a few octets more, is sent as one packet where packets are largest,
/// within one machine (64 KiB; a rest that needs another costs a tenth).
pub(super) const SCRATCH: usize = 60 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Lends the thread's buffer.
pub(super) fn with_scratch<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| f(buffer))
}

/// Drives a connection to its end.
pub(super) async fn drive(connection: Arc<Connection>) {
    // Whatever ends this future, a panic or the end of the runtime included.
    let _leaving = Leaving(connection.clone());
    connection.ended_outside.wakes_this_task().await;
    let now = Instant::now();
    let sleep = pin!(sleep_until((now + NEVER).into()));
    let mut driver = Driver {
        connection,
        timer: Timer::new(sleep),
        now,
        source: None,
        bounded: false,
        departure: None,
    };
    while driver.step().await {}
}

struct Leaving(Arc<Connection>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave(End::Dropped);
    }
}

/// What is rarely under way, so that it takes no room in the future of an idle
/// connection.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) struct Driver<'a> {
    pub(super) connection: Arc<Connection>,
    timer: Timer<'a>,
    /// The time when the last wait ended: what is done since took microseconds.
    pub(super) now: Instant,
    /// The message that is being sent.
    pub(super) source: Option<Box<Source>>,
    /// The system bounds how long the client may take nothing.
    bounded: bool,
    /// The right to linger.
    departure: Option<Ticket>,
}

impl Driver<'_> {
    /// Does the next thing; false when there is none.
    async fn step(&mut self) -> bool {
        let action = self.connection.machine().next(self.now);
        match action {
            Action::Read(room) => self.read(room).await,
            Action::Write => self.write().await,
            Action::Ask(request) => self.ask(request).await,
            Action::CountFailure(mechanism) => self.count_failure(mechanism),
            Action::Feed => self.feed().await,
            Action::Pause => {
                let pause: Boxed<'_, ()> = Box::pin(self.pause());
                pause.await;
            }
            Action::StartTls => {
                let handshake: Boxed<'_, ()> = Box::pin(self.shake_hands());
                handshake.await;
            }
            Action::Yield => {
                tokio::task::yield_now().await;
                self.now = Instant::now();
            }
            Action::Leave(end) => self.connection.leave(end),
            Action::ShutWrite => self.shut_writing(),
            Action::Close => {
                if self.connection.is_listed() {
                    // While a script still unlocks, the socket is not closed.
                    self.connection.transport.shut_writing();
                } else {
                    self.connection.transport.end_tls();
                }
                return false;
            }
        }
        true
    }

    /// Hands over what has come, or waits for it.
    async fn read(&mut self, room: usize) {
        let read = with_scratch(|buffer| {
            let room = room.min(buffer.len());
            let transport = &self.connection.transport;
            let n = transport.read(&mut buffer[..room])?;
            let octets = transport.take_octets_of_tls();
            let mut machine = self.connection.machine();
            machine.handle_overhead(octets.saturating_sub(n));
            match n {
                0 => machine.handle_end_of_input(),
                n => machine.handle_read(&buffer[..n]),
            }
            Ok(())
        });
        if self.is_blocked(read) {
            self.connection.machine().handle_read_blocked();
            self.timer.set(self.connection.machine().deadline());
            let transport = &self.connection.transport;
            let ended = &self.connection.ended_outside;
            let woken = self
                .timer
                .wait(|cx| ended.or(transport.poll_readable(cx)))
                .await;
            self.was_woken(woken);
        }
    }

    /// Waits until the handshake of TLS can go on.
    pub(super) async fn wait_for_handshake(&mut self) {
        self.timer.set(self.connection.machine().deadline());
        let transport = &self.connection.transport;
        let ended = &self.connection.ended_outside;
        let woken = self
            .timer
            .wait(|cx| ended.or(transport.poll_handshake(cx)))
            .await;
        self.was_woken(woken);
    }

    /// Writes what the socket takes, or waits until it takes something.
    async fn write(&mut self) {
        let written = self.write_now();
        if self.is_blocked(written) {
            let stall = self.stall();
            self.connection
                .machine()
                .handle_write_blocked(self.now, stall);
            self.timer.set(self.connection.machine().deadline());
            let transport = &self.connection.transport;
            let ended = &self.connection.ended_outside;
            let woken = self
                .timer
                .wait(|cx| ended.or(transport.poll_writable(cx)))
                .await;
            self.was_woken(woken);
        }
    }

    /// Writes once.
    pub(super) fn write_now(&self) -> io::Result<()> {
        let mut machine = self.connection.machine();
        if machine.output().is_empty() {
            return Ok(());
        }
        let last = machine.is_over();
        let n = self.connection.transport.write(machine.output(), last)?;
        machine.handle_written(n);
        Ok(())
    }

    /// Whether reading or writing must wait; tells the machine of other errors.
    fn is_blocked(&self, done: io::Result<()>) -> bool {
        match done {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.connection.machine().handle_broken(e.kind()),
            Ok(()) => {}
        }
        false
    }

    /// What bounds how long the client may take nothing.
    fn stall(&mut self) -> Stall {
        if self.connection.machine().is_over() && !self.connection.readmit() {
            return Stall::NoRoom;
        }
        let most = self.connection.config.limits.longest_stall();
        self.bounded = self.bounded || self.connection.transport.bound_stalls(most);
        match self.bounded {
            true => Stall::System,
            false => Stall::Deadline,
        }
    }

    /// Lets the time pass, unless the client goes, or others end the connection: its
    /// descriptor is wanted.
    async fn pause(&mut self) {
        self.timer.set(self.connection.machine().deadline());
        let may_be_given_up = self.connection.machine().may_be_given_up();
        let ended = self.connection.ended_outside.come();
        let broken = async {
            match may_be_given_up {
                true => self.connection.transport.broken().await,
                false => pending().await,
            }
        };
        let over = first(self.timer.expired(), first(ended, broken)).await;
        self.now = Instant::now();
        let mut machine = self.connection.machine();
        match over {
            Either::First(()) => machine.handle_timeout(self.now),
            Either::Second(Either::First(())) => {
                machine.handle_broken(io::ErrorKind::ConnectionAborted);
            }
            Either::Second(Either::Second(())) => {
                machine.handle_broken(io::ErrorKind::ConnectionReset);
            }
        }
    }

    fn was_woken(&mut self, woken: Woken) {
        self.now = Instant::now();
        let mut machine = self.connection.machine();
        match woken {
            Woken::Ready => {}
            Woken::TimedOut => machine.handle_timeout(self.now),
            Woken::Broken(e) => machine.handle_broken(e.kind()),
        }
    }

    /// The farewell is written. What the client still sends is waited for, if not too
    /// many connections do that.
    fn shut_writing(&mut self) {
        self.connection.transport.shut_writing();
        self.departure = self.connection.server.depart();
        if self.departure.is_none() {
            self.connection.machine().handle_end_of_input();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: fn(Arc<Connection>) -> F) -> usize {
        size_of::<F>()
    }

    /// It lives as long as the connection, and there are thousands.
    #[test]
    fn the_future_of_a_connection_is_small() {
        let size = size_of_future(drive);
        assert!(size <= 768, "{size} bytes");
        assert!(
            size_of::<Connection>() <= 768,
            "{}",
            size_of::<Connection>()
        );
    }
}
