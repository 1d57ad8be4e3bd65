//! Jobs for the interpreter's thread: how sessions reach stores that are scripts.
//!
//! A job holds all that a command needs, so a command crosses to the interpreter once and
//! back once. Sessions push from the network threads. The interpreter's thread pops, runs
//! the callbacks and answers. No thread waits for another one while it holds a mutex.
//! `models/jobs.rs` tries every order in which they can come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::hold::{Hold, Lock};
use super::ids::{Client, ConnectionId, ServerId};
use super::sync::{Mutex, MutexGuard};
use super::{Account, Message};
use pop3_proto::hook::Event;
use pop3_proto::{Attempt, Reply, Request};

/// Tells messages apart where the storage gives no unique ids.
pub type Digest = [u8; 16];

/// What the interpreter's thread is asked to do.
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
    /// [`Request::Fetch`] by [`Outcome::Message`]. A [`Request::Update`] unlocks the mailbox
    /// whether or not the messages could be deleted, if [`Job::take_lock`] gives the lock.
    Ask {
        /// The mailbox.
        mailbox: Arc<str>,
        /// Number of its messages: they are 1 to `count`.
        count: u32,
        /// Neither a login nor a question to the hook.
        request: Request,
    },
    /// `unlock` only: the session has ended without QUIT, and does not wait for the answer.
    /// The lock is dropped after the call.
    Release(Lock, Option<Afterwards>),
    /// What is to come of an event in a session. Answered by [`Reply::Hook`].
    Hook(Box<Event>),
    /// The hook is told that the session has ended, which does not wait for the answer.
    Ended(Box<Event>, Option<Afterwards>),
}

/// What is still to be done for a session of a server that is destroyed.
#[derive(Debug)]
pub enum Owed {
    /// The script's `unlock`, if the lock [is owed](Lock::is_owed) by then.
    Unlock(Lock),
    /// The hook is to be told of its end.
    End(Box<Event>),
}

/// What follows an unlock, or the end of a session. It runs when it is dropped: after the job, or with a job that is
/// dropped.
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

/// An `unlock` that a script owes a session which has ended.
#[must_use = "the mailbox stays locked otherwise"]
pub struct OwedUnlock {
    /// For whom.
    pub client: Client,
    /// The lock; it may [have ended](Lock::is_owed) by then.
    pub lock: Lock,
    /// To be dropped after the call.
    pub then: Option<Afterwards>,
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
    /// To all other work. [`Reply::Failed`] answers any work.
    Reply(Reply),
}

/// The session has ended while the interpreter locked its mailbox: the caller must run the
/// storage's `unlock` now.
#[derive(Debug)]
#[must_use = "the mailbox stays locked otherwise"]
pub struct UnlockNow(pub Lock);

/// One job. If it is dropped without an answer, its session gets a temporary failure.
pub struct Job {
    /// The server whose `-auth` and `-storage` are called.
    pub server: ServerId,
    /// For whom, as log records name the client.
    pub client: Client,
    /// The work.
    pub work: Work,
    hold: Arc<Hold>,
    waiter: oneshot::Sender<Outcome>,
}

impl Job {
    /// A job, and the receiver of its answer.
    ///
    /// The driver on Tcl channels runs the job itself and takes the answer with `try_recv`.
    /// The network driver uses [`JobQueue::submit`].
    pub fn new(
        server: ServerId,
        client: Client,
        hold: Arc<Hold>,
        work: Work,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (waiter, answer) = oneshot::channel();
        (
            Self {
                server,
                client,
                work,
                hold,
                waiter,
            },
            answer,
        )
    }

    /// Whether the job is to be run. It is not when its session has ended, or has lost its
    /// mailbox: another session may have that now. A [`Work::Release`] is, unless its lock
    /// has ended.
    pub fn is_wanted(&self) -> bool {
        match &self.work {
            Work::Release(lock, _) => lock.is_owed(),
            Work::Ended(..) => true,
            // It is no matter of the mailbox.
            Work::Hook(_) => !self.hold.is_ended(),
            _ => !self.hold.is_ended() && !self.hold.is_lost(),
        }
    }

    /// The session that waits for the answer; none where nobody waits.
    pub fn session(&self) -> Option<Arc<Hold>> {
        let waits = !matches!(self.work, Work::Release(..) | Work::Ended(..));
        waits.then(|| self.hold.clone())
    }

    /// Takes the session's lock, just before `unlock` is called for it: for a
    /// [`Request::Update`], and for a mailbox that cannot be counted after
    /// [`keep_lock`](Self::keep_lock).
    ///
    /// None if the mailbox is unlocked already, for instance since a callback of this very
    /// job has destroyed the server: then `unlock` must not be called again.
    pub fn take_lock(&self) -> Option<Lock> {
        self.hold.take().filter(Lock::is_owed)
    }

    /// Gives the session the lock that the script's `lock` has taken for it. Call it before
    /// any other callback: from then on the lock is released whatever happens, `exit`
    /// included.
    ///
    /// # Errors
    /// [`UnlockNow`] when the session has ended meanwhile.
    pub fn keep_lock(&self, mailbox: &str) -> Result<(), UnlockNow> {
        let lock = Lock::by_script(Arc::from(mailbox), 0);
        self.hold.keep(lock).map_err(UnlockNow)
    }

    /// Takes the digests that this job and earlier jobs of the session have kept: none for a
    /// message that could not be read.
    pub fn take_digests(&self) -> Vec<Option<Digest>> {
        self.hold.take_digests()
    }

    /// Keeps digests for the next job, or the next step of this one.
    pub fn keep_digests(&self, digests: Vec<Option<Digest>>) {
        self.hold.keep_digests(digests);
    }

    /// Answers the job. For a [`Reply::Opened`], [`keep_lock`](Self::keep_lock) has given the
    /// session its lock before.
    pub fn answer(self, outcome: Outcome) {
        if let Outcome::Reply(Reply::Opened { count, .. }) = &outcome {
            self.hold.set_count(*count);
        }
        // If the session waits no longer, its end releases the lock: that is in the hold.
        let _ = self.waiter.send(outcome);
    }

    /// What must be done even though its server is destroyed.
    fn into_owed(self) -> Option<(Client, Owed)> {
        match self.work {
            Work::Release(lock, _) if lock.is_owed() => Some((self.client, Owed::Unlock(lock))),
            Work::Ended(event, _) => Some((self.client, Owed::End(event))),
            _ => None,
        }
    }
}

/// The queue of jobs to one interpreter's thread.
///
/// Each connection has at most one job under way, and one [`Work::Release`] and one
/// [`Work::Ended`] after its end. Unwanted jobs are dropped whenever the queue has doubled: clients that come and go
/// cannot fill the queue of a busy interpreter.
pub struct JobQueue {
    queue: Mutex<Queue>,
    alert: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// At this length the unwanted jobs are taken out.
    clear_at: usize,
    closed: bool,
}

/// The shortest queue whose unwanted jobs are taken out.
pub(super) const WORTH_CLEARING: usize = if cfg!(feature = "model") { 2 } else { 1024 };

impl Queue {
    /// Takes out the unwanted jobs, if the queue has doubled since the last time. The caller
    /// drops them with the queue unlocked: that may unlock a mailbox.
    fn take_unwanted(&mut self) -> Vec<Job> {
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
    /// An empty queue. `alert` wakes the interpreter's thread. It is called on network
    /// threads, with no mutex locked, after a push to the empty queue only: a thread that
    /// stops popping before [`pop`](Self::pop) returned none must come back by itself.
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

    /// Pushes a job, and returns the receiver of its answer. If the queue is closed, the
    /// receiver returns an error at once.
    pub fn submit(
        &self,
        server: ServerId,
        client: Client,
        hold: Arc<Hold>,
        work: Work,
    ) -> oneshot::Receiver<Outcome> {
        let (job, answer) = Job::new(server, client, hold, work);
        let refused = {
            let mut queue = self.queue();
            if queue.closed {
                Some(job)
            } else {
                let first = queue.jobs.is_empty();
                let unwanted = queue.take_unwanted();
                queue.jobs.push_back(job);
                drop(queue);
                drop(unwanted);
                if first {
                    (self.alert)();
                }
                None
            }
        };
        // With the queue unlocked: dropping a job may unlock a mailbox.
        drop(refused);
        answer
    }

    /// The next job that is wanted. Drops the unwanted jobs before it.
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

    /// Drops the queued jobs of one server, for its destruction. Returns what is to be done
    /// all the same, with the clients.
    #[must_use = "the mailboxes stay locked otherwise"]
    pub fn forget(&self, server: ServerId) -> Vec<(Client, Owed)> {
        let gone: Vec<Job> = {
            let mut queue = self.queue();
            let all = std::mem::take(&mut queue.jobs);
            let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|j| j.server == server);
            queue.jobs = kept.into();
            gone
        };
        gone.into_iter().filter_map(Job::into_owed).collect()
    }

    /// Takes out the `unlock` that is queued for one connection.
    pub fn take_unlock(&self, connection: ConnectionId) -> Option<OwedUnlock> {
        let mut queue = self.queue();
        let is_it = |job: &Job| {
            job.client.connection == connection && matches!(job.work, Work::Release(..))
        };
        let at = queue.jobs.iter().position(is_it)?;
        let job = queue.jobs.remove(at)?;
        drop(queue);
        match job.work {
            Work::Release(lock, then) => Some(OwedUnlock {
                client: job.client,
                lock,
                then,
            }),
            _ => None,
        }
    }

    /// Closes the queue, for the end of its interpreter. The queued jobs are dropped, and
    /// later ones too: their sessions get a temporary failure.
    pub fn close(&self) {
        let jobs = {
            let mut queue = self.queue();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients come and go while the interpreter is busy: their requests are dropped. What
    /// other clients wait for and what unlocks is kept.
    #[test]
    fn jobs_of_clients_that_have_gone_do_not_pile_up() {
        let jobs = JobQueue::new(|| ());
        let server = ServerId::new();
        let ask = |hold: &Arc<Hold>, work: Work| {
            let client = Client {
                connection: ConnectionId::new(),
                user: "u".into(),
                peer: ([127, 0, 0, 1], 1).into(),
            };
            drop(jobs.submit(server, client, hold.clone(), work));
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
