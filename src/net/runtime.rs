//! The process's event loops, one for each core: all servers of all interpreters
//! share them.
//!
//! A connection stays with the loop that it was given when it was accepted. So no
//! thread is ever woken to take work from another, which costs more than a command.

use std::future::Future;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

static HOOK: OnceCell<fn()> = OnceCell::new();

static LOOPS: Mutex<State> = Mutex::new(State::NotYet);

enum State {
    NotYet,
    Runs(Loops, Vec<Thread>),
    Over,
}

/// All loops.
pub(super) type Loops = Arc<[Arc<Loop>]>;

/// One loop, as those that give it work see it.
pub(super) struct Loop {
    handle: Handle,
    /// Connections that it drives.
    load: Arc<AtomicUsize>,
    /// Calls by [`blocking`] that its threads have still to end.
    calls: Arc<AtomicUsize>,
}

/// The thread that runs a loop.
struct Thread {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

/// A connection's place on a loop; ends when dropped.
pub(super) struct LoopSlot {
    on: Arc<Loop>,
    _counted: Counted,
}

/// Counts as one on a counter while it lives.
struct Counted(Arc<AtomicUsize>);

/// How long the end of the process waits for file operations that are under way.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Threads for calls that may block, of all loops together, and the least for each.
/// Enough to keep a disk's queue full and to go on beside some that hang, few enough that
/// a hung network file system does not eat the process's threads.
const BLOCKING_THREADS: (usize, usize) = (64, 16);

/// Descriptors that a process may have at most, where the hard limit is higher.
/// Ten thousand connections and files fit; a process with a limit of a thousand million
/// does not want it spread to the programs it starts.
const DESCRIPTORS: u64 = 65_536;

/// Sets what each thread of the loops does first: `ffi` blocks all signals there, so that
/// they go on to the threads that the process had before. The first call counts.
pub fn init(begin: fn()) {
    let _ = HOOK.set(begin);
}

fn begin() {
    if let Some(hook) = HOOK.get() {
        hook();
    }
}

/// The loops, started by the first call.
///
/// # Errors
/// When threads cannot be started, or after [`shutdown`].
pub(super) fn loops() -> io::Result<Loops> {
    let mut state = state();
    if let State::NotYet = *state {
        let (loops, threads) = start()?;
        *state = State::Runs(loops, threads);
    }
    match &*state {
        State::Runs(loops, _) => Ok(loops.clone()),
        _ => Err(io::Error::other("the process is ending")),
    }
}

/// Ends the loops' threads, for the end of the process. Sessions that are left
/// release their locks; no observer, alert or other callback runs after it.
///
/// Call it on the interpreter's thread, with no lock held, after
/// [`Server::kill`](super::Server::kill) for each server.
pub fn shutdown() {
    let last = std::mem::replace(&mut *state(), State::Over);
    let State::Runs(_, threads) = last else {
        return;
    };
    let stop = |thread: Thread| {
        let _already_gone = thread.stop.send(());
        thread.stopped
    };
    // All are asked to stop before the first is waited for.
    let stopped: Vec<_> = threads.into_iter().map(stop).collect();
    let until = Instant::now() + 2 * LAST_WORK;
    for stopped in stopped {
        let _ = stopped.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Runs `work` on a thread for calls that may block; for threads that have no loop.
///
/// What it returns arrives on the receiver, which gives an error when the work panicked
/// or could not be begun: no threads can be started, or the process is ending.
pub fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    match loops() {
        Ok(loops) => {
            let (on, counted) = least_called(&loops);
            blocking_on(&on.handle, move || {
                let _counted = counted;
                work()
            })
        }
        Err(_) => oneshot::channel().1,
    }
}

/// The loop whose threads have the fewest calls: where one hangs, the next goes elsewhere.
fn least_called(loops: &[Arc<Loop>]) -> (&Loop, Counted) {
    let calls = |on: &&Arc<Loop>| on.calls.load(Ordering::Relaxed);
    let on = loops.iter().min_by_key(calls).unwrap_or(&loops[0]);
    (on, Counted::on(&on.calls))
}

/// As [`blocking`], on the threads of a loop.
pub(super) fn blocking_on<T: Send + 'static>(
    on: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (done, answer) = oneshot::channel();
    let asked = Arc::new(Mutex::new(Some((work, done))));
    let taken = asked.clone();
    let take = |asked: &Mutex<Option<_>>| asked.lock().ok().and_then(|mut asked| asked.take());
    let spawn = AssertUnwindSafe(|| {
        on.spawn_blocking(move || {
            if let Some((work, done)) = take(&taken) {
                // Nobody waits any more: a message is dropped, a lock is in its session's
                // hold.
                let _ = done.send(work());
            }
        })
    });
    // Where no thread can be started tokio panics, but keeps the call, to run it when there
    // is one: by then nobody must want it.
    if catch_unwind(spawn).is_err() {
        drop(take(&asked));
    }
    answer
}

fn state() -> MutexGuard<'static, State> {
    // A panic cannot leave the state half changed.
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> io::Result<(Loops, Vec<Thread>)> {
    raise_descriptor_limit();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (mut loops, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..cores {
        // Those that run already end with their `stop`, which an error drops.
        let (one, thread) = start_one((BLOCKING_THREADS.0 / cores).max(BLOCKING_THREADS.1))?;
        loops.push(Arc::new(one));
        threads.push(thread);
    }
    Ok((loops.into(), threads))
}

fn start_one(blocking_threads: usize) -> io::Result<(Loop, Thread)> {
    let runtime = Builder::new_current_thread()
        .max_blocking_threads(blocking_threads)
        .thread_name("pop3d-files")
        .on_thread_start(begin)
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    let (stop, stopping) = oneshot::channel();
    let (confirm, stopped) = mpsc::sync_channel(1);
    let run = move || {
        begin();
        run(runtime, stopping);
        let _ = confirm.send(());
    };
    thread::Builder::new().name("pop3d".into()).spawn(run)?;
    let one = Loop {
        handle,
        load: Arc::default(),
        calls: Arc::default(),
    };
    Ok((one, Thread { stop, stopped }))
}

fn run(runtime: Runtime, stopping: oneshot::Receiver<()>) {
    let _told_or_dropped = runtime.block_on(stopping);
    runtime.shutdown_timeout(LAST_WORK);
}

impl Loop {
    /// Starts a task on this loop.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Nobody waits for its end.
        drop(self.handle.spawn(task));
    }

    /// Has sockets registered with this loop while the guard lives.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.handle.enter()
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

impl LoopSlot {
    /// A place on the loop with the fewest connections; of equal ones, on the one at index
    /// `here`, which has accepted it: telling another one costs a system call.
    pub(super) fn take(loops: &[Arc<Loop>], here: usize) -> Self {
        let busy = |at: &usize| (loops[*at].load(), *at != here);
        let chosen = (0..loops.len()).min_by_key(busy).unwrap_or(here);
        let chosen = &loops[chosen];
        Self {
            on: chosen.clone(),
            _counted: Counted::on(&chosen.load),
        }
    }
}

impl LoopSlot {
    /// The loop, for a task that has the slot itself.
    pub(super) fn event_loop(&self) -> Arc<Loop> {
        self.on.clone()
    }
}

impl std::ops::Deref for LoopSlot {
    type Target = Loop;

    fn deref(&self) -> &Loop {
        &self.on
    }
}

impl Counted {
    fn on(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shells start programs with a limit of 1,024 descriptors, the number that `select` can
/// watch; most of those are left to scripts, so many connections need more.
fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(DESCRIPTORS, |max| max.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        // Refused: then there are fewer connections.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loops with these numbers of connections.
    fn loops(loads: &[usize]) -> Loops {
        let runtime = Builder::new_current_thread().build().unwrap();
        let one = |load: &usize| {
            Arc::new(Loop {
                handle: runtime.handle().clone(),
                load: Arc::new(AtomicUsize::new(*load)),
                calls: Arc::default(),
            })
        };
        loads.iter().map(one).collect()
    }

    #[test]
    fn connections_go_where_fewest_are() {
        // Loads, where it was accepted, where it goes.
        let table: &[(&[usize], usize, usize)] = &[
            (&[0], 0, 0),
            (&[4, 4], 1, 1),
            (&[0, 1], 1, 0),
            (&[9, 5, 7], 0, 1),
        ];
        for &(loads, here, want) in table {
            let loops = loops(loads);
            let slot = LoopSlot::take(&loops, here);
            assert_eq!(loops[want].load(), loads[want] + 1, "{loads:?} at {here}");
            drop(slot);
            assert_eq!(loops[want].load(), loads[want]);
        }
    }

    #[test]
    fn calls_go_where_fewest_are_under_way() {
        let loops = loops(&[0, 0, 0]);
        let calls = || -> Vec<usize> {
            let count = |one: &Arc<Loop>| one.calls.load(Ordering::Relaxed);
            loops.iter().map(count).collect()
        };
        // One after the other need no more threads than one.
        for _ in 0..3 {
            let _call = least_called(&loops);
            assert_eq!(calls(), [1, 0, 0]);
        }
        let hangs = least_called(&loops);
        let others: Vec<_> = (0..6).map(|_| least_called(&loops)).collect();
        assert_eq!(calls(), [3, 2, 2]);
        drop((hangs, others));
        assert_eq!(calls(), [0, 0, 0]);
    }
}
