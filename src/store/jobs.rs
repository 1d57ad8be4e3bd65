//! Jobs for the interpreter's thread: how sessions reach stores that are scripts.
//!
//! One job is all that a command needs, so that a command crosses to the
//! interpreter once and back once. Sessions push from the network threads; the
//! interpreter's thread pops, runs the callbacks and answers. Neither waits for
//! the other while it holds a lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::hold::{Hold, Lock};
use super::ids::{ConnectionId, ServerId};
use super::{Account, Message};
use pop3_proto::{Attempt, Reply, Request};

/// What tells messages apart whose storage gives no unique ids.
pub type Digest = [u8; 16];

/// What the interpreter's thread is asked to do, one variant for a command.
#[derive(Debug)]
pub enum Work {
    /// `exists`, `lookup`, the check of the proof ([`proves`](crate::text::proves)), or the
    /// script that checks logins instead of these; then `lock`, `stat`, `size`. Answered by
    /// [`Reply::Opened`] or [`Reply::Refused`].
    Login(Attempt),
    /// The login's check alone: the storage is not a script. Answered by
    /// [`Outcome::Mailbox`], or [`Reply::Refused`] when the script fails.
    Check(Attempt),
    /// `exists`, `lookup`: what is known of a user. Answered by
    /// [`Outcome::Account`], or [`Reply::Refused`] when the script fails.
    Lookup {
        /// The user's name as the client sent it.
        user: Box<[u8]>,
    },
    /// `lock`, `stat`, `size`: only the storage is a script. Answered by
    /// [`Reply::Opened`] or [`Reply::Refused`].
    Open {
        /// The storage reference from the user's entry.
        mailbox: Box<str>,
    },
    /// What a session asks of its mailbox. Answered as the [`Request`] says, a
    /// [`Request::Fetch`] by [`Outcome::Message`]. After a [`Request::Update`] the mailbox
    /// is unlocked in every case, if [`Job::take_lock`] gives the lock.
    Ask {
        /// The mailbox.
        mailbox: Arc<str>,
        /// Number of its messages: they are 1 to `count`.
        count: u32,
        /// Never [`Request::Login`].
        request: Request,
    },
    /// `unlock` only: the session has ended without QUIT. Nobody waits for the
    /// answer. The lock is dropped after the call.
    Release(Lock, Option<Afterwards>),
}

/// What follows the unlock, wherever that is run or dropped: runs when it is dropped.
pub struct Afterwards(Option<Box<dyn FnOnce() + Send>>);

impl Afterwards {
    /// Will run `call`.
    pub fn new(call: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(call)))
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

impl fmt::Debug for Afterwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Afterwards")
    }
}

/// What the interpreter's thread answers.
#[derive(Debug)]
pub enum Outcome {
    /// To [`Work::Lookup`]: the user's entry, if there is one.
    Account(Option<Account>),
    /// To [`Work::Check`]: the storage reference, if the proof fits.
    Mailbox(Option<Box<str>>),
    /// To [`Request::Fetch`]: the message.
    Message(Message),
    /// To all others, and [`Reply::Failed`] to any.
    Reply(Reply),
}

/// The session has ended while the interpreter locked its mailbox: whoever gets
/// this must run the storage's `unlock` now.
#[derive(Debug)]
#[must_use = "the mailbox stays locked otherwise"]
pub struct UnlockNow(pub Lock);

/// One job. Dropping it unanswered answers "failed for now".
pub struct Job {
    /// Whose `-auth` and `-storage` are to be called.
    pub server: ServerId,
    /// For which connection.
    pub connection: ConnectionId,
    /// What is to be done.
    pub work: Work,
    hold: Arc<Hold>,
    waiter: oneshot::Sender<Outcome>,
}

impl Job {
    /// A job, and the end on which its answer arrives.
    ///
    /// For the driver on Tcl channels, which runs the job itself and then takes
    /// the answer with `try_recv`; the network driver uses [`JobQueue::submit`].
    pub fn new(
        server: ServerId,
        connection: ConnectionId,
        hold: Arc<Hold>,
        work: Work,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (waiter, answer) = oneshot::channel();
        (
            Self {
                server,
                connection,
                work,
                hold,
                waiter,
            },
            answer,
        )
    }

    /// Whether somebody still waits for it; jobs of sessions that have ended
    /// need not be run. A [`Work::Release`] is always wanted. What would be done to a
    /// mailbox that the session has lost meanwhile must not be run.
    pub fn is_wanted(&self) -> bool {
        match &self.work {
            Work::Release(lock, _) => lock.is_owed(),
            _ => !self.hold.is_ended() && !self.hold.is_lost(),
        }
    }

    /// The lock, just before `unlock` is called for it: for [`Request::Update`], and for a
    /// mailbox that cannot be counted after [`keep_lock`](Self::keep_lock).
    ///
    /// None: somebody else (the destruction of the server inside a callback of
    /// this very job) has unlocked, and `unlock` must not be called again.
    pub fn take_lock(&self) -> Option<Lock> {
        self.hold.take().filter(Lock::is_owed)
    }

    /// Hands the session the lock that `lock` has just taken for it: before anything
    /// else is called, so that whatever happens then, `exit` included, it is released.
    ///
    /// # Errors
    /// [`UnlockNow`] when the session has ended meanwhile.
    pub fn keep_lock(&self, mailbox: &str) -> Result<(), UnlockNow> {
        let lock = Lock::by_script(Arc::from(mailbox), 0);
        self.hold.keep(lock).map_err(UnlockNow)
    }

    /// The digests of messages that earlier jobs of the session, or this one, have kept;
    /// none for a message that could not be read.
    pub fn take_digests(&self) -> Vec<Option<Digest>> {
        self.hold.take_digests()
    }

    /// Keeps digests for the next job, or the next step of this one.
    pub fn keep_digests(&self, digests: Vec<Option<Digest>>) {
        self.hold.keep_digests(digests);
    }

    /// Answers the job. The lock of [`Reply::Opened`] has been handed over by
    /// [`keep_lock`](Self::keep_lock) before.
    pub fn answer(self, outcome: Outcome) {
        if let Outcome::Reply(Reply::Opened { count, .. }) = &outcome {
            self.hold.set_count(*count);
        }
        // Nobody waits any more: a lock is in the hold, whose end releases it.
        let _ = self.waiter.send(outcome);
    }
}

/// The way of jobs to one interpreter's thread.
///
/// Each connection has at most one job under way, and one [`Work::Release`] after its
/// end. Jobs of connections that have gone are dropped when they have become as many
/// as the others, so clients that come and go cannot fill a busy interpreter's queue.
pub struct JobQueue {
    queue: Mutex<Queue>,
    alert: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// At this length the queue is cleared of what nobody wants.
    clear_at: usize,
    closed: bool,
}

/// The shortest queue that is worth looking through.
const WORTH_CLEARING: usize = 1024;

impl Queue {
    /// Takes out what nobody wants, when the queue has doubled since the last time.
    /// It is dropped outside of the lock.
    fn clear(&mut self) -> Vec<Job> {
        if self.jobs.len() < self.clear_at.max(WORTH_CLEARING) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.jobs).into_iter();
        let (kept, unwanted): (VecDeque<_>, VecDeque<_>) = all.partition(Job::is_wanted);
        self.clear_at = 2 * kept.len();
        self.jobs = kept;
        unwanted.into()
    }
}

impl JobQueue {
    /// An empty queue. `alert` wakes the interpreter's thread: it is called on
    /// network threads, with no lock held, after a push to the empty queue. Who
    /// stops popping before [`pop`](Self::pop) gave none must come back by itself.
    pub fn new(alert: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: Mutex::default(),
            alert: Box::new(alert),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes a job; its answer arrives on what is returned. When the queue is
    /// closed the receiver gives an error at once.
    pub fn submit(
        &self,
        server: ServerId,
        connection: ConnectionId,
        hold: Arc<Hold>,
        work: Work,
    ) -> oneshot::Receiver<Outcome> {
        let (job, answer) = Job::new(server, connection, hold, work);
        let refused = {
            let mut queue = self.queue();
            if queue.closed {
                Some(job)
            } else {
                let first = queue.jobs.is_empty();
                let unwanted = queue.clear();
                queue.jobs.push_back(job);
                drop(queue);
                drop(unwanted);
                if first {
                    (self.alert)();
                }
                None
            }
        };
        // Outside of the lock: dropping a job may unlock a mailbox.
        drop(refused);
        answer
    }

    /// The next job, skipping those that nobody wants any more.
    pub fn pop(&self) -> Option<Job> {
        loop {
            let job = self.queue().jobs.pop_front()?;
            if job.is_wanted() {
                return Some(job);
            }
        }
    }

    /// Number of jobs that wait.
    pub fn len(&self) -> usize {
        self.queue().jobs.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the queued jobs of one server, for its destruction. Returns the
    /// locks whose `unlock` was still queued: the caller runs it directly.
    #[must_use = "the mailboxes stay locked otherwise"]
    pub fn forget(&self, server: ServerId) -> Vec<Lock> {
        let gone: Vec<Job> = {
            let mut queue = self.queue();
            let all = std::mem::take(&mut queue.jobs);
            let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|j| j.server == server);
            queue.jobs = kept.into();
            gone
        };
        gone.into_iter().filter_map(owed).collect()
    }

    /// Ends the queue, for the end of its interpreter: what is queued is dropped,
    /// later pushes fail. Sessions that wait get a temporary failure.
    pub fn close(&self) {
        let jobs = {
            let mut queue = self.queue();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(jobs);
    }
}

fn owed(job: Job) -> Option<Lock> {
    match job.work {
        Work::Release(lock, _) => Some(lock).filter(Lock::is_owed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that come and go while the interpreter is busy: what they asked for is
    /// dropped, what others wait for and what unlocks is kept.
    #[test]
    fn jobs_of_those_who_have_gone_do_not_pile_up() {
        let jobs = JobQueue::new(|| ());
        let server = ServerId::new();
        let ask = |hold: &Arc<Hold>, work: Work| {
            drop(jobs.submit(server, ConnectionId::new(), hold.clone(), work));
        };
        let lookup = || Work::Lookup {
            user: b"u"[..].into(),
        };
        let stays = Hold::new();
        ask(&stays, lookup());
        let left = Hold::new();
        let _nothing_locked = left.end();
        ask(&left, Work::Release(Lock::by_script("m".into(), 0), None));
        for _ in 0..20 * WORTH_CLEARING {
            ask(&left, lookup());
        }
        assert!(jobs.len() <= WORTH_CLEARING + 2, "{}", jobs.len());
        assert!(matches!(jobs.pop().unwrap().work, Work::Lookup { .. }));
        assert!(matches!(jobs.pop().unwrap().work, Work::Release(..)));
        assert!(jobs.pop().is_none());
    }
}
