//! The lock of one session, so that it is released exactly once.
//!
//! Three threads may want to release it: that of the session (QUIT or its end), that of a
//! job which is using the mailbox, and the interpreter's when the server is destroyed. The
//! thread that takes the [`Lock`] out of the [`Hold`] releases it. The others find nothing.
//! `models/hold.rs` tries every order in which they can come.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::jobs::Digest;
use super::sync::{Condvar, Mutex, MutexGuard};
use super::Mailbox;

/// How long the destruction of a server waits for the file operations of other threads.
/// A healthy disk is faster. A network file system that has died does not hang the
/// interpreter for good.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(5);

/// A locked mailbox. Not cloneable: its holder owes one unlock.
pub struct Lock {
    /// The storage reference, as scripts name the mailbox.
    pub mailbox: Arc<str>,
    /// Number of messages at login.
    pub count: u32,
    /// The handle of a built-in store that took the lock; none for a script's lock. Dropping
    /// it unlocks too.
    pub(super) maildrop: Option<Arc<dyn Mailbox>>,
}

impl Lock {
    /// A lock that a script's `lock` took.
    pub fn by_script(mailbox: Arc<str>, count: u32) -> Self {
        Self {
            mailbox,
            count,
            maildrop: None,
        }
    }

    /// A lock that a built-in store took.
    pub fn direct(mailbox: Arc<str>, maildrop: Arc<dyn Mailbox>) -> Self {
        Self {
            mailbox,
            count: maildrop.count(),
            maildrop: Some(maildrop),
        }
    }

    /// Whether the lock must still be released. It must not be once a script has unlocked
    /// the mailbox by name or destroyed its store: another session may have it by then.
    pub fn is_owed(&self) -> bool {
        let maildrop = self.maildrop.as_ref();
        maildrop.is_none_or(|maildrop| maildrop.is_locked())
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = if self.maildrop.is_some() {
            "direct"
        } else {
            "script"
        };
        write!(
            f,
            "Lock({:?}, {} messages, {way})",
            self.mailbox, self.count
        )
    }
}

/// What a job needs to know of the session's mailbox. It is no lock.
pub(super) struct MailboxView {
    pub(super) mailbox: Arc<str>,
    pub(super) count: u32,
    pub(super) maildrop: Option<Arc<dyn Mailbox>>,
}

/// Keeps the lock of one session. Its driver, its jobs and its server share it.
#[derive(Default)]
pub struct Hold {
    ownership: Mutex<Ownership>,
    idle: Condvar,
}

#[derive(Default)]
struct Ownership {
    lock: Option<Lock>,
    /// The session has ended: from now on nothing may be locked, deleted or begun for it.
    ended: bool,
    /// A direct job works on the mailbox, on any thread.
    busy: bool,
    /// Digests of the first messages, where a script's storage has no `uidl`. A message
    /// does not change during a session.
    digests: Vec<Option<Digest>>,
}

/// What [`Hold::end`] found.
#[derive(Debug)]
pub enum Ended {
    /// Nothing is locked, or the lock has been taken out before.
    Nothing,
    /// The caller owes the unlock.
    Owed(Lock),
    /// A direct job is under way. It releases the lock when it is done.
    UnderWay,
}

impl Hold {
    /// A hold without a lock.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn ownership(&self) -> MutexGuard<'_, Ownership> {
        // A panic cannot leave the fields half changed.
        self.ownership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `lock` the session's lock.
    ///
    /// # Errors
    /// The lock itself when the session has ended: the caller must release it.
    pub fn keep(&self, lock: Lock) -> Result<(), Lock> {
        let mut ownership = self.ownership();
        if ownership.ended {
            return Err(lock);
        }
        ownership.lock = Some(lock);
        Ok(())
    }

    /// Sets the number of messages of the lock, unless it has been taken out.
    pub(super) fn set_count(&self, count: u32) {
        if let Some(lock) = &mut self.ownership().lock {
            lock.count = count;
        }
    }

    /// Whether somebody else has ended the session's lock (see [`Lock::is_owed`]).
    pub(super) fn is_lost(&self) -> bool {
        self.maildrop()
            .is_some_and(|maildrop| !maildrop.is_locked())
    }

    /// Takes out what [`keep_digests`](Self::keep_digests) was given last.
    pub(super) fn take_digests(&self) -> Vec<Option<Digest>> {
        mem::take(&mut self.ownership().digests)
    }

    /// Keeps digests of messages for the session's next job.
    pub(super) fn keep_digests(&self, digests: Vec<Option<Digest>>) {
        self.ownership().digests = digests;
    }

    /// Takes the lock out: the caller must release it. None if it has been taken before.
    pub fn take(&self) -> Option<Lock> {
        self.ownership().lock.take()
    }

    /// Whether the session has ended.
    pub fn is_ended(&self) -> bool {
        self.ownership().ended
    }

    /// Ends the session's use of the mailbox.
    #[must_use = "an owed lock must be released"]
    pub fn end(&self) -> Ended {
        let mut ownership = self.ownership();
        ownership.ended = true;
        if ownership.busy {
            return Ended::UnderWay;
        }
        ownership.lock.take().map_or(Ended::Nothing, Ended::Owed)
    }

    /// Begins the release of the lock that [`end`](Self::end) gave, until what is returned is
    /// dropped. It is a direct job too.
    pub fn begin_release(self: &Arc<Self>) -> DirectJob {
        self.ownership().busy = true;
        DirectJob(self.clone())
    }

    /// Waits until no direct job is under way, or until `until`. Call it after
    /// [`end`](Self::end), on the interpreter's thread, with no mutex locked: a direct job
    /// needs neither that thread nor such a mutex.
    pub fn wait_idle(&self, until: Instant) {
        let ownership = self.ownership();
        let left = until.saturating_duration_since(Instant::now());
        let busy = |ownership: &mut Ownership| ownership.busy;
        let _ = self.idle.wait_timeout_while(ownership, left, busy);
    }

    /// The session's mailbox, if a built-in store has locked it.
    pub(super) fn maildrop(&self) -> Option<Arc<dyn Mailbox>> {
        self.ownership().lock.as_ref()?.maildrop.clone()
    }

    pub(super) fn view(&self) -> Option<MailboxView> {
        self.ownership().lock.as_ref().map(|lock| MailboxView {
            mailbox: lock.mailbox.clone(),
            count: lock.count,
            maildrop: lock.maildrop.clone(),
        })
    }

    /// Begins a direct job, until what is returned is dropped. None when the session has
    /// ended.
    pub(super) fn begin(self: &Arc<Self>) -> Option<DirectJob> {
        let mut ownership = self.ownership();
        if ownership.ended {
            return None;
        }
        ownership.busy = true;
        Some(DirectJob(self.clone()))
    }
}

/// A direct job under way. Its end, by return or panic, releases the lock if the session
/// has ended meanwhile.
pub struct DirectJob(Arc<Hold>);

impl Drop for DirectJob {
    fn drop(&mut self) {
        let left_behind = {
            let mut ownership = self.0.ownership();
            if !ownership.ended {
                // An end of the session from now on finds no job, and takes the lock itself.
                ownership.busy = false;
                return;
            }
            ownership.lock.take()
        };
        // Busy until it is unlocked: what waits for the job relies on that.
        if let Some(maildrop) = left_behind.and_then(|lock| lock.maildrop) {
            maildrop.unlock();
        }
        self.0.ownership().busy = false;
        self.0.idle.notify_all();
    }
}
