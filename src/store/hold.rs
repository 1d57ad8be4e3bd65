//! The lock of one session, so that it is released exactly once.
//!
//! Three may want to release it, on three threads: the session itself (QUIT or
//! its end), the job that is just using it, and the destruction of the server.
//! Whoever gets the [`Lock`] out of the [`Hold`] releases it; the others find
//! nothing.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::jobs::Digest;
use super::Mailbox;

/// How long the destruction of a server waits for file operations that are under way on
/// other threads. Longer than any healthy disk takes, short enough that a dead network
/// file system does not hang the interpreter for good.
pub const UNDER_WAY: Duration = Duration::from_secs(5);

/// A locked mailbox. Not cloneable: its holder owes one unlock.
pub struct Lock {
    /// The storage reference, as scripts name the mailbox.
    pub mailbox: Arc<str>,
    /// Number of messages at login.
    pub count: u32,
    /// The handle, when a built-in store took the lock. Dropping it unlocks too.
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

    /// Whether it is still to be released: not when a script has unlocked the mailbox by
    /// name, or destroyed its store. Who has the mailbox now is somebody else.
    pub(super) fn is_owed(&self) -> bool {
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

/// What a job needs to know of the mailbox; holding it keeps no lock.
pub(super) struct View {
    pub(super) mailbox: Arc<str>,
    pub(super) count: u32,
    pub(super) maildrop: Option<Arc<dyn Mailbox>>,
}

/// Where the lock of one session is, shared by its driver, its jobs and its server.
#[derive(Default)]
pub struct Hold {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    lock: Option<Lock>,
    /// The session has ended: nothing may be locked, deleted or begun any more.
    ended: bool,
    /// A direct job works on the mailbox on some thread.
    busy: bool,
    /// Of the first messages of a script's storage without `uidl`: as long as the session
    /// lasts they are the same.
    digests: Vec<Option<Digest>>,
}

/// What [`Hold::end`] found.
#[derive(Debug)]
pub enum Ended {
    /// Nothing is locked, or it is released already.
    Nothing,
    /// The caller owes the unlock.
    Owed(Lock),
    /// A direct job is under way; it releases the lock as soon as it is done.
    UnderWay,
}

impl Hold {
    /// A hold of nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the fields half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's lock from now on.
    ///
    /// # Errors
    /// The lock itself when the session has ended: the caller must unlock.
    pub fn keep(&self, lock: Lock) -> Result<(), Lock> {
        let mut state = self.state();
        if state.ended {
            return Err(lock);
        }
        state.lock = Some(lock);
        Ok(())
    }

    /// Sets the number of messages of the lock, if it is still there.
    pub(super) fn set_count(&self, count: u32) {
        if let Some(lock) = &mut self.state().lock {
            lock.count = count;
        }
    }

    /// Whether the session's lock has ended without it (see [`Lock::is_owed`]).
    pub(super) fn is_lost(&self) -> bool {
        self.maildrop()
            .is_some_and(|maildrop| !maildrop.is_locked())
    }

    /// What [`keep_digests`](Self::keep_digests) was given last.
    pub(super) fn take_digests(&self) -> Vec<Option<Digest>> {
        mem::take(&mut self.state().digests)
    }

    /// Keeps digests of messages for the session's next job.
    pub(super) fn keep_digests(&self, digests: Vec<Option<Digest>>) {
        self.state().digests = digests;
    }

    /// Takes the lock out in order to release it; none if somebody did before.
    pub fn take(&self) -> Option<Lock> {
        self.state().lock.take()
    }

    /// Whether the session has ended.
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Ends the session's use of the mailbox.
    #[must_use = "an owed lock must be released"]
    pub fn end(&self) -> Ended {
        let mut state = self.state();
        state.ended = true;
        if state.busy {
            return Ended::UnderWay;
        }
        state.lock.take().map_or(Ended::Nothing, Ended::Owed)
    }

    /// Waits until no direct job is under way, but not longer than `until`. Only for the
    /// interpreter's thread, and only without any lock: direct jobs never need either.
    pub fn wait_idle(&self, until: Instant) {
        let state = self.state();
        let left = until.saturating_duration_since(Instant::now());
        let _ = self.idle.wait_timeout_while(state, left, |s| s.busy);
    }

    /// The built-in store's mailbox, if it is one's that is locked.
    pub(super) fn maildrop(&self) -> Option<Arc<dyn Mailbox>> {
        self.state().lock.as_ref()?.maildrop.clone()
    }

    pub(super) fn view(&self) -> Option<View> {
        self.state().lock.as_ref().map(|lock| View {
            mailbox: lock.mailbox.clone(),
            count: lock.count,
            maildrop: lock.maildrop.clone(),
        })
    }

    /// Begins a direct job; none when the session has ended meanwhile.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.busy = true;
        Some(Busy(self.clone()))
    }
}

/// A direct job under way. Its end, by return or panic, releases the lock of a
/// session that ended meanwhile.
pub(super) struct Busy(Arc<Hold>);

impl Drop for Busy {
    fn drop(&mut self) {
        let orphan = {
            let mut state = self.0.state();
            if !state.ended {
                // Who ends the session from now on finds no job to wait for.
                state.busy = false;
                return;
            }
            state.lock.take()
        };
        // Unlocked before those that wait for this job go on.
        if let Some(maildrop) = orphan.and_then(|lock| lock.maildrop) {
            maildrop.unlock();
        }
        self.0.state().busy = false;
        self.0.idle.notify_all();
    }
}
