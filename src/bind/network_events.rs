//! What network threads have for an interpreter: log records, and that connections have
//! closed. The two wait apart from each other, so that a crowd of records neither delays
//! nor displaces the news of a closed connection.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ffi::notifier::Alert;
use crate::net::{Level, Observer, Record};
use crate::store::ids::{ConnectionId, ServerId};

/// Records of one server that may wait for the interpreter. When a script does not enter its
/// event loop, later ones are counted and dropped rather than kept without bound.
const MOST_WAITING: usize = 10_000;

/// Records that may be written in one go between two steps of a session: more than a session
/// makes with a command, and written within a few milliseconds.
const FEW: usize = 64;

/// All levels.
pub const LEVELS: [Level; 4] = [Level::Error, Level::Warning, Level::Notice, Level::Debug];

fn bit(level: Level) -> u8 {
    1 << level as u8
}

/// What waits for one interpreter.
pub struct NetworkEvents {
    backlog: Mutex<Backlog>,
    /// Bit n: records of the level number n are wanted.
    wanted: AtomicU8,
    /// Servers of which a connection has closed. There are never more of them than servers.
    closed: Mutex<BTreeSet<ServerId>>,
    /// Some server is to be destroyed when its last connection has closed.
    closing_matters: AtomicBool,
    alert: Alert,
}

impl NetworkEvents {
    /// None yet, for the interpreter of the calling thread.
    pub fn for_this_thread() -> Self {
        Self {
            backlog: Mutex::default(),
            wanted: AtomicU8::new(0),
            closed: Mutex::default(),
            closing_matters: AtomicBool::new(false),
            alert: Alert::current(),
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed_servers(&self) -> MutexGuard<'_, BTreeSet<ServerId>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing waits for the interpreter.
    pub fn is_empty(&self) -> bool {
        self.backlog().records.is_empty() && self.closed_servers().is_empty()
    }

    /// Takes out the oldest record, with its server.
    pub fn take_record(&self) -> Option<(ServerId, Record)> {
        self.backlog().pop()
    }

    /// Takes out all records of one server, oldest first.
    pub fn take_records(&self, server: ServerId) -> Vec<Record> {
        self.backlog().take(server)
    }

    /// Takes out all records of one server, oldest first, if they are few.
    pub fn take_few(&self, server: ServerId) -> Option<Vec<Record>> {
        let mut backlog = self.backlog();
        let are_few = |counts: &Counts| counts.waiting <= FEW;
        let few = backlog.counts.get(&server).is_none_or(are_few);
        few.then(|| backlog.take(server))
    }

    /// Takes out the servers of which connections have closed.
    pub fn take_closed(&self) -> BTreeSet<ServerId> {
        std::mem::take(&mut *self.closed_servers())
    }

    /// From now on it is noted that connections close.
    pub fn watch_closing(&self) {
        self.closing_matters.store(true, Ordering::Relaxed);
    }

    /// Sets which levels are wanted.
    pub fn want(&self, levels: impl Iterator<Item = Level>) {
        let wanted = levels.fold(0, |bits, level| bits | bit(level));
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}

impl Observer for NetworkEvents {
    fn wants(&self, level: Level) -> bool {
        self.wanted.load(Ordering::Relaxed) & bit(level) != 0
    }

    fn record(&self, server: ServerId, record: Record) {
        let is_first = {
            let mut backlog = self.backlog();
            let was_empty = backlog.records.is_empty();
            backlog.push(server, record);
            was_empty
        };
        if is_first {
            self.alert.wake();
        }
    }

    fn closed(&self, server: ServerId, _connection: ConnectionId) {
        let is_news =
            self.closing_matters.load(Ordering::Relaxed) && self.closed_servers().insert(server);
        if is_news {
            self.alert.wake();
        }
    }
}

/// The records that wait, of all servers.
#[derive(Default)]
struct Backlog {
    /// Oldest first.
    records: VecDeque<(ServerId, Record)>,
    /// Of servers that have records here.
    counts: HashMap<ServerId, Counts>,
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    dropped: usize,
}

impl Backlog {
    /// Once one is dropped, all later ones of its server are, until those that wait have
    /// been taken out: then one record tells of the gap, in its place.
    fn push(&mut self, server: ServerId, record: Record) {
        let counts = self.counts.entry(server).or_default();
        if counts.dropped > 0 || counts.waiting >= MOST_WAITING {
            counts.dropped += 1;
            return;
        }
        counts.waiting += 1;
        self.records.push_back((server, record));
    }

    fn pop(&mut self) -> Option<(ServerId, Record)> {
        let (server, record) = self.records.pop_front()?;
        let counts = self.counts.entry(server).or_default();
        counts.waiting = counts.waiting.saturating_sub(1);
        if counts.waiting == 0 {
            let dropped = self
                .counts
                .remove(&server)
                .map_or(0, |counts| counts.dropped);
            if dropped > 0 {
                let gap = Record::dropped(dropped);
                self.counts.entry(server).or_default().waiting = 1;
                self.records.push_front((server, gap));
            }
        }
        Some((server, record))
    }

    fn take(&mut self, server: ServerId) -> Vec<Record> {
        let dropped = self
            .counts
            .remove(&server)
            .map_or(0, |counts| counts.dropped);
        let gap = (dropped > 0).then(|| Record::dropped(dropped));
        let all = std::mem::take(&mut self.records).into_iter();
        let (taken, others): (VecDeque<_>, _) = all.partition(|(of, _)| *of == server);
        self.records = others;
        let taken = taken.into_iter().map(|(_, record)| record);
        taken.chain(gap).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Event;

    /// A record that can be told from others.
    fn numbered(n: usize) -> Record {
        let mut record = Record::dropped(0);
        record.event = Event::Asked;
        record.fields.push(("number", n.to_string()));
        record
    }

    /// The number, or how many were dropped.
    fn shown(record: &Record) -> String {
        match record.event {
            Event::Asked => record.fields[0].1.clone(),
            _ => record.text(),
        }
    }

    #[test]
    fn a_gap_is_told_of_once_and_in_its_place() {
        let mut backlog = Backlog::default();
        let server = ServerId::new();
        for n in 0..MOST_WAITING + 7 {
            backlog.push(server, numbered(n));
        }
        let first = backlog.pop().unwrap();
        assert_eq!(shown(&first.1), "0");
        // There is room, but the gap has begun.
        backlog.push(server, numbered(0));
        for n in 1..MOST_WAITING {
            assert_eq!(shown(&backlog.pop().unwrap().1), n.to_string());
        }
        backlog.push(server, numbered(1));
        let rest: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        let rest: Vec<_> = rest.iter().map(|(_, record)| shown(record)).collect();
        assert_eq!(rest, ["8 log lines were dropped", "1"]);
        assert!(backlog.counts.is_empty());
    }

    #[test]
    fn each_server_has_room_of_its_own() {
        let mut backlog = Backlog::default();
        let (loud, quiet) = (ServerId::new(), ServerId::new());
        for n in 0..MOST_WAITING {
            backlog.push(loud, numbered(n));
        }
        backlog.push(quiet, numbered(1));
        backlog.push(loud, numbered(0));
        assert_eq!(backlog.records.len(), MOST_WAITING + 1);
        let taken = backlog.take(loud);
        assert_eq!(taken.len(), MOST_WAITING + 1);
        assert_eq!(shown(&taken[MOST_WAITING]), "1 log lines were dropped");
        assert_eq!(backlog.counts.len(), 1);
        let (server, record) = backlog.pop().unwrap();
        assert_eq!((server, &*shown(&record)), (quiet, "1"));
        assert!(backlog.pop().is_none());
    }
}
