//! A connection, its client and its shell in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3_proto::connection::{Action, Connection, End, Stall, Wanted};
use pop3_proto::hook::EventKind;
use pop3_proto::limits::Limits;
use pop3_proto::security::TlsFacts;
use pop3_proto::session::{Config, Origin};
use pop3_proto::{AddressFailures, MsgNo, Request};

use super::{Mailbox, ID};

/// A shell whose socket and clock are variables.
pub struct Bench {
    pub connection: Connection,
    pub mailbox: Mailbox,
    pub begun: Instant,
    pub now: Instant,
    /// What the client has sent and the connection has not read.
    pub sent: VecDeque<u8>,
    /// The client has closed its side.
    pub closed: bool,
    /// How many bytes the client takes still.
    pub takes: usize,
    pub stall: Stall,
    pub message: Option<(MsgNo, usize)>,
    /// What a handshake settles; none: the client does not speak TLS.
    pub tls: Option<TlsFacts>,
    pub handshakes: u32,
    pub received: Vec<u8>,
    pub requests: Vec<Request>,
    /// An event of the hook that is not answered at once.
    pub withheld: Option<EventKind>,
    pub yields: u32,
    /// Commands, and octets written, between two yields or waits: the most.
    pub longest_turn: (u64, usize),
    pub turn: (u64, usize),
    /// When and why it left, and what was received then.
    pub left: Option<(Duration, End, usize)>,
    pub shut: Option<Duration>,
    pub over: Option<Duration>,
}

impl Bench {
    pub fn new(messages: &[&str], limits: Limits) -> Self {
        Self::with_config(messages, super::config(limits))
    }

    pub fn with_config(messages: &[&str], config: Config) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            connection: Connection::new(Arc::new(config), Origin::remote(ID), now),
            mailbox: Mailbox::new(messages),
            begun: now,
            now,
            sent: VecDeque::new(),
            closed: false,
            takes: usize::MAX,
            stall: Stall::Deadline,
            message: None,
            tls: None,
            handshakes: 0,
            received: Vec::new(),
            requests: Vec::new(),
            withheld: None,
            yields: 0,
            longest_turn: (0, 0),
            turn: (0, 0),
            left: None,
            shut: None,
            over: None,
        };
        bench.run();
        bench
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.begun
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.sent.extend(bytes.as_ref());
        self.run();
        self
    }

    pub fn close(&mut self) -> &mut Self {
        self.closed = true;
        self.run();
        self
    }

    /// Lets time pass, and the deadlines in it.
    pub fn pass(&mut self, time: Duration) -> &mut Self {
        let until = self.now + time;
        while let Some(at) = self.connection.deadline().filter(|at| *at <= until) {
            self.now = at;
            self.connection.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
        self
    }

    /// Does what the connection wants until that would block.
    pub fn run(&mut self) {
        loop {
            match self.connection.next(self.now) {
                Action::Read(room) => {
                    if !self.read(room) {
                        return self.end_turn();
                    }
                }
                Action::Write => {
                    if !self.write() {
                        return self.end_turn();
                    }
                }
                Action::Ask(request) => {
                    if self.ask(request) {
                        return self.end_turn();
                    }
                }
                Action::CountFailure(_) => {
                    self.connection.handle_failure(AddressFailures::default());
                }
                Action::Feed => self.feed(),
                Action::Pause => return self.end_turn(),
                Action::StartTls => {
                    assert!(self.connection.output().is_empty());
                    self.handshakes += 1;
                    match (self.tls.clone(), self.closed) {
                        (Some(facts), _) => self.connection.handle_tls(facts),
                        (None, true) => self.connection.handle_end_of_input(),
                        (None, false) => return self.end_turn(),
                    }
                }
                Action::Yield => {
                    self.yields += 1;
                    self.end_turn();
                }
                Action::Leave(end) => {
                    assert_eq!(self.left, None, "left twice");
                    self.left = Some((self.elapsed(), end, self.received.len()));
                }
                Action::ShutWrite => self.shut = Some(self.elapsed()),
                Action::Close => {
                    self.over = Some(self.elapsed());
                    return;
                }
            }
        }
    }

    fn end_turn(&mut self) {
        let commands = self.connection.session().tally().commands;
        let done = (commands - self.turn.0, self.turn.1);
        self.longest_turn.0 = self.longest_turn.0.max(done.0);
        self.longest_turn.1 = self.longest_turn.1.max(done.1);
        self.turn = (commands, 0);
    }

    pub fn read(&mut self, room: usize) -> bool {
        assert!(room > 0);
        let some: Vec<u8> = self.sent.drain(..room.min(self.sent.len())).collect();
        match (some.is_empty(), self.closed) {
            (false, _) => self.connection.handle_read(&some),
            (true, true) => self.connection.handle_end_of_input(),
            (true, false) => {
                self.connection.handle_read_blocked();
                return false;
            }
        }
        true
    }

    pub fn write(&mut self) -> bool {
        let output = self.connection.output();
        let some = output[..output.len().min(self.takes)].to_vec();
        if some.is_empty() {
            self.connection.handle_write_blocked(self.now, self.stall);
            return false;
        }
        if self.takes != usize::MAX {
            self.takes -= some.len();
        }
        self.turn.1 += some.len();
        self.received.extend_from_slice(&some);
        self.connection.handle_written(some.len());
        true
    }

    /// Answers; whether the answer is withheld.
    fn ask(&mut self, request: Request) -> bool {
        assert_eq!(self.left, None, "{request:?} after the end");
        if let Request::Fetch { number, .. } = request {
            self.message = Some((number, 0));
        }
        let is_withheld =
            matches!(&request, Request::Hook(event) if Some(event.kind()) == self.withheld);
        if !is_withheld {
            self.connection.handle_reply(self.mailbox.answer(&request));
        }
        self.requests.push(request);
        is_withheld
    }

    /// Gives the answer that was withheld.
    pub fn answer(&mut self) -> &mut Self {
        self.withheld = None;
        let request = self.requests.last().expect("something was asked");
        self.connection.handle_reply(self.mailbox.answer(request));
        self.run();
        self
    }

    fn feed(&mut self) {
        let (number, at) = self.message.expect("a message is being sent");
        let rest = &self.mailbox.messages[number.index()][at..];
        if rest.is_empty() {
            return self.connection.handle_body_end();
        }
        let chunk = &rest[..rest.len().min(16 * 1024)];
        if self.connection.handle_body(chunk) == Wanted::More {
            self.message = Some((number, at + chunk.len()));
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// When and why it left.
    #[track_caller]
    pub fn end(&self) -> (u64, End) {
        let (at, end, _) = self.left.expect("it has left");
        (at.as_millis() as u64, end)
    }
}
