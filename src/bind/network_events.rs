//! What network threads have for an interpreter: log records, and that connections have
//! closed. The two wait apart from each other, so that a crowd of records neither delays
//! nor displaces the news of a closed connection.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ffi::notifier::Alert;
use crate::net::{Event, Level, Observer, Record};
use crate::store::ids::{ConnectionId, ServerId};

/// Records of one server that may wait for the interpreter. When a script does not enter its
/// event loop, later ones are counted and dropped rather than kept without bound. Errors are
/// kept in the place of others.
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
        self.backlog().heads.is_empty() && self.closed_servers().is_empty()
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
        let are_few = |waiting: &Waiting| waiting.len() <= FEW;
        let few = backlog.servers.get(&server).is_none_or(are_few);
        few.then(|| backlog.take(server))
    }

    /// Has a record wait, and wakes the interpreter for the first; whether it is kept.
    pub fn keep(&self, server: ServerId, record: Record) -> bool {
        let (is_first, kept) = {
            let mut backlog = self.backlog();
            (backlog.heads.is_empty(), backlog.push(server, record))
        };
        if is_first {
            self.alert.wake();
        }
        kept
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
        // One that is dropped is counted.
        let _kept = self.keep(server, record);
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
    /// Those of each server that has any.
    servers: HashMap<ServerId, Waiting>,
    /// Whose the oldest records are, by their numbers.
    heads: BTreeMap<u64, ServerId>,
    /// The number of the next record.
    next: u64,
}

impl Backlog {
    /// Whether the record is kept.
    fn push(&mut self, server: ServerId, record: Record) -> bool {
        self.change(server, |waiting, number| waiting.push(number, record))
    }

    fn pop(&mut self) -> Option<(ServerId, Record)> {
        let (_, &server) = self.heads.first_key_value()?;
        let record = self.change(server, Waiting::pop)?;
        Some((server, record))
    }

    fn take(&mut self, server: ServerId) -> Vec<Record> {
        let waiting = self.servers.remove(&server).unwrap_or_default();
        if let Some(head) = waiting.head() {
            self.heads.remove(&head);
        }
        waiting.into_records()
    }

    /// Changes what waits of a server; `act` is given a new number.
    fn change<T>(&mut self, server: ServerId, act: impl FnOnce(&mut Waiting, u64) -> T) -> T {
        let number = self.next;
        self.next += 1;
        let waiting = self.servers.entry(server).or_default();
        let before = waiting.head();
        let done = act(waiting, number);
        let after = waiting.head();
        if before != after {
            before.map(|head| self.heads.remove(&head));
            after.map(|head| self.heads.insert(head, server));
        }
        if after.is_none() {
            self.servers.remove(&server);
        }
        done
    }
}

/// The records of one server that wait, with their numbers.
///
/// Once one is dropped, all later ones are, errors excepted, until those that wait have been
/// taken out: then one record tells of the gap, in its place.
#[derive(Default)]
struct Waiting {
    /// Oldest first. There are some as long as anything waits.
    records: VecDeque<(u64, Record)>,
    /// How many of them make room for errors.
    minor: usize,
    /// How many were dropped after these.
    dropped: usize,
    /// Errors from the time since then.
    errors: VecDeque<(u64, Record)>,
}

impl Waiting {
    fn head(&self) -> Option<u64> {
        self.records.front().map(|(number, _)| *number)
    }

    fn len(&self) -> usize {
        self.records.len() + self.errors.len()
    }

    /// Whether the record is kept.
    fn push(&mut self, number: u64, record: Record) -> bool {
        let is_full = self.len() >= MOST_WAITING;
        if self.dropped == 0 && !is_full {
            self.minor += usize::from(is_minor(&record));
            self.records.push_back((number, record));
            return true;
        }
        if record.level != Level::Error || is_full && !self.make_room() {
            self.dropped += 1;
            return false;
        }
        self.errors.push_back((number, record));
        self.fill(number);
        true
    }

    /// Drops the newest record that may be, in favour of an error; false if there is none.
    fn make_room(&mut self) -> bool {
        while self.minor > 0 {
            match self.records.pop_back() {
                Some((_, record)) if is_minor(&record) => {
                    self.minor -= 1;
                    self.dropped += 1;
                    return true;
                }
                Some(newer) => self.errors.push_front(newer),
                None => break,
            }
        }
        false
    }

    fn pop(&mut self, number: u64) -> Option<Record> {
        let (_, record) = self.records.pop_front()?;
        self.minor -= usize::from(is_minor(&record));
        self.fill(number);
        Some(record)
    }

    /// Where all before the gap have gone, it is told of.
    fn fill(&mut self, number: u64) {
        if self.records.is_empty() && self.dropped > 0 {
            let number = self.errors.front().map_or(number, |(number, _)| *number);
            let gap = Record::dropped(std::mem::take(&mut self.dropped));
            self.records.push_back((number, gap));
            self.records.append(&mut self.errors);
        }
    }

    fn into_records(self) -> Vec<Record> {
        let gap = (self.dropped > 0).then(|| Record::dropped(self.dropped));
        let without_number = |(_, record)| record;
        let before = self.records.into_iter().map(without_number);
        let after = self.errors.into_iter().map(without_number);
        before.chain(gap).chain(after).collect()
    }
}

/// Whether a record makes room for an error: what tells of a gap does not.
fn is_minor(record: &Record) -> bool {
    record.level != Level::Error && record.event != Event::Dropped
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(backlog.servers.is_empty() && backlog.heads.is_empty());
    }

    /// A record of an error that can be told from others.
    fn error(n: usize) -> Record {
        let mut record = numbered(n);
        record.level = Level::Error;
        record
    }

    #[test]
    fn errors_have_the_room_of_others() {
        let mut backlog = Backlog::default();
        let server = ServerId::new();
        for n in 0..MOST_WAITING - 1 {
            assert!(backlog.push(server, numbered(n)));
        }
        assert!(backlog.push(server, error(1)));
        assert!(!backlog.push(server, numbered(0)));
        assert!(backlog.push(server, error(2)));
        assert!(!backlog.push(server, numbered(0)));
        assert!(backlog.push(server, error(3)));
        assert_eq!(backlog.servers[&server].len(), MOST_WAITING);
        for n in 0..MOST_WAITING - 3 {
            assert_eq!(shown(&backlog.pop().unwrap().1), n.to_string());
        }
        let rest: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        let rest: Vec<_> = rest.iter().map(|(_, record)| shown(record)).collect();
        assert_eq!(rest, ["4 log lines were dropped", "1", "2", "3"]);
    }

    /// Of errors alone there are no more than of others.
    #[test]
    fn errors_are_bounded_too() {
        let mut backlog = Backlog::default();
        let server = ServerId::new();
        assert!(backlog.push(server, numbered(0)));
        for n in 1..=MOST_WAITING {
            assert!(backlog.push(server, error(n)), "{n}");
        }
        assert!(!backlog.push(server, error(0)));
        // The gap that was told of does not make room.
        let all: Vec<_> = backlog.take(server).iter().map(shown).collect();
        assert_eq!(all.len(), MOST_WAITING + 2);
        assert_eq!(all[..2], ["1 log lines were dropped", "1"]);
        assert_eq!(all[MOST_WAITING + 1], "1 log lines were dropped");
    }

    /// Records of several servers come in the order in which they were made.
    #[test]
    fn servers_take_turns() {
        let mut backlog = Backlog::default();
        let servers = [ServerId::new(), ServerId::new(), ServerId::new()];
        let order = [0, 1, 1, 2, 0, 2, 1, 0];
        for (n, at) in order.into_iter().enumerate() {
            backlog.push(servers[at], numbered(n));
        }
        let taken: Vec<_> = backlog.take(servers[1]).iter().map(shown).collect();
        assert_eq!(taken, ["1", "2", "6"]);
        let rest: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        let rest: Vec<_> = rest.iter().map(|(_, record)| shown(record)).collect();
        assert_eq!(rest, ["0", "3", "4", "5", "7"]);
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
        let waiting: usize = backlog.servers.values().map(Waiting::len).sum();
        assert_eq!(waiting, MOST_WAITING + 1);
        let taken = backlog.take(loud);
        assert_eq!(taken.len(), MOST_WAITING + 1);
        assert_eq!(shown(&taken[MOST_WAITING]), "1 log lines were dropped");
        assert_eq!(backlog.servers.len(), 1);
        let (server, record) = backlog.pop().unwrap();
        assert_eq!((server, &*shown(&record)), (quiet, "1"));
        assert!(backlog.pop().is_none());
    }
}
