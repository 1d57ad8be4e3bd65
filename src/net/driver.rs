//! The driver of one connection: moves bytes between socket and session.
//!
//! Its future lives as long as the connection, so it holds no buffer, and what is
//! rarely under way is boxed.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::{sleep_until, Instant};

use super::connection::Connection;
use super::observer::End;
use super::wait::{Timer, Woken};
use crate::protocol::limits::Limits;
use crate::protocol::session::EndReason;
use crate::protocol::Request;

/// How long a client may take nothing of what is sent to it where there is no idle
/// time-out (RFC 1939 §3: at least ten minutes).
const WRITE_STALL: Duration = Duration::from_secs(600);

/// How long a client may take nothing of what is sent to it: it is as idle as one that
/// says nothing.
pub fn longest_stall(limits: &Limits) -> Duration {
    match limits.idle.is_zero() {
        true => WRITE_STALL,
        false => limits.idle,
    }
}

/// After the last reply: how long, and for how many bytes, input is read on and
/// thrown away. Closing with unread input makes the system reset the connection,
/// which may take the last reply with it.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 256 * 1024);

/// When there is no time-out at all: the runtime's timer wants some time.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// What one thread reads into; bytes stay in it only between two awaits. Enough that
/// system calls are few, little enough to stay in the processor's cache; and what comes of
/// it for the client, a few octets more, is sent as one packet where packets are largest,
/// within one machine (64 KiB; a rest that needs another costs a tenth).
pub(super) const SCRATCH: usize = 60 * 1024;

/// Requests of one connection that are answered before others have their turn.
const ASKED_PER_TURN: u32 = 32;

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
    let first = login_deadline(&connection).unwrap_or_else(|| Instant::now() + NEVER);
    let sleep = pin!(sleep_until(first));
    let timer = Timer::new(sleep);
    let mut driver = Driver {
        connection,
        timer,
        idle_at: None,
        bounded: false,
    };
    let end = driver.run().await;
    driver.connection.leave(end);
    if driver.connection.is_listed() {
        // While a script still unlocks, the socket is not closed.
        driver.connection.shut_writing();
    }
    if let End::Session(_) = end {
        driver.linger().await;
    }
}

struct Leaving(Arc<Connection>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave(End::Dropped);
    }
}

fn login_deadline(connection: &Connection) -> Option<Instant> {
    let timeout = connection.config.limits.login_timeout;
    (!timeout.is_zero()).then(|| connection.since + timeout)
}

/// What is rarely under way, so that it takes no room in the future of an idle
/// connection.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a session wants next.
enum Turn {
    Wait(Duration),
    Ask(Request),
    Write,
    Read,
    Close(EndReason),
}

pub(super) struct Driver<'a> {
    pub(super) connection: Arc<Connection>,
    timer: Timer<'a>,
    /// When the session has been idle for too long; bytes that are no command do not
    /// change it.
    idle_at: Option<Instant>,
    /// The system bounds how long the client may take nothing.
    bounded: bool,
}

impl Driver<'_> {
    async fn run(&mut self) -> End {
        let mut asked = 0_u32;
        loop {
            let turn = self.turn();
            if !matches!(turn, Turn::Read) {
                self.idle_at = None;
            }
            let done = match turn {
                Turn::Wait(delay) => self.wait(delay).await,
                Turn::Ask(request) => {
                    asked += 1;
                    if asked.is_multiple_of(ASKED_PER_TURN) {
                        // A client that sends ahead may have a thousand.
                        tokio::task::yield_now().await;
                    }
                    self.ask(request).await
                }
                Turn::Write => self.flush().await,
                Turn::Read => self.read().await,
                Turn::Close(reason) => return End::Session(reason),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// The order is that of [`session`](crate::protocol::session): what is
    /// pipelined is answered before anything is written.
    fn turn(&self) -> Turn {
        let mut session = self.connection.session();
        if let Some(delay) = session.poll_delay() {
            return Turn::Wait(delay);
        }
        if let Some(request) = session.poll_request() {
            return Turn::Ask(request);
        }
        let end = session.end_reason();
        let written = session.output().is_empty();
        drop(session);
        match end {
            Some(reason) if written => Turn::Close(reason),
            Some(reason) => {
                // Out of the list before the farewell, so that a client that comes
                // back at once finds its mailbox free.
                self.connection.leave(End::Session(reason));
                Turn::Write
            }
            None if written => Turn::Read,
            None => Turn::Write,
        }
    }

    /// Waits before a failed login is answered.
    async fn wait(&mut self, delay: Duration) -> Result<(), End> {
        let answer = Instant::now() + delay;
        let login = login_deadline(&self.connection).filter(|login| *login < answer);
        self.timer.set(Some(login.unwrap_or(answer)));
        self.timer.expired().await;
        login.map_or(Ok(()), |_| Err(End::LoginTimeout))
    }

    /// Writes all output; a client that does not read is waited for.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        while !self.write_now()? {
            let timeout = self.set_output_timeout();
            match self.timer.writable(&self.connection.stream).await {
                Woken::Ready => {}
                Woken::TimedOut => return Err(timeout),
                Woken::Broken(e) => return Err(broken(&e)),
            }
        }
        Ok(())
    }

    /// Writes what the socket takes at once; whether that was all.
    pub(super) fn write_now(&self) -> Result<bool, End> {
        let mut session = self.connection.session();
        let last = session.end_reason().is_some();
        while !session.output().is_empty() {
            match self.send_now(session.output(), last) {
                Ok(n) => session.consume_output(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn send_now(&self, bytes: &[u8], _last: bool) -> io::Result<usize> {
        self.connection.stream.try_write(bytes)
    }

    #[cfg(target_os = "linux")]
    fn send_now(&self, bytes: &[u8], last: bool) -> io::Result<usize> {
        use rustix::net::{send, SendFlags};
        // The end of the stream follows a farewell at once: one packet can tell both.
        // And not the signal of a broken pipe, but the error.
        let flags = match last {
            true => SendFlags::MORE | SendFlags::NOSIGNAL,
            false => SendFlags::NOSIGNAL,
        };
        let stream = &self.connection.stream;
        stream.try_io(Interest::WRITABLE, || Ok(send(stream, bytes, flags)?))
    }

    /// Sets the deadline for the client to take something; returns what its passing means.
    fn set_output_timeout(&mut self) -> End {
        // Its place was given up for a farewell that it would take at once.
        if self.connection.session().is_over() && !self.connection.readmit() {
            self.timer.set(Some(Instant::now() + LINGER.0));
            return End::WriteTimeout;
        }
        let login = login_deadline(&self.connection);
        if login.is_some() && !self.connection.session().is_authenticated() {
            self.timer.set(login);
            return End::LoginTimeout;
        }
        let most = longest_stall(&self.connection.config.limits);
        self.bounded = self.bounded || self.connection.bound_stalls(most);
        let deadline = (!self.bounded).then(|| Instant::now() + most);
        self.timer.set(deadline);
        End::WriteTimeout
    }

    /// Waits for input and hands it over.
    async fn read(&mut self) -> Result<(), End> {
        let timeout = self.set_input_timeout();
        loop {
            match self.timer.readable(&self.connection.stream).await {
                Woken::Ready => {}
                // RFC 1939 §3: the autologout does not enter the UPDATE state.
                Woken::TimedOut => return Err(timeout),
                Woken::Broken(e) => return Err(broken(&e)),
            }
            match with_scratch(|buffer| self.read_now(buffer)) {
                Ok(0) => return Err(End::PeerClosed),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
    }

    fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.connection.session();
        let room = session.input_room().min(buffer.len());
        let n = self.receive(&mut buffer[..room])?;
        session.handle_input(&buffer[..n]);
        Ok(n)
    }

    /// Reads. As less than asked means that there is no more, this is told to the
    /// runtime, as tokio's own `poll_read` does: it saves a call that reads nothing.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &self.connection.stream;
        let mut got = 0;
        let read = stream.try_io(Interest::READABLE, || {
            got = rustix::io::read(stream, &mut *buffer)?;
            if got > 0 && got < buffer.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(got)
        });
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && got > 0 => Ok(got),
            other => other,
        }
    }

    /// Sets the deadline for the next input; returns what its passing means.
    fn set_input_timeout(&mut self) -> End {
        if self.connection.session().is_authenticated() {
            let idle = self.connection.config.limits.idle;
            if !idle.is_zero() {
                self.idle_at.get_or_insert_with(|| Instant::now() + idle);
            }
            self.timer.set(self.idle_at);
            End::Idle
        } else {
            self.timer.set(login_deadline(&self.connection));
            End::LoginTimeout
        }
    }

    /// After the last reply: reads what is still under way, within bounds.
    async fn linger(&mut self) {
        // Meanwhile it is one of those that the server has.
        if self.connection.unread() == 0 || !self.connection.readmit() {
            return;
        }
        self.connection.shut_writing();
        self.timer.set(Some(Instant::now() + LINGER.0));
        let mut left = LINGER.1;
        while let Woken::Ready = self.timer.readable(&self.connection.stream).await {
            match with_scratch(|buffer| self.connection.stream.try_read(buffer)) {
                Ok(n) if n > 0 && n <= left => left -= n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

fn broken(e: &io::Error) -> End {
    match e.kind() {
        // See `Connection::bound_stalls`.
        io::ErrorKind::TimedOut => End::WriteTimeout,
        kind => End::Broken(kind),
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
