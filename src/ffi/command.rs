//! Object commands: Rust objects behind Tcl commands, and the barrier that no
//! panic crosses.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::rc::Rc;

use clib::{ClientData, Tcl_Command, Tcl_Interp, Tcl_Obj};

use super::interp::{c_string, Preserved, Raised};
use super::value::Value;
use super::Interp;

const OK: c_int = clib::TCL_OK as c_int;
const ERROR: c_int = clib::TCL_ERROR as c_int;
const RENAME_DELETE: c_int = (clib::TCL_TRACE_RENAME | clib::TCL_TRACE_DELETE) as c_int;

/// A failed command.
#[derive(Debug)]
pub enum Error {
    /// An error of ours.
    New {
        /// For people.
        message: String,
        /// For `-errorcode`, `POP3D` first.
        code: Vec<String>,
    },
    /// What a script raised, passed on unchanged.
    Raised(Raised),
}

impl Error {
    /// An error with `-errorcode {POP3D …}`.
    pub fn new(message: impl Into<String>, code: &[&str]) -> Self {
        let mut words = vec!["POP3D".to_owned()];
        words.extend(code.iter().map(|&word| word.to_owned()));
        Self::New {
            message: message.into(),
            code: words,
        }
    }

    /// The same with a note in its stack trace ([`Raised::with_note`]).
    #[must_use]
    pub fn with_note(self, note: &str) -> Self {
        let raised = match self {
            Self::New { message, code } => {
                let code: Vec<&str> = code.iter().map(String::as_str).collect();
                Raised::new(&message, &code)
            }
            Self::Raised(raised) => raised,
        };
        Self::Raised(raised.with_note(note))
    }

    /// The same with a note, if there is one.
    #[must_use]
    pub fn with_advice(self, note: Option<&str>) -> Self {
        match note {
            Some(note) => self.with_note(note),
            None => self,
        }
    }

    /// `wrong # args: should be "…"`, as Tcl words it.
    pub fn wrong_args(usage: &str) -> Self {
        Self::New {
            message: format!("wrong # args: should be \"{usage}\""),
            code: vec!["TCL".to_owned(), "WRONGARGS".to_owned()],
        }
    }
}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Self {
        Self::Raised(raised)
    }
}

/// What stands behind an object command.
pub trait Command: Any {
    /// Runs the command with its arguments, the command's own name left out.
    ///
    /// # Errors
    /// Become the Tcl command's error.
    fn invoke(&self, interp: &Interp, args: &[Value]) -> Result<Value, Error>;

    /// The command has been deleted, by whatever means.
    fn deleted(&self, _interp: &Interp) {}

    /// What the object behind the command offers to Rust code that finds the command by its
    /// name. The type is agreed between the two.
    fn offers(&self) -> Option<Box<dyn Any>> {
        None
    }
}

/// What Tcl keeps for a command.
struct Slot {
    command: Rc<dyn Command>,
    interp: Interp,
    alive: Rc<Cell<bool>>,
}

/// A command in an interpreter, for as long as it exists there.
pub struct Token {
    raw: Tcl_Command,
    interp: Interp,
    alive: Rc<Cell<bool>>,
}

impl Token {
    /// Deletes the command, if it still exists.
    pub fn delete(&self) {
        if self.alive.get() {
            // SAFETY: `alive` is cleared by the delete procedure, so Tcl still has it.
            unsafe { clib::Tcl_DeleteCommandFromToken(self.interp.as_ptr(), self.raw) };
        }
    }
}

/// Creates a command; one of the same name is replaced.
pub fn create(interp: &Interp, name: &str, command: Rc<dyn Command>) -> Token {
    let alive = Rc::new(Cell::new(true));
    let slot = Box::new(Slot {
        command,
        interp: interp.clone(),
        alive: alive.clone(),
    });
    let name = c_string(name);
    let slot = Box::into_raw(slot);
    // SAFETY: `entry` and `gone` are told the slot's address, which lives until `gone`.
    let raw = unsafe {
        clib::Tcl_CreateObjCommand(
            interp.as_ptr(),
            name.as_ptr(),
            Some(entry),
            slot.cast(),
            Some(gone),
        )
    };
    if raw.is_null() {
        // An interpreter that is being deleted takes no command.
        alive.set(false);
        // SAFETY: nobody else was told of it.
        drop(unsafe { Box::from_raw(slot) });
    }
    Token {
        raw,
        interp: interp.clone(),
        alive,
    }
}

/// Whether the name, from the global namespace, is a command's.
pub fn exists(interp: &Interp, name: &str) -> bool {
    !find_token(interp, name).is_null()
}

/// The object behind the command of this name, when it is one of ours.
pub fn find(interp: &Interp, name: &str) -> Option<Rc<dyn Command>> {
    let token = find_token(interp, name);
    // Tcl 9 writes two words more than 8.6 declares.
    let mut info = [ptr::null::<()>(); 16];
    // SAFETY: a token just found is live; `info` has room for either version's
    // Tcl_CmdInfo, whose first fields are the same. Client data of `entry` is a slot.
    unsafe {
        let info = info.as_mut_ptr().cast::<clib::Tcl_CmdInfo>();
        if token.is_null() || clib::Tcl_GetCommandInfoFromToken(token, info) == 0 {
            return None;
        }
        let ours: unsafe extern "C" fn(_, _, _, _) -> _ = entry;
        let is_ours = (*info)
            .objProc
            .is_some_and(|proc_| ptr::fn_addr_eq(proc_, ours));
        is_ours.then(|| (*(*info).objClientData.cast::<Slot>()).command.clone())
    }
}

fn find_token(interp: &Interp, name: &str) -> Tcl_Command {
    find_full_name(interp, &c_string(name))
}

pub(super) fn find_full_name(interp: &Interp, name: &CStr) -> Tcl_Command {
    let flags = clib::TCL_GLOBAL_ONLY as c_int;
    // SAFETY: C string; the global namespace is meant.
    unsafe { clib::Tcl_FindCommand(interp.as_ptr(), name.as_ptr(), ptr::null_mut(), flags) }
}

/// The full name of a command; none for a null token.
fn full_name(interp: &Interp, token: Tcl_Command) -> Option<CString> {
    if token.is_null() {
        return None;
    }
    let name = Value::text("");
    // SAFETY: a token just found is live; Tcl appends to a value that only we have.
    unsafe { clib::Tcl_GetCommandFullName(interp.as_ptr(), token, name.as_ptr()) };
    CString::new(name.raw_text()).ok()
}

/// Runs `f`; a panic in it becomes an error instead of crossing into Tcl.
pub(super) fn guarded<T>(what: &str, f: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        // The panic's message has gone to stderr by the panic hook.
        Error::new(format!("internal error in {what}"), &["PANIC"])
    })
}

unsafe extern "C" fn entry(
    data: ClientData,
    interp: *mut Tcl_Interp,
    objc: c_int,
    objv: *const *mut Tcl_Obj,
) -> c_int {
    let outcome = guarded("command", || {
        // SAFETY: Tcl passes the slot of `create`, a live interpreter and `objc`
        // live values. Our own references keep command and values when the command
        // deletes itself.
        let (command, interp, args) = unsafe {
            let command = (*data.cast::<Slot>()).command.clone();
            let interp = (*data.cast::<Slot>()).interp.clone();
            let args: Vec<_> = (1..objc.max(1) as usize)
                .map(|i| Value::from_raw(*objv.add(i)))
                .collect();
            (command, interp, args)
        };
        let _preserved = Preserved::new(&interp);
        command.invoke(&interp, &args)
    });
    // SAFETY: the interpreter that called us.
    unsafe { conclude(interp, outcome.and_then(|outcome| outcome)) }
}

/// Sets the result of a command procedure.
///
/// # Safety
/// `interp` is the interpreter that called the procedure.
pub(super) unsafe fn conclude(interp: *mut Tcl_Interp, outcome: Result<Value, Error>) -> c_int {
    // SAFETY: live interpreter and values; Tcl takes its own references.
    unsafe {
        match outcome {
            Ok(value) => {
                clib::Tcl_SetObjResult(interp, value.as_ptr());
                OK
            }
            Err(Error::New { message, code }) => {
                clib::Tcl_SetObjResult(interp, Value::text(&message).as_ptr());
                clib::Tcl_SetObjErrorCode(interp, Value::texts(&code).as_ptr());
                ERROR
            }
            Err(Error::Raised(raised)) => match Interp::from_raw(interp) {
                Ok(interp) => raised.put_back(&interp),
                Err(_) => ERROR,
            },
        }
    }
}

unsafe extern "C" fn gone(data: ClientData) {
    // SAFETY: Tcl calls this once, with the slot of `create`.
    let slot = unsafe { Box::from_raw(data.cast::<Slot>()) };
    slot.alive.set(false);
    let _ = guarded("deletion", || slot.command.deleted(&slot.interp));
}

/// A watch over a command, until it is dropped: `call` runs when the command is
/// renamed or deleted.
pub struct Watch {
    interp: Interp,
    command: Tcl_Command,
    data: Rc<WatchData>,
}

struct WatchData {
    call: Box<dyn Fn()>,
    /// The command's name now; none once it is deleted, and the trace with it.
    name: RefCell<Option<CString>>,
}

impl Watch {
    /// Watches the command of this name, from the global namespace
    /// (Tcl_TraceCommand(3tcl)); none if there is no such command.
    pub fn new(interp: &Interp, name: &str, call: Box<dyn Fn()>) -> Option<Self> {
        Self::of(interp, find_token(interp, name), call)
    }

    /// Watches a command; none if `command` is null.
    pub(super) fn of(interp: &Interp, command: Tcl_Command, call: Box<dyn Fn()>) -> Option<Self> {
        // Traces are set and removed by name, seen from wherever a script is just
        // then: only the full name means the same command each time.
        let c_name = full_name(interp, command)?;
        let name = RefCell::new(Some(c_name.clone()));
        let data = Rc::new(WatchData { call, name });
        let reference = Rc::into_raw(data.clone()).cast_mut().cast();
        // SAFETY: the trace owns `reference` from here: `watched` gives it back when
        // the command goes, or `drop` when it removes the trace.
        let code = unsafe {
            let interp = interp.as_ptr();
            clib::Tcl_TraceCommand(
                interp,
                c_name.as_ptr(),
                RENAME_DELETE,
                Some(watched),
                reference,
            )
        };
        let interp = interp.clone();
        let watch = Self {
            interp,
            command,
            data,
        };
        if code == OK {
            return Some(watch);
        }
        watch.data.name.take();
        // SAFETY: there is no trace to own the reference.
        unsafe { Rc::decrement_strong_count(Rc::as_ptr(&watch.data)) };
        None
    }
}

impl Watch {
    /// Deletes the command, if it still exists.
    pub(super) fn delete_command(&self) {
        if !self.is_gone() {
            // SAFETY: the trace clears the name when the command goes, so Tcl still has it.
            unsafe { clib::Tcl_DeleteCommandFromToken(self.interp.as_ptr(), self.command) };
        }
    }

    /// Whether the command has been deleted, or is being deleted.
    pub(super) fn is_gone(&self) -> bool {
        self.data.name.borrow().is_none()
    }

    /// Whether this is the command's full name now.
    pub fn is_named(&self, name: &Value) -> bool {
        let now = self.data.name.borrow();
        now.as_deref()
            .is_some_and(|now| now.to_bytes() == name.raw_text())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(name) = self.data.name.take() else {
            return;
        };
        let data = Rc::as_ptr(&self.data);
        // A command that was hidden has no name to remove the trace by: it stays, with
        // its reference, until the command goes.
        if find_full_name(&self.interp, &name) != self.command {
            return;
        }
        // SAFETY: the command exists under this name, with our trace, which owned a
        // reference.
        unsafe {
            let interp = self.interp.as_ptr();
            let data_ptr = data.cast_mut().cast();
            clib::Tcl_UntraceCommand(
                interp,
                name.as_ptr(),
                RENAME_DELETE,
                Some(watched),
                data_ptr,
            );
            Rc::decrement_strong_count(data);
        }
    }
}

unsafe extern "C" fn watched(
    data: ClientData,
    _interp: *mut Tcl_Interp,
    _old: *const c_char,
    new: *const c_char,
    flags: c_int,
) {
    let goes = flags & clib::TCL_TRACE_DELETE as c_int != 0;
    // SAFETY: the trace's own reference, which is ours when Tcl drops the trace with
    // the command; else a second one keeps the data when the call drops the watch.
    let data = unsafe {
        if !goes {
            Rc::increment_strong_count(data.cast::<WatchData>());
        }
        Rc::from_raw(data.cast::<WatchData>())
    };
    // None: nobody watches any more.
    if data.name.take().is_none() {
        return;
    }
    if !goes && !new.is_null() {
        // SAFETY: a rename trace gets the new name as a C string.
        *data.name.borrow_mut() = Some(unsafe { CStr::from_ptr(new) }.to_owned());
    }
    let _ = guarded("command trace", || (data.call)());
}
