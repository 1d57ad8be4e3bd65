//! How the checks of hashed passwords share the processor.

use std::sync::Arc;
use std::thread;

use once_cell::sync::Lazy;
use tokio::sync::Semaphore;

use super::access::Runner;
use super::hold::Hold;
use super::users::Check;

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

/// The check was not run, or not to its end: there was no room in the queue or no thread, or
/// the process is ending.
pub(super) struct NotChecked;

/// Runs a check when its turn comes. Dropped before, as a session does whose client has
/// gone, it leaves the queue.
pub(super) async fn run<R: Runner>(
    check: Check,
    hold: &Arc<Hold>,
    runner: &R,
) -> Result<Option<Box<str>>, NotChecked> {
    CHECKS.run(check, hold, runner).await
}

impl Checks {
    fn new(cores: usize, waiting: usize) -> Self {
        Self {
            room: Semaphore::new(cores + waiting),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    async fn run<R: Runner>(
        &self,
        check: Check,
        hold: &Arc<Hold>,
        runner: &R,
    ) -> Result<Option<Box<str>>, NotChecked> {
        let _room = self.room.try_acquire().map_err(|_| NotChecked)?;
        let core = self.cores.clone().acquire_owned().await;
        let core = core.map_err(|_| NotChecked)?;
        let hold = hold.clone();
        let job = move || {
            // Until the end of the check, whoever still waits for it.
            let _core = core;
            // The session may have ended while no thread was free.
            (!hold.is_ended()).then(check).flatten()
        };
        runner.blocking(job).await.map_err(|_| NotChecked)
    }
}
