//! Log lines: how records reach a server's `-log` command prefix or, without one, Tcllib's
//! `log` where it is loaded.

use super::escape::printable;
use super::network_events::LEVELS;
use super::server::ServerObject;
use super::world::World;
use crate::ffi::command;
use crate::ffi::interp::{self, Raised};
use crate::ffi::{Interp, Value};
use crate::net::{Event, Level, Record};
use crate::store::ids::Client;

/// The level as Tcllib's log calls it.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Debug => "debug",
    }
}

/// Looks which levels are wanted now: without any log errors, for `interp bgerror`.
/// Cheap, since it is asked before each wait for events: so a script's `log::lvSuppress`
/// counts at once.
pub fn refresh(world: &World) {
    let interp = &world.interp;
    let servers = world.servers();
    let has_prefix = servers.iter().any(|server| has_prefix(server));
    let has_tcllib = !has_prefix && command::exists(interp, "::log::log");
    let wanted = |level: &Level| match (has_prefix, has_tcllib) {
        (true, _) => true,
        (false, true) => !is_suppressed(interp, *level),
        (false, false) => *level == Level::Error,
    };
    world.network.want(LEVELS.into_iter().filter(wanted));
}

fn has_prefix(server: &ServerObject) -> bool {
    !server.log_prefix().is_empty()
}

fn is_suppressed(interp: &Interp, level: Level) -> bool {
    let suppressed = interp::get_element(interp, "::log::suppressed", Some(name(level)));
    suppressed.is_some_and(|suppressed| suppressed.to_bool() == Some(true))
}

/// Writes the oldest of the waiting lines, if there is one; whether there was.
pub fn write_next(world: &World) -> bool {
    let next = world.network.take_record();
    let Some((id, record)) = next else {
        return false;
    };
    if let Some(server) = world.server(id) {
        deliver(&server, &record);
    }
    true
}

/// Writes what waits for a server that is being destroyed: the last that its sessions
/// did, and their ends. Later nobody would know its log.
///
/// Log commands run here, in the middle of `destroy`. What other threads have to say of the
/// server after this (that a deletion which was under way has failed, say) is not written.
pub fn write_last(server: &ServerObject) {
    for record in server.world.network.take_records(server.id) {
        deliver(server, &record);
    }
}

/// Writes a record. An error that nobody writes goes to `interp bgerror`, as does the
/// number of those that were dropped.
fn deliver(server: &ServerObject, record: &Record) {
    let matters = record.level == Level::Error || record.event == Event::Dropped;
    if !write(server, record) && matters {
        let message = text(server, record);
        server.report(&Raised::new(&message, &["POP3D", "LOG"]));
    }
}

/// The text of a record, with its server.
fn text(server: &ServerObject, record: &Record) -> String {
    let text = format!("pop3d {} {}", server.identity.name, record.text());
    printable(&text)
}

/// The fields of a record, with its server.
fn fields(server: &ServerObject, record: &Record) -> Value {
    let named = record.named();
    let values = named
        .iter()
        .map(|(name, value)| (*name, Value::text(value)));
    let server = ("server", Value::text(&server.identity.name));
    Value::dict(values.chain([server]))
}

/// Writes one line, to the server's `-log` or else through Tcllib's log; whether there is
/// anybody to write to. An error of a log command must not stop a session: it goes to
/// `interp bgerror`.
fn write(server: &ServerObject, record: &Record) -> bool {
    if !server.has_log() {
        return false;
    }
    let interp = &server.identity.interp;
    let level = Value::text(name(record.level));
    let text = Value::text(&text(server, record));
    let prefix = server.log_prefix().to_list().unwrap_or_default();
    let words = if !prefix.is_empty() {
        [&prefix[..], &[level, text, fields(server, record)]].concat()
    } else if is_suppressed(interp, record.level) {
        return true;
    } else {
        vec![Value::text("::log::log"), level, text]
    };
    if let Err(raised) = interp::call(interp, &words) {
        let called = "-log is called as: PREFIX LEVEL TEXT FIELDS";
        server.report(&match prefix.is_empty() {
            true => raised,
            false => raised.with_note(called),
        });
    }
    true
}

impl ServerObject {
    /// Whether anybody takes its lines: nobody in an interpreter that is being deleted.
    pub fn has_log(&self) -> bool {
        let interp = &self.identity.interp;
        !interp::is_deleted(interp) && (has_prefix(self) || command::exists(interp, "::log::log"))
    }

    /// Logs the failure of a callback; whether anybody takes the line. It is written at once,
    /// after those that have led to it. If many lines wait, it waits with them: the session
    /// must not be held up by all of them. Nobody takes it where even errors find no room.
    pub fn log_failure(&self, client: Client, message: &str) -> bool {
        if !self.has_log() {
            return false;
        }
        let record = Record::callback_failed(client, message);
        match self.world.network.take_few(self.id) {
            Some(earlier) => {
                earlier.iter().for_each(|earlier| deliver(self, earlier));
                write(self, &record)
            }
            None => self.world.network.keep(self.id, record),
        }
    }
}
