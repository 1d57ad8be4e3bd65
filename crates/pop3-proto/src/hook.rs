//! The hook: what happens in a session, told before it happens to somebody who may decide
//! otherwise.
//!
//! A session asks by [`Request::Hook`](crate::Request::Hook) and stands still until
//! [`Reply::Hook`](crate::Reply::Hook). Which events are asked about says
//! [`Config::hook`](crate::session::Config::hook). Where nothing is, nothing is asked, and
//! nothing is allocated for it.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::command::{self, Command, Login};
use super::connection::End;
use super::sasl::Mechanism;
use super::session::Tally;
use super::{reply, Extent, Failure, MsgNo};

/// The kinds of events, in the order in which a session has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Before the greeting.
    Connect,
    /// Before a command is executed.
    Command,
    /// Before a client whose credentials are right is let in.
    Login,
    /// Before a message is sent.
    Retrieve,
    /// Before a message is marked as deleted.
    Delete,
    /// Before QUIT deletes.
    Update,
    /// After the session. Nothing is decided.
    End,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Command,
        Self::Login,
        Self::Retrieve,
        Self::Delete,
        Self::Update,
        Self::End,
    ];

    /// In lower case, as scripts call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Command => "command",
            Self::Login => "login",
            Self::Retrieve => "retrieve",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::End => "end",
        }
    }

    /// The kind of this [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Whether it has this kind.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// What it has, in the order of [`EventKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<EventKind> for Events {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | kind.bit()))
    }
}

/// The events that sessions ask about. A server's sessions share it: what is changed here
/// holds for each from its next event on, so that no session that is older evades a policy.
#[derive(Debug, Default)]
pub struct WatchedEvents(AtomicU8);

impl WatchedEvents {
    /// From now on these.
    pub fn set(&self, events: Events) {
        self.0.store(events.0, Ordering::Relaxed);
    }

    /// Whether events of this kind are asked about.
    pub fn contains(&self, kind: EventKind) -> bool {
        Events(self.0.load(Ordering::Relaxed)).contains(kind)
    }
}

/// Something that is about to happen in a session; of [`EventKind::End`], that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether the connection has TLS.
    pub tls: bool,
    /// What it is.
    pub detail: Detail,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The client has connected.
    Connect,
    /// The client has sent a command. A line of a SASL exchange is none, nor is a line over
    /// the bound, of which nothing is kept.
    Command {
        /// The verb in upper case. An unknown one is cut to 40 characters, with `?` for what
        /// cannot be printed.
        verb: Box<str>,
        /// The words after it, as the client has sent them, without secrets: of USER and
        /// APOP the name, of AUTH the mechanism, of PASS none.
        arguments: Vec<Box<[u8]>>,
    },
    /// The credentials are right, and the mailbox is locked and counted.
    Login {
        /// How the client has proved who it is.
        mechanism: Mechanism,
        /// The storage reference.
        storage: Box<str>,
        /// Number of messages.
        count: u32,
        /// Octets of all messages together.
        octets: u64,
    },
    /// RETR or TOP; the message has been opened.
    Retrieve {
        /// Which message.
        number: MsgNo,
        /// How much of it.
        extent: Extent,
        /// Octets of the whole message, as RETR announces them.
        octets: u64,
    },
    /// DELE.
    Delete {
        /// Which message.
        number: MsgNo,
    },
    /// QUIT of a client that is logged in.
    Update {
        /// The marked messages, in the order of their marking.
        delete: Vec<MsgNo>,
    },
    /// The session has ended.
    End {
        /// Why.
        end: End,
        /// What it has done.
        tally: Tally,
    },
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self.detail {
            Detail::Connect => EventKind::Connect,
            Detail::Command { .. } => EventKind::Command,
            Detail::Login { .. } => EventKind::Login,
            Detail::Retrieve { .. } => EventKind::Retrieve,
            Detail::Delete { .. } => EventKind::Delete,
            Detail::Update { .. } => EventKind::Update,
            Detail::End { .. } => EventKind::End,
        }
    }

    /// Whether it is decided even if the client goes meanwhile: QUIT is carried out then
    /// (RFC 1939 §6).
    pub fn is_carried_out(&self) -> bool {
        match &self.detail {
            Detail::Command { verb, .. } => &**verb == "QUIT",
            detail => matches!(detail, Detail::Update { .. }),
        }
    }
}

/// In the words of the protocol, for a log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hook {}", self.kind().name())?;
        match &self.detail {
            Detail::Command { verb, .. } => write!(f, " {verb}"),
            _ => Ok(()),
        }
    }
}

/// What the event of a command tells of its line.
pub(crate) fn command_event(line: &[u8], command: &Command) -> Detail {
    let most = match command {
        Command::Login(Login::Pass(_)) => 0,
        Command::Login(Login::User(_) | Login::Apop { .. } | Login::Auth { .. }) => 1,
        _ => usize::MAX,
    };
    let mut words = command::words(line);
    let verb = words.next().unwrap_or_default();
    Detail::Command {
        verb: command::printable_verb(verb),
        arguments: words.take(most).map(Box::from).collect(),
    }
}

/// What is to come of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Proceed(Terms),
    /// It does not happen, and the client is told. At [`EventKind::Connect`] and
    /// [`EventKind::Update`] the connection ends then.
    Reject(Rejection),
    /// The connection ends without a word.
    Close,
    /// The command is not executed: the client gets these bytes. Only for
    /// [`EventKind::Command`]; elsewhere it happens.
    Reply(Box<[u8]>),
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Proceed(Terms::default())
    }
}

/// How something happens. All but the delay are for [`EventKind::Retrieve`] alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// After so long; at most [`LONGEST_HOOK_DELAY`](crate::limits::LONGEST_HOOK_DELAY).
    pub delay: Duration,
    /// The connection ends after so many octets of the message, as they are sent; the end of
    /// the answer is none of them. A message that has fewer is sent to its end.
    pub cut: Option<u64>,
    /// So many octets are announced in the first line of the answer.
    pub announce: Option<u64>,
    /// At most so many octets are sent within a second.
    pub throttle: Option<NonZeroU64>,
}

/// An answer that something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(Box<str>);

/// Why a text or a code cannot be a [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRejection {
    /// There is a control character in the text.
    Text,
    /// The code has not the form of RFC 2449 §8.
    Code,
    /// The line has more than 512 octets (RFC 1939 §3).
    TooLong,
}

impl Rejection {
    /// `-ERR [code] text`; without a code, `-ERR text`.
    ///
    /// # Errors
    /// When that is no line that POP3 allows.
    pub fn new(text: &str, code: Option<&str>) -> Result<Self, BadRejection> {
        if text.chars().any(char::is_control) {
            return Err(BadRejection::Text);
        }
        let line = match code {
            None => format!("-ERR {text}\r\n"),
            Some(code) if is_response_code(code) => format!("-ERR [{code}] {text}\r\n"),
            Some(_) => return Err(BadRejection::Code),
        };
        match line.len() {
            0..=512 => Ok(Self(line.into())),
            _ => Err(BadRejection::TooLong),
        }
    }

    /// For a hook that could not be asked.
    pub(crate) fn unavailable(failure: Failure) -> Self {
        let mut line = Vec::new();
        reply::Line::LoginImpossible(super::LoginStep::Server, failure).write(&mut line);
        Self(String::from_utf8_lossy(&line).into())
    }

    /// The line, with its CRLF.
    pub fn line(&self) -> &str {
        &self.0
    }
}

/// RFC 2449 §8: one level or more, separated by `/`, each of printable characters of
/// US-ASCII without `/` and `]`.
fn is_response_code(code: &str) -> bool {
    let is_level = |level: &str| {
        let fits = |b: u8| b.is_ascii_graphic() && b != b']';
        !level.is_empty() && level.bytes().all(fits)
    };
    code.split('/').all(is_level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let some = [EventKind::End, EventKind::Connect, EventKind::Delete];
        let events: Events = some.into_iter().collect();
        let names: Vec<_> = events.iter().map(EventKind::name).collect();
        assert_eq!(names, ["connect", "delete", "end"]);
        let watched = WatchedEvents::default();
        assert!(EventKind::ALL.iter().all(|kind| !watched.contains(*kind)));
        watched.set(events);
        for kind in EventKind::ALL {
            assert_eq!(watched.contains(kind), some.contains(&kind), "{kind:?}");
            assert_eq!(EventKind::named(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::named("Connect"), None);
    }

    #[test]
    fn rejections_are_lines_of_pop3() {
        let long = "x".repeat(505);
        let rows = [
            ("no", None, Ok("-ERR no\r\n")),
            ("", None, Ok("-ERR \r\n")),
            (
                "zu voll: \u{fc}",
                Some("SYS/TEMP"),
                Ok("-ERR [SYS/TEMP] zu voll: \u{fc}\r\n"),
            ),
            (
                "later",
                Some("LOGIN-DELAY"),
                Ok("-ERR [LOGIN-DELAY] later\r\n"),
            ),
            (&long, None, Ok(&*format!("-ERR {long}\r\n"))),
            (&format!("{long}x"), None, Err(BadRejection::TooLong)),
            ("a\r\nb", None, Err(BadRejection::Text)),
            ("a\0", None, Err(BadRejection::Text)),
            ("a", Some(""), Err(BadRejection::Code)),
            ("a", Some("SYS/"), Err(BadRejection::Code)),
            ("a", Some("[AUTH]"), Err(BadRejection::Code)),
            ("a", Some("IN USE"), Err(BadRejection::Code)),
            ("a", Some("\u{fc}"), Err(BadRejection::Code)),
        ];
        for (text, code, want) in rows {
            let got = Rejection::new(text, code);
            assert_eq!(
                got.as_ref().map(Rejection::line),
                want.as_ref().map(|w| *w),
                "{text} {code:?}"
            );
        }
    }

    #[test]
    fn a_command_event_holds_no_secret() {
        type Row<'a> = (&'a [u8], &'a str, &'a [&'a [u8]]);
        let rows: [Row<'_>; 12] = [
            (b"PASS tanstaaf", "PASS", &[]),
            (b"pass  tan staaf", "PASS", &[]),
            (b"APOP mrose tanstaaf", "APOP", &[b"mrose"]),
            (b"AUTH PLAIN tanstaaf", "AUTH", &[b"PLAIN"]),
            (b"  user mrose tanstaaf", "USER", &[b"mrose"]),
            (b"USER j\xc3\xb6\0", "USER", &[b"j\xc3\xb6\0"]),
            (b"USER", "USER", &[]),
            (b"TOP 1\t 20 ", "TOP", &[b"1", b"20"]),
            (b"retr x", "RETR", &[b"x"]),
            (b"xtnd  a b", "XTND", &[b"a", b"b"]),
            (b"", "", &[]),
            (b"\x16\x03 \x01", "??", &[b"\x01"]),
        ];
        for (line, verb, arguments) in rows {
            let got = command_event(line, &Command::parse(line));
            let want = Detail::Command {
                verb: verb.into(),
                arguments: arguments.iter().map(|word| Box::from(*word)).collect(),
            };
            assert_eq!(got, want, "{}", String::from_utf8_lossy(line));
            assert!(!format!("{got:?}").contains("tanstaaf"));
        }
    }
}
