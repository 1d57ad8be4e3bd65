//! Line → command, with narrow argument types.

use super::maildrop::NoSuchMessage;
use super::{MsgNo, Secret};

/// A command of a client, with every argument checked as far as it can be
/// without a maildrop, by the states that it belongs to (RFC 1939 §3).
///
/// A bad argument is kept as such, not as a parse error: whether it matters
/// depends on the state (before login even `RETR x` is "not authenticated").
/// Words beyond those a command takes are ignored, as Tcllib does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPA` (RFC 2449 §5).
    Capa,
    /// `QUIT`.
    Quit,
    /// A command of AUTHORIZATION.
    Login(Login),
    /// A command of TRANSACTION.
    Mail(Mail),
    /// Anything else.
    Unknown(Verb),
}

/// The commands of AUTHORIZATION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// `USER name`; the name may be missing, then it is empty.
    User(Box<[u8]>),
    /// `PASS password`: all that follows the first blank (RFC 1939 §7: "a server
    /// may treat spaces in the argument as part of the password").
    Pass(Secret),
    /// `APOP name digest`.
    Apop {
        /// The user.
        name: Box<[u8]>,
        /// What should be 32 hexadecimal digits.
        digest: Secret,
    },
    /// `AUTH [mechanism [initial-response]]` (RFC 5034 §4).
    Auth {
        /// The mechanism's name; empty where the client asks for the list of them.
        mechanism: Box<[u8]>,
        /// The initial response in base64, if one came along.
        response: Option<Secret>,
    },
    /// `STLS` (RFC 2595 §4).
    Stls,
}

/// The commands of TRANSACTION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// `STAT`.
    Stat,
    /// `LIST [number]`.
    List(Option<Number>),
    /// `UIDL [number]`.
    Uidl(Option<Number>),
    /// `RETR number`.
    Retr(Number),
    /// `TOP number lines`.
    Top(TopArguments),
    /// `DELE number`.
    Dele(Number),
    /// `NOOP`.
    Noop,
    /// `RSET`.
    Rset,
}

/// What there is to know of a command before it is executed.
struct Entry {
    verb: &'static str,
    /// The capability that announces it (RFC 2449 §6), if it is optional.
    capability: Option<&'static str>,
    /// Reads its arguments.
    read: fn(Words<'_>) -> Command,
}

/// Every command. A new one has its row here, its variant above, and its arm in
/// `session/execute.rs`, which the compiler asks for.
const COMMANDS: [Entry; 15] = [
    optional("TOP", "TOP", |mut words| {
        Command::Mail(Mail::Top(TopArguments {
            number: words.number(),
            lines: words.lines(),
        }))
    }),
    optional("UIDL", "UIDL", |mut words| {
        Command::Mail(Mail::Uidl(words.number()))
    }),
    optional("USER", "USER", |mut words| {
        Command::Login(Login::User(words.next().into()))
    }),
    required("PASS", |words| {
        Command::Login(Login::Pass(Secret::new(words.rest())))
    }),
    required("APOP", |mut words| {
        Command::Login(Login::Apop {
            name: words.next().into(),
            digest: Secret::new(words.next()),
        })
    }),
    required("AUTH", |mut words| {
        Command::Login(Login::Auth {
            mechanism: words.next().into(),
            response: words.secret(),
        })
    }),
    required("STLS", |_| Command::Login(Login::Stls)),
    required("STAT", |_| Command::Mail(Mail::Stat)),
    required("LIST", |mut words| {
        Command::Mail(Mail::List(words.number()))
    }),
    required("RETR", |mut words| {
        Command::Mail(Mail::Retr(words.needed_number()))
    }),
    required("DELE", |mut words| {
        Command::Mail(Mail::Dele(words.needed_number()))
    }),
    required("NOOP", |_| Command::Mail(Mail::Noop)),
    required("RSET", |_| Command::Mail(Mail::Rset)),
    required("CAPA", |_| Command::Capa),
    required("QUIT", |_| Command::Quit),
];

const fn required(verb: &'static str, read: fn(Words<'_>) -> Command) -> Entry {
    Entry {
        verb,
        capability: None,
        read,
    }
}

const fn optional(
    verb: &'static str,
    capability: &'static str,
    read: fn(Words<'_>) -> Command,
) -> Entry {
    Entry {
        verb,
        capability: Some(capability),
        read,
    }
}

/// Number of commands.
pub(crate) const COUNT: usize = COMMANDS.len();

/// The verbs of all commands, in the order of [`Command::parse_row`]'s rows.
pub(crate) fn verbs() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|entry| entry.verb)
}

/// The capabilities that commands bring, in the order in which CAPA names them.
pub(crate) fn capabilities() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter_map(|entry| entry.capability)
}

/// A message number, or a word that is none and therefore names no message.
pub type Number = Result<MsgNo, NoSuchMessage>;

/// The arguments of TOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopArguments {
    /// Which message; none if the command came without any argument.
    pub number: Option<Number>,
    /// How many lines of the body.
    pub lines: Result<u32, BadLines>,
}

/// What can be wrong with the number of lines in TOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLines {
    /// It is not there.
    Missing,
    /// It is not a decimal number from 0 on.
    NotANumber,
}

/// An unknown verb in a form that is safe to send back: printable US-ASCII in
/// upper case, of bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verb(Box<str>);

impl Verb {
    /// Longest verb that is sent back; RFC 2449 §4 bounds keywords to 4, this
    /// leaves room to recognise what was typed.
    const LONGEST: usize = 40;

    fn new(word: &[u8]) -> Self {
        Self(printable_verb(word))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A verb as it may be shown: see [`Verb`].
pub(crate) fn printable_verb(word: &[u8]) -> Box<str> {
    let shown = word.iter().take(Verb::LONGEST).map(|&byte| match byte {
        0x21..=0x7e => char::from(byte.to_ascii_uppercase()),
        _ => '?',
    });
    shown.collect()
}

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| is_blank(byte))
        .filter(|word| !word.is_empty())
}

impl Command {
    /// Whether it may be longer than other commands.
    pub(crate) fn may_be_long(&self) -> bool {
        matches!(self, Self::Login(Login::Auth { .. }))
    }

    /// Reads one line, given without its line end. Never fails: what is no
    /// command is [`Command::Unknown`].
    pub fn parse(line: &[u8]) -> Self {
        Self::parse_row(line).0
    }

    /// As [`parse`](Self::parse); with the row of the command's verb, if it has one.
    pub(crate) fn parse_row(line: &[u8]) -> (Self, Option<usize>) {
        let (verb, rest) = split_word(line);
        let known = |entry: &Entry| verb.eq_ignore_ascii_case(entry.verb.as_bytes());
        let row = COMMANDS.iter().position(known);
        let command = match row {
            Some(row) => (COMMANDS[row].read)(Words(rest)),
            None => Self::Unknown(Verb::new(verb)),
        };
        (command, row)
    }
}

/// The words of the rest of a line.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The next word; empty if there is none.
    fn next(&mut self) -> &'a [u8] {
        let (word, rest) = split_word(self.0);
        self.0 = rest;
        word
    }

    /// The next word, if there is one, as a secret.
    fn secret(&mut self) -> Option<Secret> {
        let word = self.next();
        (!word.is_empty()).then(|| Secret::new(word))
    }

    /// All that follows the blank after the verb.
    fn rest(&self) -> &'a [u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The next word as a message number that must be there.
    fn needed_number(&mut self) -> Number {
        self.number().unwrap_or(Err(NoSuchMessage))
    }

    /// The next word as a message number; none if there is no word.
    fn number(&mut self) -> Option<Number> {
        let word = self.next();
        if word.is_empty() {
            return None;
        }
        Some(decimal(word).and_then(MsgNo::new).ok_or(NoSuchMessage))
    }

    /// The next word as a number of lines.
    fn lines(&mut self) -> Result<u32, BadLines> {
        let word = self.next();
        if word.is_empty() {
            return Err(BadLines::Missing);
        }
        decimal(word).ok_or(BadLines::NotANumber)
    }
}

/// Skips blanks and splits after the first word; the rest keeps its first blank.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let begin = text.iter().position(|&b| !is_blank(b));
    let text = &text[begin.unwrap_or(text.len())..];
    let end = text.iter().position(|&b| is_blank(b));
    text.split_at(end.unwrap_or(text.len()))
}

/// RFC 1939 §3 says a single space; people and scripts also use more, and tabs.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Decimal digits only: no sign, no point, no radix. Too large a number becomes
/// the largest, of which there is neither a message nor a line.
fn decimal(word: &[u8]) -> Option<u32> {
    word.iter().try_fold(0_u32, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(n: u32) -> Number {
        MsgNo::new(n).ok_or(NoSuchMessage)
    }

    fn user(name: &[u8]) -> Command {
        Command::Login(Login::User(name.into()))
    }

    fn pass(password: &[u8]) -> Command {
        Command::Login(Login::Pass(Secret::new(password)))
    }

    fn apop(name: &[u8], digest: &[u8]) -> Command {
        Command::Login(Login::Apop {
            name: name.into(),
            digest: Secret::new(digest),
        })
    }

    fn top(number: Option<Number>, lines: Result<u32, BadLines>) -> Command {
        Command::Mail(Mail::Top(TopArguments { number, lines }))
    }

    fn unknown(verb: &str) -> Command {
        Command::Unknown(Verb(verb.into()))
    }

    #[track_caller]
    fn check(table: &[(&[u8], Command)]) {
        for (line, want) in table {
            let shown = String::from_utf8_lossy(line);
            assert_eq!(&Command::parse(line), want, "{shown:?}");
        }
    }

    #[test]
    fn verbs_are_case_blind_and_blanks_separate() {
        check(&[
            (b"CAPA", Command::Capa),
            (b"capa", Command::Capa),
            (b"sTaT", Command::Mail(Mail::Stat)),
            (b"  STAT  ", Command::Mail(Mail::Stat)),
            (b"\tNOOP\t", Command::Mail(Mail::Noop)),
            (b"RSET now please", Command::Mail(Mail::Rset)),
            (b"quit", Command::Quit),
            (b"LIST", Command::Mail(Mail::List(None))),
            (b"LIST ", Command::Mail(Mail::List(None))),
            (b"LIST 1 2", Command::Mail(Mail::List(Some(no(1))))),
            (b"LIST\t \t3", Command::Mail(Mail::List(Some(no(3))))),
            (b"UIDL", Command::Mail(Mail::Uidl(None))),
            (b"uidl 7", Command::Mail(Mail::Uidl(Some(no(7))))),
        ]);
    }

    #[test]
    fn numbers_are_decimal_digits_only() {
        let bad = Err(NoSuchMessage);
        check(&[
            (b"RETR 1", Command::Mail(Mail::Retr(no(1)))),
            (b"RETR 010", Command::Mail(Mail::Retr(no(10)))),
            (b"RETR 4294967295", Command::Mail(Mail::Retr(no(u32::MAX)))),
            (
                b"RETR 99999999999999999999",
                Command::Mail(Mail::Retr(no(u32::MAX))),
            ),
            (b"RETR", Command::Mail(Mail::Retr(bad))),
            (b"RETR 0", Command::Mail(Mail::Retr(bad))),
            (b"RETR 00", Command::Mail(Mail::Retr(bad))),
            (b"RETR -1", Command::Mail(Mail::Retr(bad))),
            (b"DELE 1.0", Command::Mail(Mail::Dele(bad))),
            (b"DELE +1", Command::Mail(Mail::Dele(bad))),
            (b"DELE 0x1", Command::Mail(Mail::Dele(bad))),
            (b"DELE 1\0", Command::Mail(Mail::Dele(bad))),
            (b"DELE {1}", Command::Mail(Mail::Dele(bad))),
            (b"DELE \xb2", Command::Mail(Mail::Dele(bad))),
            (b"LIST x", Command::Mail(Mail::List(Some(bad)))),
        ]);
    }

    #[test]
    fn top_tells_missing_from_bad() {
        check(&[
            (b"TOP", top(None, Err(BadLines::Missing))),
            (b"TOP 1", top(Some(no(1)), Err(BadLines::Missing))),
            (b"TOP 1 0", top(Some(no(1)), Ok(0))),
            (b"top 2 10 x", top(Some(no(2)), Ok(10))),
            (b"TOP 1 -1", top(Some(no(1)), Err(BadLines::NotANumber))),
            (b"TOP 1 1.5", top(Some(no(1)), Err(BadLines::NotANumber))),
            (b"TOP x 1", top(Some(Err(NoSuchMessage)), Ok(1))),
            (b"TOP 1 99999999999", top(Some(no(1)), Ok(u32::MAX))),
        ]);
    }

    #[test]
    fn names_are_words_and_passwords_the_rest_of_the_line() {
        check(&[
            (b"USER", user(b"")),
            (b"USER joe", user(b"joe")),
            (b"USER  joe  ", user(b"joe")),
            (b"USER {abc", user(b"{abc")),
            (b"USER [exit] x", user(b"[exit]")),
            (b"USER j\xc3\xb6\0", user(b"j\xc3\xb6\0")),
            (b"PASS", pass(b"")),
            (b"PASS ", pass(b"")),
            (b"PASS secret", pass(b"secret")),
            (b"pass\tsecret", pass(b"secret")),
            (b"PASS  two words  ", pass(b" two words  ")),
            (b"APOP", apop(b"", b"")),
            (b"APOP joe", apop(b"joe", b"")),
            (b"APOP joe c4c9 x", apop(b"joe", b"c4c9")),
        ]);
    }

    #[test]
    fn auth_has_a_mechanism_and_a_response() {
        let auth = |mechanism: &[u8], response: Option<&[u8]>| {
            Command::Login(Login::Auth {
                mechanism: mechanism.into(),
                response: response.map(Secret::new),
            })
        };
        check(&[
            (b"AUTH", auth(b"", None)),
            (b"auth plain", auth(b"plain", None)),
            (b"AUTH PLAIN =", auth(b"PLAIN", Some(b"="))),
            (
                b"AUTH  PLAIN  AGEAYg== x",
                auth(b"PLAIN", Some(b"AGEAYg==")),
            ),
            (b"stls now", Command::Login(Login::Stls)),
        ]);
    }

    #[test]
    fn unknown_verbs_are_safe_to_send_back() {
        let long = vec![b'y'; 5000];
        check(&[
            (b"", unknown("")),
            (b"   ", unknown("")),
            (b"foo bar", unknown("FOO")),
            (b"STATS", unknown("STATS")),
            (b"USE", unknown("USE")),
            (b"TOP\0", unknown("TOP?")),
            (b"STAT\rQUIT", unknown("STAT?QUIT")),
            (b"\xff\x1b[2J'", unknown("??[2J'")),
            (&long, unknown(&"Y".repeat(40))),
        ]);
    }

    #[test]
    fn no_secret_is_printed() {
        for line in [
            &b"PASS tanstaaf"[..],
            b"APOP mrose tanstaaf",
            b"AUTH PLAIN tanstaaf",
        ] {
            let shown = format!("{:?}", Command::parse(line));
            assert!(!shown.contains("tanstaaf"), "{shown}");
        }
    }
}
