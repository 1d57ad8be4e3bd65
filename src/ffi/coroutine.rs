//! Commands that run as coroutines (coroutine(3tcl)): each may `yield`, and goes on when
//! somebody calls its coroutine.
//!
//! `::coroutine NAME ::pop3d_callback` is what Tcl evaluates. Our command leaves a callback on
//! the coroutine's own stack (Tcl_NRAddCallback(3tcl)) and has Tcl evaluate the words there.
//! It adds no level: `info level` and `uplevel` see what they see in a plain call. Tcl calls
//! the callback when the words have ended, however often they have yielded, and also when
//! the coroutine is deleted.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use clib::{ClientData, Tcl_Command, Tcl_Interp, Tcl_Obj};

use super::command::{conclude, guarded, Error, Watch};
use super::interp::{self, c_string, call_raw, objv, Preserved, Raised, EVAL_GLOBAL};
use super::notifier::Timer;
use super::value::{result, Value};
use super::{stubs, Interp};

const OK: c_int = clib::TCL_OK as c_int;
const ERROR: c_int = clib::TCL_ERROR as c_int;

/// The command that evaluates the words. The coroutines have its name, `#` and a number.
const COMMAND: &str = "::pop3d_callback";

/// Begins coroutines in one interpreter.
pub struct Coroutines {
    interp: Interp,
    pending: Rc<Pending>,
    /// The words around a coroutine's name. Tcl keeps in them which commands they name.
    coroutine: Value,
    command: Value,
    /// `info coroutine`.
    info: [Value; 2],
}

/// The run that our command is about to begin.
type Pending = RefCell<Option<Rc<Run>>>;

/// What has become of a command so far.
pub enum Started {
    /// It has ended.
    Ended(Result<Value, Failure>),
    /// It has yielded.
    Suspended {
        /// The rest of it.
        rest: Suspended,
        /// The error of a command that it has yielded to (`yieldto`).
        error: Option<Raised>,
    },
}

/// Why a command has no result.
pub enum Failure {
    /// It raised an error.
    Raised(Raised),
    /// Its coroutine was deleted.
    Deleted,
    /// Its time was over, so its coroutine was deleted.
    TimedOut,
}

/// The coroutine in which a script runs.
pub enum Running {
    /// None.
    Nothing,
    /// The one that [`Coroutines::start`] has given this number.
    Numbered(u64),
    /// One of this name.
    Named(Value),
}

/// A command that is being run.
struct Run {
    /// Its words, which Tcl does not keep while it evaluates them.
    words: Vec<Value>,
    /// The coroutine's name to begin with.
    name: Value,
    /// The coroutine's command; null until it has begun.
    coroutine: Cell<Tcl_Command>,
    /// Over the coroutine, once it has yielded.
    watch: RefCell<Option<Rc<Watch>>>,
    /// Its time is over.
    over: Cell<bool>,
    outcome: RefCell<Option<Result<Value, Failure>>>,
    waker: RefCell<Option<Waker>>,
}

impl Coroutines {
    /// For an interpreter.
    pub fn new(interp: &Interp) -> Self {
        let pending = Rc::new(Pending::default());
        let name = c_string(COMMAND);
        let data = Rc::into_raw(pending.clone()).cast_mut().cast();
        // SAFETY: a C string; the command takes the reference over, until `gone`.
        unsafe {
            let (call, begin, gone) = (Some(call as _), Some(begin as _), Some(gone as _));
            stubs::Tcl_NRCreateCommand(interp.as_ptr(), name.as_ptr(), call, begin, data, gone);
        }
        Self {
            interp: interp.clone(),
            pending,
            coroutine: Value::text("::coroutine"),
            command: Value::text(COMMAND),
            info: ["::info", "coroutine"].map(Value::text),
        }
    }

    /// Calls a command, given as its words, at the global level, as a coroutine. A number is
    /// used once, so that the name of a coroutine that has gone never is another one's.
    ///
    /// Where a script has taken `coroutine` or our command away, it is a plain call.
    pub fn start(&self, number: u64, words: Vec<Value>) -> Started {
        let _preserved = Preserved::new(&self.interp);
        let run = Rc::new(Run {
            words,
            name: Value::text(&format!("{COMMAND}#{number}")),
            coroutine: Cell::new(ptr::null_mut()),
            watch: RefCell::new(None),
            over: Cell::new(false),
            outcome: RefCell::new(None),
            waker: RefCell::new(None),
        });
        self.pending.replace(Some(run.clone()));
        let (coroutine, command) = (self.coroutine.clone(), self.command.clone());
        // SAFETY: the interpreter is preserved.
        let code = unsafe { call_raw(&self.interp, &[coroutine, run.name.clone(), command]) };
        if let Some(outcome) = run.outcome.take() {
            return Started::Ended(outcome);
        }
        if self.pending.take().is_some() {
            interp::reset(&self.interp);
            let outcome = interp::call(&self.interp, &run.words);
            return Started::Ended(outcome.map_err(Failure::Raised));
        }
        let error = (code != OK).then(|| Raised::take(&self.interp, code));
        match Suspended::new(&self.interp, run) {
            Some(rest) => Started::Suspended { rest, error },
            None => Started::Ended(Err(Failure::Deleted)),
        }
    }

    /// The coroutine in which a script runs now.
    pub fn running(&self) -> Running {
        let name = interp::call(&self.interp, &self.info);
        let Some(name) = name.ok().filter(|name| !name.is_empty()) else {
            return Running::Nothing;
        };
        let number = name.to_text();
        let number = number
            .strip_prefix(COMMAND)
            .and_then(|n| n.strip_prefix('#'));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => Running::Numbered(number),
            None => Running::Named(name),
        }
    }
}

/// A command that has yielded: a future of its result. If it is dropped before that, the
/// coroutine is deleted.
pub struct Suspended {
    run: Rc<Run>,
    coroutine: Rc<Watch>,
    timer: Option<Timer>,
}

impl Suspended {
    /// None if the coroutine has gone.
    fn new(interp: &Interp, run: Rc<Run>) -> Option<Self> {
        // It keeps the name by which the coroutine can be deleted.
        let coroutine = Watch::of(interp, run.coroutine.get(), Box::new(|| ()))?;
        let coroutine = Rc::new(coroutine);
        run.watch.replace(Some(coroutine.clone()));
        Some(Self {
            run,
            coroutine,
            timer: None,
        })
    }

    /// Deletes the coroutine if it has not ended after so many milliseconds. If a script is
    /// running in it just then, since it has entered the event loop, the script goes on until
    /// it yields.
    pub fn limit(&mut self, milliseconds: u32) {
        let (run, coroutine) = (self.run.clone(), self.coroutine.clone());
        let over = move || {
            run.over.set(true);
            coroutine.delete_command();
        };
        self.timer = Some(Timer::after(milliseconds, Box::new(over)));
    }

    /// Its coroutine.
    pub fn coroutine(&self) -> Rc<Watch> {
        self.coroutine.clone()
    }
}

impl Future for Suspended {
    type Output = Result<Value, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.run.outcome.take() {
            return Poll::Ready(outcome);
        }
        self.run.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        self.run.waker.take();
        self.timer.take();
        self.coroutine.delete_command();
    }
}

/// Our command, called by what cannot run coroutines.
unsafe extern "C" fn call(
    data: ClientData,
    interp: *mut Tcl_Interp,
    objc: c_int,
    objv: *const *mut Tcl_Obj,
) -> c_int {
    // SAFETY: passes on what Tcl passes.
    unsafe { stubs::Tcl_NRCallObjProc(interp, Some(begin), data, objc, objv) }
}

/// Our command: has Tcl evaluate the words of the pending run.
unsafe extern "C" fn begin(
    data: ClientData,
    interp: *mut Tcl_Interp,
    _objc: c_int,
    _objv: *const *mut Tcl_Obj,
) -> c_int {
    // SAFETY: the command's own reference, which lives until `gone`.
    let run = unsafe { (*data.cast::<Pending>()).take() };
    let Some(run) = run else {
        let message = format!("{COMMAND} is for servers, which call it in a coroutine");
        let refused = Err(Error::new(message, &["CALLBACK"]));
        // SAFETY: the interpreter that called us.
        return unsafe { conclude(interp, refused) };
    };
    let (count, items) = objv(&run.words);
    // SAFETY: live values. `ended` has a reference to the run, and so to the words, until they
    // are evaluated.
    unsafe {
        let coroutine = stubs::Tcl_GetCommandFromObj(interp, run.name.as_ptr());
        run.coroutine.set(coroutine);
        let (data, null) = (Rc::into_raw(run).cast_mut().cast(), ptr::null_mut());
        stubs::Tcl_NRAddCallback(interp, Some(ended), data, null, null, null);
        stubs::Tcl_NREvalObjv(interp, count, items, EVAL_GLOBAL)
    }
}

/// The words have ended, or their coroutine is deleted. Whoever has resumed the coroutine gets
/// an empty result: the true one is ours.
unsafe extern "C" fn ended(data: *mut ClientData, interp: *mut Tcl_Interp, code: c_int) -> c_int {
    // SAFETY: the reference that `begin` left; Tcl calls this once for it.
    let run = unsafe { Rc::from_raw((*data).cast::<Run>()) };
    let conclusion = guarded("callback", || {
        // SAFETY: the interpreter that calls us.
        let Ok(interp) = (unsafe { Interp::from_raw(interp) }) else {
            return ERROR;
        };
        let conclusion = run.conclude(&interp, code);
        let waker = run.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
        conclusion
    });
    conclusion.unwrap_or(ERROR)
}

impl Run {
    /// Keeps the outcome; the code that Tcl is to go on with.
    fn conclude(&self, interp: &Interp, code: c_int) -> c_int {
        let (outcome, conclusion) = match code {
            OK => (Ok(result(interp)), OK),
            code => match Raised::take(interp, code) {
                _ if self.unwinds(interp) => match self.over.get() {
                    true => (Err(Failure::TimedOut), ERROR),
                    false => (Err(Failure::Deleted), ERROR),
                },
                raised => (Err(Failure::Raised(raised)), OK),
            },
        };
        self.outcome.replace(Some(outcome));
        interp::reset(interp);
        conclusion
    }

    /// Whether the coroutine is deleted and suspended: it leaves all that it was in by errors
    /// that nothing catches, and Tcl evaluates nothing in it.
    fn unwinds(&self, interp: &Interp) -> bool {
        let is_deleted = match &*self.watch.borrow() {
            Some(coroutine) => coroutine.is_gone(),
            // SAFETY: Tcl has the command's data until the coroutine ends. One that has been
            // deleted has an empty name.
            None => unsafe {
                *stubs::Tcl_GetCommandName(interp.as_ptr(), self.coroutine.get()) == 0
            },
        };
        is_deleted && interp::call(interp, &[Value::text("::list")]).is_err()
    }
}

unsafe extern "C" fn gone(data: ClientData) {
    // SAFETY: the reference that `Coroutines::new` gave the command.
    drop(unsafe { Rc::from_raw(data.cast::<Pending>()) });
}
