//! Plays dialogs with a session over a mailbox in memory: what the tests of the
//! protocol share. No sockets, no clock.

// Each test file uses its own part of this.
#![allow(dead_code)]

pub mod bench;
pub mod states;

use std::sync::Arc;
use std::time::Duration;

use pop3_proto::body::{Cut, OctetCounter};
use pop3_proto::hook::{Event, EventKind, Verdict};
use pop3_proto::limits::Limits;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::sasl::Mechanisms;
use pop3_proto::session::{Config, Origin, Session};
use pop3_proto::{
    AddressFailures, Attempt, Extent, Failure, LoginStep, MsgNo, Refusal, Reply, Request, Secret,
};

/// The greeting's time stamp: that of the APOP example of RFC 1939 §7.
pub const ID: &str = "<1896.697170952@dbc.mtview.ca.us>";

/// The greeting of every session here.
pub const GREETING: &str =
    "+OK dbc.mtview.ca.us tcllib/pop3d-1.10.0 ready <1896.697170952@dbc.mtview.ca.us>\r\n";

/// The reply to a QUIT without failures.
pub const GOODBYE: &str = "+OK dbc.mtview.ca.us tcllib/pop3d-1.10.0 shutting down\r\n";

/// What fails in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// The lock is refused.
    InUse,
    /// The login fails for another reason than the password.
    Login(LoginStep, Failure),
    /// Sizes, unique ids and messages cannot be had.
    Reading(Failure),
    /// Messages break off after so many bytes.
    Breaking(usize),
    /// Deletion fails.
    Deleting(Failure),
}

/// One user and one mailbox.
#[derive(Clone, Debug, Default)]
pub struct Mailbox {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
    pub storage: String,
    pub messages: Vec<Vec<u8>>,
    pub fault: Fault,
    /// What the hook says; nothing of other events.
    pub verdicts: Vec<(EventKind, Verdict)>,
}

impl Mailbox {
    /// User `mrose`, password `tanstaaf` as in RFC 1939, and these messages.
    pub fn new(messages: &[&str]) -> Self {
        Self {
            user: b"mrose".to_vec(),
            password: b"tanstaaf".to_vec(),
            storage: "box".into(),
            messages: messages.iter().map(|m| m.as_bytes().to_vec()).collect(),
            fault: Fault::None,
            verdicts: Vec::new(),
        }
    }

    fn verdict(&self, event: &Event) -> Verdict {
        let mut verdicts = self.verdicts.iter();
        let found = verdicts.find(|(kind, _)| *kind == event.kind());
        found.map_or_else(Verdict::default, |(_, verdict)| verdict.clone())
    }

    pub fn octets(&self, number: MsgNo) -> u64 {
        let mut counter = OctetCounter::new();
        counter.push(&self.messages[number.index()]);
        counter.octets()
    }

    fn uid(&self, number: MsgNo) -> Box<str> {
        format!("uid-{number}").into()
    }

    fn numbers(&self) -> impl Iterator<Item = MsgNo> {
        (1..=self.messages.len() as u32).filter_map(MsgNo::new)
    }

    /// What SCRAM needs; keys that fit no password for an unknown user.
    fn keys(&self, user: &[u8]) -> ScramKeys {
        let mut salted = [0; 32];
        let password: &[u8] = match *user == *self.user {
            true => &self.password,
            false => b"\0",
        };
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, b"salt", 16, &mut salted);
        ScramKeys::of(&salted, b"salt", 16)
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Reply {
        match (self.fault, request) {
            (_, Request::Hook(event)) => Reply::Hook(self.verdict(event)),
            (fault, Request::Login(Attempt { user, proof, .. })) => {
                let known = **user == *self.user;
                if !known || !proof.matches(&Secret::new(&*self.password)) {
                    return Reply::Refused(Refusal::Credentials);
                }
                match fault {
                    Fault::InUse => Reply::Refused(Refusal::InUse),
                    Fault::Login(step, failure) => Reply::Refused(Refusal::Failed(step, failure)),
                    _ => Reply::Opened {
                        storage: self.storage.as_str().into(),
                        count: self.messages.len() as u32,
                        octets: self.numbers().map(|n| self.octets(n)).sum(),
                    },
                }
            }
            (_, Request::Keys { user, .. }) => Reply::Keys {
                keys: self.keys(user),
                nonce: [7; 18],
            },
            (Fault::Deleting(failure), Request::Update { .. }) => Reply::Failed(failure),
            (_, Request::Update { .. }) => Reply::Updated,
            (Fault::Reading(failure), _) => Reply::Failed(failure),
            (_, Request::Size(number)) => Reply::Sizes([self.octets(*number)].into()),
            (_, Request::SizesOf(numbers)) => {
                Reply::Sizes(numbers.iter().map(|&n| self.octets(n)).collect())
            }
            (_, Request::Sizes) => Reply::Sizes(self.numbers().map(|n| self.octets(n)).collect()),
            (_, Request::Uid(number)) => Reply::Uids([self.uid(*number)].into()),
            (_, Request::Uids) => Reply::Uids(self.numbers().map(|n| self.uid(n)).collect()),
            (_, Request::Fetch { number, .. }) => Reply::Fetching {
                octets: self.octets(*number),
            },
        }
    }
}

/// The server of the examples of RFC 1939, with these bounds.
pub fn config(limits: Limits) -> Config {
    Config::new("dbc.mtview.ca.us", "tcllib/pop3d-1.10.0", limits)
}

/// A session, its mailbox, and a driver that does what drivers do.
pub struct Play {
    pub session: Session,
    pub mailbox: Mailbox,
    /// Everything asked, in order.
    pub requests: Vec<Request>,
    /// Every wait, in order.
    pub delays: Vec<Duration>,
    /// Everything written to the client.
    pub written: Vec<u8>,
    /// Bytes that a message is read in and the client takes at a time.
    pub piece: usize,
    /// What the driver knows of the client's address whenever a login fails.
    pub address: AddressFailures,
    /// The message being sent.
    reading: Option<(MsgNo, usize)>,
}

impl Play {
    pub fn new(mailbox: Mailbox, limits: Limits) -> Self {
        Self::with_config(mailbox, config(limits), Mechanisms::default())
    }

    /// A session of a client elsewhere, with these mechanisms of AUTH.
    pub fn with_config(mailbox: Mailbox, config: Config, mechanisms: Mechanisms) -> Self {
        let origin = Origin {
            mechanisms,
            ..Origin::remote(ID)
        };
        Self {
            session: Session::new(Arc::new(config), origin),
            mailbox,
            requests: Vec::new(),
            delays: Vec::new(),
            written: Vec::new(),
            piece: usize::MAX,
            address: AddressFailures::default(),
            reading: None,
        }
    }

    /// Sends bytes to the session as it wants them. What it does not want, a
    /// session that is over would never read.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.drive();
        while !bytes.is_empty() && self.session.wants_input() {
            let (now, later) = bytes.split_at(bytes.len().min(self.session.input_room()));
            self.session.handle_input(now);
            bytes = later;
            self.drive();
        }
        assert!(bytes.is_empty() || self.session.is_over(), "input is stuck");
    }

    /// Does what is to be done until the session waits for the client.
    pub fn drive(&mut self) {
        loop {
            if let Some(delay) = self.session.poll_delay() {
                assert!(!self.session.wants_input() || !self.session.output().is_empty());
                self.delays.push(delay);
                self.session.handle_delay_end();
            } else if self.session.failed_login().is_some() {
                self.session.handle_failure(self.address);
            } else if self.session.turn_is_over() {
                self.session.begin_turn();
            } else if let Some(request) = self.session.poll_request() {
                self.ask(request);
            } else if self.session.wants_body() {
                self.read_on();
            } else if self.session.output().is_empty() && self.session.wants_tls() {
                // Whoever plays makes the handshake.
                return;
            } else if self.session.body_done() {
                self.reading = None;
                self.session.handle_body_end();
            } else if !self.session.output().is_empty() {
                self.write();
            } else {
                return;
            }
        }
    }

    fn ask(&mut self, request: Request) {
        assert!(!self.session.is_over(), "{request:?} after the end");
        assert!(!self.session.wants_input(), "input beside {request:?}");
        if let Request::Fetch { number, .. } = request {
            self.reading = Some((number, 0));
        }
        let reply = self.mailbox.answer(&request);
        self.requests.push(request);
        self.session.handle_reply(reply);
    }

    fn read_on(&mut self) {
        let (number, at) = self.reading.expect("a message is being sent");
        if matches!(self.mailbox.fault, Fault::Breaking(after) if at >= after) {
            return self.session.handle_body_failed();
        }
        let rest = &self.mailbox.messages[number.index()][at..];
        if rest.is_empty() {
            self.reading = None;
            return self.session.handle_body_end();
        }
        let size = rest.len().min(self.piece);
        self.session.handle_body(&rest[..size]);
        self.reading = Some((number, at + size));
    }

    fn write(&mut self) {
        let size = self.session.output().len().min(self.piece);
        let output = &self.session.output()[..size];
        self.written.extend_from_slice(output);
        self.session.consume_output(size);
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> String {
        let written = std::mem::take(&mut self.written);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Sends lines, each with its CRLF, and drops the greeting and the replies.
    pub fn set_up(&mut self, lines: &[&str]) {
        self.drive();
        for line in lines {
            self.feed(format!("{line}\r\n").as_bytes());
        }
        self.take();
    }

    /// The replies to one line.
    pub fn reply(&mut self, line: &str) -> String {
        self.feed(format!("{line}\r\n").as_bytes());
        self.take()
    }
}

/// Takes the wire form of a message apart again, independent of the engine: the
/// text before the final ".", and what follows it.
pub fn unstuff(wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut rest = wire;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        match line {
            b"." => return Some((text, rest)),
            [b'.', stuffed @ ..] => text.extend_from_slice(stuffed),
            _ => text.extend_from_slice(line),
        }
        text.extend_from_slice(b"\r\n");
    }
}

/// The stored bytes that so much of a message is made of.
pub fn extract(message: &[u8], extent: Extent) -> &[u8] {
    match extent {
        Extent::Whole => message,
        Extent::Top(lines) => &message[..Cut::new(lines).wanted(message)],
    }
}
