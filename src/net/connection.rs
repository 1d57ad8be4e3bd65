//! One connection, as its driver and its server share it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pop3_proto::connection::{Connection as Machine, End};
use pop3_proto::hook::{Event, EventKind};
use pop3_proto::session::{Config, EndReason};

use super::admission::Permit;
use super::counters::Counted;
use super::runtime::{self, LoopSlot};
use super::transport::Transport;
use super::wait::EndedOutside;
use super::Server;
use crate::descriptors::Reserve;
use crate::store::hold::{Ended, Hold, Lock, MAX_IDLE_WAIT};
use crate::store::ids::{Client, ConnectionId};
use crate::store::jobs::{Afterwards, Owed, OwedUnlock, Work};
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
    /// Tells the driver of an end that does not come from it or the client.
    pub(super) ended_outside: EndedOutside,
    /// Whether its tally is among those of the sessions that have ended.
    pub(super) counted: Counted,
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
            ended_outside: EndedOutside::default(),
            counted: Counted::default(),
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
        self.leave_by(reason, |OwedUnlock { client, lock, then }| {
            let (server, hold) = (self.server.id, self.hold.clone());
            let work = Work::Release(lock, then);
            // Nobody waits for the answer.
            drop(self.server.jobs.submit(server, client, hold, work));
        });
    }

    /// As [`leave`](Self::leave); `owe` has the script unlock.
    fn leave_by(&self, reason: End, owe: impl FnOnce(OwedUnlock)) {
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
                if let Err(lock) = self.settle(lock, &mut afterwards) {
                    owe(OwedUnlock {
                        client: self.client(),
                        lock,
                        then: afterwards.take(),
                    });
                }
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
        self.ended_outside.say();
    }

    /// Ends the session for its server's script, at once; the client is told `text` if that can
    /// be. Gives the `unlock` that is owed, if the script must do that. What another thread
    /// does with the mailbox is waited for. On the interpreter's thread, with no lock held.
    pub(super) fn close(&self, text: &str) -> Option<OwedUnlock> {
        let end = self.machine().close(text);
        let mut owed = None;
        self.leave_by(end, |unlock| owed = Some(unlock));
        match end {
            // Its driver says farewell.
            End::Session(_) => self.ended_outside.say(),
            _ => self.cut_off(),
        }
        self.hold.wait_idle(Instant::now() + MAX_IDLE_WAIT);
        // Or it has left before, and the interpreter has still to unlock.
        owed.or_else(|| self.server.jobs.take_unlock(self.id))
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
        let tally = self.machine().session().tally();
        let session = || {
            let machine = self.machine();
            (self.client_of(&machine), machine.begun().elapsed())
        };
        let done = (tally, &self.counted);
        self.server.log.ended(done, session, reason);
    }

    /// Whether it is in its server's list still.
    pub(super) fn is_listed(&self) -> bool {
        self.server.lists(self.id)
    }
}
