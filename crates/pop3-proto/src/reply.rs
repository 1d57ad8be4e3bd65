//! Every text that goes over the wire.
//!
//! Texts and spelling are those of Tcllib's pop3d, which scripts and tests look
//! for; response codes (RFC 2449 §8, RFC 3206) stand in front of them.
//!
//! Clients read the words, too. Before a session is logged in fetchmail takes every -ERR
//! for a wrong password and gives the account up, except with "lock", "wait", `[IN-USE]`
//! or `[LOGIN-DELAY]` (another session is active) or with "service" and "unavailable" (it
//! tries again later). So a failure before the end of a login says "service unavailable",
//! and "authentication failed" stands for refused credentials alone.

#[cfg(test)]
mod client_words;

use data_encoding::BASE64;

use super::sasl::Mechanisms;
use super::{command, Extent, Failure, LoginStep, MsgNo};

/// For a connection that a server refuses to take, instead of the greeting.
pub const TOO_MANY_CONNECTIONS: &[u8] =
    b"-ERR [SYS/TEMP] service unavailable: too many connections, please try again later\r\n";

/// For a client whose address has failed to log in too often, instead of the greeting or of
/// the answer to a login.
pub const TOO_MANY_FAILURES: &[u8] =
    b"-ERR [SYS/TEMP] service unavailable: too many failed logins, please try again later\r\n";

/// The first line of the answer to a command, or the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The greeting.
    Ready {
        host: &'a str,
        server: &'a str,
        /// None: no APOP.
        id: Option<&'a str>,
    },
    /// QUIT: done.
    ShuttingDown { host: &'a str, server: &'a str },
    /// QUIT: the storage could not delete.
    NotRemoved(Failure),
    /// CAPA.
    Capabilities,
    /// USER.
    SendPassword,
    /// PASS, APOP: logged in.
    Welcome,
    /// PASS, APOP: not logged in.
    LoginFailed,
    /// PASS, APOP: a step of the login failed.
    LoginImpossible(LoginStep, Failure),
    /// PASS, APOP: another session has the mailbox of this user.
    InUse { name: &'a [u8] },
    /// PASS without USER.
    NobodyNamed,
    /// APOP after USER.
    UserChosen,
    /// AUTH without a mechanism: their list follows.
    Mechanisms,
    /// AUTH with a mechanism that is not offered here.
    NoSuchMechanism,
    /// A response that is no base64.
    NotBase64,
    /// The client has cancelled its exchange.
    Cancelled,
    /// A response over the bound.
    ResponseTooLong,
    /// A password on a connection without TLS, to a server that takes none there; the
    /// client may send STLS, or not.
    TlsNeeded { stls: bool },
    /// STLS: the handshake follows.
    BeginTls,
    /// STLS on a connection that has TLS.
    TlsActive,
    /// A command of the other state.
    AlreadyAuthenticated,
    /// A command of the other state.
    NotAuthenticated,
    /// STAT.
    Totals { count: u32, octets: u64 },
    /// LIST, all messages.
    Messages { count: u32 },
    /// LIST, one message.
    Size { number: MsgNo, octets: u64 },
    /// UIDL, all messages.
    UniqueIds,
    /// UIDL, one message.
    UniqueId { number: MsgNo, uid: &'a str },
    /// RETR and TOP: the message follows.
    Message { extent: Extent, octets: u64 },
    /// DELE.
    Deleted(MsgNo),
    /// NOOP.
    Nothing,
    /// RSET.
    Waiting { count: u32 },
    /// No live message has that number.
    NoSuchMessage,
    /// TOP without a number of lines.
    LinesMissing,
    /// TOP with something else than a number of lines.
    LinesNegative,
    /// STAT: the sizes of the marked messages could not be had.
    TotalsFailed(Failure),
    /// LIST n.
    SizeFailed(Failure),
    /// LIST.
    SizesFailed(Failure),
    /// UIDL n.
    UidFailed(Failure),
    /// UIDL.
    UidsFailed(Failure),
    /// RETR, TOP.
    MessageFailed(Failure),
    /// No such command.
    Unknown { verb: &'a str },
    /// A command line over the bound.
    TooLong,
    /// Too many bad commands in a row: instead of the reply to the last.
    TooManyErrors,
    /// The server's owner closes the connection, and says why.
    Closed { text: &'a str },
}

impl Line<'_> {
    /// Appends the line with its CRLF.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Ready { host, server, id } => {
                texts(out, &["+OK ", host, " ", server, " ready"]);
                if let Some(id) = id {
                    texts(out, &[" ", id]);
                }
            }
            Self::ShuttingDown { host, server } => {
                texts(out, &["+OK ", host, " ", server, " shutting down"]);
            }
            Self::InUse { name } => {
                text(out, "-ERR [IN-USE] could not aquire lock for maildrop ");
                printable(out, name);
            }
            Self::Totals { count, octets } => {
                numbers(out, "+OK ", u64::from(count), octets);
            }
            Self::Size { number, octets } => {
                numbers(out, "+OK ", u64::from(number.get()), octets);
            }
            Self::UniqueId { number, uid } => {
                text(out, "+OK ");
                uid_item(out, number, uid);
                return;
            }
            Self::Messages { count } => counted(out, "+OK ", u64::from(count), " messages"),
            Self::Waiting { count } => {
                counted(out, "+OK ", u64::from(count), " messages waiting");
            }
            Self::Deleted(number) => {
                counted(out, "+OK message ", u64::from(number.get()), " deleted");
            }
            Self::Message { extent, octets } => match extent {
                Extent::Whole => counted(out, "+OK ", octets, " octets"),
                Extent::Top(_) => text(out, "+OK "),
            },
            Self::Unknown { verb } => texts(out, &["-ERR unknown command '", verb, "'"]),
            Self::Closed { text } => texts(out, &["-ERR ", text]),
            Self::NotRemoved(failure)
            | Self::LoginImpossible(_, failure)
            | Self::TotalsFailed(failure)
            | Self::SizeFailed(failure)
            | Self::SizesFailed(failure)
            | Self::UidFailed(failure)
            | Self::UidsFailed(failure)
            | Self::MessageFailed(failure) => {
                texts(out, &["-ERR ", code(failure), " ", self.fixed()]);
            }
            _ => text(out, self.fixed()),
        }
        text(out, "\r\n");
    }

    /// The text of a line without arguments; of a failure, what follows its code.
    fn fixed(&self) -> &'static str {
        match self {
            Self::Capabilities => "+OK Capability list follows",
            Self::SendPassword => "+OK please send PASS command",
            Self::Welcome => "+OK congratulations",
            // RFC 3206 §4: the credentials are wrong, not the server.
            Self::LoginFailed => "-ERR [AUTH] authentication failed, sorry",
            Self::NobodyNamed => "-ERR authentication failed, sorry",
            Self::Mechanisms => "+OK SASL mechanisms follow",
            Self::NoSuchMechanism => "-ERR this SASL mechanism is not offered",
            Self::NotBase64 => "-ERR the SASL response is not base64",
            Self::Cancelled => "-ERR SASL exchange cancelled",
            Self::ResponseTooLong => "-ERR SASL response too long",
            Self::TlsNeeded { stls: true } => "-ERR a password needs TLS here: send STLS first",
            Self::TlsNeeded { stls: false } => "-ERR no password is taken without TLS",
            Self::BeginTls => "+OK begin TLS negotiation",
            Self::TlsActive => "-ERR TLS is active already",
            Self::LoginImpossible(step, _) => unavailable(*step),
            Self::UserChosen => "-ERR login mechanism USER/PASS was chosen",
            Self::AlreadyAuthenticated => "-ERR client already authenticated",
            Self::NotAuthenticated => "-ERR client not authenticated",
            Self::UniqueIds => "+OK unique-id listing follows",
            Self::Nothing => "+OK ",
            Self::NoSuchMessage => "-ERR no such message",
            Self::LinesMissing => "-ERR missing argument: #lines to read",
            Self::LinesNegative => "-ERR number of lines has to be greater than or equal to zero.",
            Self::TotalsFailed(_) => "the maildrop could not be counted",
            Self::SizeFailed(_) => "the size of the message could not be determined",
            Self::SizesFailed(_) => "the messages could not be listed",
            Self::UidFailed(_) => "the unique-id of the message could not be determined",
            Self::UidsFailed(_) => "the unique-ids could not be listed",
            Self::MessageFailed(_) => "the message could not be read",
            Self::NotRemoved(_) => "some deleted messages not removed",
            Self::TooLong => "-ERR command line too long",
            Self::TooManyErrors => "-ERR too many errors, closing the connection",
            _ => "",
        }
    }

    /// Whether the client has sent what no client should. A wrong message number
    /// is none of it: clients go through numbers that may be deleted.
    pub fn is_bad_command(&self) -> bool {
        matches!(
            self,
            Self::UserChosen
                | Self::AlreadyAuthenticated
                | Self::NotAuthenticated
                | Self::LinesMissing
                | Self::LinesNegative
                | Self::LoginFailed
                | Self::NobodyNamed
                | Self::NoSuchMechanism
                | Self::NotBase64
                | Self::Cancelled
                | Self::ResponseTooLong
                | Self::TlsNeeded { .. }
                | Self::TlsActive
                | Self::Unknown { .. }
                | Self::TooLong
        )
    }
}

/// What CAPA says of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities<'a> {
    /// USER is taken now or, after login, was.
    pub user: bool,
    /// The mechanisms that AUTH takes now.
    pub mechanisms: Mechanisms,
    /// STLS is taken now.
    pub stls: bool,
    /// The server's name, which Tcllib tells only after login (RFC 2449 §6.9 allows both).
    pub implementation: Option<&'a str>,
    /// Lines of the server's own.
    pub more: &'a [Box<str>],
}

impl Capabilities<'_> {
    /// Appends the capabilities (RFC 2449 §6) and the end of their list.
    pub fn write(self, out: &mut Vec<u8>) {
        for capability in command::capabilities() {
            if self.user || capability != "USER" {
                texts(out, &[capability, "\r\n"]);
            }
        }
        if !self.mechanisms.is_empty() {
            text(out, "SASL");
            for mechanism in self.mechanisms.iter() {
                texts(out, &[" ", mechanism.name()]);
            }
            text(out, "\r\n");
        }
        text(out, "PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n");
        if self.stls {
            text(out, "STLS\r\n");
        }
        if let Some(server) = self.implementation {
            texts(out, &["IMPLEMENTATION ", server, "\r\n"]);
        }
        for line in self.more {
            texts(out, &[line, "\r\n"]);
        }
        end_of_list(out);
    }
}

/// Whether a line may stand in the answer to CAPA: at most 510 printable characters of
/// US-ASCII, a keyword of letters, digits, `.`, `-`, `_` or `/` first, words separated by one
/// blank each (RFC 2449 §3, §5).
pub fn is_capability(line: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    let is_tag = |word: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_/".contains(&b);
        word.bytes().all(fits) && !word.starts_with('.')
    };
    line.len() <= 510 && line.split(' ').all(is_word) && line.split(' ').next().is_some_and(is_tag)
}

/// Whether a text may stand after `-ERR`: at most 505 printable characters of US-ASCII, so that
/// the line has no more than 512 octets (RFC 1939 §3).
pub fn is_reply_text(text: &str) -> bool {
    let is_printable = |b: u8| b == b' ' || b.is_ascii_graphic();
    text.len() <= 505 && text.bytes().all(is_printable)
}

/// The answer to AUTH without a mechanism, after its first line (RFC 5034 §4).
pub fn mechanisms(out: &mut Vec<u8>, mechanisms: Mechanisms) {
    for mechanism in mechanisms.iter() {
        texts(out, &[mechanism.name(), "\r\n"]);
    }
    end_of_list(out);
}

/// A challenge (RFC 5034 §4); an empty one is `+ ` too.
pub fn challenge(out: &mut Vec<u8>, challenge: &[u8]) {
    text(out, "+ ");
    text(out, &BASE64.encode(challenge));
    text(out, "\r\n");
}

/// One line of the answer to LIST.
pub fn size_item(out: &mut Vec<u8>, number: MsgNo, octets: u64) {
    numbers(out, "", u64::from(number.get()), octets);
    text(out, "\r\n");
}

/// One line of the answer to UIDL.
pub fn uid_item(out: &mut Vec<u8>, number: MsgNo, uid: &str) {
    decimal(out, u64::from(number.get()));
    texts(out, &[" ", uid, "\r\n"]);
}

/// Ends an answer of many lines (RFC 1939 §3).
pub fn end_of_list(out: &mut Vec<u8>) {
    text(out, ".\r\n");
}

/// What follows the response code when a step of a login failed. "lock" stands only where
/// a lock failed: fetchmail then says "lock busy".
fn unavailable(step: LoginStep) -> &'static str {
    match step {
        LoginStep::Users => "service unavailable: the user could not be looked up",
        LoginStep::Lock => "service unavailable: the maildrop could not be locked",
        LoginStep::Mailbox => "service unavailable: the maildrop could not be opened",
        LoginStep::Server => "service unavailable, please try again later",
    }
}

/// The response code of a failure (RFC 3206 §4).
fn code(failure: Failure) -> &'static str {
    match failure {
        Failure::Temporary => "[SYS/TEMP]",
        Failure::Permanent => "[SYS/PERM]",
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn texts(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        text(out, part);
    }
}

fn counted(out: &mut Vec<u8>, before: &str, number: u64, after: &str) {
    text(out, before);
    decimal(out, number);
    text(out, after);
}

fn numbers(out: &mut Vec<u8>, before: &str, first: u64, second: u64) {
    counted(out, before, first, " ");
    decimal(out, second);
}

/// A name as the client sent it, if that is printable UTF-8; else with `?` for
/// what could upset a terminal or a log. A long one is cut: RFC 1939 §3 allows replies
/// of 512 octets.
fn printable(out: &mut Vec<u8>, name: &[u8]) {
    const MOST: usize = 400;
    let most = out.len() + MOST;
    for c in String::from_utf8_lossy(name).chars() {
        let c = match c {
            char::REPLACEMENT_CHARACTER => '?',
            c if c.is_control() => '?',
            c => c,
        };
        if out.len() + c.len_utf8() > most {
            return;
        }
        text(out, c.encode_utf8(&mut [0; 4]));
    }
}

/// Decimal digits without the formatting machinery: a listing of 100,000
/// messages has 200,000 numbers.
fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::Mechanism;

    fn no(n: u32) -> MsgNo {
        MsgNo::new(n).unwrap()
    }

    #[test]
    fn lines_with_arguments() {
        let (host, server) = ("h.example", "tcllib/pop3d-1.10.0");
        let table: [(Line, &str); 15] = [
            (
                Line::Ready {
                    host,
                    server,
                    id: Some("<1_s_2@h>"),
                },
                "+OK h.example tcllib/pop3d-1.10.0 ready <1_s_2@h>\r\n",
            ),
            (
                Line::ShuttingDown { host, server },
                "+OK h.example tcllib/pop3d-1.10.0 shutting down\r\n",
            ),
            (
                Line::InUse {
                    name: "jö".as_bytes(),
                },
                "-ERR [IN-USE] could not aquire lock for maildrop jö\r\n",
            ),
            (
                Line::InUse {
                    name: b"a\xffb\x1bc\r",
                },
                "-ERR [IN-USE] could not aquire lock for maildrop a?b?c?\r\n",
            ),
            (
                Line::Totals {
                    count: 0,
                    octets: 0,
                },
                "+OK 0 0\r\n",
            ),
            (
                Line::Size {
                    number: no(7),
                    octets: u64::MAX,
                },
                "+OK 7 18446744073709551615\r\n",
            ),
            (
                Line::UniqueId {
                    number: no(10),
                    uid: "a.b!",
                },
                "+OK 10 a.b!\r\n",
            ),
            (Line::Messages { count: 1 }, "+OK 1 messages\r\n"),
            (Line::Waiting { count: 20 }, "+OK 20 messages waiting\r\n"),
            (Line::Deleted(no(300)), "+OK message 300 deleted\r\n"),
            (
                Line::Message {
                    extent: Extent::Whole,
                    octets: 1099,
                },
                "+OK 1099 octets\r\n",
            ),
            (
                Line::Message {
                    extent: Extent::Top(3),
                    octets: 1099,
                },
                "+OK \r\n",
            ),
            (
                Line::Unknown { verb: "XTND" },
                "-ERR unknown command 'XTND'\r\n",
            ),
            (
                Line::NotRemoved(Failure::Temporary),
                "-ERR [SYS/TEMP] some deleted messages not removed\r\n",
            ),
            (
                Line::LoginImpossible(LoginStep::Mailbox, Failure::Permanent),
                "-ERR [SYS/PERM] service unavailable: the maildrop could not be opened\r\n",
            ),
        ];
        for (line, want) in table {
            let mut out = Vec::new();
            line.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut out = Vec::new();
        let name = "\u{20ac}".repeat(500);
        let name = name.as_bytes();
        Line::InUse { name }.write(&mut out);
        assert!(out.len() <= 512 && out.ends_with(b"\r\n"), "{}", out.len());
        assert!(String::from_utf8(out).unwrap().matches('\u{20ac}').count() == 133);
    }

    #[test]
    fn capabilities_end_with_a_dot() {
        let more = ["EXPIRE NEVER".into()];
        let rows = [
            (
                Capabilities {
                    user: true,
                    implementation: Some("S"),
                    ..Capabilities::default()
                },
                "TOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n\
                 IMPLEMENTATION S\r\n.\r\n",
            ),
            (
                Capabilities {
                    mechanisms: [Mechanism::Plain, Mechanism::ScramSha256]
                        .into_iter()
                        .collect(),
                    stls: true,
                    more: &more,
                    ..Capabilities::default()
                },
                "TOP\r\nUIDL\r\nSASL SCRAM-SHA-256 PLAIN\r\nPIPELINING\r\nRESP-CODES\r\n\
                 AUTH-RESP-CODE\r\nSTLS\r\nEXPIRE NEVER\r\n.\r\n",
            ),
        ];
        for (capabilities, want) in rows {
            let mut out = Vec::new();
            capabilities.write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn the_form_of_capabilities() {
        let long = format!("X {}", "y".repeat(508));
        for line in ["EXPIRE NEVER", "LOGIN-DELAY 60", "X-a.b/c_d", "UTF8", &long] {
            assert!(is_capability(line), "{line}");
        }
        let long = format!("{long}y");
        for line in [
            "", " X", "X ", "X  Y", "X\r\nY", ".", ".X", "X\ty", "J\u{f6}", "{", &long,
        ] {
            assert!(!is_capability(line), "{line}");
        }
    }

    #[test]
    fn decimals() {
        for number in [0, 1, 9, 10, 99, 100, 12_345_678_901, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
