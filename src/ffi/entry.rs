//! Where `load` enters the library.

use std::ffi::c_int;

use clib::Tcl_Interp;

use super::command::{conclude, guarded, Error};
use super::{stubs, value, Interp, Value};

/// Takes the stub table of the interpreter into use and sets it up with `enter`.
///
/// # Safety
/// `interp` is the interpreter that `load` passes.
pub unsafe fn load(interp: *mut Tcl_Interp, enter: fn(&Interp)) -> c_int {
    // SAFETY: as the caller says; nothing of Tcl is called before this succeeds.
    unsafe {
        let Ok(handle) = Interp::from_raw(interp) else {
            return clib::TCL_ERROR as c_int;
        };
        if stubs::init(interp).is_err() {
            return clib::TCL_ERROR as c_int;
        }
        value::learn_text(&handle);
        value::learn_system_encoding(&handle);
        let entered = guarded("initialisation", || enter(&handle));
        conclude(interp, entered.map(|()| Value::text("")))
    }
}

/// Refuses a safe interpreter.
///
/// # Safety
/// `interp` is the interpreter that `load` passes.
pub unsafe fn refuse_safe(interp: *mut Tcl_Interp) -> c_int {
    // SAFETY: as the caller says.
    unsafe {
        if stubs::init(interp).is_err() {
            return clib::TCL_ERROR as c_int;
        }
        let message = "pop3d cannot be loaded into a safe interpreter: it opens sockets and files";
        conclude(interp, Err(Error::new(message, &["SAFE"])))
    }
}

/// Defines the functions that `load FILE Pop3d` looks for.
#[macro_export]
macro_rules! export_init {
    ($enter:path) => {
        /// Sets up an interpreter (load(3tcl)).
        ///
        /// # Safety
        /// Called by Tcl's `load` only.
        #[allow(unsafe_code, reason = "the entry points of `load` are those of `ffi`")]
        #[no_mangle]
        pub unsafe extern "C" fn Pop3d_Init(interp: *mut clib::Tcl_Interp) -> std::ffi::c_int {
            // SAFETY: `load` passes its interpreter.
            unsafe { $crate::ffi::entry::load(interp, $enter) }
        }

        /// Refuses a safe interpreter (load(3tcl)).
        ///
        /// # Safety
        /// Called by Tcl's `load` only.
        #[allow(unsafe_code, reason = "the entry points of `load` are those of `ffi`")]
        #[no_mangle]
        pub unsafe extern "C" fn Pop3d_SafeInit(interp: *mut clib::Tcl_Interp) -> std::ffi::c_int {
            // SAFETY: `load` passes its interpreter.
            unsafe { $crate::ffi::entry::refuse_safe(interp) }
        }
    };
}
