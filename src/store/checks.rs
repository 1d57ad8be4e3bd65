//! How the checks of hashed passwords, and the keys of SCRAM, share the processor.

use std::sync::Arc;
use std::thread;

use once_cell::sync::Lazy;
use tokio::sync::Semaphore;

use super::access::Runner;
use super::answer::{refused, Answer};
use super::hold::Hold;
use super::users::Check;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::{Failure, LoginStep, Refusal, Reply};

/// Checks that wait for their turn, of all servers of the process: with two cores, some four
/// seconds of work for new hashes of the default scheme. Clients wait longer than that for
/// an answer; one that finds no room tries again later.
pub const WAITING: usize = 256;

/// The queue of the process.
static CHECKS: Lazy<Checks> = Lazy::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Checks::new(cores, WAITING)
});

/// A bounded queue of checks, of which some run at once. First come, first served.
struct Checks {
    /// Room for those that run or wait.
    room: Semaphore,
    /// Room for those that run: more than there are cores would only take turns, and each
    /// needs memory.
    cores: Arc<Semaphore>,
}

/// The check was not run, or not to its end.
#[derive(Debug)]
pub(super) enum NotChecked {
    /// There was no room in the queue or no thread, or the process is ending.
    NoRoom,
    /// When its turn came it was not wanted any more.
    Refused(Refusal),
}

impl From<NotChecked> for Answer {
    fn from(not_checked: NotChecked) -> Self {
        match not_checked {
            NotChecked::NoRoom => refused(LoginStep::Server, Failure::Temporary),
            NotChecked::Refused(refusal) => Reply::Refused(refusal).into(),
        }
    }
}

/// Runs a check when its turn comes. Dropped before, as a session does whose client has
/// gone, it leaves the queue.
pub(super) async fn run<R: Runner>(
    check: Check,
    hold: &Arc<Hold>,
    runner: &R,
) -> Result<Option<Box<str>>, NotChecked> {
    let checked = CHECKS.run(check, hold, runner).await?;
    Ok(checked.flatten())
}

/// Computes the keys of SCRAM, as [`run`] runs a check; none for a session that has ended.
pub(super) async fn keys<R: Runner>(
    keys: impl FnOnce() -> ScramKeys + Send + 'static,
    hold: &Arc<Hold>,
    runner: &R,
) -> Result<Option<ScramKeys>, NotChecked> {
    CHECKS.run(keys, hold, runner).await
}

impl Checks {
    fn new(cores: usize, waiting: usize) -> Self {
        Self {
            room: Semaphore::new(cores + waiting),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// What `check` gives; none if the session has ended before.
    async fn run<T: Send + 'static, R: Runner>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
        hold: &Arc<Hold>,
        runner: &R,
    ) -> Result<Option<T>, NotChecked> {
        let _room = self.room.try_acquire().map_err(|_| NotChecked::NoRoom)?;
        let core = match self.cores.clone().try_acquire_owned() {
            Ok(core) => core,
            Err(_) => {
                let core = self.cores.clone().acquire_owned().await;
                let core = core.map_err(|_| NotChecked::NoRoom)?;
                if let Some(refusal) = runner.refuses_check() {
                    return Err(NotChecked::Refused(refusal));
                }
                core
            }
        };
        let hold = hold.clone();
        let job = move || {
            // Until the end of the check, whoever still waits for it.
            let _core = core;
            // The session may have ended while no thread was free.
            (!hold.is_ended()).then(check)
        };
        runner.blocking(job).await.map_err(|_| NotChecked::NoRoom)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, Future};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::Mutex;
    use std::task::Poll;

    use tokio::sync::oneshot::{self, Receiver};

    use super::*;
    use crate::store::jobs::{Outcome, Work};

    /// Keeps what is to be run.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

    impl Runner for Kept {
        fn script(&self, _: &Arc<Hold>, _: Work) -> Receiver<Outcome> {
            oneshot::channel().1
        }

        fn blocking<T: Send + 'static>(
            &self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Receiver<T> {
            let (done, answer) = oneshot::channel();
            let job = move || drop(done.send(work()));
            self.0.lock().unwrap().push(Box::new(job));
            answer
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn as_many_run_as_there_are_cores_and_the_queue_has_an_end() {
        let (checks, kept, hold) = (Checks::new(2, 2), Kept::default(), Hold::new());
        let started = || kept.0.lock().unwrap().len();
        let ran = Arc::new(AtomicUsize::new(0));
        let check = || -> Check {
            let ran = ran.clone();
            Box::new(move || {
                ran.fetch_add(1, SeqCst);
                Some("box".into())
            })
        };
        let run = || checks.run(check(), &hold, &kept);
        block_on(async {
            let mut first = pin!(run());
            let mut second = pin!(run());
            let mut third = Box::pin(run());
            let mut fourth = pin!(run());
            poll_fn(|cx| {
                assert!(first.as_mut().poll(cx).is_pending());
                assert!(second.as_mut().poll(cx).is_pending());
                assert!(third.as_mut().poll(cx).is_pending());
                assert!(fourth.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(started(), 2);
            assert!(run().await.is_err(), "the queue is full");
            // The client of the third one goes, so there is room, and the fourth is next.
            drop(third);
            let mut fifth = pin!(run());
            let pending = poll_fn(|cx| Poll::Ready(fifth.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            let job = kept.0.lock().unwrap().remove(0);
            job();
            assert_eq!(first.await.ok().flatten().flatten().as_deref(), Some("box"));
            let pending = poll_fn(|cx| Poll::Ready(fourth.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
            assert_eq!((started(), ran.load(SeqCst)), (2, 1));
            // Nor does one run whose session ends while it waits for a thread.
            drop(hold.end());
            for job in kept.0.lock().unwrap().drain(..) {
                job();
            }
            assert!(matches!(second.await, Ok(None)));
            assert!(matches!(fourth.await, Ok(None)));
            assert_eq!(ran.load(SeqCst), 1);
        });
    }

    #[test]
    fn what_no_thread_can_run_is_not_refused() {
        /// Has no threads.
        struct Nobody;
        impl Runner for Nobody {
            fn script(&self, _: &Arc<Hold>, _: Work) -> Receiver<Outcome> {
                oneshot::channel().1
            }
            fn blocking<T: Send + 'static>(
                &self,
                _: impl FnOnce() -> T + Send + 'static,
            ) -> Receiver<T> {
                oneshot::channel().1
            }
        }
        let checks = Checks::new(1, 0);
        for _ in 0..3 {
            let check: Check = Box::new(|| Some("box".into()));
            assert!(block_on(checks.run(check, &Hold::new(), &Nobody)).is_err());
        }
    }
}
