//! The state machine of one connection (RFC 1939 §3).
//!
//! A driver's turn, repeated while anything happens:
//!
//! 1. [`Session::poll_delay`]: wait that long before anything else, then
//!    [`Session::handle_delay_end`]; if [`Session::turn_is_over`]: let others go first,
//!    [`Session::begin_turn`];
//! 2. if [`Session::failed_login`]: count it, [`Session::handle_failure`];
//!    [`Session::poll_request`]: have it answered, [`Session::handle_reply`];
//! 3. while [`Session::wants_body`]: [`Session::handle_body`] with the next stored
//!    bytes; at their end, or when [`Session::body_done`], `handle_body_end`;
//! 4. write [`Session::output`], [`Session::consume_output`];
//! 5. if [`Session::is_over`] and all output is written: close;
//! 6. if [`Session::wants_input`]: read, [`Session::handle_input`].

mod authenticate;
mod execute;
mod halt;
mod settle;
mod tally;
mod view;

use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::command::Command;
use super::hook::{command_event, Detail, EventKind, WatchedEvents};
use super::limits::{Limits, SASL_LINE};
use super::line::{Line, LineReader};
use super::listing::Listing;
use super::maildrop::Maildrop;
use super::output::Output;
use super::sasl::scram::ScramChallenge;
use super::sasl::{Exchange, Mechanism, Mechanisms};
use super::security::{Peer, Plaintext, TlsFacts, TlsMode};
use super::{reply, AddressFailures, Reply, Request, Secret, TOO_MANY_CONNECTIONS};

use super::limits::COMMANDS_PER_TURN;

use halt::{Halt, Point};

pub use tally::{CommandCounts, Tally};
pub use view::{EndReason, Snapshot, StateName};

/// What the sessions of a server have in common.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this host, as greeting and farewell show it.
    pub host: Box<str>,
    /// Name of the server software, `tcllib/pop3d-VERSION`.
    pub server: Box<str>,
    /// The bounds.
    pub limits: Limits,
    /// How TLS is offered.
    pub tls: TlsMode,
    /// Whether passwords are taken without TLS.
    pub plaintext: Plaintext,
    /// Whether APOP is taken, and the greeting holds its challenge.
    pub apop: bool,
    /// Further lines of the answer to CAPA; see [`is_capability`](crate::is_capability).
    pub capabilities: Vec<Box<str>>,
    /// Which events are asked about.
    pub hook: Arc<WatchedEvents>,
}

impl Config {
    /// A server without TLS.
    pub fn new(host: &str, server: &str, limits: Limits) -> Self {
        Self {
            host: host.into(),
            server: server.into(),
            limits,
            tls: TlsMode::default(),
            plaintext: Plaintext::default(),
            apop: true,
            capabilities: Vec::new(),
            hook: Arc::default(),
        }
    }
}

/// What a shell knows of a new connection.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The time stamp of the greeting, `<DIGITS_SERVER_PID@HOST>`. It is the challenge of
    /// APOP and must not be predictable (RFC 1939 §7).
    pub stamp: Box<str>,
    /// Where the client is.
    pub peer: Peer,
    /// The mechanisms of AUTH that whoever checks logins can check now. Those that work on
    /// this connection are offered.
    pub mechanisms: Mechanisms,
}

impl Origin {
    /// A client elsewhere, without AUTH.
    pub fn remote(stamp: &str) -> Self {
        Self {
            stamp: stamp.into(),
            peer: Peer::Remote,
            mechanisms: Mechanisms::default(),
        }
    }
}

/// One connection's POP3, without I/O.
///
/// Each command line gets exactly one reply, in the order of the lines; one
/// request at most is open at a time, and no command is taken meanwhile.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    id: Box<str>,
    peer: Peer,
    mechanisms: Mechanisms,
    /// None on a connection without TLS.
    tls: Option<Arc<TlsFacts>>,
    lines: LineReader,
    output: Output,
    phase: Phase,
    /// Asked, and not yet polled by the driver.
    request: Option<Request>,
    /// A wait, after a failed login or by the hook, not yet polled by the driver.
    delay: Option<Duration>,
    /// Where it stands still for the hook. Boxed, as most sessions never do.
    halt: Option<Box<Halt>>,
    /// Octets a second of the message that is being sent, until all of it is.
    throttle: Option<NonZeroU64>,
    /// Commands that may be executed before others have their turn.
    turn: u32,
    /// Bad commands since the last good one.
    errors: u32,
    failed_logins: u32,
    /// Elsewhere: most of it is looked at by nobody but a script.
    tally: Box<Tally>,
    end: Option<EndReason>,
}

/// The states of RFC 1939 §3, with what each knows.
#[derive(Debug)]
enum Phase {
    /// AUTHORIZATION.
    Authorization {
        /// The last user name a client gave; kept after a failed login for
        /// `conn state`, as Tcllib does.
        name: Box<[u8]>,
        step: Step,
    },
    /// TRANSACTION.
    Transaction(Box<Opened>),
    /// UPDATE: until the driver has deleted and unlocked, and after.
    Update(Box<Opened>),
}

/// How far a login is.
#[derive(Debug)]
enum Step {
    /// A login must begin.
    Nothing,
    /// USER has come, PASS must.
    Named,
    /// AUTH has come; the client's next response must.
    Exchange(Mechanism, Exchange),
    /// SCRAM waits for the user's keys.
    Keys(Mechanism, Box<ScramChallenge>),
    /// The driver checks.
    Checking(Mechanism),
    /// The login has failed. The driver counts that before the client is told by this line.
    Failed(Mechanism, reply::Line<'static>),
    /// The TLS handshake must come, before anything else is read or written.
    TlsHandshake,
}

impl Step {
    /// Whether no line of the client is taken.
    fn is_busy(&self) -> bool {
        match self {
            Self::Nothing | Self::Named | Self::Exchange(..) => false,
            Self::Keys(..) | Self::Checking(_) | Self::Failed(..) | Self::TlsHandshake => true,
        }
    }

    /// Whether somebody's login is being checked.
    fn is_checking(&self) -> bool {
        matches!(self, Self::Keys(..) | Self::Checking(_))
    }
}

/// A maildrop that this session has locked.
#[derive(Debug)]
struct Opened {
    name: Box<[u8]>,
    /// How the client has proved who it is.
    mechanism: Mechanism,
    storage: Box<str>,
    maildrop: Maildrop,
    work: Work,
}

/// A line of the client.
enum Input {
    /// With the row of its verb, if that is known; and with what the hook is to be told of
    /// it, if it is.
    Command(Command, Option<usize>, Option<Detail>),
    LongCommand,
    /// Of a SASL exchange.
    Response(Secret),
    LongResponse,
}

/// What a session in TRANSACTION or UPDATE is at.
#[derive(Debug)]
enum Work {
    /// It waits for a command.
    Idle,
    /// It waits for the answer to a request.
    Asked(Request),
    /// It writes a listing as output drains.
    Listing(Listing),
    /// It sends a message.
    Body {
        body: Body,
        /// The connection ends after so many octets more.
        cut: Option<u64>,
    },
}

impl Session {
    /// A new connection; the greeting is in the output at once, or after the TLS handshake
    /// where that comes first.
    pub fn new(config: Arc<Config>, origin: Origin) -> Self {
        let implicit = config.tls == TlsMode::Implicit;
        let mut session = Self {
            config,
            id: origin.stamp,
            peer: origin.peer,
            mechanisms: origin.mechanisms,
            tls: None,
            lines: LineReader::default(),
            output: Output::default(),
            phase: Phase::Authorization {
                name: Box::default(),
                step: match implicit {
                    true => Step::TlsHandshake,
                    false => Step::Nothing,
                },
            },
            request: None,
            delay: None,
            halt: None,
            throttle: None,
            turn: COMMANDS_PER_TURN,
            errors: 0,
            failed_logins: 0,
            tally: Box::default(),
            end: None,
        };
        if !implicit {
            session.begin();
        }
        session
    }

    /// Greets the client, if the hook lets it.
    fn begin(&mut self) {
        match self.is_watched(EventKind::Connect) {
            true => self.consult(Detail::Connect, Point::Connect),
            false => self.greet(),
        }
    }

    fn greet(&mut self) {
        let greeting = reply::Line::Ready {
            host: &self.config.host,
            server: &self.config.server,
            id: self.config.apop.then_some(&*self.id),
        };
        greeting.write(self.output.writer());
    }

    /// Takes the next bytes from the client, at most
    /// [`input_room`](Self::input_room) of them.
    ///
    /// After QUIT, after the end, and between STLS and its handshake they are discarded: what
    /// was pipelined behind must not be executed.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if self.takes_commands() && !self.wants_tls() {
            self.lines.push(bytes);
            self.advance();
        }
    }

    /// Takes the answer to the request that was polled last. An answer nobody
    /// waits for is ignored, one of a wrong kind is a failure.
    pub fn handle_reply(&mut self, reply: Reply) {
        if self.end.is_none() && self.request.is_none() {
            match self.halt.take() {
                Some(halt) => self.settle_halt(*halt, reply),
                None => self.settle(reply),
            }
            self.advance();
        }
    }

    /// The mechanism of a login that has failed, if there is one that the driver must count:
    /// [`handle_failure`](Self::handle_failure) goes on.
    pub fn failed_login(&self) -> Option<Mechanism> {
        match self.phase {
            Phase::Authorization {
                step: Step::Failed(mechanism, _),
                ..
            } if self.end.is_none() => Some(mechanism),
            _ => None,
        }
    }

    /// The failed login is counted. Tells the client, after a wait.
    pub fn handle_failure(&mut self, address: AddressFailures) {
        if self.failed_login().is_some() {
            self.tell_failure(address);
            self.advance();
        }
    }

    /// Takes the next stored bytes of the message being fetched.
    pub fn handle_body(&mut self, chunk: &[u8]) {
        if self.end.is_some() {
            return;
        }
        let Phase::Transaction(opened) = &mut self.phase else {
            return;
        };
        if let Work::Body { body, cut } = &mut opened.work {
            let out = self.output.writer();
            let before = out.len();
            body.push(chunk, out);
            let is_cut = cut_off(out, before, cut);
            self.tally.octets += (out.len() - before) as u64;
            if is_cut {
                self.finish(EndReason::ByHook);
            }
        }
    }

    /// The message being fetched is complete: ends the answer.
    pub fn handle_body_end(&mut self) {
        let Some(work @ Work::Body { .. }) = self.work_mut() else {
            return;
        };
        if let Work::Body { mut body, mut cut } = mem::replace(work, Work::Idle) {
            let out = self.output.writer();
            let before = out.len();
            body.end_line(out);
            let is_cut = cut_off(out, before, &mut cut);
            self.tally.octets += (out.len() - before) as u64;
            if is_cut {
                return self.finish(EndReason::ByHook);
            }
            self.tally.tops += u64::from(body.is_top());
            body.finish(out);
            self.tally.messages += 1;
        }
        self.advance();
    }

    /// The message being fetched cannot be read further. `+OK` is sent already
    /// and POP3 has no way to take it back: the session ends without the final
    /// ".", so that the client sees an incomplete message.
    pub fn handle_body_failed(&mut self) {
        if let Some(Work::Body { .. }) = self.work() {
            self.finish(EndReason::BodyFailed);
        }
    }

    /// What the session asks, if it asks. It must be answered, once.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// A wait, if there is one, before output is written and requests are
    /// polled. Given once.
    pub fn poll_delay(&mut self) -> Option<Duration> {
        let delay = self.delay.take();
        // Else the output's consumption goes on with what is pipelined.
        if delay.is_some() && self.output.waiting() == 0 {
            self.advance();
        }
        delay
    }

    /// What is to be written to the client.
    pub fn output(&self) -> &[u8] {
        self.output.unsent()
    }

    /// Notes that the first `n` bytes of the output are written.
    pub fn consume_output(&mut self, n: usize) {
        // A buffer in steady use keeps its memory, an idle one does not.
        let keep = matches!(self.work(), Some(Work::Body { .. } | Work::Listing(_)));
        self.output.consume(n, keep);
        if self.output.waiting() == 0 && !self.sends_body() {
            self.throttle = None;
        }
        self.advance();
    }

    /// Whether the client has sent ahead what is still to be read.
    pub fn has_input(&self) -> bool {
        self.lines.waiting() > 0
    }

    /// Whether input is wanted. Not while a command is at work or output waits
    /// above its mark: a client that does not read is not read from.
    pub fn wants_input(&self) -> bool {
        self.input_room() > 0
    }

    /// How many bytes of input are wanted at most; 0 if none.
    pub fn input_room(&self) -> usize {
        if !self.takes_commands() || self.is_busy() || self.turn_is_over() {
            return 0;
        }
        let limits = &self.config.limits;
        // A whole line with its CRLF fits always, else it could never end.
        let bound = limits.pipelined.max(self.longest_line().saturating_add(2));
        bound.saturating_sub(self.lines.waiting())
    }

    /// Whether stored bytes are wanted: a message is fetched, TOP has not had
    /// its lines, and output is below its mark.
    pub fn wants_body(&self) -> bool {
        matches!(self.work(), Some(Work::Body { body, .. }) if !body.is_done())
            && self.output.waiting() < self.output_mark()
    }

    /// Whether TOP has all it sends, so that `handle_body_end` may follow at once.
    pub fn body_done(&self) -> bool {
        matches!(self.work(), Some(Work::Body { body, .. }) if body.is_done())
    }

    /// Whether a message is being sent.
    pub fn sends_body(&self) -> bool {
        matches!(self.work(), Some(Work::Body { .. }))
    }

    /// Whether the message that was fetched last is needed still: it is being sent, or waits
    /// for the hook.
    pub fn keeps_body(&self) -> bool {
        self.sends_body() || self.is_halted_at_body()
    }

    /// Octets of output that may be written within a second, if that is bounded.
    pub fn throttle(&self) -> Option<NonZeroU64> {
        self.throttle
    }

    /// Whether the session has ended: close when its output is written.
    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Whether a maildrop was opened.
    pub fn is_authenticated(&self) -> bool {
        !matches!(self.phase, Phase::Authorization { .. })
    }

    /// Its TLS, if it has any.
    pub fn tls(&self) -> Option<&Arc<TlsFacts>> {
        self.tls.as_ref()
    }

    /// How the client has proved who it is; none before login.
    pub fn mechanism(&self) -> Option<Mechanism> {
        match &self.phase {
            Phase::Authorization { .. } => None,
            Phase::Transaction(opened) | Phase::Update(opened) => Some(opened.mechanism),
        }
    }

    /// The bounds that it obeys.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Whether nobody has logged in, and no login is being checked.
    pub fn is_stranger(&self) -> bool {
        match self.phase {
            Phase::Authorization { ref step, .. } => self.end.is_none() && !step.is_checking(),
            Phase::Transaction(_) | Phase::Update(_) => false,
        }
    }

    /// Ends a session that nobody has logged in to, with a line that says why; false if
    /// somebody has, or a login is being checked. A client that begins TLS gets no line,
    /// since it would take that for a part of the handshake.
    pub fn make_room(&mut self) -> bool {
        let stranger = self.is_stranger();
        if stranger {
            if !self.wants_tls() {
                let line = TOO_MANY_CONNECTIONS;
                self.output.writer().extend_from_slice(line);
            }
            self.finish(EndReason::MadeRoom);
        }
        stranger
    }

    /// Ends a session that goes on, with `-ERR` and `text` for its client, or without a word
    /// if that is empty. False if the client cannot be told: it is in the middle of a reply of
    /// several lines, or begins TLS. Then nothing is changed, and the connection must be cut.
    pub fn close(&mut self, text: &str) -> bool {
        let is_inside = matches!(self.work(), Some(Work::Body { .. } | Work::Listing(_)));
        if is_inside || self.wants_tls() {
            return false;
        }
        if !text.is_empty() {
            reply::Line::Closed { text }.write(self.output.writer());
        }
        self.finish(EndReason::Closed);
        true
    }

    /// Why the session ended, if it did by itself.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.end
    }

    /// What it has done so far.
    pub fn tally(&self) -> Tally {
        *self.tally
    }

    /// Whether the commands of this turn are used up and others must have theirs:
    /// [`begin_turn`](Self::begin_turn) goes on.
    pub fn turn_is_over(&self) -> bool {
        self.turn == 0
    }

    /// Begins a turn: goes on with the commands that wait.
    pub fn begin_turn(&mut self) {
        self.turn = COMMANDS_PER_TURN;
        self.advance();
    }

    /// Goes as far as possible without the driver: continues a listing, executes
    /// the commands that wait, up to the end of the turn.
    fn advance(&mut self) {
        loop {
            self.continue_listing();
            if !self.takes_commands() || self.is_busy() || self.turn_is_over() {
                return;
            }
            let Some(input) = self.next_input() else {
                return;
            };
            self.tally.count(&input);
            self.turn -= 1;
            match input {
                Input::Command(command, _, None) => self.execute(command),
                Input::Command(command, _, Some(event)) => {
                    self.consult(event, Point::Command(command));
                }
                Input::LongCommand => self.respond(reply::Line::TooLong),
                Input::Response(line) => self.handle_response(line.expose()),
                Input::LongResponse => self.handle_long_response(),
            }
        }
    }

    /// The next whole line of the client, if it has arrived.
    fn next_input(&mut self) -> Option<Input> {
        let (in_exchange, longest) = (self.is_in_exchange(), self.longest_line());
        let is_watched = self.is_watched(EventKind::Command);
        let line = self.lines.next_line(longest)?;
        Some(match (line, in_exchange) {
            (Line::Text(line), true) => Input::Response(Secret::new(line)),
            (Line::TooLong, true) => Input::LongResponse,
            (Line::TooLong, false) => Input::LongCommand,
            (Line::Text(line), false) => match Command::parse_row(line) {
                (command, row)
                    if line.len() <= self.config.limits.line || command.may_be_long() =>
                {
                    let event = is_watched.then(|| command_event(line, &command));
                    Input::Command(command, row, event)
                }
                _ => Input::LongCommand,
            },
        })
    }

    /// Bytes of the longest line that is kept now.
    fn longest_line(&self) -> usize {
        let line = self.config.limits.line;
        match self.is_authenticated() || self.mechanisms.is_empty() {
            true => line,
            false => line.max(SASL_LINE),
        }
    }

    fn is_in_exchange(&self) -> bool {
        matches!(
            self.phase,
            Phase::Authorization {
                step: Step::Exchange(..),
                ..
            }
        )
    }

    /// Whether commands are still executed: until QUIT or the end.
    fn takes_commands(&self) -> bool {
        self.end.is_none() && !matches!(self.phase, Phase::Update(_))
    }

    /// Whether the next command must wait.
    fn is_busy(&self) -> bool {
        let at_work = match &self.phase {
            Phase::Authorization { step, .. } => step.is_busy(),
            Phase::Transaction(opened) | Phase::Update(opened) => {
                !matches!(opened.work, Work::Idle)
            }
        };
        let waits = self.delay.is_some() || self.halt.is_some() || self.throttle.is_some();
        at_work || waits || self.output.waiting() >= self.output_mark()
    }

    /// Where output is too much; never 0, at which nothing could go on.
    fn output_mark(&self) -> usize {
        self.config.limits.output_mark.max(1)
    }

    /// Writes on at a listing, if one is under way, until output is at its mark.
    fn continue_listing(&mut self) {
        let mark = self.output.length_at(self.output_mark());
        let Phase::Transaction(opened) = &mut self.phase else {
            return;
        };
        if let Work::Listing(listing) = &mut opened.work {
            if listing.write(&opened.maildrop, self.output.writer(), mark) {
                opened.work = Work::Idle;
            }
        }
    }

    /// What the session is at, to change it.
    fn work_mut(&mut self) -> Option<&mut Work> {
        match &mut self.phase {
            Phase::Transaction(opened) | Phase::Update(opened) if self.end.is_none() => {
                Some(&mut opened.work)
            }
            _ => None,
        }
    }

    /// What the session is at, if it is logged in and not over.
    fn work(&self) -> Option<&Work> {
        match &self.phase {
            Phase::Transaction(opened) | Phase::Update(opened) if self.end.is_none() => {
                Some(&opened.work)
            }
            _ => None,
        }
    }

    /// Ends the session; input that waits is discarded.
    fn finish(&mut self, reason: EndReason) {
        self.end = Some(reason);
        self.lines.clear();
        self.halt = None;
        if reason != EndReason::ByHook {
            // A farewell does not wait.
            self.throttle = None;
        }
    }

    /// Answers a command with a line, and counts bad commands in a row.
    fn respond(&mut self, line: reply::Line) {
        if !line.is_bad_command() {
            self.errors = 0;
            line.write(self.output.writer());
            return;
        }
        self.errors += 1;
        if Limits::reached(self.errors, self.config.limits.errors) {
            reply::Line::TooManyErrors.write(self.output.writer());
            self.finish(EndReason::TooManyErrors);
        } else {
            line.write(self.output.writer());
        }
    }
}

/// Takes off what the last bytes of the output, from `before` on, have more of a message than
/// may be sent of it; whether that much is there.
fn cut_off(out: &mut Vec<u8>, before: usize, cut: &mut Option<u64>) -> bool {
    let Some(left) = cut else {
        return false;
    };
    let written = (out.len() - before) as u64;
    if written < *left {
        *left -= written;
        return false;
    }
    // No more than was written, which fits.
    out.truncate(before + *left as usize);
    true
}
