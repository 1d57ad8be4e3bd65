//! One connection without I/O: what it does next, how long it waits, how it ends.
//!
//! A shell owns the socket and the clock. It loops: [`Connection::next`] names an
//! [`Action`], the shell does it and tells the outcome by a `handle_*` method. Where
//! reading or writing would block, or at [`Action::Pause`], it waits for the socket
//! or for [`Connection::deadline`], whichever comes first, and tells the latter by
//! [`Connection::handle_timeout`].
//!
//! | action | outcome |
//! |---|---|
//! | [`Action::Read`] | [`handle_read`](Connection::handle_read), [`handle_end_of_input`](Connection::handle_end_of_input) |
//! | [`Action::Write`] | [`handle_written`](Connection::handle_written), [`handle_write_blocked`](Connection::handle_write_blocked) |
//! | [`Action::Ask`] | [`handle_reply`](Connection::handle_reply) |
//! | [`Action::CountFailure`] | [`handle_failure`](Connection::handle_failure) |
//! | [`Action::StartTls`] | [`handle_tls`](Connection::handle_tls), [`handle_tls_failed`](Connection::handle_tls_failed) |
//! | [`Action::Feed`] | [`handle_body`](Connection::handle_body), [`handle_body_end`](Connection::handle_body_end), [`handle_body_failed`](Connection::handle_body_failed) |
//! | others | none |
//!
//! [`handle_broken`](Connection::handle_broken) may follow any of them.

mod pace;

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pace::Pace;

use super::limits::{LINGER, LINGER_BYTES, OCTETS_PER_TURN};
use super::sasl::Mechanism;
use super::security::TlsFacts;
use super::session::{Config, EndReason, Origin, Session};
use super::{AddressFailures, Reply, Request};

/// What a shell does next.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the connection stands still until this is done"]
pub enum Action {
    /// Read at most so many bytes.
    Read(usize),
    /// Write from [`Connection::output`].
    Write,
    /// Have a request answered.
    Ask(Request),
    /// Count a failed login of the client's address, and say how many there are.
    CountFailure(Mechanism),
    /// Hand over the next stored bytes of the message that [`Reply::Fetching`]
    /// announced.
    Feed,
    /// Make the TLS handshake, as the server: all output is written, and no byte of the
    /// client's that is read from now on is plain.
    StartTls,
    /// Do nothing before [`Connection::deadline`].
    Pause,
    /// Let other connections have their turn.
    Yield,
    /// The session has ended: release its lock, take it out of all lists, tell why.
    /// Whatever follows is between the socket and its client: one that comes back
    /// at once must find its mailbox free.
    Leave(End),
    /// The farewell is written: half-close the socket.
    ShutWrite,
    /// Close the socket.
    Close,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The session came to its end: QUIT, or too many errors.
    Session(EndReason),
    /// The client closed the connection without QUIT.
    PeerClosed,
    /// The connection broke.
    Broken(ErrorKind),
    /// No command came for too long (RFC 1939 §3, autologout: nothing is deleted).
    Idle,
    /// The TLS handshake failed.
    TlsFailed,
    /// Nobody logged in within the time for it.
    LoginTimeout,
    /// The client read nothing for too long.
    WriteTimeout,
    /// The server's owner has closed it where the client could not be told: the connection is
    /// cut.
    Closed,
    /// The server was destroyed.
    Killed,
    /// The process is ending, or the shell failed.
    Dropped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(reason) => reason.fmt(f),
            Self::PeerClosed => f.write_str("closed by client"),
            Self::Broken(kind) => write!(f, "connection broken: {kind}"),
            Self::Idle => f.write_str("idle"),
            Self::TlsFailed => f.write_str("TLS handshake failed"),
            Self::LoginTimeout => f.write_str("no login"),
            Self::WriteTimeout => f.write_str("client does not read"),
            Self::Closed => EndReason::Closed.fmt(f),
            Self::Killed => f.write_str("server destroyed"),
            Self::Dropped => f.write_str("process ending"),
        }
    }
}

/// What bounds how long a client may take nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// [`Limits::longest_stall`](super::limits::Limits::longest_stall), which this
    /// connection's deadline watches.
    Deadline,
    /// The system, which breaks the connection (tcp(7), TCP_USER_TIMEOUT).
    System,
    /// The server is full, and this connection has ended: there is no time but for
    /// a farewell that is taken at once.
    NoRoom,
}

/// Whether more of a message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that is not wanted any more need not be read"]
pub enum Wanted {
    /// The rest of it.
    More,
    /// Nothing: TOP has all its lines, or the session is over.
    Nothing,
}

/// The machine of one connection. Time is an argument.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    begun: Instant,
    /// From when on the time to log in counts.
    login_since: Instant,
    stage: Stage,
    /// Octets that may be read and written in this turn.
    turn: usize,
    /// When the session began to wait for a command. Bytes that are no command do
    /// not change it.
    idle_since: Option<Instant>,
    /// When the wait of the last action is over, and what that means.
    timer: Option<(Instant, End)>,
    /// None: output goes out as the client takes it. Boxed, as it hardly ever does otherwise.
    pace: Option<Box<Pace>>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The session talks with its client.
    Talking,
    /// The turn is over; others have theirs before the next begins.
    Yielded,
    /// It waits: the reply to a failed login, or what the hook has put off.
    Delayed(Instant),
    /// The session has ended, and nobody knows yet.
    Ended(End),
    /// The last output is being written.
    Farewell,
    /// The farewell is written: input is thrown away, so many bytes at most.
    Lingering(Instant, usize),
    /// There is nothing left to do.
    Over,
}

impl Connection {
    /// A new connection; its first action writes the greeting, or begins TLS.
    pub fn new(config: Arc<Config>, origin: Origin, now: Instant) -> Self {
        Self {
            session: Session::new(config, origin),
            begun: now,
            login_since: now,
            stage: Stage::Talking,
            turn: OCTETS_PER_TURN,
            idle_since: None,
            timer: None,
            pace: None,
        }
    }

    /// The session, to look at.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// When the connection began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// What is to be written to the client now.
    pub fn output(&self) -> &[u8] {
        let output = self.session.output();
        match &self.pace {
            Some(pace) => &output[..output.len().min(pace.earned())],
            None => output,
        }
    }

    /// When waiting for the socket is over; none: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.timer.map(|(at, _)| at)
    }

    /// Whether its session has ended. What is written then is the last.
    pub fn is_over(&self) -> bool {
        !self.is_talking()
    }

    /// Whether nothing more is read or written: the connection broke, or a time-out
    /// has passed. What is left are [`Action::Leave`] and [`Action::Close`].
    pub fn is_abandoned(&self) -> bool {
        match self.stage {
            Stage::Ended(end) => !matches!(end, End::Session(_)),
            stage => stage == Stage::Over,
        }
    }

    /// How long it has waited for a command; none while one is at work.
    pub fn idle_for(&self, now: Instant) -> Duration {
        let since = self.idle_since.unwrap_or(now);
        now.saturating_duration_since(since)
    }

    /// Whether [`Action::Pause`] is under way.
    pub fn is_pausing(&self) -> bool {
        matches!(self.stage, Stage::Delayed(_))
    }

    /// Whether the client's end during [`Action::Pause`] ends the connection. It does not once
    /// QUIT has come, which is carried out (RFC 1939 §6).
    pub fn may_be_given_up(&self) -> bool {
        !self.session.is_quitting()
    }

    /// Does not count so much time against the client: its shell could not go on.
    pub fn forgive(&mut self, time: Duration) {
        self.login_since += time;
        self.idle_since = self.idle_since.map(|since| since + time);
    }

    /// What the shell does next.
    pub fn next(&mut self, now: Instant) -> Action {
        self.timer = None;
        self.set_pace(now);
        if self.is_talking() && self.login_is_overdue(now) {
            self.stage = Stage::Ended(End::LoginTimeout);
        }
        match self.stage {
            Stage::Talking => self.talk(now),
            Stage::Yielded if self.is_idle_too_long(now) => {
                self.stage = Stage::Ended(End::Idle);
                self.next(now)
            }
            Stage::Yielded => {
                self.begin_turn();
                self.stage = Stage::Talking;
                self.talk(now)
            }
            Stage::Delayed(until) => self.pause_until(until),
            Stage::Ended(end) => {
                self.stage = match end {
                    End::Session(_) => Stage::Farewell,
                    _ => Stage::Over,
                };
                Action::Leave(end)
            }
            Stage::Farewell if !self.output().is_empty() => Action::Write,
            // Its descriptor is wanted at once.
            Stage::Farewell if self.session.end_reason() == Some(EndReason::MadeRoom) => {
                self.stage = Stage::Over;
                Action::Close
            }
            Stage::Farewell => {
                self.stage = Stage::Lingering(now + LINGER, LINGER_BYTES);
                Action::ShutWrite
            }
            Stage::Lingering(until, left) => {
                self.timer = Some((until, End::PeerClosed));
                Action::Read(left)
            }
            Stage::Over => Action::Close,
        }
    }

    /// The order matters: what is pipelined is answered before anything is written,
    /// up to the end of the turn.
    fn talk(&mut self, now: Instant) -> Action {
        if let Some(delay) = self.session.poll_delay() {
            // A wait of ours is none for a command.
            self.idle_since = None;
            return self.pause(now + delay);
        }
        // What goes out slowly is the session's still.
        let goes_out = self.pace.is_some() && !self.session.output().is_empty();
        if let Some(reason) = self.session.end_reason().filter(|_| !goes_out) {
            self.stage = Stage::Ended(End::Session(reason));
            return self.next(now);
        }
        let action = self.work();
        match action {
            Action::Read(_) | Action::StartTls => self.wait_for_command(now),
            // The turn went by without a command: what was read is a line without end.
            Action::Yield if self.output().is_empty() => {}
            _ => self.idle_since = None,
        }
        action
    }

    /// What a session that goes on does next.
    fn work(&mut self) -> Action {
        if let Some(mechanism) = self.session.failed_login() {
            Action::CountFailure(mechanism)
        } else if self.turn == 0 || self.session.turn_is_over() {
            self.stage = Stage::Yielded;
            Action::Yield
        } else if let Some(request) = self.session.poll_request() {
            Action::Ask(request)
        } else if self.session.wants_body() {
            Action::Feed
        } else if !self.output().is_empty() {
            Action::Write
        } else if let Some(until) = self.next_of_pace() {
            self.pause(until)
        } else if self.session.wants_tls() {
            Action::StartTls
        } else {
            Action::Read(self.session.input_room())
        }
    }

    fn begin_turn(&mut self) {
        self.turn = OCTETS_PER_TURN;
        self.session.begin_turn();
    }

    /// Bounds how fast output goes out, as long as the session says so.
    fn set_pace(&mut self, now: Instant) {
        match (self.session.throttle(), &mut self.pace) {
            (None, pace) => *pace = None,
            (Some(_), Some(pace)) => pace.refresh(now),
            (Some(rate), pace) => *pace = Some(Box::new(Pace::new(rate, now))),
        }
    }

    /// When more of the output may be written.
    fn next_of_pace(&self) -> Option<Instant> {
        let waiting = self.session.output().len();
        let pace = self.pace.as_ref().filter(|_| waiting > 0)?;
        Some(pace.next(waiting))
    }

    fn pause(&mut self, until: Instant) -> Action {
        self.stage = Stage::Delayed(until);
        self.pause_until(until)
    }

    fn pause_until(&mut self, until: Instant) -> Action {
        let login = self.login_deadline().filter(|login| *login < until);
        self.timer = Some((login.unwrap_or(until), End::LoginTimeout));
        Action::Pause
    }

    /// Sets the time-out of a session that waits for its client.
    fn wait_for_command(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
        if !self.session.is_authenticated() {
            self.timer = self.login_deadline().map(|at| (at, End::LoginTimeout));
            return;
        }
        self.timer = self.idle_deadline().map(|at| (at, End::Idle));
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let idle = self.session.limits().idle;
        let is_bound = !idle.is_zero() && self.session.is_authenticated();
        let since = self.idle_since.filter(|_| is_bound)?;
        Some(since + idle)
    }

    /// Asked where a turn begins: a client that sends a line without end is never waited
    /// for.
    fn is_idle_too_long(&self, now: Instant) -> bool {
        self.idle_deadline().is_some_and(|at| at <= now)
    }

    fn login_deadline(&self) -> Option<Instant> {
        let timeout = self.session.limits().login_timeout;
        (!timeout.is_zero() && !self.session.is_authenticated()).then(|| self.login_since + timeout)
    }

    /// Asked before each action: a client that is never waited for must not evade
    /// its time to log in.
    fn login_is_overdue(&self, now: Instant) -> bool {
        self.session.end_reason().is_none() && self.login_deadline().is_some_and(|at| at <= now)
    }

    /// Whether the session goes on.
    fn is_talking(&self) -> bool {
        matches!(
            self.stage,
            Stage::Talking | Stage::Yielded | Stage::Delayed(_)
        )
    }

    /// Takes what the client sent, at most what [`Action::Read`] asked for.
    pub fn handle_read(&mut self, bytes: &[u8]) {
        match &mut self.stage {
            Stage::Talking => {
                self.turn = self.turn.saturating_sub(bytes.len());
                self.session.handle_input(bytes);
            }
            Stage::Lingering(_, left) if *left > bytes.len() => *left -= bytes.len(),
            Stage::Lingering(..) => self.stage = Stage::Over,
            _ => {}
        }
    }

    /// What is read was wrapped in so many octets more, which cost work too: TLS has some for
    /// each record, and a client may send a record for each byte.
    pub fn handle_overhead(&mut self, octets: usize) {
        match &mut self.stage {
            Stage::Lingering(_, left) => *left = left.saturating_sub(octets).max(1),
            _ => self.turn = self.turn.saturating_sub(octets),
        }
    }

    /// The client has closed its side: it will send nothing more.
    pub fn handle_end_of_input(&mut self) {
        self.end(End::PeerClosed);
    }

    /// Takes note that the shell found nothing to read, and waits: a pause in which
    /// others have their turn.
    pub fn handle_read_blocked(&mut self) {
        if self.stage == Stage::Talking {
            self.begin_turn();
        }
    }

    /// The first `n` bytes of the output are written.
    pub fn handle_written(&mut self, n: usize) {
        self.turn = self.turn.saturating_sub(n);
        if let Some(pace) = &mut self.pace {
            pace.spend(n);
        }
        self.session.consume_output(n);
    }

    /// The client takes nothing for now: sets its time-out.
    pub fn handle_write_blocked(&mut self, now: Instant, stall: Stall) {
        let most = self.session.limits().longest_stall();
        self.timer = match (self.login_deadline().filter(|_| self.is_talking()), stall) {
            (Some(at), _) => Some((at, End::LoginTimeout)),
            (None, Stall::Deadline) => Some((now + most, End::WriteTimeout)),
            (None, Stall::NoRoom) => Some((now + LINGER, End::WriteTimeout)),
            (None, Stall::System) => None,
        };
    }

    /// The connection broke, or the system found it broken.
    pub fn handle_broken(&mut self, kind: ErrorKind) {
        self.end(match kind {
            // TCP_USER_TIMEOUT says so.
            ErrorKind::TimedOut => End::WriteTimeout,
            kind => End::Broken(kind),
        });
    }

    /// Ends the connection to make room for another, if nobody has logged in and no
    /// login is being checked; whether it ends. Its last line says why.
    pub fn make_room(&mut self) -> bool {
        let ends = self.is_talking() && self.session.make_room();
        if ends {
            self.stage = Stage::Ended(End::Session(EndReason::MadeRoom));
        }
        ends
    }

    /// Ends the connection by its server's owner: with `-ERR` and `text` for the client, if
    /// that is not empty and the client can be told ([`Session::close`]). Returns how it ends:
    /// it may have ended before.
    pub fn close(&mut self, text: &str) -> End {
        let end = match self.stage {
            Stage::Ended(end) => return end,
            _ if self.is_talking() && self.session.close(text) => End::Session(EndReason::Closed),
            _ => End::Closed,
        };
        if self.is_talking() {
            self.stage = Stage::Ended(end);
        }
        end
    }

    /// The TLS handshake of [`Action::StartTls`] is made; or there was TLS before the
    /// connection began, which a shell may tell as long as nothing was read.
    pub fn handle_tls(&mut self, facts: TlsFacts) {
        self.session.handle_tls(facts);
    }

    /// The TLS handshake has failed.
    pub fn handle_tls_failed(&mut self) {
        self.end(End::TlsFailed);
    }

    /// The answer to the request of [`Action::Ask`].
    pub fn handle_reply(&mut self, reply: Reply) {
        self.session.handle_reply(reply);
    }

    /// The failed login of [`Action::CountFailure`] is counted.
    pub fn handle_failure(&mut self, address: AddressFailures) {
        self.session.handle_failure(address);
    }

    /// Takes the next stored bytes of the message; those after the cut of TOP are
    /// ignored.
    pub fn handle_body(&mut self, chunk: &[u8]) -> Wanted {
        self.session.handle_body(chunk);
        if self.session.body_done() {
            self.session.handle_body_end();
            return Wanted::Nothing;
        }
        if self.session.is_over() {
            return Wanted::Nothing;
        }
        Wanted::More
    }

    /// The message is complete.
    pub fn handle_body_end(&mut self) {
        self.session.handle_body_end();
    }

    /// The message cannot be read further; see [`Session::handle_body_failed`].
    pub fn handle_body_failed(&mut self) {
        self.session.handle_body_failed();
    }

    /// Looks whether [`deadline`](Self::deadline) has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match (self.stage, self.timer) {
            (Stage::Delayed(until), _) if until <= now => {
                self.stage = Stage::Talking;
                self.session.handle_delay_end();
            }
            // RFC 1939 §3: the autologout does not enter the UPDATE state.
            (_, Some((at, end))) if at <= now => self.end(end),
            _ => {}
        }
    }

    /// Ends the session, if it goes on, without farewell; else what is left of the
    /// connection.
    fn end(&mut self, end: End) {
        self.stage = match self.stage {
            _ if self.is_talking() => Stage::Ended(end),
            Stage::Ended(first) => Stage::Ended(first),
            _ => Stage::Over,
        };
    }
}
