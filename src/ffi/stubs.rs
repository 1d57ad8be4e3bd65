//! The stub table of the interpreter that loaded the library.
//!
//! The crates `clib` and `tcl` declare Tcl's C functions and expect libtcl to be
//! linked, which would tie the library to one libtcl. We define those functions
//! ourselves and forward each to its slot in the interpreter's stub table, as
//! `Tcl_InitStubs` and the macros of tclDecls.h do in C: so one file serves
//! tclsh 8.6 and 9, dynamic or static.
//!
//! `Tcl_Size` is `ptrdiff_t` in Tcl 9 where 8.6 has `int`: lengths are therefore
//! passed sign-extended to pointer width, which both take on 64-bit little-endian
//! ABIs, and where Tcl 9 writes a `Tcl_Size` it gets 64 bits to write to.

use std::ffi::{c_char, c_int, c_longlong, c_uchar, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use clib::{
    ClientData, Tcl_Channel, Tcl_ChannelProc, Tcl_CloseProc, Tcl_CmdDeleteProc, Tcl_CmdInfo,
    Tcl_Command, Tcl_CommandTraceProc, Tcl_DString, Tcl_Event, Tcl_EventCheckProc,
    Tcl_EventSetupProc, Tcl_ExitProc, Tcl_Interp, Tcl_InterpDeleteProc, Tcl_Namespace,
    Tcl_NamespaceDeleteProc, Tcl_Obj, Tcl_ObjCmdProc, Tcl_ObjType, Tcl_ThreadId, Tcl_Time,
    Tcl_TimerProc, Tcl_TimerToken,
};

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("one library for Tcl 8.6 and 9 needs a 64-bit little-endian target");

/// First word of Tcl 8's stub table (tcl.h, `TCL_STUB_MAGIC`).
const MAGIC_8: u32 = 0xFCA3_BACF;
/// First word of Tcl 9's: 0xFCA3BACB + sizeof(void *).
const MAGIC_9: u32 = 0xFCA3_BACB + 8;
/// The table starts with the magic number and a pointer to the hooks.
const FIRST_SLOT: usize = 2;

/// The start of `struct Interp`, the same in Tcl 8.6 and 9 (tclInt.h).
#[repr(C)]
struct InterpHead {
    result: *const c_char,
    free_proc: *const c_void,
    error_line: c_int,
    stub_table: *const *const c_void,
}

/// The table all slots are read from; null before [`init`].
static TABLE: AtomicPtr<*const c_void> = AtomicPtr::new(ptr::null_mut());

/// The library cannot be used in an interpreter; the message has been left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

/// Takes the stub table of `interp` into use and requires Tcl 8.6 or later.
///
/// # Errors
/// [`Incompatible`] with the message left where `load` looks for it: in the
/// interpreter's result, or, when even that cannot be reached, in the oldest
/// place, as `Tcl_InitStubs` does.
///
/// # Safety
/// `interp` is an interpreter, as `load` passes it to the library's init function.
pub unsafe fn init(interp: *mut Tcl_Interp) -> Result<(), Incompatible> {
    let head = interp.cast::<InterpHead>();
    // SAFETY: every Tcl since 8.1 begins its interpreters with these four fields.
    let table = unsafe { (*head).stub_table };
    let known = TABLE.load(Ordering::Acquire);
    // SAFETY: a non-null table starts with its magic number.
    let magic = (!table.is_null()).then(|| unsafe { *table.cast::<u32>() });
    let fits = matches!(magic, Some(MAGIC_8 | MAGIC_9));
    if !fits || (!known.is_null() && !ptr::eq(known, table)) {
        // SAFETY: `load` reads the result from here when `free_proc` is null
        // (tclLoad.c); the text is static.
        unsafe {
            (*head).result =
                c"pop3d needs Tcl 8.6 or 9: this interpreter uses an incompatible stubs mechanism"
                    .as_ptr();
            (*head).free_proc = ptr::null();
        }
        return Err(Incompatible);
    }
    TABLE.store(table.cast_mut(), Ordering::Release);
    // SAFETY: the table is in place, the arguments are C strings.
    let version = unsafe {
        Tcl_PkgRequireEx(
            interp,
            c"Tcl".as_ptr(),
            c"8.6-".as_ptr(),
            0,
            ptr::null_mut(),
        )
    };
    if version.is_null() {
        Err(Incompatible)
    } else {
        Ok(())
    }
}

/// Whether the Tcl that loaded us is Tcl 8; false before [`init`].
pub fn is_tcl_8() -> bool {
    let table = TABLE.load(Ordering::Acquire);
    // SAFETY: a non-null table starts with its magic number.
    !table.is_null() && unsafe { *table.cast::<u32>() } == MAGIC_8
}

/// The function in slot `n`.
///
/// # Safety
/// `F` is the function pointer type of that slot and `init` has succeeded.
#[inline]
unsafe fn slot<F: Copy>(n: usize) -> F {
    debug_assert_eq!(size_of::<F>(), size_of::<*const c_void>());
    let table = TABLE.load(Ordering::Acquire);
    // A call before `init` is a fault of ours that nothing could recover from: stop
    // here rather than jump through a null pointer.
    if table.is_null() {
        eprintln!("pop3d: Tcl slot {n} was called outside a Tcl process");
        std::process::abort();
    }
    // SAFETY: slots are pointers; the caller vouches for the type.
    unsafe { std::mem::transmute_copy::<*const c_void, F>(&*table.add(FIRST_SLOT + n)) }
}

/// Defines `Tcl_*` functions that forward to a slot. `name: type => wire` says
/// that an argument goes over as another type (a length at pointer width).
macro_rules! forward {
    ($( $n:literal fn $name:ident ( $($arg:ident : $ty:ty $(=> $wire:ty)? ),* ) $(-> $ret:ty)?; )*) => {$(
        /// Forwards to the stub table.
        ///
        /// # Safety
        /// As the Tcl manual says for the function of this name.
        #[no_mangle]
        pub unsafe extern "C" fn $name( $($arg: $ty),* ) $(-> $ret)? {
            type Slot = unsafe extern "C" fn( $( forward!(@wire $ty $(=> $wire)?) ),* ) $(-> $ret)?;
            // SAFETY: the type is the one that tclDecls.h of 8.6 and 9 declare.
            unsafe { slot::<Slot>($n)( $( forward!(@pass $arg $(=> $wire)?) ),* ) }
        }
    )*};
    (@wire $ty:ty => $wire:ty) => { $wire };
    (@wire $ty:ty) => { $ty };
    (@pass $arg:ident => $wire:ty) => { $arg as $wire };
    (@pass $arg:ident) => { $arg };
}

forward! {
    1 fn Tcl_PkgRequireEx(interp: *mut Tcl_Interp, name: *const c_char, version: *const c_char, exact: c_int, data: *mut c_void) -> *const c_char;
    3 fn Tcl_Alloc(size: c_uint => usize) -> *mut c_char;
    30 fn TclFreeObj(obj: *mut Tcl_Obj);
    32 fn Tcl_GetBooleanFromObj(interp: *mut Tcl_Interp, obj: *mut Tcl_Obj, out: *mut c_int) -> c_int;
    40 fn Tcl_GetObjType(name: *const c_char) -> *const Tcl_ObjType;
    41 fn Tcl_GetStringFromObj(obj: *mut Tcl_Obj, length: *mut c_int) -> *mut c_char;
    45 fn Tcl_ListObjGetElements(interp: *mut Tcl_Interp, list: *mut Tcl_Obj, count: *mut c_int, items: *mut *mut *mut Tcl_Obj) -> c_int;
    50 fn Tcl_NewByteArrayObj(bytes: *const c_uchar, length: c_int => isize) -> *mut Tcl_Obj;
    53 fn Tcl_NewListObj(count: c_int => isize, items: *const *mut Tcl_Obj) -> *mut Tcl_Obj;
    55 fn Tcl_NewObj() -> *mut Tcl_Obj;
    56 fn Tcl_NewStringObj(bytes: *const c_char, length: c_int => isize) -> *mut Tcl_Obj;
    79 fn Tcl_CallWhenDeleted(interp: *mut Tcl_Interp, call: Tcl_InterpDeleteProc, data: ClientData);
    89 fn Tcl_CreateChannelHandler(chan: Tcl_Channel, mask: c_int, call: Tcl_ChannelProc, data: ClientData);
    90 fn Tcl_CreateCloseHandler(chan: Tcl_Channel, call: Tcl_CloseProc, data: ClientData);
    92 fn Tcl_CreateEventSource(setup: Tcl_EventSetupProc, check: Tcl_EventCheckProc, data: ClientData);
    93 fn Tcl_CreateExitHandler(call: Tcl_ExitProc, data: ClientData);
    96 fn Tcl_CreateObjCommand(interp: *mut Tcl_Interp, name: *const c_char, call: Tcl_ObjCmdProc, data: ClientData, gone: Tcl_CmdDeleteProc) -> Tcl_Command;
    98 fn Tcl_CreateTimerHandler(milliseconds: c_int, call: Tcl_TimerProc, data: ClientData) -> Tcl_TimerToken;
    101 fn Tcl_DeleteChannelHandler(chan: Tcl_Channel, call: Tcl_ChannelProc, data: ClientData);
    104 fn Tcl_DeleteCommandFromToken(interp: *mut Tcl_Interp, command: Tcl_Command) -> c_int;
    106 fn Tcl_DeleteEventSource(setup: Tcl_EventSetupProc, check: Tcl_EventCheckProc, data: ClientData);
    112 fn Tcl_DeleteTimerHandler(token: Tcl_TimerToken);
    120 fn Tcl_DStringFree(string: *mut Tcl_DString);
    126 fn Tcl_Eof(chan: Tcl_Channel) -> c_int;
    146 fn Tcl_Flush(chan: Tcl_Channel) -> c_int;
    151 fn Tcl_GetChannel(interp: *mut Tcl_Interp, name: *const c_char, mode: *mut c_int) -> Tcl_Channel;
    153 fn Tcl_GetChannelHandle(chan: Tcl_Channel, direction: c_int, handle: *mut ClientData) -> c_int;
    160 fn Tcl_GetCommandName(interp: *mut Tcl_Interp, command: Tcl_Command) -> *const c_char;
    165 fn Tcl_GetNameOfExecutable() -> *const c_char;
    166 fn Tcl_GetObjResult(interp: *mut Tcl_Interp) -> *mut Tcl_Obj;
    184 fn Tcl_InterpDeleted(interp: *mut Tcl_Interp) -> c_int;
    201 fn Tcl_Preserve(data: ClientData);
    205 fn Tcl_QueueEvent(event: *mut Tcl_Event, position: c_uint);
    206 fn Tcl_Read(chan: Tcl_Channel, buffer: *mut c_char, wanted: c_int => isize) -> c_int;
    216 fn Tcl_Release(data: ClientData);
    217 fn Tcl_ResetResult(interp: *mut Tcl_Interp);
    225 fn Tcl_SetChannelOption(interp: *mut Tcl_Interp, chan: Tcl_Channel, option: *const c_char, value: *const c_char) -> c_int;
    229 fn Tcl_SetMaxBlockTime(time: *const Tcl_Time);
    234 fn Tcl_SetObjErrorCode(interp: *mut Tcl_Interp, code: *mut Tcl_Obj);
    235 fn Tcl_SetObjResult(interp: *mut Tcl_Interp, result: *mut Tcl_Obj);
    252 fn Tcl_UnregisterChannel(interp: *mut Tcl_Interp, chan: Tcl_Channel) -> c_int;
    254 fn Tcl_UnsetVar2(interp: *mut Tcl_Interp, part1: *const c_char, part2: *const c_char, flags: c_int) -> c_int;
    263 fn Tcl_Write(chan: Tcl_Channel, bytes: *const c_char, length: c_int => isize) -> c_int;
    292 fn Tcl_EvalObjv(interp: *mut Tcl_Interp, count: c_int => isize, items: *const *mut Tcl_Obj, flags: c_int) -> c_int;
    293 fn Tcl_EvalObjEx(interp: *mut Tcl_Interp, script: *mut Tcl_Obj, flags: c_int) -> c_int;
    300 fn Tcl_GetCurrentThread() -> Tcl_ThreadId;
    306 fn Tcl_GetVar2Ex(interp: *mut Tcl_Interp, part1: *const c_char, part2: *const c_char, flags: c_int) -> *mut Tcl_Obj;
    317 fn Tcl_SetVar2Ex(interp: *mut Tcl_Interp, part1: *const c_char, part2: *const c_char, value: *mut Tcl_Obj, flags: c_int) -> *mut Tcl_Obj;
    318 fn Tcl_ThreadAlert(thread: Tcl_ThreadId);
    426 fn Tcl_TraceCommand(interp: *mut Tcl_Interp, name: *const c_char, flags: c_int, call: Tcl_CommandTraceProc, data: ClientData) -> c_int;
    427 fn Tcl_UntraceCommand(interp: *mut Tcl_Interp, name: *const c_char, flags: c_int, call: Tcl_CommandTraceProc, data: ClientData);
    469 fn Tcl_FSGetNativePath(path: *mut Tcl_Obj) -> *const c_void;
    479 fn Tcl_OutputBuffered(chan: Tcl_Channel) -> c_int;
    484 fn Tcl_GetCommandInfoFromToken(token: Tcl_Command, info: *mut Tcl_CmdInfo) -> c_int;
    487 fn Tcl_GetWideIntFromObj(interp: *mut Tcl_Interp, obj: *mut Tcl_Obj, out: *mut c_longlong) -> c_int;
    488 fn Tcl_NewWideIntObj(value: c_longlong) -> *mut Tcl_Obj;
    495 fn Tcl_DictObjGet(interp: *mut Tcl_Interp, dict: *mut Tcl_Obj, key: *mut Tcl_Obj, value: *mut *mut Tcl_Obj) -> c_int;
    506 fn Tcl_CreateNamespace(interp: *mut Tcl_Interp, name: *const c_char, data: ClientData, gone: Tcl_NamespaceDeleteProc) -> *mut Tcl_Namespace;
    507 fn Tcl_DeleteNamespace(namespace: *mut Tcl_Namespace);
    514 fn Tcl_FindNamespace(interp: *mut Tcl_Interp, name: *const c_char, context: *mut Tcl_Namespace, flags: c_int) -> *mut Tcl_Namespace;
    515 fn Tcl_FindCommand(interp: *mut Tcl_Interp, name: *const c_char, context: *mut Tcl_Namespace, flags: c_int) -> Tcl_Command;
    516 fn Tcl_GetCommandFromObj(interp: *mut Tcl_Interp, name: *mut Tcl_Obj) -> Tcl_Command;
    517 fn Tcl_GetCommandFullName(interp: *mut Tcl_Interp, command: Tcl_Command, out: *mut Tcl_Obj);
    538 fn Tcl_SetReturnOptions(interp: *mut Tcl_Interp, options: *mut Tcl_Obj) -> c_int;
    539 fn Tcl_GetReturnOptions(interp: *mut Tcl_Interp, result: c_int) -> *mut Tcl_Obj;
    574 fn Tcl_AppendObjToErrorInfo(interp: *mut Tcl_Interp, info: *mut Tcl_Obj);
    583 fn Tcl_NRCreateCommand(interp: *mut Tcl_Interp, name: *const c_char, call: Tcl_ObjCmdProc, nre_call: Tcl_ObjCmdProc, data: ClientData, gone: Tcl_CmdDeleteProc) -> Tcl_Command;
    585 fn Tcl_NREvalObjv(interp: *mut Tcl_Interp, count: c_int => isize, items: *const *mut Tcl_Obj, flags: c_int) -> c_int;
    587 fn Tcl_NRAddCallback(interp: *mut Tcl_Interp, call: Option<NrPostProc>, data0: ClientData, data1: ClientData, data2: ClientData, data3: ClientData);
    588 fn Tcl_NRCallObjProc(interp: *mut Tcl_Interp, call: Tcl_ObjCmdProc, data: ClientData, count: c_int => isize, items: *const *mut Tcl_Obj) -> c_int;
    609 fn Tcl_BackgroundException(interp: *mut Tcl_Interp, code: c_int);
}

/// What Tcl calls when an evaluation has ended (Tcl_NRAddCallback(3tcl)): with four words of
/// data, the interpreter, and the code.
pub type NrPostProc = unsafe extern "C" fn(*mut ClientData, *mut Tcl_Interp, c_int) -> c_int;

/// The string representation of a value, and its length.
///
/// Tcl 9 ends the process where the length of the function of both versions, slot 41, is
/// too small for a string, and has another with a `Tcl_Size`.
///
/// # Safety
/// A live value; the string is as Tcl_GetStringFromObj(3tcl) says.
pub unsafe fn string_of(obj: *mut Tcl_Obj) -> (*const u8, usize) {
    type Slot9 = unsafe extern "C" fn(*mut Tcl_Obj, *mut isize) -> *mut c_char;
    let (mut short, mut long) = (0, 0isize);
    // SAFETY: each version has the function that is asked for.
    let bytes = unsafe {
        match is_tcl_8() {
            true => Tcl_GetStringFromObj(obj, &mut short),
            false => slot::<Slot9>(651)(obj, &mut long),
        }
    };
    let length = usize::try_from(long.max(short as isize)).unwrap_or(0);
    (bytes.cast(), length)
}

/// The bytes of a byte array, and their number.
///
/// # Safety
/// A live value that is a byte array; see Tcl_GetByteArrayFromObj(3tcl).
pub unsafe fn bytes_of(obj: *mut Tcl_Obj) -> (*const u8, usize) {
    type Slot = unsafe extern "C" fn(*mut Tcl_Obj, *mut c_int) -> *mut c_uchar;
    type Slot9 = unsafe extern "C" fn(*mut Tcl_Interp, *mut Tcl_Obj, *mut isize) -> *mut c_uchar;
    let (mut short, mut long) = (0, 0isize);
    // SAFETY: Tcl 9 has emptied the slot and has Tcl_GetBytesFromObj instead, for which no
    // interpreter means no message.
    let bytes = unsafe {
        match slot::<Option<Slot>>(33) {
            Some(get) => get(obj, &mut short),
            None => slot::<Slot9>(650)(ptr::null_mut(), obj, &mut long),
        }
    };
    let length = usize::try_from(long.max(short as isize)).unwrap_or(0);
    (bytes, length)
}

/// Gone in Tcl 9; the `tcl` crate calls it before it makes its first value. An
/// extension must never call it: the executable is known already.
#[no_mangle]
pub extern "C" fn Tcl_FindExecutable(_argv0: *const c_char) {}
