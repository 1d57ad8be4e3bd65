//! Where the descriptors are that sessions keep.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;

/// Tcl 8.6 waits with select(2), which cannot watch descriptors from here on, and ends the
/// process if it must.
pub const SELECTABLE: i32 = 1024;

/// Of those that it can watch, sessions take none from here on: they are the scripts'.
/// (Where there are few sessions no descriptor need be moved, which costs two calls each.)
const OF_SCRIPTS: i32 = 256;

/// The same on a descriptor that scripts do not need; or as it is when the process may not
/// have so many.
pub fn out_of_the_way(fd: OwnedFd) -> OwnedFd {
    match (OF_SCRIPTS..SELECTABLE).contains(&fd.as_raw_fd()) {
        true => fcntl_dupfd_cloexec(&fd, SELECTABLE).unwrap_or(fd),
        false => fd,
    }
}
