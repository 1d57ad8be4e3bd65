//! Users, mailboxes, an interpreter and a client, all as simple as can be.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pop3_proto::limits::Limits;
use pop3_proto::session::Config;
use pop3_proto::{MsgNo, Proof, Secret};
pub use pop3d::net::Endpoint;
use pop3d::net::{Event, Level, Observer, Record, Server};
use pop3d::store::access::{Access, Route};
use pop3d::store::ids::{ConnectionId, ServerId};
use pop3d::store::jobs::JobQueue;
use pop3d::store::{Account, Content, Mailbox, Message, Storage, StoreError, Users, Verdict, Wait};

/// Longer than anything here takes: only a failing test waits for so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every user "uN" has the password "secret" and the mailbox "mN".
pub struct EachUser;

impl EachUser {
    pub fn lookup(&self, user: &str) -> Option<Account> {
        let number = user.strip_prefix('u')?;
        Some(Account {
            password: Secret::new(&b"secret"[..]),
            storage: format!("m{number}").into(),
        })
    }
}

impl Users for EachUser {
    fn verify(&self, user: &[u8], proof: &Proof) -> Verdict {
        let account = std::str::from_utf8(user).ok();
        let account = account.and_then(|user| self.lookup(user));
        account.and_then(|account| account.admits(proof)).into()
    }
}

/// A gate at which calls wait while it is shut.
#[derive(Default)]
pub struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    pub waiting: AtomicUsize,
}

impl Gate {
    pub fn shut(&self) {
        *self.shut.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.opened.notify_all();
    }

    pub fn pass(&self) {
        let shut = self.shut.lock().unwrap();
        self.waiting.fetch_add(1, SeqCst);
        let (_open, wait) = self
            .opened
            .wait_timeout_while(shut, PATIENCE, |shut| *shut)
            .unwrap();
        assert!(!wait.timed_out(), "the gate stayed shut");
        self.waiting.fetch_sub(1, SeqCst);
    }
}

/// What all mailboxes of a store share: counts of what was done to them.
#[derive(Default)]
pub struct Ledger {
    pub locked: Mutex<HashSet<String>>,
    pub locks: AtomicUsize,
    pub unlocks: AtomicUsize,
    pub deleted: Mutex<Vec<(String, u32)>>,
    pub gate: Gate,
}

/// Where a message's bytes come from.
#[derive(Clone)]
pub enum Mail {
    Bytes(Arc<[u8]>),
    InFile(std::path::PathBuf),
    /// Empty, and cannot be opened without a panic.
    Panics,
}

/// Mailboxes of which all have the same messages.
#[derive(Clone, Default)]
pub struct Same {
    pub messages: Vec<Mail>,
    pub ledger: Arc<Ledger>,
}

impl Same {
    pub fn of(messages: &[&str]) -> Self {
        let messages = messages.iter().map(|m| Mail::Bytes(m.as_bytes().into()));
        Self {
            messages: messages.collect(),
            ledger: Arc::default(),
        }
    }
}

impl Storage for Same {
    fn lock(&self, mailbox: &str, wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError> {
        if !wait.may_block() {
            return Err(StoreError::WouldBlock);
        }
        self.ledger.gate.pass();
        if !self.ledger.locked.lock().unwrap().insert(mailbox.into()) {
            return Err(StoreError::InUse(mailbox.into()));
        }
        self.ledger.locks.fetch_add(1, SeqCst);
        Ok(Arc::new(Opened {
            mailbox: mailbox.into(),
            store: self.clone(),
            open: AtomicBool::new(true),
        }))
    }
}

struct Opened {
    mailbox: String,
    store: Same,
    open: AtomicBool,
}

impl Mailbox for Opened {
    fn count(&self) -> u32 {
        self.store.messages.len() as u32
    }

    fn octets(&self) -> Result<u64, StoreError> {
        Ok(self.sizes()?.iter().sum())
    }

    fn size(&self, number: MsgNo) -> Result<u64, StoreError> {
        Ok(match &self.store.messages[number.index()] {
            Mail::Bytes(bytes) => bytes.len() as u64,
            Mail::InFile(path) => path.metadata().unwrap().len(),
            Mail::Panics => 0,
        })
    }

    fn sizes(&self) -> Result<Arc<[u64]>, StoreError> {
        (1..=self.count())
            .map(|n| self.size(MsgNo::new(n).unwrap()))
            .collect()
    }

    fn uid(&self, number: MsgNo) -> Result<Box<str>, StoreError> {
        Ok(format!("id{number}").into())
    }

    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError> {
        (1..=self.count())
            .map(|n| self.uid(MsgNo::new(n).unwrap()))
            .collect()
    }

    fn get(&self, number: MsgNo, _wait: Wait<'_>) -> Result<Message, StoreError> {
        self.store.ledger.gate.pass();
        let content = match &self.store.messages[number.index()] {
            Mail::Bytes(bytes) => Content::Data(bytes.clone()),
            Mail::Panics => panic!("a store's fault"),
            Mail::InFile(path) => {
                let failed = |source| {
                    let what = path.display().to_string();
                    StoreError::Io { what, source }
                };
                let file = File::open(path).map_err(failed)?;
                let size = file.metadata().map_err(failed)?.len();
                Content::File(file, size)
            }
        };
        let octets = self.size(number)?;
        Ok(Message { octets, content })
    }

    fn delete(&self, numbers: &[MsgNo]) -> Result<(), StoreError> {
        self.store.ledger.gate.pass();
        let marked = numbers.iter().map(|n| (self.mailbox.clone(), n.get()));
        self.store.ledger.deleted.lock().unwrap().extend(marked);
        Ok(())
    }

    fn unlock(&self) {
        if self.open.swap(false, SeqCst) {
            let ledger = &self.store.ledger;
            ledger.unlocks.fetch_add(1, SeqCst);
            assert!(ledger.locked.lock().unwrap().remove(&self.mailbox));
        }
    }

    fn is_locked(&self) -> bool {
        self.open.load(SeqCst)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// What a server told.
#[derive(Default)]
pub struct Heard {
    /// Why each session has ended, as the log says it.
    pub ended: Mutex<HashMap<ConnectionId, String>>,
    pub closed: AtomicUsize,
    pub accept_failures: AtomicUsize,
    pub refused: AtomicUsize,
    pub all: Mutex<String>,
    /// Nobody listens.
    pub deaf: AtomicBool,
}

impl Observer for Heard {
    fn wants(&self, _level: Level) -> bool {
        !self.deaf.load(SeqCst)
    }

    fn record(&self, _server: ServerId, record: Record) {
        let line = format!("{record:?}\n");
        self.all.lock().unwrap().push_str(&line);
        match record.event {
            Event::AcceptFailed => {
                self.accept_failures.fetch_add(1, SeqCst);
            }
            Event::ConnectionRefused => {
                self.refused.fetch_add(1, SeqCst);
            }
            Event::Ended => {
                let connection = record.connection.unwrap();
                let is_reason = |(name, _): &&(&str, String)| *name == "reason";
                let (_, reason) = record.fields.iter().find(is_reason).unwrap();
                let before = self
                    .ended
                    .lock()
                    .unwrap()
                    .insert(connection, reason.clone());
                assert!(before.is_none(), "{connection} ended twice");
            }
            _ => {}
        }
    }

    fn closed(&self, _server: ServerId, _connection: ConnectionId) {
        self.closed.fetch_add(1, SeqCst);
    }
}

impl Heard {
    /// Why the only session so far has ended.
    pub fn the_end(&self) -> String {
        eventually("the end is told", || !self.ended.lock().unwrap().is_empty());
        self.ended.lock().unwrap().values().next().unwrap().clone()
    }
}

/// A server that listens on loopback.
pub struct Bench {
    pub server: Arc<Server>,
    pub heard: Arc<Heard>,
    pub access: Arc<Access>,
    pub port: u16,
}

pub fn limits() -> Limits {
    Limits {
        login_delay: Duration::ZERO,
        ..Limits::default()
    }
}

pub fn config(limits: Limits) -> Arc<Config> {
    Arc::new(Config::new("h.example", "S", limits))
}

impl Bench {
    pub fn with(
        users: Route<dyn Users>,
        storage: Route<dyn Storage>,
        limits: Limits,
        jobs: Arc<JobQueue>,
    ) -> Self {
        let access = Arc::new(Access::default());
        access.set_users(users);
        access.set_storage(storage);
        let heard = Arc::new(Heard::default());
        let id = ServerId::new();
        let server = Server::new(id, "serv", access.clone(), jobs, heard.clone());
        server.configure(config(limits));
        let port = server
            .listen(Endpoint::Address(Some("127.0.0.1"), 0))
            .unwrap();
        Self {
            server,
            heard,
            access,
            port,
        }
    }

    /// With the stores of this file, reached directly.
    pub fn direct(store: &Same, limits: Limits) -> Self {
        let users = Route::Direct(Arc::new(EachUser) as Arc<dyn Users>);
        let storage = Route::Direct(Arc::new(store.clone()) as Arc<dyn Storage>);
        Self::with(users, storage, limits, no_interpreter())
    }

    pub fn connect(&self) -> Client {
        let mut client = self.connect_raw();
        let greeting = client.line();
        assert!(
            greeting.starts_with("+OK h.example S ready <"),
            "{greeting}"
        );
        client
    }

    /// Without reading the greeting.
    pub fn connect_raw(&self) -> Client {
        Client::of(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// All connections have ended and every lock has been released once.
    pub fn assert_clean(&self, ledger: &Ledger) {
        eventually("all are gone", || self.server.connection_count() == 0);
        eventually("all is unlocked", || {
            ledger.locked.lock().unwrap().is_empty()
                && ledger.locks.load(SeqCst) == ledger.unlocks.load(SeqCst)
        });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let owed = self.server.kill();
        assert!(owed.is_empty() || std::thread::panicking(), "{owed:?}");
    }
}

/// A queue that fails the test when it is used.
pub fn no_interpreter() -> Arc<JobQueue> {
    Arc::new(JobQueue::new(|| unreachable!("a job without a script")))
}

/// A client; every read has a time-out.
pub struct Client {
    pub reader: BufReader<TcpStream>,
}

impl Client {
    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// Sends a command; returns the first line of the reply.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        self.line()
    }

    pub fn expect(&mut self, command: &str, reply: &str) {
        assert_eq!(self.ask(command), format!("{reply}\r\n"), "{command}");
    }

    pub fn login(&mut self, user: &str) {
        self.expect(&format!("USER {user}"), "+OK please send PASS command");
        self.expect("PASS secret", "+OK congratulations");
    }

    /// What comes until the end of the stream.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Nothing more comes but the end, perhaps as a reset.
    pub fn assert_ended(&mut self) {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(n) => assert_eq!(n, 0, "{}", String::from_utf8_lossy(&bytes)),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    pub fn shut_writing(&mut self) {
        self.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}
