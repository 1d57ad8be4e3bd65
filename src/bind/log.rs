//! Log lines: through a server's `-log` command prefix or, without one, through Tcllib's
//! `log` where it is installed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lines::{line, printable, Line};
use super::server::ServerObject;
use super::world::World;
use crate::ffi::command;
use crate::ffi::interp::{self, Raised};
use crate::ffi::notifier::Alert;
use crate::ffi::{Interp, Value};
use crate::net::{Event, Level, Observer};
use crate::store::ids::{ConnectionId, ServerId};

/// Lines that may wait for the interpreter. When a script does not come to its event
/// loop, later ones are counted and dropped rather than kept without bound.
const WAITING: usize = 10_000;

enum Note {
    Line(ServerId, Line),
    Closed(ServerId),
}

/// What network threads have to tell an interpreter: log lines, and that a
/// connection has closed.
pub struct Notes {
    waiting: Mutex<VecDeque<Note>>,
    /// Bit n: lines of the level number n are wanted.
    wanted: AtomicU8,
    /// Some server waits for its last connection to close.
    exiting: AtomicBool,
    dropped: AtomicUsize,
    alert: Alert,
}

const LEVELS: [Level; 4] = [Level::Error, Level::Warning, Level::Notice, Level::Debug];

fn bit(level: Level) -> u8 {
    1 << level as u8
}

/// The level as Tcllib's log calls it.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Debug => "debug",
    }
}

impl Notes {
    /// None yet, for the interpreter of the calling thread.
    pub fn for_this_thread() -> Self {
        Self {
            waiting: Mutex::default(),
            wanted: AtomicU8::new(0),
            exiting: AtomicBool::new(false),
            dropped: AtomicUsize::new(0),
            alert: Alert::current(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the interpreter has something to read.
    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// How much there is to read.
    fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Takes out the oldest line that waits for one server.
    fn take_line(&self, id: ServerId) -> Option<Line> {
        let mut waiting = self.waiting();
        let is_its = |note: &Note| matches!(note, Note::Line(server, _) if *server == id);
        let at = waiting.iter().position(is_its)?;
        match waiting.remove(at) {
            Some(Note::Line(_, line)) => Some(line),
            _ => None,
        }
    }

    /// Takes out what waits for one server, oldest first.
    fn take_lines(&self, id: ServerId) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut waiting = self.waiting();
        for note in std::mem::take(&mut *waiting) {
            match note {
                Note::Line(server, line) if server == id => lines.push(line),
                Note::Closed(server) if server == id => {}
                other => waiting.push_back(other),
            }
        }
        lines
    }

    /// From now on closed connections are told of.
    pub fn watch_closing(&self) {
        self.exiting.store(true, Ordering::Relaxed);
    }

    fn push(&self, note: Note) {
        let first = {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING && matches!(note, Note::Line(..)) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // Told once is enough: a burst of connections that end takes no room.
            let told =
                |last: &Note| matches!((last, &note), (Note::Closed(a), Note::Closed(b)) if a == b);
            if waiting.back().is_some_and(told) {
                return;
            }
            waiting.push_back(note);
            waiting.len() == 1
        };
        if first {
            self.alert.wake();
        }
    }
}

impl Observer for Notes {
    fn wants(&self, level: Level) -> bool {
        self.wanted.load(Ordering::Relaxed) & bit(level) != 0
    }

    fn event(&self, server: ServerId, event: &Event<'_>) {
        self.push(Note::Line(server, line(event)));
    }

    fn closed(&self, server: ServerId, _connection: ConnectionId) {
        if self.exiting.load(Ordering::Relaxed) {
            self.push(Note::Closed(server));
        }
    }
}

/// Looks which levels are wanted now: without any log errors, for `interp bgerror`.
/// Cheap, since it is asked before each wait for events: so a script's `log::lvSuppress`
/// counts at once.
pub fn refresh(world: &World) {
    let mut wanted = 0;
    let prefixed = |server: &std::rc::Rc<ServerObject>| !server.log_prefix().is_empty();
    if world.servers().iter().any(prefixed) {
        wanted = LEVELS.iter().fold(0, |bits, &level| bits | bit(level));
    } else if command::exists(&world.interp, "::log::log") {
        for level in LEVELS
            .into_iter()
            .filter(|&l| !is_suppressed(&world.interp, l))
        {
            wanted |= bit(level);
        }
    } else {
        wanted = bit(Level::Error);
    }
    world.notes.wanted.store(wanted, Ordering::Relaxed);
}

fn is_suppressed(interp: &Interp, level: Level) -> bool {
    let suppressed = interp::get_element(interp, "::log::suppressed", Some(name(level)));
    suppressed.is_some_and(|suppressed| suppressed.to_bool() == Some(true))
}

/// Writes some of the waiting lines and ends servers whose last connection has
/// closed. Returns whether there may be more.
pub fn drain(world: &World) -> bool {
    let note = world.notes.waiting().pop_front();
    let Some(note) = note else { return false };
    match note {
        Note::Closed(id) => {
            if let Some(server) = world.server(id) {
                server.connection_closed();
            }
        }
        Note::Line(id, line) => {
            if let Some(server) = world.server(id) {
                deliver(&server, &line);
            }
        }
    }
    tell_dropped(world, None);
    true
}

/// Writes what waits for a server that is being destroyed: the last that its sessions
/// did, and their ends. Later nobody would know its log.
///
/// Log commands run here, in the middle of `destroy`. What other threads tell of the
/// server after this (that a deletion which was under way has failed, say) is not
/// written.
pub fn drain_last(server: &ServerObject) {
    for line in server.world.notes.take_lines(server.id) {
        deliver(server, &line);
    }
    tell_dropped(&server.world, Some(server));
}

/// Says how many lines were dropped, to all servers and to one that is being destroyed.
fn tell_dropped(world: &World, gone: Option<&ServerObject>) {
    let dropped = world.notes.dropped.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        let line = Line {
            level: Level::Warning,
            text: format!("{dropped} log lines were dropped"),
            fields: Vec::new(),
        };
        let servers = world.servers();
        for server in servers.iter().map(|server| &**server).chain(gone) {
            write(server, &line);
        }
    }
}

/// Writes a line of the network side; an error that nobody writes goes to `interp
/// bgerror`, as those of callbacks do.
fn deliver(server: &ServerObject, line: &Line) {
    if !write(server, line) && line.level == Level::Error {
        let message = whole(server, line);
        server.report(&Raised::new(&message, &["POP3D", "LOG"]));
    }
}

/// The text of a line, with its server.
fn whole(server: &ServerObject, line: &Line) -> String {
    let text = format!("pop3d {} {}", server.identity.name, line.text);
    printable(&text)
}

/// Writes one line, to the server's `-log` or else through Tcllib's log; whether there is
/// anybody to write to: not in an interpreter that is being deleted. An error of a log
/// command must not stop a session: it goes to `interp bgerror`.
fn write(server: &ServerObject, line: &Line) -> bool {
    let interp = &server.identity.interp;
    if interp::is_deleted(interp) {
        return false;
    }
    let level = Value::text(name(line.level));
    let text = whole(server, line);
    let text = Value::text(&text);
    let prefix = server.log_prefix().to_list().unwrap_or_default();
    let words = if !prefix.is_empty() {
        [&prefix[..], &[level, text, fields(server, line)]].concat()
    } else if !command::exists(interp, "::log::log") {
        return false;
    } else if is_suppressed(interp, line.level) {
        return true;
    } else {
        vec![Value::text("::log::log"), level, text]
    };
    if let Err(raised) = interp::call(interp, &words) {
        server.report(&raised);
    }
    true
}

/// The fields of a line, with its server.
fn fields(server: &ServerObject, line: &Line) -> Value {
    let text = |(key, value): &(&'static str, String)| (*key, Value::text(value));
    let name = ("server", Value::text(&server.identity.name));
    Value::dict(line.fields.iter().map(text).chain([name]))
}

impl ServerObject {
    /// Logs a line of the interpreter's side, after those of the network side that have
    /// led to it; whether there is anybody to read it.
    pub fn log(&self, line: &Line) -> bool {
        let notes = &self.world.notes;
        // Those that come meanwhile are of other sessions.
        for _ in 0..notes.len() {
            let Some(earlier) = notes.take_line(self.id) else {
                break;
            };
            deliver(self, &earlier);
        }
        write(self, line)
    }
}
