//! The process's one tokio runtime: all servers of all interpreters share it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

/// What each thread of the runtime does first.
static THREAD_HOOK: OnceCell<fn()> = OnceCell::new();

static RUNTIME: Mutex<State> = Mutex::new(State::NotYet);

enum State {
    NotYet,
    Runs(Runtime),
    Over,
}

/// How long the end of the process waits for file operations that are under way.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Threads for calls that may block. Enough to keep a disk's queue full, few
/// enough that a hung network file system does not eat the process's threads.
const BLOCKING_THREADS: usize = 64;

/// Descriptors that a process may have at most, where the hard limit is higher.
/// Ten thousand connections and files fit; who has a limit of a thousand million
/// does not want it spread to the programs it starts.
const DESCRIPTORS: u64 = 65_536;

/// Sets what each thread of the runtime does first; the first call counts.
///
/// `ffi` passes a function that blocks all signals, so that they go on to the
/// threads that the process had before.
pub fn init(thread_hook: fn()) {
    let _ = THREAD_HOOK.set(thread_hook);
}

/// The runtime, started by the first call.
///
/// # Errors
/// When threads cannot be started, or after [`shutdown`].
pub(super) fn handle() -> io::Result<Handle> {
    let mut state = state();
    if let State::NotYet = *state {
        *state = State::Runs(start()?);
    }
    match &*state {
        State::Runs(runtime) => Ok(runtime.handle().clone()),
        _ => Err(io::Error::other("the process is ending")),
    }
}

/// Ends the runtime's threads, for the end of the process. Sessions that are left
/// release their locks; no observer, alert or other callback runs after it.
///
/// Call it on the interpreter's thread, with no lock held, after
/// [`Server::kill`](super::Server::kill) for each server.
pub fn shutdown() {
    let last = std::mem::replace(&mut *state(), State::Over);
    if let State::Runs(runtime) = last {
        runtime.shutdown_timeout(LAST_WORK);
    }
}

fn state() -> MutexGuard<'static, State> {
    // A panic cannot leave the state half changed.
    RUNTIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> io::Result<Runtime> {
    raise_descriptor_limit();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("pop3d")
        .on_thread_start(|| {
            if let Some(hook) = THREAD_HOOK.get() {
                hook();
            }
        })
        .enable_all()
        .build()
}

/// Shells start programs with a limit of 1,024 descriptors, the number that
/// `select` can watch; this server's are above that, and Tcl's stay below.
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
