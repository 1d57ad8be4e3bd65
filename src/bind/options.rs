//! The options of a server.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::net::{AddressList, AddressRules};
use crate::text::from_native;
use pop3_proto::hook::{EventKind, Events};
use pop3_proto::is_capability;
use pop3_proto::limits::Limits;
use pop3_proto::sasl::{Mechanism, Mechanisms, SASL};
use pop3_proto::security::{Plaintext, TlsMode};

/// What a server is told by `configure`.
///
/// The first four are Tcllib's and are not checked when set; the others are ours,
/// are checked, and are read one by one or all by the method `options`.
pub struct Options {
    /// `-port`: what the next `up` binds.
    pub port: Value,
    /// `-auth`: command prefix of the user database.
    pub auth: Value,
    /// `-storage`: command prefix of the mailboxes.
    pub storage: Value,
    /// `-socket`: command prefix that opens the listening socket.
    pub socket: Value,
    /// `-direct`: whether built-in stores are used without the interpreter.
    pub direct: bool,
    /// `-finalize`: whether tokens that `get` returns are finalized after use.
    pub finalize: bool,
    /// `-log`: command prefix for log lines, called with level, message and a
    /// dictionary of fields; empty: none.
    pub log: Value,
    /// `-uidl`: where the unique ids of a script's storage come from.
    pub uidl: UidlSource,
    /// `-login`: command prefix that checks logins instead of `-auth`; empty: none.
    pub login: Value,
    /// `-hook`: command prefix that is told of events in sessions, and decides on them;
    /// empty: none.
    pub hook: Value,
    /// `-hookevents`: of which.
    pub hook_events: Events,
    /// `-callbacktimeout`: how long a callback that has yielded may take.
    pub callback_timeout: Duration,
    /// `-apop`: whether APOP is taken.
    pub apop: bool,
    /// `-mechanisms`: those of AUTH; none: all but LOGIN.
    pub mechanisms: Option<Mechanisms>,
    /// `-plaintext`: whether passwords are taken without TLS.
    pub plaintext: Plaintext,
    /// `-capa`: further lines of the answer to CAPA.
    pub capabilities: Vec<Box<str>>,
    /// `-tls`: how TLS is offered.
    pub tls: TlsMode,
    /// `-certificates`: a list of pairs of a certificate's file and its key's.
    pub certificates: Value,
    /// `-certfile`: the file of the default certificate; empty: the first of
    /// `certificates`.
    pub certfile: Value,
    /// `-keyfile`: the file of its key.
    pub keyfile: Value,
    /// `-cafile`: the file of the authorities that sign clients' certificates; empty: no
    /// client is asked for one.
    pub cafile: Value,
    /// `-require`: whether a client must show a certificate.
    pub require: bool,
    /// `-exempt` and `-proxy`: addresses that are treated in another way than others.
    pub addresses: AddressRules,
    /// The bounds, each an option.
    pub limits: Limits,
}

/// Where the unique ids of a script's storage come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UidlSource {
    /// From its `uidl`, unless the first call shows that it has none.
    Auto,
    /// From its `uidl`, whatever that does.
    Storage,
    /// From digests of the messages; `uidl` is never called.
    Digest,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: Value::int(110),
            auth: Value::text(""),
            storage: Value::text(""),
            socket: Value::text("::socket"),
            direct: true,
            finalize: false,
            log: Value::text(""),
            uidl: UidlSource::Auto,
            login: Value::text(""),
            hook: Value::text(""),
            hook_events: EventKind::ALL.into_iter().collect(),
            callback_timeout: Duration::from_secs(60),
            apop: true,
            mechanisms: None,
            plaintext: Plaintext::Auto,
            capabilities: Vec::new(),
            tls: TlsMode::Off,
            certificates: Value::text(""),
            certfile: Value::text(""),
            keyfile: Value::text(""),
            cafile: Value::text(""),
            require: false,
            addresses: AddressRules::default(),
            limits: Limits::default(),
        }
    }
}

/// One option of ours: all that there is to know of it.
struct Row {
    name: &'static str,
    field: Field,
}

/// Where an option's value is, and what it may be.
enum Field {
    Boolean(fn(&mut Options) -> &mut bool),
    /// A number of things; 0: no bound.
    Count(fn(&mut Options) -> &mut u32),
    /// Bytes.
    Size(fn(&mut Options) -> &mut usize, RangeInclusive<usize>),
    /// Milliseconds; 0 for none, else at least so many.
    Time(fn(&mut Options) -> &mut Duration, Duration),
    /// A command prefix.
    Prefix(fn(&mut Options) -> &mut Value),
    /// One of these words.
    Choice(&'static [&'static str], Chosen),
    /// The mechanisms of AUTH.
    Mechanisms,
    /// Events of the hook.
    Events,
    /// Lines of the answer to CAPA.
    Capabilities,
    /// A file's name; empty: none.
    File(fn(&mut Options) -> &mut Value),
    /// Addresses and networks.
    Addresses(fn(&mut Options) -> &mut AddressList),
    /// Pairs of files' names.
    Pairs(fn(&mut Options) -> &mut Value),
}

/// Which word is chosen, by its place: how to ask, and how to choose.
type Chosen = (fn(&Options) -> usize, fn(&mut Options, usize));

/// RFC 1939 §3: an autologout timer is at least ten minutes.
const SHORTEST_IDLE: Duration = Duration::from_secs(600);

/// The options that Tcllib's server does not have.
const OURS: [Row; 33] = [
    Row {
        name: "-addressblock",
        field: Field::Time(|all| &mut all.limits.address_block, Duration::ZERO),
    },
    Row {
        name: "-addressfailures",
        field: Field::Count(|all| &mut all.limits.address_failures),
    },
    Row {
        name: "-apop",
        field: Field::Boolean(|all| &mut all.apop),
    },
    Row {
        name: "-cafile",
        field: Field::File(|all| &mut all.cafile),
    },
    Row {
        name: "-callbacktimeout",
        field: Field::Time(|all| &mut all.callback_timeout, Duration::ZERO),
    },
    Row {
        name: "-capa",
        field: Field::Capabilities,
    },
    Row {
        name: "-certfile",
        field: Field::File(|all| &mut all.certfile),
    },
    Row {
        name: "-certificates",
        field: Field::Pairs(|all| &mut all.certificates),
    },
    Row {
        name: "-connections",
        field: Field::Count(|all| &mut all.limits.connections),
    },
    Row {
        name: "-direct",
        field: Field::Boolean(|all| &mut all.direct),
    },
    Row {
        name: "-errors",
        field: Field::Count(|all| &mut all.limits.errors),
    },
    Row {
        name: "-exempt",
        field: Field::Addresses(|all| &mut all.addresses.exempt),
    },
    Row {
        name: "-failedlogins",
        field: Field::Count(|all| &mut all.limits.failed_logins),
    },
    Row {
        name: "-finalize",
        field: Field::Boolean(|all| &mut all.finalize),
    },
    Row {
        name: "-hook",
        field: Field::Prefix(|all| &mut all.hook),
    },
    Row {
        name: "-hookevents",
        field: Field::Events,
    },
    Row {
        name: "-idle",
        field: Field::Time(|all| &mut all.limits.idle, SHORTEST_IDLE),
    },
    Row {
        name: "-keyfile",
        field: Field::File(|all| &mut all.keyfile),
    },
    Row {
        name: "-linelength",
        field: Field::Size(|all| &mut all.limits.line, 255..=1 << 20),
    },
    Row {
        name: "-log",
        field: Field::Prefix(|all| &mut all.log),
    },
    Row {
        name: "-login",
        field: Field::Prefix(|all| &mut all.login),
    },
    Row {
        name: "-logindelay",
        field: Field::Time(|all| &mut all.limits.login_delay, Duration::ZERO),
    },
    Row {
        name: "-logindelaymax",
        field: Field::Time(|all| &mut all.limits.login_delay_max, Duration::ZERO),
    },
    Row {
        name: "-logintimeout",
        field: Field::Time(|all| &mut all.limits.login_timeout, Duration::ZERO),
    },
    Row {
        name: "-mechanisms",
        field: Field::Mechanisms,
    },
    Row {
        name: "-outputmark",
        field: Field::Size(|all| &mut all.limits.output_mark, 1024..=1 << 26),
    },
    Row {
        name: "-peraddress",
        field: Field::Count(|all| &mut all.limits.per_address),
    },
    Row {
        name: "-pipelined",
        field: Field::Size(|all| &mut all.limits.pipelined, 1024..=1 << 20),
    },
    Row {
        name: "-plaintext",
        field: Field::Choice(
            &["auto", "always", "never"],
            (
                |all| all.plaintext as usize,
                |all, n| {
                    all.plaintext = [Plaintext::Auto, Plaintext::Always, Plaintext::Never][n];
                },
            ),
        ),
    },
    Row {
        name: "-proxy",
        field: Field::Addresses(|all| &mut all.addresses.proxies),
    },
    Row {
        name: "-require",
        field: Field::Boolean(|all| &mut all.require),
    },
    Row {
        name: "-tls",
        field: Field::Choice(
            &["off", "starttls", "implicit"],
            (
                |all| all.tls as usize,
                |all, n| all.tls = [TlsMode::Off, TlsMode::StartTls, TlsMode::Implicit][n],
            ),
        ),
    },
    Row {
        name: "-uidl",
        field: Field::Choice(
            &["auto", "storage", "digest"],
            (
                |all| all.uidl as usize,
                |all, n| {
                    all.uidl = [UidlSource::Auto, UidlSource::Storage, UidlSource::Digest][n];
                },
            ),
        ),
    },
];

impl Options {
    /// The events that sessions ask about: none without a hook.
    pub fn watched_events(&self) -> Events {
        match self.hook.is_empty() {
            true => Events::default(),
            false => self.hook_events,
        }
    }

    /// The mechanisms of AUTH that are wanted.
    pub fn wanted_mechanisms(&self) -> Mechanisms {
        let all_but_login = || SASL.into_iter().filter(|m| *m != Mechanism::Login);
        self.mechanisms.unwrap_or_else(|| all_but_login().collect())
    }

    /// All options of ours with their values.
    pub fn ours(&mut self) -> Value {
        Value::dict(OURS.iter().map(|row| (row.name, row.field.get(self))))
    }

    /// The value of an option of ours; none if there is none of that name.
    pub fn get(&mut self, name: &str) -> Option<Value> {
        Row::named(name).map(|row| row.field.get(self))
    }

    /// Sets an option of ours; false if there is none of that name.
    ///
    /// # Errors
    /// When the value does not fit.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<bool, Error> {
        let Some(row) = Row::named(name) else {
            return Ok(false);
        };
        let fits = row.field.set(self, value);
        fits.map_err(|expected| bad_value(name, value, &expected))?;
        Ok(true)
    }
}

impl Row {
    fn named(name: &str) -> Option<&'static Self> {
        OURS.iter().find(|row| row.name == name)
    }
}

impl Field {
    fn get(&self, all: &mut Options) -> Value {
        let int = |n: u128| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
        match self {
            Self::Boolean(field) => Value::int((*field(all)).into()),
            Self::Count(field) => Value::int((*field(all)).into()),
            Self::Size(field, _) => int(*field(all) as u128),
            Self::Time(field, _) => int(field(all).as_millis()),
            Self::Prefix(field) | Self::File(field) | Self::Pairs(field) => field(all).clone(),
            Self::Choice(words, (chosen, _)) => Value::text(words[chosen(all)]),
            Self::Mechanisms => match all.mechanisms {
                None => Value::text(AUTO),
                Some(some) => Value::texts(some.iter().map(Mechanism::name)),
            },
            Self::Events => Value::texts(all.hook_events.iter().map(EventKind::name)),
            Self::Capabilities => Value::texts(&all.capabilities),
            Self::Addresses(field) => Value::texts(field(all).words()),
        }
    }

    /// Sets it, or says what is expected.
    fn set(&self, all: &mut Options, value: &Value) -> Result<(), String> {
        match self {
            Self::Boolean(field) => *field(all) = value.to_bool().ok_or("a boolean")?,
            Self::Count(field) => *field(all) = count(value)?,
            Self::Size(field, range) => *field(all) = size(value, range)?,
            Self::Time(field, least) => *field(all) = time(value, *least)?,
            Self::Prefix(field) => {
                value.to_list().ok_or(PREFIX)?;
                *field(all) = value.clone();
            }
            Self::Choice(words, (_, choose)) => {
                let text = value.to_text();
                let at = words.iter().position(|word| *word == text);
                choose(all, at.ok_or_else(|| one_of(words))?);
            }
            Self::Mechanisms => all.mechanisms = mechanisms(value)?,
            Self::Events => all.hook_events = events(value)?,
            Self::Capabilities => all.capabilities = capabilities(value)?,
            Self::Addresses(field) => *field(all) = addresses(value)?,
            Self::File(field) => *field(all) = absolute(value),
            Self::Pairs(field) => {
                let pairs = value.to_list().unwrap_or_default();
                let is_pair = |pair: &Value| pair.to_list().is_some_and(|p| p.len() == 2);
                if value.to_list().is_none() || !pairs.iter().all(is_pair) {
                    return Err("a list of {CERTFILE KEYFILE} pairs".into());
                }
                let absolute = |pair: &Value| {
                    let files = pair.to_list().unwrap_or_default();
                    Value::list(&files.iter().map(absolute).collect::<Vec<_>>())
                };
                *field(all) = Value::list(&pairs.iter().map(absolute).collect::<Vec<_>>());
            }
        }
        Ok(())
    }
}

/// A file's name that stays true when the script changes the directory: files are read again
/// later. Empty: none.
fn absolute(file: &Value) -> Value {
    let path = file.to_path().filter(|_| !file.is_empty());
    let path = path.and_then(|path| std::path::absolute(path).ok());
    let name = path.and_then(|path| from_native(path.as_os_str()));
    name.map_or_else(|| file.clone(), |name| Value::text(&name))
}

/// The value of `-mechanisms` that stands for all but LOGIN.
const AUTO: &str = "auto";

/// The mechanisms of a list; none for the word that stands for all but LOGIN.
fn mechanisms(value: &Value) -> Result<Option<Mechanisms>, String> {
    if value.to_text() == AUTO {
        return Ok(None);
    }
    let named = |word: &Value| Mechanism::named(word.to_text().as_bytes());
    let list = value.to_list();
    let list = list.and_then(|words| words.iter().map(named).collect::<Option<Mechanisms>>());
    list.map(Some).ok_or_else(|| {
        let names = SASL.map(Mechanism::name);
        format!("{AUTO}, or a list of some of {}", names.join(" "))
    })
}

fn events(value: &Value) -> Result<Events, String> {
    let names = EventKind::ALL.map(EventKind::name).join(" ");
    let expected = || format!("a list of some of {names}");
    let words = value.to_list().ok_or_else(expected)?;
    let named = |word: &Value| EventKind::named(&word.to_text());
    words
        .iter()
        .map(named)
        .collect::<Option<_>>()
        .ok_or_else(expected)
}

fn capabilities(value: &Value) -> Result<Vec<Box<str>>, String> {
    let lines = value.to_list();
    let lines = lines.map(|lines| lines.iter().map(Value::to_text).map(Box::from).collect());
    let fit = |lines: &Vec<Box<str>>| lines.iter().all(|line| is_capability(line));
    let expected = "a list of lines like {EXPIRE NEVER}: a keyword and words, of US-ASCII, with \
                    one blank between them (RFC 2449)";
    lines.filter(fit).ok_or_else(|| expected.into())
}

fn addresses(value: &Value) -> Result<AddressList, String> {
    let expected = "a list of addresses and networks like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
    let words: Vec<String> = match value.to_list() {
        Some(words) => words.iter().map(Value::to_text).collect(),
        None => return Err(expected.into()),
    };
    let list = AddressList::parse(words.iter().map(String::as_str));
    list.map_err(|word| format!("{expected}; \"{word}\" is none"))
}

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        words => words.concat(),
    }
}

/// What is expected of a value that is called as a command.
pub const PREFIX: &str = "a command prefix, which is a list";

/// The error for a value that an option cannot have.
pub fn bad_value(name: &str, value: &Value, expected: &str) -> Error {
    let value = value.to_text();
    let message = format!("bad value \"{value}\" for {name}: expected {expected}");
    Error::new(message, &["OPTION", name, &value])
}

fn count(value: &Value) -> Result<u32, String> {
    let number = value.to_int().and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| "a number, 0 for no bound".into())
}

fn time(value: &Value, least: Duration) -> Result<Duration, String> {
    /// A year is enough for any time-out, and no sum with it overflows.
    const MOST: u64 = 31_536_000_000;
    let number = value.to_int().and_then(|n| u64::try_from(n).ok());
    let number = number.ok_or("milliseconds, 0 for none")?;
    if number > MOST {
        return Err(format!("at most {MOST} milliseconds, 0 for none"));
    }
    let time = Duration::from_millis(number);
    if !time.is_zero() && time < least {
        let least = least.as_millis();
        return Err(format!("0 or at least {least} (RFC 1939: ten minutes)"));
    }
    Ok(time)
}

fn size(value: &Value, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let number = value.to_int().and_then(|n| usize::try_from(n).ok());
    let (least, most) = (range.start(), range.end());
    number
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("a number of bytes from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_each_option() {
        let manual = include_str!("../../docs/man/pop3d.man");
        for row in &OURS {
            let begin = format!("[opt_def {} ", row.name);
            let described = manual.lines().any(|line| line.starts_with(&begin));
            assert!(described, "docs/man/pop3d.man lacks {}", row.name);
        }
        assert!(OURS.is_sorted_by_key(|row| row.name));
    }
}
