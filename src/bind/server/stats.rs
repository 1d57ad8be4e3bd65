//! The method `stats`: what a server has done, as a dictionary or as text for Prometheus.

use super::{metrics, ServerObject};
use crate::bind::callbacks::CallbackCount;
use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::net;

/// What a server has done, with its callbacks.
pub(super) struct Stats {
    /// The server's name.
    pub(super) server: String,
    /// Connections in `conn list`.
    pub(super) connections: u64,
    /// What both shells count.
    pub(super) net: net::Stats,
    /// Its callbacks by method.
    pub(super) callbacks: Vec<(&'static str, CallbackCount)>,
}

impl ServerObject {
    pub(super) fn stats(&self, args: &[Value]) -> Result<Value, Error> {
        let (option, format) = match args {
            [] => return Ok(dictionary(&self.read_stats())),
            [option, format] => (option.to_text(), format.to_text()),
            _ => return Err(self.identity.usage("stats ?-format format?")),
        };
        match (&*option, &*format) {
            ("-format", "dict") => Ok(dictionary(&self.read_stats())),
            ("-format", "prometheus") => Ok(Value::text(&metrics::text(&self.read_stats()))),
            ("-format", _) => {
                let message = format!("bad format \"{format}\": must be dict, or prometheus");
                Err(Error::new(message, &["OPTION", "-format", &format]))
            }
            _ => {
                let message = format!("bad option \"{option}\": must be -format");
                Err(Error::new(message, &["OPTION", &option]))
            }
        }
    }

    /// No script runs meanwhile, so no session on a Tcl channel ends.
    fn read_stats(&self) -> Stats {
        let mut net = self.engine.stats();
        for session in self.channels.borrow().values() {
            net.tally += session.uncounted().unwrap_or_default();
        }
        Stats {
            server: self.identity.name.clone(),
            connections: self.connection_count() as u64,
            net,
            callbacks: self.callbacks.iter().collect(),
        }
    }
}

/// The keys are the same in every dictionary; what has not come is 0.
fn dictionary(stats: &Stats) -> Value {
    let net = &stats.net;
    let tally = &net.tally;
    let connections = Value::dict([
        ("current", int(stats.connections)),
        ("accepted", int(net.accepted)),
        ("refused", named(&net.turned_away)),
    ]);
    let logins = net.logins.iter();
    let logins = logins.map(|(mechanism, results)| (*mechanism, named(results)));
    let messages = Value::dict([
        ("RETR", int(tally.messages - tally.tops)),
        ("TOP", int(tally.tops)),
    ]);
    let callbacks = stats.callbacks.iter();
    let callbacks = callbacks.map(|(method, count)| (*method, callback(count)));
    let stores = Value::dict([
        ("failed", int(net.stores_failed)),
        ("unreadable", int(net.messages_unreadable)),
    ]);
    let tls = Value::dict([
        ("handshakes", named(&net.handshakes)),
        ("resumed", int(net.handshakes_resumed)),
        ("failed", int(net.handshakes_failed)),
    ]);
    Value::dict([
        ("connections", connections),
        ("ended", named(&net.ended)),
        ("logins", Value::dict(logins)),
        ("commands", named(&tally.by_verb.iter().collect::<Vec<_>>())),
        ("messages", messages),
        ("octets", int(tally.octets)),
        ("deleted", int(tally.deleted)),
        ("callbacks", Value::dict(callbacks)),
        ("stores", stores),
        ("tls", tls),
    ])
}

fn callback(count: &CallbackCount) -> Value {
    let microseconds = |time: std::time::Duration| {
        let whole = u64::try_from(time.as_micros());
        int(whole.unwrap_or(u64::MAX))
    };
    Value::dict([
        ("calls", int(count.calls)),
        ("failures", int(count.failures)),
        ("microseconds", microseconds(count.time)),
        ("longest", microseconds(count.longest)),
    ])
}

fn named(counts: &[(&'static str, u64)]) -> Value {
    Value::dict(counts.iter().map(|(name, count)| (*name, int(*count))))
}

fn int(count: u64) -> Value {
    Value::int(i64::try_from(count).unwrap_or(i64::MAX))
}
