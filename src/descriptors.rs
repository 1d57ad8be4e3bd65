//! Where the descriptors are that sessions keep.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::process::{getrlimit, Resource};

/// Tcl 8.6 waits with select(2), which cannot watch descriptors from here on, and ends the
/// process if it must.
pub const SELECTABLE: i32 = 1024;

/// Of those that it can watch, sessions take none from here on: they are the scripts'.
/// (Where there are few sessions no descriptor need be moved, which costs two calls each.)
const OF_SCRIPTS: i32 = 256;

/// Where the process may not have more than these, or has them already, so many are left
/// to scripts.
const LEAST_OF_SCRIPTS: i32 = 64;

/// The same on a descriptor that scripts do not need; or as it is when there are none, and
/// it is not one of the last.
///
/// # Errors
/// When sessions have all that they may take.
pub fn out_of_the_way(fd: OwnedFd) -> io::Result<OwnedFd> {
    if !(OF_SCRIPTS..SELECTABLE).contains(&fd.as_raw_fd()) {
        return Ok(fd);
    }
    if let Ok(moved) = fcntl_dupfd_cloexec(&fd, SELECTABLE) {
        return Ok(moved);
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = i32::try_from(limit).unwrap_or(i32::MAX).min(SELECTABLE);
    match fd.as_raw_fd() < limit - LEAST_OF_SCRIPTS {
        true => Ok(fd),
        false => Err(Errno::MFILE.into()),
    }
}
