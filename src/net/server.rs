//! The network side of one server object.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::admission::{Admission, Permit};
use super::connection::Connection;
use super::counters::Stats;
use super::failures::Failures;
use super::handshake::Encryption;
use super::listener::{self, Endpoint, Listening};
use super::logins::AddressRules;
use super::proxied;
use super::record::{Log, Observer, Refused};
use super::runtime::LoopSlot;
use crate::descriptors::Reserve;
use crate::store::access::Access;
use crate::store::hold::MAX_IDLE_WAIT;
use crate::store::ids::{Client, ConnectionId, ServerId};
use crate::store::jobs::{JobQueue, Owed, OwedUnlock};
use crate::tls::Tls;
use pop3_proto::connection::{Connection as Machine, End};
use pop3_proto::sasl::Mechanism;
use pop3_proto::security::{Peer, TlsFacts, TlsMode};
use pop3_proto::session::{Config, Origin, Snapshot, Tally};

/// One server: its listener and its connections.
pub struct Server {
    pub(super) id: ServerId,
    /// SERVER_PID, for time stamps.
    label: Box<str>,
    pub(super) access: Arc<Access>,
    pub(super) jobs: Arc<JobQueue>,
    pub(super) log: Log,
    config: RwLock<Option<Arc<Config>>>,
    pub(super) encryption: Encryption,
    admission: Arc<Admission>,
    pub(super) failures: Failures,
    pub(super) address_rules: ArcSwap<AddressRules>,
    connections: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
    listening: Mutex<Option<Listening>>,
    dead: AtomicBool,
    departing: Arc<AtomicUsize>,
    /// Connections of proxies whose header has not come.
    unnamed: Arc<AtomicUsize>,
    /// Tells those that the server does not listen any more.
    pub(super) listening_ended: watch::Sender<()>,
    /// Connections, oldest first, without those that were seen to have logged in or gone. When
    /// the server is full, the first that has not logged in makes room.
    waiting: Mutex<VecDeque<ConnectionId>>,
}

/// Connections of a server that may wait for their clients to close after the farewell.
/// Further ones are closed at once. They do not count for
/// [`Limits::connections`](pop3_proto::limits::Limits::connections), so that a client
/// that comes back at once finds room.
const DEPARTING: usize = 1024;

/// Entries of connections that have gone, of which the queue of those that make room is
/// cleared when it has more.
const WORTH_CLEARING: usize = 1024;

/// Connections of proxies that may wait for their header. Proxies send it at once.
const UNNAMED: usize = 1024;

/// The right to be one of a bounded number; ends when dropped.
pub(super) struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    /// One more, if there are fewer than `most`.
    fn take(counter: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let ticket = Self(counter.clone());
        let before = counter.fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The client of a new connection.
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) place: Peer,
    /// When the connection was accepted.
    pub(super) since: Instant,
}

impl Caller {
    /// Without a proxy between.
    fn direct(peer: SocketAddr) -> Self {
        Self {
            peer,
            place: place(peer.ip()),
            since: Instant::now(),
        }
    }
}

/// Where the client of an address is.
pub fn place(address: IpAddr) -> Peer {
    match address.is_loopback() {
        true => Peer::Loopback,
        false => Peer::Remote,
    }
}

/// A connection as `conn state` and `conn info` show it.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// What its session is at.
    pub snapshot: Snapshot,
    /// The client's address; IPv4-mapped ones as IPv4.
    pub peer: SocketAddr,
    /// Its TLS, if it has any.
    pub tls: Option<Arc<TlsFacts>>,
    /// How the client has proved who it is; none before login.
    pub mechanism: Option<Mechanism>,
    /// What it has done so far.
    pub tally: Tally,
    /// When it began.
    pub begun: Instant,
    /// How long it has waited for a command; 0 while one is at work.
    pub idle: Duration,
}

impl ConnectionState {
    /// What a connection from `peer` is at.
    pub fn of(machine: &Machine, peer: SocketAddr) -> Self {
        let session = machine.session();
        Self {
            snapshot: session.snapshot(),
            peer,
            tls: session.tls().cloned(),
            mechanism: session.mechanism(),
            tally: session.tally(),
            begun: machine.begun(),
            idle: machine.idle_for(Instant::now()),
        }
    }
}

impl Server {
    /// A server that does not listen yet. `name` becomes part of the greetings'
    /// time stamps.
    pub fn new(
        id: ServerId,
        name: &str,
        access: Arc<Access>,
        jobs: Arc<JobQueue>,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            label: format!("{}_{}", printable(name), std::process::id()).into(),
            access,
            jobs,
            log: Log::new(id, observer),
            config: RwLock::default(),
            encryption: Encryption::default(),
            admission: Arc::default(),
            failures: Failures::default(),
            address_rules: ArcSwap::default(),
            connections: Mutex::default(),
            listening: Mutex::default(),
            dead: AtomicBool::new(false),
            departing: Arc::default(),
            unnamed: Arc::default(),
            listening_ended: watch::Sender::new(()),
            waiting: Mutex::default(),
        })
    }

    /// Sets what new sessions obey. Needed before [`listen`](Self::listen).
    pub fn configure(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    /// Sets which addresses are treated in another way than others, from now on.
    pub fn set_address_rules(&self, rules: AddressRules) {
        self.address_rules.store(Arc::new(rules));
    }

    /// Sets the TLS of new handshakes, whose files have just been read; none: they fail.
    pub fn set_tls(&self, tls: Option<Tls>) {
        self.encryption.set(tls);
    }

    /// The TLS of new handshakes.
    pub fn tls(&self) -> Option<Tls> {
        self.encryption.get()
    }

    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn connection_map(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Connection>>> {
        // A panic cannot leave the map half changed.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take_listening(&self) -> Option<Listening> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Binds and starts to accept; returns the port. An earlier listener of this
    /// server is closed first.
    ///
    /// `address` may be a name or an address of this host; none means all
    /// addresses, IPv6 and IPv4. Port 0 means any free one.
    ///
    /// # Errors
    /// What the system said, for example that the address is in use.
    pub fn listen(self: &Arc<Self>, on: Endpoint<'_>) -> io::Result<u16> {
        if self.config().is_none() || self.is_dead() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.close_listener();
        let listening = listener::start(self.clone(), on)?;
        let port = listening.port;
        *self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(port)
    }

    /// Stops accepting; the port is free when this returns. Connections live on, but for
    /// those of proxies that have not said whose they are.
    pub fn close_listener(&self) {
        // Taken out first: no lock is held while this waits.
        if let Some(listening) = self.take_listening() {
            listening.close();
        }
        // After the last was accepted.
        self.listening_ended.send_replace(());
    }

    /// Where what happens to it is recorded, by the driver of sessions on Tcl channels too.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The names of the connections, oldest first.
    pub fn connections(&self) -> Vec<ConnectionId> {
        let mut all: Vec<_> = self.connection_map().keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// What one connection is at.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionState> {
        let connection = self.connection_map().get(&id)?.clone();
        let state = ConnectionState::of(&connection.machine(), connection.peer);
        Some(state)
    }

    pub(super) fn lists(&self, id: ConnectionId) -> bool {
        self.connection_map().contains_key(&id)
    }

    /// Ends one connection, with `-ERR` and `text` for its client if it can be told that. An
    /// empty text says nothing. None if there is no such connection. Else the `unlock` that the
    /// caller owes, on the interpreter's thread; only then the connection leaves the list.
    pub fn close_connection(&self, id: ConnectionId, text: &str) -> Option<Option<OwedUnlock>> {
        let connection = self.connection_map().get(&id)?.clone();
        Some(connection.close(text))
    }

    /// What the server has done so far, its sessions on sockets that go on included.
    pub fn stats(&self) -> Stats {
        let counters = &self.log.counters;
        let (mut tally, live) = {
            // Who ends from now on is not among those that have ended.
            let done = counters.done();
            let map = self.connection_map();
            let live = map.values().filter(|one| !one.counted.is_set()).cloned();
            (*done, live.collect::<Vec<_>>())
        };
        for connection in live {
            tally += connection.machine().session().tally();
        }
        counters.read(tally)
    }

    /// Number of connections.
    pub fn connection_count(&self) -> usize {
        self.connection_map().len()
    }

    /// Admits a connection that the caller drives itself, on a Tcl channel. It
    /// counts until the permit is dropped.
    ///
    /// # Errors
    /// Why it is to be turned away, with [`Refused::line`].
    pub fn admit(&self, peer: IpAddr) -> Result<Permit, Refused> {
        match self.refuses_logins(peer) {
            true => Err(Refused::FailedLogins),
            false => self.readmit(peer),
        }
    }

    /// Admits a connection that was admitted before.
    pub(super) fn readmit(&self, peer: IpAddr) -> Result<Permit, Refused> {
        let config = self.config().ok_or(Refused::Dead)?;
        if self.is_dead() {
            return Err(Refused::Dead);
        }
        self.admission.admit(peer, &config.limits)
    }

    /// Lets a connection wait for its client to close, if not too many do.
    pub(super) fn depart(&self) -> Option<Ticket> {
        Ticket::take(&self.departing, DEPARTING)
    }

    /// Whether it has been destroyed.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// A time stamp for a greeting, `<DIGITS_SERVER_PID@HOST>`: unique, and not to
    /// be predicted, as it is what APOP digests (RFC 1939 §7).
    fn time_stamp(&self) -> Box<str> {
        // Without random numbers time is all there is.
        let time = |_| {
            std::time::UNIX_EPOCH
                .elapsed()
                .unwrap_or_default()
                .as_nanos() as u64
        };
        let digits = crate::keyed::random().map_or_else(time, u64::from_ne_bytes);
        let config = self.config();
        let host = config.as_ref().map_or("localhost", |c| &c.host);
        format!("<{digits}_{}@{host}>", self.label).into()
    }

    /// What a new connection of a client at this place begins with.
    pub fn origin(&self, place: Peer) -> Origin {
        Origin {
            stamp: self.time_stamp(),
            peer: place,
            mechanisms: self.access.mechanisms(),
        }
    }

    /// Ends everything at once: stops accepting, ends all connections (clients
    /// see the end of the stream) and releases the locks of built-in stores.
    /// Returns what the caller, on the interpreter's thread, does for them directly, in this
    /// order, with their clients: `unlock` for the locks that scripts hold, and telling the
    /// hook. Nothing is deleted, and queued
    /// jobs of this server are dropped; [`Observer::closed`] is not called.
    ///
    /// A job that is being run at this moment, further up on the caller's stack,
    /// learns of it by [`Job::take_lock`](crate::store::jobs::Job::take_lock) and
    /// [`Job::answer`](crate::store::jobs::Job::answer).
    #[must_use = "the mailboxes stay locked otherwise"]
    pub fn kill(&self) -> Vec<(Client, Owed)> {
        self.dead.store(true, Ordering::Release);
        self.close_listener();
        let connections: Vec<_> = self.connection_map().values().cloned().collect();
        let mut owed: Vec<_> = connections.iter().flat_map(|c| c.kill()).collect();
        // One that came meanwhile sees that the server is dead.
        self.connection_map().clear();
        let until = Instant::now() + MAX_IDLE_WAIT;
        for connection in &connections {
            connection.hold.wait_idle(until);
        }
        owed.extend(self.jobs.forget(self.id));
        owed
    }

    /// Admits a connection; where there is no room, in the place of the one that has waited
    /// longest without logging in.
    fn admit_by_force(&self, peer: IpAddr) -> Result<Permit, Refused> {
        loop {
            match self.admit(peer) {
                Err(Refused::Connections) if self.make_room() => {}
                admitted => return admitted,
            }
        }
    }

    /// Ends the connection that has waited longest without logging in; false if there is
    /// none.
    pub(super) fn make_room(&self) -> bool {
        let mut checked = Vec::new();
        let made = loop {
            let Some(id) = self.waiting().pop_front() else {
                break false;
            };
            let Some(connection) = self.connection_map().get(&id).cloned() else {
                continue;
            };
            if connection.make_room() {
                break true;
            }
            if !connection.machine().session().is_authenticated() {
                // Its login is being checked, and may fail.
                checked.push(id);
            }
        };
        let mut waiting = self.waiting();
        checked
            .into_iter()
            .rev()
            .for_each(|id| waiting.push_front(id));
        made
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<ConnectionId>> {
        // A panic cannot leave the queue half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new connection as the last that makes room.
    fn wait_in_line(&self, id: ConnectionId, connections: usize) {
        let mut waiting = self.waiting();
        waiting.push_back(id);
        if waiting.len() <= 2 * connections + WORTH_CLEARING {
            return;
        }
        let all = std::mem::take(&mut *waiting);
        drop(waiting);
        // Those that have gone; the order of the others stays.
        let map = self.connection_map();
        let live: VecDeque<_> = all.into_iter().filter(|id| map.contains_key(id)).collect();
        drop(map);
        let newer = std::mem::replace(&mut *self.waiting(), live);
        self.waiting().extend(newer);
    }

    /// Takes a fresh connection, or turns it away; that of a proxy once it has said whose it
    /// is.
    pub(super) fn welcome(
        self: &Arc<Self>,
        stream: TcpStream,
        socket: SocketAddr,
        (descriptors, slot): (Option<Reserve>, LoopSlot),
    ) {
        let is_proxy = self.address_rules.load().proxies.contains(socket.ip());
        match descriptors {
            Some(descriptors) if is_proxy => match Ticket::take(&self.unnamed, UNNAMED) {
                Some(ticket) => {
                    proxied::welcome(self, stream, socket, (descriptors, slot), ticket);
                }
                None => self.turn_away(&stream, socket, Refused::Connections),
            },
            descriptors => self.receive(stream, Caller::direct(socket), (descriptors, slot)),
        }
    }

    /// Takes a connection whose client is known, or turns it away.
    pub(super) fn receive(
        self: &Arc<Self>,
        stream: TcpStream,
        Caller { peer, place, since }: Caller,
        (descriptors, slot): (Option<Reserve>, LoopSlot),
    ) {
        let admitted = match descriptors {
            Some(descriptors) => self.admit_by_force(peer.ip()).map(|p| (p, descriptors)),
            None => Err(Refused::Descriptors),
        };
        let (config, (permit, descriptors)) = match (self.config(), admitted) {
            (Some(config), Ok(permit)) => (config, permit),
            (_, refusal) => {
                let reason = refusal.err().unwrap_or(Refused::Dead);
                return self.turn_away(&stream, peer, reason);
            }
        };
        let machine = Machine::new(config.clone(), self.origin(place), since);
        let opened = Connection::open(
            self.clone(),
            stream,
            peer,
            machine,
            config,
            (permit, descriptors, slot),
        );
        match opened {
            Ok(connection) => self.start(connection),
            Err(error) => self.log.accept_failed(&error),
        }
    }

    /// Says why, without waiting for anything; the caller closes.
    fn turn_away(&self, stream: &TcpStream, peer: SocketAddr, reason: Refused) {
        use std::io::Write;
        self.log.connection_refused(peer, reason);
        let config = self.config();
        // A client that begins TLS would take the line for a part of the handshake.
        if config.is_none_or(|config| config.tls != TlsMode::Implicit) {
            // Fresh connections have room for one line; the stream does not block.
            let mut stream = stream;
            let _ = stream.write(reason.line());
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }

    fn start(&self, connection: Arc<Connection>) {
        let (id, peer) = (connection.id, connection.peer);
        let connections = {
            let mut map = self.connection_map();
            map.insert(id, connection.clone());
            map.len()
        };
        self.wait_in_line(id, connections);
        self.log.accepted(|| connection.client(), peer);
        if self.is_dead() {
            // Killed since it was admitted, and the list was emptied before.
            connection.leave(End::Killed);
            return;
        }
        let driving = super::driver::drive(connection.clone());
        connection.slot.spawn(driving);
    }

    /// Takes a connection that has ended out of the list and tells the observer, unless
    /// [`kill`](Self::kill) was first.
    pub(super) fn remove(&self, id: ConnectionId) {
        let gone = self.connection_map().remove(&id);
        if gone.is_some() {
            self.log.closed(id);
        }
    }
}

/// The name as it may stand in a time stamp, which is one word (RFC 1939 §7).
fn printable(name: &str) -> String {
    let fits = |c: &char| c.is_ascii_graphic() && !"<>@".contains(*c);
    name.chars().filter(fits).collect()
}
