//! Line → command, with narrow argument types.

use super::maildrop::NoSuchMessage;
use super::{MsgNo, Secret};

/// A command of a client, with every argument checked as far as it can be
/// without a maildrop.
///
/// A bad argument is kept as such, not as a parse error: whether it matters
/// depends on the state (before login even `RETR x` is "not authenticated").
/// Words beyond those a command takes are ignored, as Tcllib does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPA` (RFC 2449 §5).
    Capa,
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
    /// `QUIT`.
    Quit,
    /// Anything else.
    Unknown(Verb),
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
        let shown = word.iter().take(Self::LONGEST).map(|&byte| match byte {
            0x21..=0x7e => char::from(byte.to_ascii_uppercase()),
            _ => '?',
        });
        Self(shown.collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Command {
    /// Reads one line, given without its line end. Never fails: what is no
    /// command is [`Command::Unknown`].
    pub fn parse(line: &[u8]) -> Self {
        let (verb, rest) = split_word(line);
        let mut words = Words(rest);
        // No verb is longer than four letters (RFC 1939 §3).
        let mut name = [0; 4];
        if verb.len() > name.len() {
            return Self::Unknown(Verb::new(verb));
        }
        name[..verb.len()].copy_from_slice(verb);
        name.make_ascii_uppercase();
        match &name[..verb.len()] {
            b"CAPA" => Self::Capa,
            b"USER" => Self::User(words.next().into()),
            b"PASS" => Self::Pass(Secret::new(rest.get(1..).unwrap_or_default())),
            b"APOP" => Self::Apop {
                name: words.next().into(),
                digest: Secret::new(words.next()),
            },
            b"STAT" => Self::Stat,
            b"LIST" => Self::List(words.number()),
            b"UIDL" => Self::Uidl(words.number()),
            b"RETR" => Self::Retr(words.number().unwrap_or(Err(NoSuchMessage))),
            b"TOP" => Self::Top(TopArguments {
                number: words.number(),
                lines: words.lines(),
            }),
            b"DELE" => Self::Dele(words.number().unwrap_or(Err(NoSuchMessage))),
            b"NOOP" => Self::Noop,
            b"RSET" => Self::Rset,
            b"QUIT" => Self::Quit,
            _ => Self::Unknown(Verb::new(verb)),
        }
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
        Command::User(name.into())
    }

    fn pass(password: &[u8]) -> Command {
        Command::Pass(Secret::new(password))
    }

    fn apop(name: &[u8], digest: &[u8]) -> Command {
        Command::Apop {
            name: name.into(),
            digest: Secret::new(digest),
        }
    }

    fn top(number: Option<Number>, lines: Result<u32, BadLines>) -> Command {
        Command::Top(TopArguments { number, lines })
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
            (b"sTaT", Command::Stat),
            (b"  STAT  ", Command::Stat),
            (b"\tNOOP\t", Command::Noop),
            (b"RSET now please", Command::Rset),
            (b"quit", Command::Quit),
            (b"LIST", Command::List(None)),
            (b"LIST ", Command::List(None)),
            (b"LIST 1 2", Command::List(Some(no(1)))),
            (b"LIST\t \t3", Command::List(Some(no(3)))),
            (b"UIDL", Command::Uidl(None)),
            (b"uidl 7", Command::Uidl(Some(no(7)))),
        ]);
    }

    #[test]
    fn numbers_are_decimal_digits_only() {
        let bad = Err(NoSuchMessage);
        check(&[
            (b"RETR 1", Command::Retr(no(1))),
            (b"RETR 010", Command::Retr(no(10))),
            (b"RETR 4294967295", Command::Retr(no(u32::MAX))),
            (b"RETR 99999999999999999999", Command::Retr(no(u32::MAX))),
            (b"RETR", Command::Retr(bad)),
            (b"RETR 0", Command::Retr(bad)),
            (b"RETR 00", Command::Retr(bad)),
            (b"RETR -1", Command::Retr(bad)),
            (b"DELE 1.0", Command::Dele(bad)),
            (b"DELE +1", Command::Dele(bad)),
            (b"DELE 0x1", Command::Dele(bad)),
            (b"DELE 1\0", Command::Dele(bad)),
            (b"DELE {1}", Command::Dele(bad)),
            (b"DELE \xb2", Command::Dele(bad)),
            (b"LIST x", Command::List(Some(bad))),
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
        for line in [&b"PASS tanstaaf"[..], b"APOP mrose tanstaaf"] {
            let shown = format!("{:?}", Command::parse(line));
            assert!(!shown.contains("tanstaaf"), "{shown}");
        }
    }
}
