//! What systems do differently: the one place that asks which system it is.
//!
//! On Linux a call can say that it must not wait for a disk or another machine, and the system
//! breaks connections whose peer takes nothing. Elsewhere neither can be had: what may wait is
//! left to threads that may, and time-outs of ours watch. Everything else is the same on all
//! systems that have descriptors and `openat`.
//!
//! The feature `portable` builds the other half on Linux, so that the tests can run on it.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Stat};

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::*;

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub use portable::*;

/// A name in an open directory.
pub type Place<'a> = (BorrowedFd<'a>, &'a str);

/// The number of the file system that a file is on.
#[allow(clippy::unnecessary_cast, reason = "its type differs")]
pub fn device(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Renames without the system's promise not to replace anything. A directory is renamed as a
/// whole, after a look; what comes between is replaced only if it is an empty directory.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
fn rename_after_look(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata()?.is_dir() {
        return match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            // Another process was faster, if a directory that is not empty is there now.
            Err(_) => fs::rename(from, to).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty => io::ErrorKind::AlreadyExists.into(),
                _ => error,
            }),
        };
    }
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // There are no hard links.
        Err(_) => fs::rename(from, to),
    }
}

/// Renames a file without that promise: its new name is a link first, which replaces nothing.
/// Where the old name cannot be removed then, both stay.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
fn rename_by_link(from: Place<'_>, to: Place<'_>) -> io::Result<()> {
    rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
    let _has_both_names = rustix::fs::unlinkat(from.0, from.1, AtFlags::empty());
    Ok(())
}

#[cfg(test)]
mod tests;
