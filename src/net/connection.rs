//! One connection, as its driver and its server share it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pop3_proto::connection::{Connection as Machine, End};
use pop3_proto::hook::{Event, EventKind};
use pop3_proto::session::{Config, EndReason};
use tokio::sync::Notify;

use super::admission::Permit;
use super::runtime::{self, LoopSlot};
use super::transport::Transport;
use super::Server;
use crate::descriptors::Reserve;
use crate::store::hold::{Ended, Hold, Lock};
use crate::store::ids::{Client, ConnectionId};
use crate::store::jobs::{Afterwards, Owed, Work};
use crate::text::characters;

/// A connection: its machine, its socket and its lock.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) peer: SocketAddr,
    pub(super) server: Arc<Server>,
    pub(super) config: Arc<Config>,
    pub(super) transport: Transport,
    pub(super) hold: Arc<Hold>,
    /// Locked for single steps only, never while something is awaited.
    machine: Mutex<Machine>,
    /// Its end has begun. Locked until its lock is released or the job for that is
    /// queued: `kill` must not look into the queue before.
    left: Mutex<bool>,
    /// The loop that drives it.
    pub(super) slot: LoopSlot,
    permit: Mutex<Option<Permit>>,
    /// Tells a driver that does not look at the socket that it is shut.
    pub(super) cut_off: Notify,
    /// Free again when the socket is closed.
    descriptors: Reserve,
}

impl Connection {
    /// Registers `stream` with the loop of its slot.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open(
        server: Arc<Server>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        machine: Machine,
        config: Arc<Config>,
        (permit, descriptors, slot): (Permit, Reserve, LoopSlot),
    ) -> io::Result<Arc<Self>> {
        let transport = {
            let _loop = slot.enter();
            Transport::new(stream)?
        };
        Ok(Arc::new(Self {
            id: ConnectionId::new(),
            peer,
            server,
            config,
            transport,
            hold: Hold::new(),
            machine: Mutex::new(machine),
            left: Mutex::new(false),
            slot,
            permit: Mutex::new(Some(permit)),
            cut_off: Notify::new(),
            descriptors,
        }))
    }

    /// The machine, for one step.
    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        // Only its driver changes it, and a driver that panicked does not go on.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, bool> {
        // A panic leaves it true, which is right.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session as others see it: logs the end, releases the lock and takes the
    /// connection out of the list. Only the first call does anything.
    pub(super) fn leave(&self, reason: End) {
        // The unlock comes first: when a script finds the connection out of the list, the
        // mailbox is free, whichever thread unlocks.
        let mut afterwards;
        {
            let mut left = self.left();
            if std::mem::replace(&mut *left, true) {
                return;
            }
            let (server, id) = (self.server.clone(), self.id);
            let mut permit = self.permit().take();
            let told = self.end_event(reason).map(|event| {
                // It counts until the hook is told: clients that come and go cannot fill the
                // queue of a busy interpreter.
                let permit = permit.take();
                Work::Ended(event, Some(Afterwards::new(move || drop(permit))))
            });
            afterwards = Some(Afterwards::new(move || {
                server.remove(id);
                drop(permit);
            }));
            self.log_end(reason);
            if let Ended::Owed(lock) = self.hold.end() {
                self.release(lock, &mut afterwards);
            }
            // After the unlock.
            if let Some(work) = told {
                self.submit(work);
            }
        }
        drop(afterwards);
    }

    /// What the hook is told of its end, if it wants to be.
    fn end_event(&self, end: End) -> Option<Box<Event>> {
        let machine = self.machine();
        let session = machine.session();
        let is_wanted = session.is_watched(EventKind::End);
        is_wanted.then(|| Box::new(session.end_event(end)))
    }

    /// Has the interpreter's thread do work for whose answer nobody waits.
    fn submit(&self, work: Work) {
        let (server, hold) = (self.server.id, self.hold.clone());
        drop(self.server.jobs.submit(server, self.client(), hold, work));
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        // A panic cannot leave it half taken.
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the descriptors of a session, if need be those of connections that nobody
    /// has logged in to; false if there are not enough.
    pub(super) fn reserve_session(&self) -> bool {
        self.descriptors.for_session(|| self.server.make_room())
    }

    /// Gives them back: the login failed.
    pub(super) fn release_session(&self) {
        self.descriptors.without_session();
    }

    /// Has it count again, as its end takes longer; whether there is room.
    pub(super) fn readmit(&self) -> bool {
        let mut permit = self.permit();
        if permit.is_none() {
            *permit = self.server.readmit(self.peer.ip()).ok();
        }
        permit.is_some()
    }

    /// Releases a lock: at once, or on a thread that may block. `afterwards` goes with the
    /// work.
    ///
    /// # Errors
    /// The lock itself when the script must do that.
    fn settle(&self, lock: Lock, afterwards: &mut Option<Afterwards>) -> Result<(), Lock> {
        let mailbox = self.server.access.to_unlock(lock)?;
        if mailbox.unlocks_at_once() {
            mailbox.unlock();
            return Ok(());
        }
        let (busy, afterwards) = (self.hold.begin_release(), afterwards.take());
        let job = move || {
            mailbox.unlock();
            drop(mailbox);
            drop(busy);
            drop(afterwards);
        };
        // Nobody waits for the answer. Where no thread can be had the mailbox is dropped,
        // which unlocks it too.
        drop(runtime::blocking(job));
        Ok(())
    }

    /// Releases a lock; when that takes longer, `afterwards` goes with the job.
    fn release(&self, lock: Lock, afterwards: &mut Option<Afterwards>) {
        if let Err(lock) = self.settle(lock, afterwards) {
            self.submit(Work::Release(lock, afterwards.take()));
        }
    }

    /// Ends a connection that nobody has logged in to, so that another one has its place;
    /// whether it ends.
    pub(super) fn make_room(&self) -> bool {
        let mut machine = self.machine();
        if !machine.make_room() {
            return false;
        }
        // Its driver may look at the machine before the socket is shut.
        let written = self.transport.write_last(machine.output());
        machine.handle_written(written);
        drop(machine);
        self.leave(End::Session(EndReason::MadeRoom));
        self.cut_off();
        true
    }

    /// Shuts the socket: its driver wakes and closes.
    fn cut_off(&self) {
        self.transport.end_tls();
        self.transport.shut_both();
        self.cut_off.notify_one();
    }

    /// Ends the session from outside, at once. Gives what the interpreter's thread is to do
    /// then. A driver that is at work finds its socket shut.
    pub(super) fn kill(&self) -> Vec<(Client, Owed)> {
        if std::mem::replace(&mut *self.left(), true) {
            return Vec::new();
        }
        self.cut_off();
        let owed = match self.hold.end() {
            Ended::Owed(lock) => self.settle(lock, &mut None).err(),
            Ended::Nothing | Ended::UnderWay => None,
        };
        self.log_end(End::Killed);
        let unlock = owed.map(Owed::Unlock);
        let told = self.end_event(End::Killed).map(Owed::End);
        let owed = unlock.into_iter().chain(told);
        owed.map(|owed| (self.client(), owed)).collect()
    }

    /// As log records name it.
    pub(super) fn client(&self) -> Client {
        self.client_of(&self.machine())
    }

    fn client_of(&self, machine: &Machine) -> Client {
        Client {
            connection: self.id,
            user: characters(machine.session().user()).into_owned(),
            peer: self.peer,
        }
    }

    fn log_end(&self, reason: End) {
        let session = || {
            let machine = self.machine();
            let tally = machine.session().tally();
            (self.client_of(&machine), tally, machine.begun().elapsed())
        };
        self.server.log.ended(session, reason);
    }

    /// Whether it is in its server's list still.
    pub(super) fn is_listed(&self) -> bool {
        self.server.lists(self.id)
    }
}
