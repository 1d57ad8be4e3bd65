//! Evaluation, results, variables and namespaces of an interpreter.

use std::ffi::{c_int, CString};
use std::ptr;

use clib::{ClientData, Tcl_Interp, Tcl_Obj};

use super::command::guarded;
use super::value::{encoded, result, Value};
use super::Interp;

const OK: c_int = clib::TCL_OK as c_int;
const ERROR: c_int = clib::TCL_ERROR as c_int;
pub(super) const EVAL_GLOBAL: c_int = clib::TCL_EVAL_GLOBAL as c_int;
const GLOBAL_ONLY: c_int = clib::TCL_GLOBAL_ONLY as c_int;

/// What a script raised: any return code but `ok`.
#[derive(Clone, Debug)]
pub struct Raised {
    code: c_int,
    message: Value,
    options: Value,
}

impl Raised {
    /// An error of ours, as if a script had raised it.
    pub fn new(message: &str, code: &[&str]) -> Self {
        Self::with_options(message, code, [])
    }

    /// An error of ours whose stack trace tells more than its message.
    pub fn noted(message: &str, code: &[&str], note: &str) -> Self {
        Self::new(message, code).with_note(note)
    }

    /// The same with a note in its stack trace, right after the message: scripts compare
    /// messages, so there is the place for what to do.
    #[must_use]
    pub fn with_note(self, note: &str) -> Self {
        if self.code != ERROR {
            return self;
        }
        let message = self.message.to_text();
        let trace = self
            .trace()
            .map_or_else(String::new, |trace| trace.to_text());
        let info = Value::text(&format!("{message}\n    ({note}){trace}"));
        let code = self.error_code();
        let code: Vec<&str> = code.iter().map(String::as_str).collect();
        Self::with_options(&message, &code, [("-errorinfo", info)])
    }

    /// The message, with the note after it if there is one, for a log.
    pub fn noted_message(&self) -> String {
        let message = self.message();
        let trace = self
            .trace()
            .map_or_else(String::new, |trace| trace.to_text());
        let first = trace.trim_start_matches('\n').lines().next();
        match first.map(str::trim) {
            Some(note) if note.starts_with('(') => format!("{message} {note}"),
            _ => message,
        }
    }

    fn with_options<const N: usize>(
        message: &str,
        code: &[&str],
        more: [(&str, Value); N],
    ) -> Self {
        let options = [
            ("-code", Value::int(ERROR.into())),
            ("-level", Value::int(0)),
            ("-errorcode", Value::texts(code)),
            // Else Tcl adds that of an error before, with the words of its calls.
            ("-errorstack", Value::text("")),
        ];
        Self {
            code: ERROR,
            message: Value::text(message),
            options: Value::dict(options.into_iter().chain(more)),
        }
    }

    pub(super) fn take(interp: &Interp, code: c_int) -> Self {
        let message = result(interp);
        // SAFETY: the options of the command that has just returned `code`.
        let options = unsafe { Value::from_raw(clib::Tcl_GetReturnOptions(interp.as_ptr(), code)) };
        Self {
            code,
            message,
            options,
        }
    }

    /// The error message; what `break`, `continue` or `return` mean here otherwise.
    pub fn message(&self) -> String {
        match self.code {
            1 => self.message.to_text(),
            2 => "invoked \"return\" outside of a proc".to_owned(),
            3 => "invoked \"break\" outside of a loop".to_owned(),
            4 => "invoked \"continue\" outside of a loop".to_owned(),
            code => format!("command returned bad code: {code}"),
        }
    }

    /// The stack trace, for a log.
    pub fn info(&self) -> String {
        let info = self.options.dict_get("-errorinfo");
        info.map_or_else(|| self.message(), |info| info.to_text())
    }

    /// The words of `-errorcode`.
    pub fn error_code(&self) -> Vec<String> {
        let code = self
            .options
            .dict_get("-errorcode")
            .and_then(|c| c.to_list());
        let words = code.unwrap_or_default();
        words.iter().map(Value::to_text).collect()
    }

    /// Puts it back into the interpreter, as the outcome of the running command.
    pub(super) fn put_back(&self, interp: &Interp) -> c_int {
        // Else the trace would be added to the one that Tcl has of the error.
        reset(interp);
        // SAFETY: live values; Tcl takes references of its own.
        unsafe {
            clib::Tcl_SetObjResult(interp.as_ptr(), self.message.as_ptr());
            match (self.code, self.trace(), self.options.dict_get("-errorcode")) {
                // With its options as they are Tcl would take the running command as
                // told of already, and leave it out of the stack trace.
                (ERROR, Some(trace), Some(code)) => {
                    clib::Tcl_AppendObjToErrorInfo(interp.as_ptr(), trace.as_ptr());
                    clib::Tcl_SetObjErrorCode(interp.as_ptr(), code.as_ptr());
                    ERROR
                }
                _ => clib::Tcl_SetReturnOptions(interp.as_ptr(), self.options.as_ptr()),
            }
        }
    }

    /// What the stack trace has after the message.
    fn trace(&self) -> Option<Value> {
        let info = self.options.dict_get("-errorinfo")?.to_text();
        let trace = info.strip_prefix(&self.message.to_text())?;
        Some(Value::text(trace))
    }

    /// Hands it to `interp bgerror`, which runs from the event loop.
    pub fn report_in_background(&self, interp: &Interp) {
        if is_deleted(interp) {
            return;
        }
        self.put_back(interp);
        // SAFETY: result and options were set just now.
        unsafe { clib::Tcl_BackgroundException(interp.as_ptr(), self.code) };
        reset(interp);
    }
}

/// Keeps an interpreter's memory while scripts run in it that may delete it.
pub struct Preserved(Interp);

impl Preserved {
    /// Preserves `interp` until the guard goes (Tcl_Preserve(3tcl)).
    pub fn new(interp: &Interp) -> Self {
        // SAFETY: an interpreter of this thread, live now.
        unsafe { clib::Tcl_Preserve(interp.as_ptr().cast()) };
        Self(interp.clone())
    }
}

impl Drop for Preserved {
    fn drop(&mut self) {
        // SAFETY: the other half of `new`.
        unsafe { clib::Tcl_Release(self.0.as_ptr().cast()) };
    }
}

/// Whether the interpreter is being deleted: nothing can be evaluated in it.
pub fn is_deleted(interp: &Interp) -> bool {
    // SAFETY: an interpreter that is live or preserved.
    unsafe { clib::Tcl_InterpDeleted(interp.as_ptr()) != 0 }
}

/// Calls a command, given as its words, at the global level.
///
/// # Errors
/// Whatever the command raises.
pub fn call(interp: &Interp, words: &[Value]) -> Result<Value, Raised> {
    let _preserved = Preserved::new(interp);
    // SAFETY: a live interpreter, and values that `words` keeps live during the call.
    let code = unsafe { call_raw(interp, words) };
    match code {
        OK => Ok(result(interp)),
        code => Err(Raised::take(interp, code)),
    }
}

/// Calls a command at the global level; the code that it returns.
///
/// # Safety
/// The interpreter is live, and preserved where the command may delete it.
pub(super) unsafe fn call_raw(interp: &Interp, words: &[Value]) -> c_int {
    // SAFETY: `words` is an array of live values.
    unsafe {
        let (count, items) = objv(words);
        clib::Tcl_EvalObjv(interp.as_ptr(), count, items, EVAL_GLOBAL)
    }
}

/// Values as a number and an array, as Tcl takes the words of a command.
pub(super) fn objv(words: &[Value]) -> (c_int, *const *mut Tcl_Obj) {
    let count = c_int::try_from(words.len()).unwrap_or(c_int::MAX);
    (count, words.as_ptr().cast())
}

/// Evaluates a script of ours at the global level.
///
/// # Errors
/// Whatever the script raises.
pub fn eval(interp: &Interp, script: &str) -> Result<Value, Raised> {
    let _preserved = Preserved::new(interp);
    let script = Value::text(script);
    // SAFETY: `script` lives during the call.
    let code = unsafe { clib::Tcl_EvalObjEx(interp.as_ptr(), script.as_ptr(), EVAL_GLOBAL) };
    match code {
        OK => Ok(result(interp)),
        code => Err(Raised::take(interp, code)),
    }
}

/// Empties the result.
pub fn reset(interp: &Interp) {
    // SAFETY: an interpreter of this thread.
    unsafe { clib::Tcl_ResetResult(interp.as_ptr()) };
}

/// Sets a global or fully qualified variable. A failing write trace is ignored: the
/// variables we set are for readers only.
pub fn set_var(interp: &Interp, name: &str, value: &Value) {
    let name = c_string(name);
    // SAFETY: C strings and a live value, of which Tcl takes its own reference.
    unsafe {
        clib::Tcl_SetVar2Ex(
            interp.as_ptr(),
            name.as_ptr(),
            ptr::null(),
            value.as_ptr(),
            GLOBAL_ONLY,
        );
    }
}

/// Reads a global or fully qualified variable.
pub fn get_var(interp: &Interp, name: &str) -> Option<Value> {
    get_element(interp, name, None)
}

/// Reads an element of a global or fully qualified array.
pub fn get_element(interp: &Interp, name: &str, element: Option<&str>) -> Option<Value> {
    let name = c_string(name);
    let element = element.map(c_string);
    let element = element.as_ref().map_or(ptr::null(), |e| e.as_ptr());
    // SAFETY: C strings; a variable's value is live while we take a reference.
    unsafe {
        let value = clib::Tcl_GetVar2Ex(interp.as_ptr(), name.as_ptr(), element, GLOBAL_ONLY);
        (!value.is_null()).then(|| Value::from_raw(value))
    }
}

/// Makes a namespace, if it is not there yet.
pub fn create_namespace(interp: &Interp, name: &str) {
    let name = c_string(name);
    // SAFETY: C strings; no client data, no delete procedure.
    unsafe {
        let interp = interp.as_ptr();
        if clib::Tcl_FindNamespace(interp, name.as_ptr(), ptr::null_mut(), GLOBAL_ONLY).is_null() {
            clib::Tcl_CreateNamespace(interp, name.as_ptr(), ptr::null_mut(), None);
        }
    }
}

/// Deletes a namespace with all that is in it, if it is there.
pub fn delete_namespace(interp: &Interp, name: &str) {
    let name = c_string(name);
    // SAFETY: C strings; a namespace just found is live.
    unsafe {
        let interp = interp.as_ptr();
        let found = clib::Tcl_FindNamespace(interp, name.as_ptr(), ptr::null_mut(), GLOBAL_ONLY);
        if !found.is_null() {
            clib::Tcl_DeleteNamespace(found);
        }
    }
}

/// Calls `call` when the interpreter is deleted (Tcl_CallWhenDeleted(3tcl)).
pub fn when_deleted(interp: &Interp, call: Box<dyn FnOnce()>) {
    let data = Box::into_raw(Box::new(call)).cast();
    // SAFETY: `deleted` takes the box over; every interpreter is deleted once.
    unsafe { clib::Tcl_CallWhenDeleted(interp.as_ptr(), Some(deleted), data) };
}

unsafe extern "C" fn deleted(data: ClientData, _interp: *mut Tcl_Interp) {
    // SAFETY: the box of `when_deleted`.
    let call = unsafe { Box::from_raw(data.cast::<Box<dyn FnOnce()>>()) };
    let _ = guarded("interpreter deletion", call);
}

/// A name as Tcl's C interface takes it.
pub(super) fn c_string(name: &str) -> CString {
    // Without a NUL in the way Tcl keeps text, so that none is ever cut off.
    CString::new(encoded(name)).unwrap_or_default()
}

/// Has Tcl remember `raised` as the last error, in the place of the one that a command has
/// raised: in `::errorInfo`, `::errorCode` and `info errorstack`.
pub fn replace_last_error(interp: &Interp, raised: &Raised) {
    // Without a stack of its own `error` would leave that of the error before.
    let script = "apply {{message code} {
        catch {
            return -level 0 -code error -errorinfo $message -errorcode $code -errorstack {} $message
        }
    }}";
    let mut words = Value::text(script).to_list().unwrap_or_default();
    words.push(Value::text(&raised.message()));
    words.push(Value::texts(raised.error_code()));
    // `catch` lets none through.
    let _ = call(interp, &words);
}
