//! Tcl channels (OpenFileChnl(3tcl), CrtChnlHdlr(3tcl)).

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int};
use std::os::fd::BorrowedFd;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use clib::{ClientData, Tcl_Channel};

use super::command::guarded;
use super::interp::c_string;
use super::{stubs, Interp};
use crate::descriptors::SELECTABLE;
use crate::system::bound_stalls;

const OK: c_int = clib::TCL_OK as c_int;
const READABLE: c_int = clib::TCL_READABLE as c_int;
const WRITABLE: c_int = clib::TCL_WRITABLE as c_int;

/// Descriptors that Tcl can watch of which channels of ours leave so many to scripts.
const LEFT_TO_SCRIPTS: i32 = 128;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing for now.
    Blocked,
    /// The peer has closed, or the channel is broken.
    End,
}

/// A channel that is open in an interpreter, with one handler for its events.
///
/// A script may close the channel at any time; then nothing can be read or written
/// any more, and the handler is told as if the peer had closed.
pub struct Channel {
    raw: Tcl_Channel,
    interp: Interp,
    shared: Rc<Shared>,
}

struct Shared {
    open: Cell<bool>,
    /// The events that the handler is registered for.
    mask: Cell<c_int>,
    call: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Channel {
    /// The channel of this name, binary and non-blocking from now on.
    pub fn open(interp: &Interp, name: &str) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: C string; the mode is not wanted.
        let raw = unsafe { clib::Tcl_GetChannel(interp.as_ptr(), name.as_ptr(), ptr::null_mut()) };
        if raw.is_null() {
            return None;
        }
        let shared = Rc::new(Shared {
            open: Cell::new(true),
            mask: Cell::new(0),
            call: RefCell::new(None),
        });
        // SAFETY: a live channel; `closing` owns the reference from here.
        unsafe {
            let data = Rc::into_raw(shared.clone()).cast_mut().cast();
            clib::Tcl_CreateCloseHandler(raw, Some(closing), data);
        }
        let channel = Self {
            raw,
            interp: interp.clone(),
            shared,
        };
        for (option, value) in [("-translation", "binary"), ("-blocking", "0")] {
            channel.set_option(option, value);
        }
        channel.set_socket_options();
        Some(channel)
    }

    /// Sets on the socket beneath, if there is one, what the network threads' sockets have
    /// (`net/listener.rs`): Tcl writes a reply in parts of 4,096 bytes, none of which
    /// waits for an acknowledgement (tcp(7), TCP_NODELAY), and the system finds out which
    /// clients have vanished (socket(7), SO_KEEPALIVE).
    fn set_socket_options(&self) {
        self.with_descriptor(|socket| {
            // What is no socket of TCP does without.
            let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
            let _ = rustix::net::sockopt::set_socket_keepalive(socket, true);
        });
    }

    fn set_option(&self, option: &str, value: &str) {
        let (option, value) = (c_string(option), c_string(value));
        // SAFETY: an open channel and C strings. A failure leaves no message.
        unsafe {
            let (option, value) = (option.as_ptr(), value.as_ptr());
            clib::Tcl_SetChannelOption(ptr::null_mut(), self.raw, option, value);
        }
    }

    /// Does something with the descriptor beneath, if there is one: a channel of the
    /// package tls has that of its socket, one that a script implements has none.
    fn with_descriptor<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        if !self.is_open() {
            return None;
        }
        let mut handle: ClientData = ptr::null_mut();
        // SAFETY: an open channel, and room for the handle.
        let code = unsafe { clib::Tcl_GetChannelHandle(self.raw, READABLE, &mut handle) };
        let number = (code == OK).then(|| c_int::try_from(handle as isize).ok());
        let number = number.flatten().filter(|&number| number >= 0)?;
        // SAFETY: the channel keeps it open, and nothing closes the channel meanwhile.
        Some(f(unsafe { BorrowedFd::borrow_raw(number) }))
    }

    /// Whether Tcl's event loop can watch it, and so many more after it. Tcl 8 waits with
    /// select(2), for which some descriptors are too large: then it ends the process.
    pub fn is_watchable(&self, more: i32) -> bool {
        use std::os::fd::AsRawFd;
        let number = self.with_descriptor(|descriptor| descriptor.as_raw_fd());
        !stubs::is_tcl_8() || number.is_none_or(|n| n < SELECTABLE - LEFT_TO_SCRIPTS - more)
    }

    /// Lets the system break the connection when its peer takes nothing for so long, also
    /// of what Tcl still writes after [`close`](Self::close). Whether it will: it cannot for
    /// what is no socket of TCP, and not on every system.
    pub fn limit_writing(&self, time: Duration) -> bool {
        self.with_descriptor(|socket| bound_stalls(socket, time)) == Some(true)
    }

    /// Breaks the connection: what is still to be written is not.
    pub fn break_off(&self) {
        self.with_descriptor(|socket| {
            // A channel that is no socket is only closed.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        });
    }

    /// Half-closes the socket beneath: its peer sees the end of the stream. False for
    /// what is no socket. Not for a channel that encrypts, whose end is a message.
    pub fn shut_writing(&self) -> bool {
        let shut = self.with_descriptor(|socket| {
            rustix::net::shutdown(socket, rustix::net::Shutdown::Write).is_ok()
        });
        shut == Some(true)
    }

    /// Whether the connection is broken: its peer has reset it, or closed both ways.
    pub fn is_broken(&self) -> bool {
        use rustix::event::{poll, PollFd, PollFlags, Timespec};
        let broken = self.with_descriptor(|socket| {
            let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
            let at_once = Timespec::default();
            let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().intersects(gone)
        });
        broken == Some(true)
    }

    /// Whether it is still open.
    pub fn is_open(&self) -> bool {
        self.shared.open.get()
    }

    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> Read {
        if !self.is_open() {
            return Read::End;
        }
        let wanted = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: an open channel, and room for `wanted` bytes.
        unsafe {
            let count = clib::Tcl_Read(self.raw, buffer.as_mut_ptr().cast::<c_char>(), wanted);
            match usize::try_from(count) {
                // A channel that a script implements may have closed itself meanwhile.
                _ if !self.is_open() => Read::End,
                Ok(count) if count > 0 => Read::Bytes(count),
                Ok(_) if clib::Tcl_Eof(self.raw) != 0 => Read::End,
                Ok(_) => Read::Blocked,
                // A transformation that still shakes hands (TLS) reports EAGAIN.
                Err(_) if would_block() => Read::Blocked,
                Err(_) => Read::End,
            }
        }
    }

    /// Writes bytes; what the peer does not take now waits in the channel. False when
    /// the channel is broken.
    pub fn write(&self, bytes: &[u8]) -> bool {
        if !self.is_open() {
            return false;
        }
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: an open channel; pointer and length describe `bytes`.
        unsafe {
            let written = clib::Tcl_Write(self.raw, bytes.as_ptr().cast::<c_char>(), length);
            // A channel that a script implements may have closed itself meanwhile.
            let whole = written >= 0 && self.is_open();
            whole && (clib::Tcl_Flush(self.raw) == OK || would_block())
        }
    }

    /// Bytes that were written and not yet taken.
    pub fn waiting(&self) -> usize {
        if !self.is_open() {
            return 0;
        }
        // SAFETY: an open channel.
        let waiting = unsafe { clib::Tcl_OutputBuffered(self.raw) };
        usize::try_from(waiting).unwrap_or(0)
    }

    /// Calls `call` from the event loop when the channel is readable, writable, or
    /// closed, as asked for by [`watch`](Self::watch).
    pub fn set_handler(&self, call: Rc<dyn Fn()>) {
        *self.shared.call.borrow_mut() = Some(call);
    }

    /// Chooses the events that the handler is called for.
    pub fn watch(&self, readable: bool, writable: bool) {
        let mask = if readable { READABLE } else { 0 } | if writable { WRITABLE } else { 0 };
        if !self.is_open() || self.shared.mask.replace(mask) == mask {
            return;
        }
        let data = Rc::as_ptr(&self.shared).cast_mut().cast();
        // SAFETY: an open channel. `data` lives until the channel is closed: the close
        // handler owns a reference. A second call changes the mask; an empty mask
        // needs no handler at all.
        unsafe {
            if mask == 0 {
                clib::Tcl_DeleteChannelHandler(self.raw, Some(ready), data);
            } else {
                clib::Tcl_CreateChannelHandler(self.raw, mask, Some(ready), data);
            }
        }
    }

    /// Closes it; what still waits is written in the background.
    pub fn close(&self) {
        *self.shared.call.borrow_mut() = None;
        self.watch(false, false);
        if self.shared.open.replace(false) {
            // SAFETY: it was open, and registered in the interpreter by who made it.
            unsafe { clib::Tcl_UnregisterChannel(self.interp.as_ptr(), self.raw) };
        }
    }
}

fn would_block() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

unsafe extern "C" fn ready(data: ClientData, _mask: c_int) {
    // SAFETY: the close handler's reference keeps it; ours keeps it when the handler
    // closes the channel.
    let shared = unsafe {
        Rc::increment_strong_count(data.cast::<Shared>());
        Rc::from_raw(data.cast::<Shared>())
    };
    let call = shared.call.borrow().clone();
    if let Some(call) = call {
        let _ = guarded("channel handler", || call());
    }
}

unsafe extern "C" fn closing(data: ClientData) {
    // SAFETY: the reference of `open`; Tcl calls this once.
    let shared = unsafe { Rc::from_raw(data.cast::<Shared>()) };
    if shared.open.replace(false) {
        // Somebody else closes it: the handler learns it by its next read.
        let call = shared.call.borrow_mut().take();
        if let Some(call) = call {
            let _ = guarded("channel handler", || call());
        }
    }
}
