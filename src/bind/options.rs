//! The options of a server.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ffi::command::Error;
use crate::ffi::Value;
use pop3_proto::limits::Limits;

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

impl UidlSource {
    const ALL: [Self; 3] = [Self::Auto, Self::Storage, Self::Digest];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Storage => "storage",
            Self::Digest => "digest",
        }
    }
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
    /// Where unique ids come from.
    Uidl,
}

/// RFC 1939 §3: an autologout timer is at least ten minutes.
const SHORTEST_IDLE: Duration = Duration::from_secs(600);

/// The options that Tcllib's server does not have.
const OURS: [Row; 15] = [
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
        name: "-failedlogins",
        field: Field::Count(|all| &mut all.limits.failed_logins),
    },
    Row {
        name: "-finalize",
        field: Field::Boolean(|all| &mut all.finalize),
    },
    Row {
        name: "-idle",
        field: Field::Time(|all| &mut all.limits.idle, SHORTEST_IDLE),
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
        name: "-uidl",
        field: Field::Uidl,
    },
];

impl Options {
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
            Self::Prefix(field) => field(all).clone(),
            Self::Uidl => Value::text(all.uidl.name()),
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
                value.to_list().ok_or("a command prefix, which is a list")?;
                *field(all) = value.clone();
            }
            Self::Uidl => {
                let named = |source: &UidlSource| source.name() == value.to_text();
                let source = UidlSource::ALL.into_iter().find(named);
                all.uidl = source.ok_or("auto, storage or digest")?;
            }
        }
        Ok(())
    }
}

fn bad_value(name: &str, value: &Value, expected: &str) -> Error {
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
    let time = number
        .filter(|n| *n <= MOST)
        .map(Duration::from_millis)
        .ok_or("milliseconds, 0 for none")?;
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
    fn the_readme_has_a_row_for_each_option() {
        let readme = include_str!("../../README.md");
        for row in &OURS {
            let begin = format!("| `{}` | ", row.name);
            let described = readme.lines().any(|line| line.starts_with(&begin));
            assert!(described, "README.md lacks {}", row.name);
        }
        let rows = readme.lines().filter(|line| line.starts_with("| `-"));
        assert_eq!(rows.count(), OURS.len());
        assert!(OURS.is_sorted_by_key(|row| row.name));
    }
}
