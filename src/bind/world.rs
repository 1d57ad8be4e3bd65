//! What one interpreter has of us.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::calls::Calls;
use super::channel::ChannelSession;
use super::depth::Depth;
use super::jobs::JobSource;
use super::network_events::NetworkEvents;
use super::server::ServerObject;
use super::tasks::Tasks;
use super::wakes::{Session, Wakes};
use super::watched::WatchedCommands;
use super::{mailboxes, memory, mime, server, users};
use crate::ffi::command::{self, Command, Error};
use crate::ffi::interp;
use crate::ffi::notifier::{self, Alert, EventSource};
use crate::ffi::thread;
use crate::ffi::{Interp, Value};
use crate::net;
use crate::store::ids::ServerId;
use crate::store::jobs::JobQueue;

/// Sessions on Tcl channels that may wait for their clients to close: few, as Tcl 8.6
/// cannot watch many channels.
const LINGERING: usize = 64;

thread_local! {
    /// The interpreters of this thread that have loaded the library.
    static WORLDS: RefCell<Vec<Rc<World>>> = const { RefCell::new(Vec::new()) };
}

/// What one interpreter has of us: its servers, and the queue by which their
/// sessions reach its thread.
pub struct World {
    /// The interpreter; it outlives the world.
    pub interp: Interp,
    /// Jobs for this interpreter.
    pub jobs: Arc<JobQueue>,
    /// Jobs that wait for a callback, or for their next turn.
    pub tasks: Tasks,
    /// The callbacks that are under way.
    pub calls: Rc<Calls>,
    /// Sessions on Tcl channels that have an answer.
    pub wakes: Arc<Wakes<Session>>,
    /// What network threads have for this interpreter.
    pub network: Arc<NetworkEvents>,
    /// The commands of built-in stores that its servers use directly.
    pub watched: WatchedCommands,
    /// How many callbacks are on top of each other.
    pub depth: Rc<Depth>,
    servers: RefCell<HashMap<ServerId, Rc<ServerObject>>>,
    counters: RefCell<HashMap<&'static str, u32>>,
    source: RefCell<Option<EventSource>>,
    ended: Cell<bool>,
    /// Sessions on Tcl channels that have left their servers, with a farewell to write or
    /// a client to wait for.
    departing: RefCell<HashMap<String, Rc<ChannelSession>>>,
}

impl World {
    /// Sets an interpreter up: the command by which tcl/*.tcl make our packages'
    /// commands.
    pub fn enter(interp: &Interp) {
        if World::of(interp).is_some() {
            return;
        }
        notifier::at_exit(exit);
        net::init(thread::block_signals);
        let alert = Alert::current();
        let world = Rc::new(World {
            interp: interp.clone(),
            jobs: Arc::new(JobQueue::new(move || alert.wake())),
            tasks: Tasks::for_this_thread(),
            calls: Calls::new(interp),
            wakes: Wakes::for_this_thread(),
            network: Arc::new(NetworkEvents::for_this_thread()),
            watched: WatchedCommands::default(),
            depth: Rc::default(),
            servers: RefCell::default(),
            counters: RefCell::default(),
            source: RefCell::default(),
            ended: Cell::new(false),
            departing: RefCell::default(),
        });
        let source = EventSource::new(Box::new(JobSource::new(&world)));
        *world.source.borrow_mut() = Some(source);
        command::create(interp, "::pop3d_native", Rc::new(Native(world.clone())));
        let deleted = world.clone();
        interp::when_deleted(interp, Box::new(move || deleted.end()));
        WORLDS.with_borrow_mut(|worlds| worlds.push(world));
    }

    fn of(interp: &Interp) -> Option<Rc<World>> {
        let same = |world: &&Rc<World>| world.interp.as_ptr() == interp.as_ptr();
        WORLDS.with_borrow(|worlds| worlds.iter().find(same).cloned())
    }

    /// The next number for objects without a name, from 1.
    pub fn next_number(&self, prefix: &'static str) -> u32 {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry(prefix).or_default();
        *counter += 1;
        *counter
    }

    /// Makes a server known, so that jobs find it.
    pub fn add_server(&self, server: Rc<ServerObject>) {
        self.servers.borrow_mut().insert(server.id, server);
    }

    /// Forgets a server.
    pub fn remove_server(&self, id: ServerId) -> Option<Rc<ServerObject>> {
        self.servers.borrow_mut().remove(&id)
    }

    /// The server that a job names, unless it has been destroyed.
    pub fn server(&self, id: ServerId) -> Option<Rc<ServerObject>> {
        self.servers.borrow().get(&id).cloned()
    }

    /// All servers.
    pub fn servers(&self) -> Vec<Rc<ServerObject>> {
        self.servers.borrow().values().cloned().collect()
    }

    /// Keeps a session that has left its server until its channel is closed.
    pub fn depart(&self, session: &Rc<ChannelSession>) {
        let name = session.name.clone();
        self.departing.borrow_mut().insert(name, session.clone());
    }

    /// The session on this channel, if it has left its server.
    pub fn departing(&self, name: &str) -> Option<Rc<ChannelSession>> {
        self.departing.borrow().get(name).cloned()
    }

    /// Whether a session may wait for its client to close.
    pub fn may_linger(&self) -> bool {
        self.departing.borrow().len() <= LINGERING
    }

    /// Lets a session go whose channel is closed.
    pub fn has_departed(&self, name: &str) {
        let session = self.departing.borrow_mut().remove(name);
        drop(session);
    }

    /// Whether the interpreter or the process is going.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// The interpreter or the process goes: end every session and give up the queue.
    fn end(&self) {
        if self.ended.replace(true) {
            return;
        }
        for server in self.servers() {
            server.destroy_now();
        }
        let departing = self.departing.take();
        for session in departing.values() {
            session.kill();
        }
        self.depth.end();
        self.jobs.close();
        self.tasks.clear();
        self.source.borrow_mut().take();
        let this = self.interp.as_ptr();
        WORLDS.with_borrow_mut(|worlds| worlds.retain(|world| world.interp.as_ptr() != this));
    }
}

/// The process exits. Interpreters of other threads cannot be called from here;
/// those of this thread still can, so their mailboxes are unlocked.
fn exit() {
    let worlds = WORLDS.with_borrow(|worlds| worlds.clone());
    for world in worlds {
        world.end();
    }
    notifier::stop();
    net::shutdown();
}

/// `::pop3d_native PACKAGE`: makes the commands of a package. It stands outside of
/// the packages' namespaces, since scripts delete those and require again.
struct Native(Rc<World>);

impl Command for Native {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [package] = args else {
            return Err(Error::wrong_args("pop3d_native package"));
        };
        match &*package.to_text() {
            "pop3d" => server::register(&self.0),
            "pop3d::udb" => users::register(&self.0),
            "pop3d::dbox" => mailboxes::register_dbox(&self.0),
            "pop3d::maildir" => mailboxes::register_maildir(&self.0),
            "pop3d::memory" => memory::register(&self.0),
            "mime" => mime::register(&self.0.interp),
            other => {
                let message = format!("unknown package \"{other}\"");
                let version = env!("CARGO_PKG_VERSION");
                let note =
                    format!("the library is of version {version}, and pkgIndex.tcl of another");
                return Err(Error::new(message, &["PACKAGE", other]).with_note(&note));
            }
        }
        Ok(Value::text(""))
    }
}
