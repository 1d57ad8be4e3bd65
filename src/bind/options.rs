//! The options of a server.

use std::time::Duration;

use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::protocol::limits::Limits;

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

/// The names of the options that Tcllib's server does not have.
const OURS: [&str; 15] = [
    "-connections",
    "-direct",
    "-errors",
    "-failedlogins",
    "-finalize",
    "-idle",
    "-linelength",
    "-log",
    "-logindelay",
    "-logindelaymax",
    "-logintimeout",
    "-outputmark",
    "-peraddress",
    "-pipelined",
    "-uidl",
];

/// RFC 1939 §3: an autologout timer is at least ten minutes.
const SHORTEST_IDLE: Duration = Duration::from_secs(600);

impl Options {
    /// All options of ours with their values.
    pub fn ours(&self) -> Value {
        let pair = |name: &'static str| self.get(name).map(|value| (name, value));
        Value::dict(OURS.into_iter().filter_map(pair))
    }

    /// The value of an option of ours; none if there is none of that name.
    pub fn get(&self, name: &str) -> Option<Value> {
        let limits = &self.limits;
        let size = |n: usize| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
        let milliseconds = |time: Duration| size(time.as_millis() as usize);
        Some(match name {
            "-connections" => Value::int(limits.connections.into()),
            "-direct" => Value::int(self.direct.into()),
            "-errors" => Value::int(limits.errors.into()),
            "-failedlogins" => Value::int(limits.failed_logins.into()),
            "-finalize" => Value::int(self.finalize.into()),
            "-idle" => milliseconds(limits.idle),
            "-linelength" => size(limits.line),
            "-log" => self.log.clone(),
            "-logindelay" => milliseconds(limits.login_delay),
            "-logindelaymax" => milliseconds(limits.login_delay_max),
            "-logintimeout" => milliseconds(limits.login_timeout),
            "-outputmark" => size(limits.output_mark),
            "-peraddress" => Value::int(limits.per_address.into()),
            "-pipelined" => size(limits.pipelined),
            "-uidl" => Value::text(self.uidl.name()),
            _ => return None,
        })
    }

    /// Sets an option of ours; false if there is none of that name.
    ///
    /// # Errors
    /// When the value does not fit.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<bool, Error> {
        let limits = &mut self.limits;
        match name {
            "-connections" => limits.connections = count(name, value)?,
            "-direct" => self.direct = boolean(name, value)?,
            "-errors" => limits.errors = count(name, value)?,
            "-failedlogins" => limits.failed_logins = count(name, value)?,
            "-finalize" => self.finalize = boolean(name, value)?,
            "-idle" => {
                let idle = milliseconds(name, value)?;
                if !idle.is_zero() && idle < SHORTEST_IDLE {
                    let expected = "0 or at least 600000 (RFC 1939: ten minutes)";
                    return Err(bad_value(name, value, expected));
                }
                limits.idle = idle;
            }
            "-linelength" => limits.line = size(name, value, 255..=1 << 20)?,
            "-log" => {
                if value.to_list().is_none() {
                    return Err(bad_value(name, value, "a command prefix, which is a list"));
                }
                self.log = value.clone();
            }
            "-logindelay" => limits.login_delay = milliseconds(name, value)?,
            "-logindelaymax" => limits.login_delay_max = milliseconds(name, value)?,
            "-logintimeout" => limits.login_timeout = milliseconds(name, value)?,
            "-outputmark" => limits.output_mark = size(name, value, 1024..=1 << 26)?,
            "-peraddress" => limits.per_address = count(name, value)?,
            "-pipelined" => limits.pipelined = size(name, value, 1024..=1 << 20)?,
            "-uidl" => {
                let named = |source: &UidlSource| source.name() == value.to_text();
                let source = UidlSource::ALL.into_iter().find(named);
                let expected = || bad_value(name, value, "auto, storage or digest");
                self.uidl = source.ok_or_else(expected)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn bad_value(name: &str, value: &Value, expected: &str) -> Error {
    let value = value.to_text();
    let message = format!("bad value \"{value}\" for {name}: expected {expected}");
    Error::new(message, &["OPTION", name, &value])
}

fn boolean(name: &str, value: &Value) -> Result<bool, Error> {
    let expected = || bad_value(name, value, "a boolean");
    value.to_bool().ok_or_else(expected)
}

fn count(name: &str, value: &Value) -> Result<u32, Error> {
    let number = value.to_int().and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| bad_value(name, value, "a number, 0 for no bound"))
}

fn milliseconds(name: &str, value: &Value) -> Result<Duration, Error> {
    // A year is enough for any time-out, and no sum with it overflows.
    let fits = |n: &i64| (0..=31_536_000_000).contains(n);
    let number = value.to_int().filter(fits);
    let number = number.ok_or_else(|| bad_value(name, value, "milliseconds, 0 for none"))?;
    Ok(Duration::from_millis(number.unsigned_abs()))
}

fn size(name: &str, value: &Value, range: std::ops::RangeInclusive<usize>) -> Result<usize, Error> {
    let number = value.to_int().and_then(|n| usize::try_from(n).ok());
    number.filter(|n| range.contains(n)).ok_or_else(|| {
        let expected = format!(
            "a number of bytes from {} to {}",
            range.start(),
            range.end()
        );
        bad_value(name, value, &expected)
    })
}
