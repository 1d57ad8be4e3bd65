//! Waking an interpreter's thread, and the event source that runs its jobs.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::sync::{PoisonError, RwLock};

use once_cell::sync::OnceCell;

use clib::{ClientData, Tcl_Event, Tcl_ThreadId, Tcl_Time, Tcl_TimerToken};

use super::command::guarded;

const FILE_EVENTS: c_int = clib::TCL_FILE_EVENTS as c_int;

/// False once the process exits: then nothing of Tcl may be called from our threads.
static RUNNING: RwLock<bool> = RwLock::new(true);

/// Wakes a thread's event loop, from any thread.
pub struct Alert(Tcl_ThreadId);

// SAFETY: a thread id is a number; Tcl_ThreadAlert(3tcl) may be called from any
// thread and does nothing when the thread has gone.
unsafe impl Send for Alert {}
// SAFETY: a number that does not change; see `Send`.
unsafe impl Sync for Alert {}

impl Alert {
    /// For the calling thread.
    pub fn current() -> Self {
        // SAFETY: no arguments.
        Self(unsafe { clib::Tcl_GetCurrentThread() })
    }

    /// Makes the thread look at its event sources.
    pub fn wake(&self) {
        let running = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
        if *running {
            // SAFETY: Tcl has not begun to finalize: `stop` waits for this lock.
            unsafe { clib::Tcl_ThreadAlert(self.0) };
        }
    }
}

/// The process exits: from here on `wake` does nothing.
pub fn stop() {
    *RUNNING.write().unwrap_or_else(PoisonError::into_inner) = false;
}

/// Work that waits for the event loop of its thread.
pub trait Source {
    /// Called before each wait for events.
    fn prepare(&self);
    /// Whether there is work.
    fn pending(&self) -> bool;
    /// Does some of it; called from the event loop.
    fn run(&self);
}

struct Registered {
    source: Box<dyn Source>,
    /// An event stands in Tcl's queue.
    queued: Cell<bool>,
    gone: Cell<bool>,
}

/// An event source (Tcl_CreateEventSource(3tcl)), until it is dropped.
pub struct EventSource(Rc<Registered>);

impl EventSource {
    /// Registers `source` with the calling thread's event loop.
    pub fn new(source: Box<dyn Source>) -> Self {
        let registered = Rc::new(Registered {
            source,
            queued: Cell::new(false),
            gone: Cell::new(false),
        });
        let data = Rc::as_ptr(&registered).cast_mut().cast();
        // SAFETY: `drop` deletes the source before the address becomes invalid.
        unsafe { clib::Tcl_CreateEventSource(Some(setup), Some(check), data) };
        Self(registered)
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.0.gone.set(true);
        let data = Rc::as_ptr(&self.0).cast_mut().cast();
        // SAFETY: the other half of `new`, on the same thread.
        unsafe { clib::Tcl_DeleteEventSource(Some(setup), Some(check), data) };
    }
}

/// A Tcl event with the source that it belongs to.
#[repr(C)]
struct JobEvent {
    head: Tcl_Event,
    /// A counted reference, so that the event may outlive its source.
    registered: *const Registered,
}

unsafe extern "C" fn setup(data: ClientData, flags: c_int) {
    // SAFETY: registered by `EventSource::new`. The count is raised, since what runs before
    // a wait may be a script's, and end the registration.
    let registered = unsafe {
        Rc::increment_strong_count(data.cast::<Registered>());
        Rc::from_raw(data.cast::<Registered>())
    };
    let pending = guarded("event source", || {
        registered.source.prepare();
        registered.source.pending()
    });
    if pending.unwrap_or(false) && flags & FILE_EVENTS != 0 {
        let now = Tcl_Time { sec: 0, usec: 0 };
        // SAFETY: Tcl copies the time.
        unsafe { clib::Tcl_SetMaxBlockTime(&now) };
    }
}

unsafe extern "C" fn check(data: ClientData, flags: c_int) {
    // SAFETY: as in `setup`; the count is raised for the event's own reference.
    let registered = unsafe {
        Rc::increment_strong_count(data.cast::<Registered>());
        Rc::from_raw(data.cast::<Registered>())
    };
    let pending = guarded("event source", || registered.source.pending()).unwrap_or(false);
    if flags & FILE_EVENTS == 0 || !pending || registered.queued.replace(true) {
        return;
    }
    // SAFETY: Tcl_Alloc gives room for the event, which Tcl frees after it ran; both
    // fields are written before anyone reads them.
    unsafe {
        let event = clib::Tcl_Alloc(size_of::<JobEvent>() as u32).cast::<JobEvent>();
        event.write(JobEvent {
            head: Tcl_Event {
                proc_: Some(run),
                nextPtr: std::ptr::null_mut(),
            },
            registered: Rc::into_raw(registered),
        });
        clib::Tcl_QueueEvent(event.cast(), clib::Tcl_QueuePosition_TCL_QUEUE_TAIL);
    }
}

unsafe extern "C" fn run(event: *mut Tcl_Event, flags: c_int) -> c_int {
    if flags & FILE_EVENTS == 0 {
        return 0; // stays queued, as a file event would
    }
    // SAFETY: an event of `check`; its reference is taken over, since Tcl calls this
    // only once to the end and then frees the event.
    let registered = unsafe { Rc::from_raw((*event.cast::<JobEvent>()).registered) };
    // Cleared first: a job that enters the event loop itself (vwait) lets others run.
    registered.queued.set(false);
    if !registered.gone.get() {
        let _ = guarded("job", || registered.source.run());
    }
    1
}

/// A timer of the calling thread's event loop; dropping it cancels it.
pub struct Timer {
    token: Tcl_TimerToken,
    state: Rc<TimerState>,
}

struct TimerState {
    call: Box<dyn Fn()>,
    fired: Cell<bool>,
}

impl Timer {
    /// Calls `call` once, after so many milliseconds (Tcl_CreateTimerHandler(3tcl)).
    pub fn after(milliseconds: u32, call: Box<dyn Fn()>) -> Self {
        let fired = Cell::new(false);
        let state = Rc::new(TimerState { call, fired });
        let data = Rc::into_raw(state.clone()).cast_mut().cast();
        let milliseconds = c_int::try_from(milliseconds).unwrap_or(c_int::MAX);
        // SAFETY: `fire` takes over the reference, or `drop` does when it never runs.
        let token = unsafe { clib::Tcl_CreateTimerHandler(milliseconds, Some(fire), data) };
        Self { token, state }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !self.state.fired.get() {
            // SAFETY: not fired, so the token is live and the reference ours.
            unsafe {
                clib::Tcl_DeleteTimerHandler(self.token);
                Rc::decrement_strong_count(Rc::as_ptr(&self.state));
            }
        }
    }
}

unsafe extern "C" fn fire(data: ClientData) {
    // SAFETY: the reference that `after` gave away.
    let state = unsafe { Rc::from_raw(data.cast::<TimerState>()) };
    state.fired.set(true);
    let _ = guarded("timer", || (state.call)());
}

/// Calls `call` when the process exits (Tcl_CreateExitHandler(3tcl)), on the thread
/// that called `exit`. Only the first call in a process counts.
pub fn at_exit(call: fn()) {
    EXIT.get_or_init(|| {
        // SAFETY: no data; the handler reads what `get_or_init` is about to store.
        unsafe { clib::Tcl_CreateExitHandler(Some(exiting), std::ptr::null_mut()) };
        call
    });
}

static EXIT: OnceCell<fn()> = OnceCell::new();

unsafe extern "C" fn exiting(_data: ClientData) {
    if let Some(call) = EXIT.get() {
        let _ = guarded("exit", call);
    }
}
