//! Models of the session's lock and of the job queue, for the model checker loom: it runs
//! each of them in every order in which the threads can take the locks of
//! [`sync`](super::sync). `make models` runs them.
//!
//! Time-outs do not exist here: where the code would only go on because a time-out ends,
//! the checker finds a deadlock.

mod hold;
mod jobs;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Instant;

use loom::thread::{self, spawn, JoinHandle};
use tokio::sync::oneshot::{error::TryRecvError, Receiver};

use super::access::{Access, Route};
use super::hold::{Ended, Hold, Lock, MAX_IDLE_WAIT};
use super::ids::{Client, ConnectionId, ServerId};
use super::jobs::{Afterwards, Job, JobQueue, Outcome, Owed, Work};
use super::{Mailbox, Message, Storage, StoreError, Wait};
use pop3_proto::{MsgNo, Reply};
use sync::{Condvar, Mutex};

/// The checker's locks, as far as the room uses those of the standard library.
pub(super) mod sync {
    use std::sync::LockResult;
    use std::time::Duration;

    pub(in crate::store) use loom::sync::{Mutex, MutexGuard};

    #[derive(Default)]
    pub(in crate::store) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// Waits without a time-out.
        pub(in crate::store) fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            _timeout: Duration,
            mut condition: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            while condition(&mut guard) {
                // Loom poisons no lock: the first panic ends the model.
                guard = self.0.wait(guard).unwrap();
            }
            Ok((guard, ()))
        }

        pub(in crate::store) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// Runs `model` in every order.
fn check(model: impl Fn() + Sync + Send + 'static) {
    loom::model(model);
}

/// The number of the only message.
fn first() -> MsgNo {
    MsgNo::new(1).unwrap()
}

/// Whether a mailbox is locked, and how often that was ended.
#[derive(Default)]
struct LockState {
    locked: Mutex<bool>,
    /// Calls of an `unlock`.
    calls: AtomicU32,
    /// How often the lock has ended.
    ends: AtomicU32,
}

impl LockState {
    fn locked() -> Arc<Self> {
        Arc::new(Self {
            locked: Mutex::new(true),
            ..Self::default()
        })
    }

    fn is_locked(&self) -> bool {
        *self.locked.lock().unwrap()
    }

    fn end(&self) {
        if std::mem::replace(&mut *self.locked.lock().unwrap(), false) {
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call of `unlock`.
    fn unlock(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.end();
    }

    /// A script's `unlock`, which no session may have called before.
    fn unlock_by_script(&self) {
        assert!(self.is_locked(), "`unlock` is called a second time");
        self.unlock();
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn ends(&self) -> u32 {
        self.ends.load(Ordering::Relaxed)
    }
}

/// A mailbox of a built-in store: the end of its handle ends its lock.
struct OneMailbox(Arc<LockState>);

impl OneMailbox {
    /// A locked one.
    fn new() -> (Arc<LockState>, Arc<dyn Mailbox>) {
        let state = LockState::locked();
        (state.clone(), Arc::new(Self(state)))
    }
}

impl Drop for OneMailbox {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Mailbox for OneMailbox {
    fn count(&self) -> u32 {
        1
    }
    fn octets(&self) -> Result<u64, StoreError> {
        self.size(first())
    }
    fn size(&self, _number: MsgNo) -> Result<u64, StoreError> {
        // A step of work between two looks at the lock: others may come between.
        assert!(
            self.is_locked(),
            "a job works on a mailbox that is not locked"
        );
        Ok(1)
    }
    fn sizes(&self) -> Result<Arc<[u64]>, StoreError> {
        Ok([self.size(first())?].into())
    }
    fn uid(&self, _number: MsgNo) -> Result<Box<str>, StoreError> {
        Ok("1".into())
    }
    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError> {
        Ok(["1".into()].into())
    }
    fn get(&self, number: MsgNo, _wait: Wait<'_>) -> Result<Message, StoreError> {
        Err(StoreError::NoMessage(number.get()))
    }
    fn delete(&self, _numbers: &[MsgNo]) -> Result<(), StoreError> {
        self.size(first()).map(|_| ())
    }
    fn unlock(&self) {
        self.0.unlock();
    }
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// A store with one mailbox, which is locked at most once in a model.
#[derive(Default)]
struct Store(Arc<LockState>);

impl Storage for Store {
    fn lock(&self, _mailbox: &str, _wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError> {
        *self.0.locked.lock().unwrap() = true;
        Ok(Arc::new(OneMailbox(self.0.clone())))
    }
}

/// The interpreter's thread sleeps until it is alerted, as in Tcl's event loop: an alert
/// that comes while it does not sleep is kept.
#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn sleep(&self) {
        let rung = self.rung.lock().unwrap();
        let woken = self
            .changed
            .wait_timeout_while(rung, MAX_IDLE_WAIT, |rung| !*rung);
        *woken.unwrap().0 = false;
    }
}

/// One session of a server, with what the network's connection and server do for it
/// (`src/net/connection.rs`, `leave` and `kill`; `src/net/server.rs`, `kill`).
struct Session {
    server: ServerId,
    client: Client,
    hold: Arc<Hold>,
    left: Mutex<bool>,
    access: Access,
    jobs: JobQueue,
    /// How often the connection was taken out of its server's list.
    removals: Arc<AtomicU32>,
}

impl Session {
    fn new(storage: Route<dyn Storage>) -> Arc<Self> {
        let access = Access::default();
        access.set_storage(storage);
        Arc::new(Self {
            server: ServerId::new(),
            client: client(),
            hold: Hold::new(),
            left: Mutex::new(false),
            access,
            jobs: JobQueue::new(|| ()),
            removals: Arc::default(),
        })
    }

    /// One whose mailbox, of a built-in store, is locked.
    fn with_mailbox(storage: Route<dyn Storage>) -> (Arc<Self>, Arc<LockState>) {
        let session = Self::new(storage);
        let (state, maildrop) = OneMailbox::new();
        let kept = session.hold.keep(Lock::direct("m".into(), maildrop));
        kept.unwrap();
        (session, state)
    }

    /// One whose mailbox a script has locked.
    fn with_script() -> (Arc<Self>, Arc<LockState>) {
        let session = Self::new(Route::Script);
        let kept = session.hold.keep(Lock::by_script("m".into(), 1));
        kept.unwrap();
        (session, LockState::locked())
    }

    /// The session ends by itself, on the thread of its loop.
    fn leave(&self) {
        let mut left = self.left.lock().unwrap();
        if std::mem::replace(&mut *left, true) {
            return;
        }
        let removals = self.removals.clone();
        let afterwards = Afterwards::new(move || {
            removals.fetch_add(1, Ordering::Relaxed);
        });
        let Ended::Owed(lock) = self.hold.end() else {
            return;
        };
        if let Err(lock) = self.access.settle(lock) {
            let work = Work::Release(lock, Some(afterwards));
            let hold = self.hold.clone();
            let answer = self
                .jobs
                .submit(self.server, self.client.clone(), hold, work);
            drop(answer);
        }
    }

    /// The server is destroyed, on the interpreter's thread. Gives the locks for which the
    /// caller runs `unlock`.
    fn kill(&self) -> Vec<Lock> {
        let mut owed = Vec::new();
        let has_left = std::mem::replace(&mut *self.left.lock().unwrap(), true);
        if !has_left {
            if let Ended::Owed(lock) = self.hold.end() {
                owed.extend(self.access.settle(lock).err());
            }
        }
        self.hold.wait_idle(Instant::now() + MAX_IDLE_WAIT);
        owed.extend(
            self.jobs
                .forget(self.server)
                .into_iter()
                .filter_map(|(_, owed)| match owed {
                    Owed::Unlock(lock) => Some(lock),
                    Owed::End(_) => None,
                }),
        );
        owed
    }

    /// A job of the session, for the interpreter's thread.
    fn job(&self, work: Work) -> (Job, Receiver<Outcome>) {
        Job::new(self.server, self.client.clone(), self.hold.clone(), work)
    }

    /// The interpreter's thread runs what is queued; only `unlock`s are.
    fn run_releases(&self, mut unlock: impl FnMut()) {
        while let Some(job) = self.jobs.pop() {
            assert!(matches!(&job.work, Work::Release(..)));
            unlock();
            job.answer(Outcome::Reply(Reply::Updated));
        }
    }
}

/// A job that is of no use to a session that has ended.
fn lookup() -> Work {
    Work::Lookup { user: [].into() }
}

/// Whether the job was answered. Fails the model when its session would wait for ever.
fn is_answered(answer: &mut Receiver<Outcome>) -> bool {
    match answer.try_recv() {
        Ok(_) => true,
        Err(TryRecvError::Closed) => false,
        Err(TryRecvError::Empty) => panic!("nobody answers the job"),
    }
}

/// A client, of whom the models need nothing.
fn client() -> Client {
    Client {
        connection: ConnectionId::new(),
        user: String::new(),
        peer: ([127, 0, 0, 1], 1).into(),
    }
}
