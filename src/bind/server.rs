//! `::pop3d::new` and its objects: what they are, from `up` to their destruction.

mod certificates;
mod configure;
mod conn;
mod metrics;
mod stats;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::callbacks::{self, CallbackCounts};
use super::channel::ChannelSession;
use super::direct::{self, Direct};
use super::listen::{self, Listener};
use super::log;
use super::object::{self, Identity, Kind};
use super::options::{Options, UidlSource};
use super::reports::Reports;
use super::world::World;
use crate::ffi::command::{Command, Error};
use crate::ffi::interp::{self, Preserved, Raised};
use crate::ffi::value::learn_system_encoding;
use crate::ffi::{Interp, Value};
use crate::net;
use crate::store::access::{Access, LoginRules};
use crate::store::hold::MAX_IDLE_WAIT;
use crate::store::ids::ServerId;
use crate::store::jobs::Owed;
use pop3_proto::hook::WatchedEvents;
use pop3_proto::security::TlsMode;
use pop3_proto::session::Config;

const KIND: Kind = Kind {
    prefix: "pop3d",
    noun: "pop3 server",
    namespace: "::pop3d::pop3d",
    constructor: "::pop3d::new",
    // Tcllib's list, which leaves `conn` out.
    methods: "cget, configure, destroy, down, or up",
    more: "conn, options, reload, and stats",
};

/// What clients and tests look for in the greeting.
const SERVER: &str = concat!("tcllib/pop3d-", env!("CARGO_PKG_VERSION"));

/// Makes the commands and variables of the package.
pub fn register(world: &Rc<World>) {
    object::register(world, &KIND, |world, identity| {
        let server = ServerObject::new(world, identity);
        server.identity.create(server.clone());
        server.publish();
        world.add_server(server.clone());
        server
    });
    let interp = &world.interp;
    // A namespace that exists cannot refuse this.
    let _ = interp::eval(interp, "namespace eval ::pop3d {namespace export new}");
    let version = Value::text(env!("CARGO_PKG_VERSION"));
    interp::set_var(interp, "::pop3d::version", &version);
    // A script may have chosen a name before the package came.
    if interp::get_var(interp, "::pop3d::server").is_none() {
        interp::set_var(interp, "::pop3d::server", &Value::text(SERVER));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Up,
    /// `destroy defer` waits for the last connection to close.
    Exiting,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::Exiting => "exiting",
        }
    }
}

/// One server.
pub struct ServerObject {
    /// Names it in jobs.
    pub id: ServerId,
    /// Its Tcl side.
    pub identity: Identity,
    /// Its interpreter's world.
    pub world: Rc<World>,
    /// Its network side.
    pub engine: Arc<net::Server>,
    options: RefCell<Options>,
    state: Cell<State>,
    /// What `cget -port` shows: the chosen port while up.
    true_port: RefCell<Value>,
    listener: RefCell<Option<Listener>>,
    /// Sessions on Tcl channels.
    channels: RefCell<BTreeMap<String, Rc<ChannelSession>>>,
    /// See [`bound_channels`](Self::bound_channels).
    most_channels: Cell<usize>,
    config: RefCell<Option<Arc<Config>>>,
    /// Of which events `-hook` is told, in running sessions too.
    watched: Arc<WatchedEvents>,
    direct: Direct,
    reports: Reports,
    /// What its callbacks have done.
    pub callbacks: CallbackCounts,
    /// Whether the storage knows `uidl`; none before it was asked.
    uidl: Cell<Option<bool>>,
    /// How often `-storage` was configured.
    storage_number: Cell<u32>,
    gone: Cell<bool>,
}

impl ServerObject {
    fn new(world: &Rc<World>, identity: Identity) -> Rc<Self> {
        let id = ServerId::new();
        let access = Arc::new(Access::default());
        let name = &identity.name;
        let (jobs, network) = (world.jobs.clone(), world.network.clone());
        let engine = net::Server::new(id, name, access.clone(), jobs, network);
        let options = Options::default();
        let reports = Reports::new(&identity);
        Rc::new(Self {
            id,
            identity,
            world: world.clone(),
            engine,
            true_port: RefCell::new(options.port.clone()),
            options: RefCell::new(options),
            state: Cell::new(State::Down),
            listener: RefCell::new(None),
            channels: RefCell::default(),
            most_channels: Cell::new(usize::MAX),
            config: RefCell::default(),
            watched: Arc::default(),
            direct: Direct::new(access),
            reports,
            callbacks: CallbackCounts::default(),
            uidl: Cell::new(None),
            storage_number: Cell::new(0),
            gone: Cell::new(false),
        })
    }

    /// Keeps the variables of the server's namespace true.
    fn publish(&self) {
        let options = self.options.borrow();
        let (port, auth) = (options.port.clone(), options.auth.clone());
        let (storage, socket) = (options.storage.clone(), options.socket.clone());
        drop(options);
        let true_port = self.true_port.borrow().clone();
        // Nothing is borrowed here: write traces may configure the server.
        self.identity.set("port", &port);
        self.identity.set("trueport", &true_port);
        self.identity.set("authCmd", &auth);
        self.identity.set("storCmd", &storage);
        self.identity.set("sockCmd", &socket);
        self.identity
            .set("state", &Value::text(self.state.get().name()));
    }

    fn up(self: &Rc<Self>) -> Result<Value, Error> {
        if self.state.get() == State::Up {
            return Ok(Value::text(""));
        }
        learn_system_encoding(&self.identity.interp);
        if self.tls_mode() != TlsMode::Off {
            // What the options name now, not what could be read before.
            self.configure_tls()?;
        }
        self.check_tls()?;
        // Its sessions may begin before the event loop looks next.
        log::refresh(&self.world);
        self.configure_engine();
        let (socket, port) = {
            let options = self.options.borrow();
            (options.socket.clone(), options.port.clone())
        };
        let (listener, port) = listen::open(self, &socket, &port)?;
        if self.gone.get() || self.state.get() == State::Up {
            // The command prefix of -socket destroyed the server, or has it up.
            listener.close(self);
            return Ok(Value::text(""));
        }
        *self.listener.borrow_mut() = Some(listener);
        *self.true_port.borrow_mut() = port;
        self.state.set(State::Up);
        self.publish();
        Ok(Value::text(""))
    }

    fn down(&self) {
        if self.state.get() != State::Up {
            return;
        }
        self.state.set(State::Down);
        let listener = self.listener.borrow_mut().take();
        if let Some(listener) = listener {
            listener.close(self);
        }
        let port = self.options.borrow().port.clone();
        *self.true_port.borrow_mut() = port;
        self.publish();
    }

    /// What sessions obey from now on.
    fn configure_engine(&self) {
        let server = interp::get_var(&self.identity.interp, "::pop3d::server");
        let server = server.map_or_else(|| SERVER.to_owned(), |server| server.to_text());
        let options = self.options.borrow();
        let by_script = !options.login.is_empty();
        self.access().set_login_rules(LoginRules {
            by_script,
            mechanisms: options.wanted_mechanisms(),
        });
        let config = Config {
            // `configure` has said why there is none.
            tls: match self.engine.tls() {
                Some(_) if !self.listens_on_channel() => options.tls,
                _ => TlsMode::Off,
            },
            plaintext: options.plaintext,
            // A script that checks logins does not tell passwords.
            apop: options.apop && !by_script,
            capabilities: options.capabilities.clone(),
            hook: self.watched.clone(),
            ..Config::new(&listen::host_name(), &server, options.limits.clone())
        };
        let rules = options.addresses.clone();
        drop(options);
        self.engine.set_address_rules(rules);
        let config = Arc::new(config);
        *self.config.borrow_mut() = Some(config.clone());
        self.engine.configure(config);
    }

    /// Whether its sessions are on Tcl channels.
    fn listens_on_channel(&self) -> bool {
        matches!(*self.listener.borrow(), Some(Listener::Channel(..)))
    }

    /// How `-tls` offers TLS.
    pub fn tls_mode(&self) -> TlsMode {
        self.options.borrow().tls
    }

    /// Whether there are addresses whose connections begin with a PROXY header.
    pub fn has_proxies(&self) -> bool {
        !self.options.borrow().addresses.proxies.is_empty()
    }

    /// Whether the socket that listens can have the options.
    fn check_listener(&self) -> Result<(), Error> {
        let socket = self.options.borrow().socket.clone();
        match self.listens_on_channel() {
            true => listen::check_channel(self, &socket),
            false => Ok(()),
        }
    }

    fn destroy(&self, mode: &str) -> Result<Value, Error> {
        if mode == "defer" {
            // Before connections are counted: one that closes later is noted.
            self.world.network.watch_closing();
        }
        match mode {
            "kill" => self.destroy_now(),
            "defer" if self.connection_count() == 0 => self.destroy_now(),
            "defer" => {
                self.down();
                self.state.set(State::Exiting);
                self.publish();
            }
            _ => {
                let expected = "Expected \"kill\", or \"defer\"";
                let message = format!("Illegal destruction mode \"{mode}\": {expected}");
                return Err(Error::new(message, &["DESTROY", mode]));
            }
        }
        Ok(Value::text(""))
    }

    /// Ends every connection and unlocks its mailbox, deletes nothing, writes the log's
    /// last lines, and goes.
    pub fn destroy_now(&self) {
        if self.gone.replace(true) {
            return;
        }
        // An `unlock` may delete the interpreter: not before all is done.
        let _preserved = Preserved::new(&self.identity.interp);
        // No script runs between these two: its event loop would drop jobs of a server
        // that is not known any more, and with them unlocks.
        let owed = self.engine.kill();
        let me = self.world.remove_server(self.id);
        // The callbacks that wait are not waited for any more: their coroutines go. So none goes
        // on when its mailbox is unlocked.
        self.world.end_jobs_of(self.id);
        let channels = self.channels.take();
        for session in channels.values() {
            session.kill();
        }
        let until = Instant::now() + MAX_IDLE_WAIT;
        for session in channels.values() {
            session.wait_idle(until);
        }
        if let Some(me) = me {
            for (client, owed) in owed {
                match owed {
                    // The `unlock` before this one may have let another session lock it.
                    Owed::Unlock(lock) if lock.is_owed() => {
                        callbacks::unlock(&me, &lock.mailbox, client);
                    }
                    Owed::Unlock(_) => {}
                    Owed::End(event) => {
                        let connection = me.connection_name(client.connection);
                        callbacks::tell_end(&me, &event, client, &connection);
                    }
                }
            }
        }
        log::write_last(self);
        self.reports.end();
        self.down();
        self.direct.release();
        self.identity.delete();
        self.identity.delete_namespace();
    }

    /// A connection has gone: `destroy defer` may come to its end.
    pub fn connection_closed(&self) {
        if self.state.get() == State::Exiting && self.connection_count() == 0 {
            self.destroy_now();
        }
    }

    fn connection_count(&self) -> usize {
        self.engine.connection_count() + self.channels.borrow().len()
    }

    /// What new sessions obey; none before the first `up`.
    pub fn config(&self) -> Option<Arc<Config>> {
        self.config.borrow().clone()
    }

    /// How sessions reach the stores.
    pub fn access(&self) -> &Arc<Access> {
        self.direct.access()
    }

    /// A session on a Tcl channel has begun.
    pub fn add_channel(&self, session: Rc<ChannelSession>) {
        let name = session.name.clone();
        self.channels.borrow_mut().insert(name, session);
    }

    /// Keeps the connections on Tcl channels below the number at which Tcl could hardly watch
    /// one more; `scarce`: it is reached now. Half of them must go before more are tried.
    pub fn bound_channels(&self, scarce: bool) {
        let count = self.channels.borrow().len();
        if scarce {
            self.most_channels.set(count);
        } else if count < self.most_channels.get() / 2 {
            self.most_channels.set(usize::MAX);
        }
        if count >= self.most_channels.get() {
            // Without strangers the new one may still be watched, or is refused.
            let _ = self.make_room();
        }
    }

    /// Ends the connection on a Tcl channel that has waited longest without logging in;
    /// false if there is none.
    pub fn make_room(&self) -> bool {
        let oldest = {
            let channels = self.channels.borrow();
            let strangers = channels.values().filter(|session| session.is_stranger());
            strangers.min_by_key(|session| session.begun()).cloned()
        };
        oldest.is_some_and(|session| session.make_room())
    }

    /// The session on this channel.
    pub fn channel(&self, name: &str) -> Option<Rc<ChannelSession>> {
        self.channels.borrow().get(name).cloned()
    }

    /// A session on a Tcl channel has ended.
    pub fn remove_channel(&self, name: &str) {
        let gone = self.channels.borrow_mut().remove(name);
        drop(gone);
    }

    /// Hands an error to `interp bgerror`, within bounds.
    pub fn report(&self, raised: &Raised) {
        self.reports.report(raised);
    }

    /// Where records of its sessions go.
    pub fn log(&self) -> &net::Log {
        self.engine.log()
    }

    /// The `-auth` command prefix.
    pub fn auth_prefix(&self) -> Value {
        self.options.borrow().auth.clone()
    }

    /// The `-storage` command prefix.
    pub fn storage_prefix(&self) -> Value {
        self.options.borrow().storage.clone()
    }

    /// The `-hook` command prefix.
    pub fn hook_prefix(&self) -> Value {
        self.options.borrow().hook.clone()
    }

    /// The `-login` command prefix.
    pub fn login_prefix(&self) -> Value {
        self.options.borrow().login.clone()
    }

    /// Milliseconds that a callback may take when it has yielded; none: any number.
    pub fn callback_timeout(&self) -> Option<u32> {
        let most = self.options.borrow().callback_timeout.as_millis();
        (most > 0).then(|| u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// Whether tokens of `get` are finalized.
    pub fn finalizes(&self) -> bool {
        self.options.borrow().finalize
    }

    /// Whether the storage is a store of ours that is called as a script: then nobody
    /// else sees the tokens that it makes.
    pub fn storage_is_ours(&self) -> bool {
        direct::is_store(&self.identity.interp, &self.storage_prefix())
    }

    /// The `-log` command prefix.
    pub fn log_prefix(&self) -> Value {
        self.options.borrow().log.clone()
    }

    /// Another one whenever `-storage` is configured.
    pub fn storage_number(&self) -> u32 {
        self.storage_number.get()
    }

    /// Whether the storage is to be asked for unique ids.
    pub fn storage_has_uidl(&self) -> bool {
        match self.options.borrow().uidl {
            UidlSource::Auto => self.uidl.get() != Some(false),
            source => source == UidlSource::Storage,
        }
    }

    /// Whether a failure of `uidl` may still mean that the storage does not know it.
    pub fn storage_uidl_is_in_doubt(&self) -> bool {
        self.options.borrow().uidl == UidlSource::Auto && self.uidl.get() != Some(true)
    }

    /// Remembers whether the storage knows `uidl`; whether that is news.
    pub fn set_storage_has_uidl(&self, known: bool) -> bool {
        self.uidl.replace(Some(known)) != Some(known)
    }

    /// Whether the server has been destroyed.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    fn method(self: &Rc<Self>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match (method, args) {
            ("up", []) => self.up(),
            ("down", []) => {
                self.down();
                Ok(Value::text(""))
            }
            ("up" | "down", _) => Err(self.identity.usage(method)),
            ("destroy", []) => self.destroy("kill"),
            ("destroy", [mode]) => self.destroy(&mode.to_text()),
            ("destroy", _) => Err(self.identity.usage("destroy ?mode?")),
            ("cget", [name]) => self.cget(&name.to_text()),
            ("cget", _) => Err(self.identity.usage("cget option")),
            ("configure", args) => self.configure(args),
            ("options", []) => Ok(self.options.borrow_mut().ours()),
            ("options", _) => Err(self.identity.usage("options")),
            ("reload", []) => self.reload(),
            ("reload", _) => Err(self.identity.usage("reload")),
            ("conn", args) => self.conn(args),
            ("stats", args) => self.stats(args),
            (method, _) => Err(self.identity.bad_method(method)),
        }
    }
}

/// The command of a server object.
impl Command for ServerObject {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (method, args) = self.identity.method(args)?;
        // The world has the same object, counted.
        match self.world.server(self.id) {
            Some(me) => me.method(&method, args),
            // By a callback of the destruction itself: `unlock`, or a log command.
            None if method == "destroy" => Ok(Value::text("")),
            None => Err(self.identity.bad_method(&method)),
        }
    }

    fn deleted(&self, _interp: &Interp) {
        self.destroy_now();
    }
}
