//! Descriptors that the process was started with.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A copy of a descriptor, closed when it is dropped.
///
/// # Errors
/// There is no such descriptor, or no room for one more.
pub fn copy(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and borrowed for one call, which fails with EBADF if the number
    // is that of no descriptor. Whatever the number names is not changed.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(inherited, 0)?)
}
