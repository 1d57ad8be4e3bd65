//! One connection, as its driver and its server share it.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::admission::Permit;
use super::observer::{End, Event, Level};
use super::runtime::Seat;
use super::Server;
use crate::backend::access::text;
use crate::backend::hold::{Ended, Hold, Lock};
use crate::backend::script::{Afterwards, ConnectionId, Work};
use crate::protocol::session::{Config, Session};

/// A connection: a session, its socket and its lock.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
    pub(super) server: Arc<Server>,
    pub(super) config: Arc<Config>,
    pub(super) stream: TcpStream,
    pub(super) hold: Arc<Hold>,
    /// Locked for single steps only, never while something is awaited.
    session: Mutex<Session>,
    /// Its end has begun. Locked until its lock is released or the job for that is
    /// queued: `kill` must not look into the queue before.
    left: Mutex<bool>,
    /// The loop that drives it.
    pub(super) seat: Seat,
    permit: Mutex<Option<Permit>>,
}

impl Connection {
    /// Registers `stream` with the loop of its seat.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open(
        server: Arc<Server>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        session: Session,
        config: Arc<Config>,
        (permit, seat): (Permit, Seat),
    ) -> io::Result<Arc<Self>> {
        let stream = {
            let _loop = seat.enter();
            TcpStream::from_std(stream)?
        };
        Ok(Arc::new(Self {
            id: ConnectionId::new(),
            peer,
            since: Instant::now(),
            server,
            config,
            stream,
            hold: Hold::new(),
            session: Mutex::new(session),
            left: Mutex::new(false),
            seat,
            permit: Mutex::new(Some(permit)),
        }))
    }

    /// The session, for one step.
    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        // Only its driver changes it, and a driver that panicked does not go on.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, bool> {
        // A panic leaves it true, which is right.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session for all others: tells of it, releases its lock and takes it out
    /// of the list. Only the first call does something.
    pub(super) fn leave(&self, reason: End) {
        // First unlocked, then out of the list: a script that sees the one may rely on
        // the other, whichever thread unlocks.
        let mut afterwards;
        {
            let mut left = self.left();
            if std::mem::replace(&mut *left, true) {
                return;
            }
            let (server, id) = (self.server.clone(), self.id);
            let permit = self.permit().take();
            afterwards = Some(Afterwards::new(move || {
                server.remove(id);
                drop(permit);
            }));
            self.tell_end(reason);
            if let Ended::Owed(lock) = self.hold.end() {
                self.release(lock, &mut afterwards);
            }
        }
        drop(afterwards);
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        // A panic cannot leave it half taken.
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it count again, as its end takes longer; whether there is room.
    pub(super) fn readmit(&self) -> bool {
        let mut permit = self.permit();
        if permit.is_none() {
            *permit = self.server.admit(self.peer.ip()).ok();
        }
        permit.is_some()
    }

    /// Has the system break the connection when the client takes nothing for so long
    /// (tcp(7), TCP_USER_TIMEOUT); whether it will. A slow reader may take less than what
    /// the system tells us of, for hours.
    #[cfg(target_os = "linux")]
    pub(super) fn bound_stalls(&self, most: Duration) -> bool {
        let most = u32::try_from(most.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&self.stream, most).is_ok()
    }

    /// As above: unknown here.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn bound_stalls(&self, _most: Duration) -> bool {
        false
    }

    /// Releases a lock; when the script must do that, `afterwards` goes with the job.
    fn release(&self, lock: Lock, afterwards: &mut Option<Afterwards>) {
        if let Err(lock) = self.server.access.settle(lock) {
            let (server, hold) = (self.server.id, self.hold.clone());
            let work = Work::Release(lock, afterwards.take());
            // Nobody waits for the answer.
            drop(self.server.jobs.submit(server, self.id, hold, work));
        }
    }

    /// Ends the session from outside, at once. Gives the lock if the script must
    /// unlock. A driver that is at work finds its socket shut.
    pub(super) fn kill(&self) -> Option<Lock> {
        if std::mem::replace(&mut *self.left(), true) {
            return None;
        }
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
        let owed = match self.hold.end() {
            Ended::Owed(lock) => self.server.access.settle(lock).err(),
            Ended::Nothing | Ended::UnderWay => None,
        };
        self.tell_end(End::Killed);
        owed
    }

    fn tell_end(&self, reason: End) {
        if !self.server.is_observed(Level::Notice) {
            return;
        }
        let (user, tally) = {
            let session = self.session();
            (session.snapshot().name, session.tally())
        };
        let user = text(&user);
        self.server.observe(|| Event::Ended {
            connection: self.id,
            peer: self.peer,
            user: &user,
            tally,
            duration: self.since.elapsed(),
            reason,
        });
    }

    /// Lets the client see the end of the stream while what it still sends can be
    /// read.
    pub(super) fn shut_writing(&self) {
        let _ = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
    }

    /// Whether it is in its server's list still.
    pub(super) fn is_listed(&self) -> bool {
        self.server.lists(self.id)
    }

    /// Bytes that have come and are not read.
    pub(super) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.stream).unwrap_or(0)
    }
}
