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
use std::path::Path;

use rustix::fs::Stat;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::*;

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub use portable::*;

/// The number of the file system that a file is on.
#[allow(clippy::unnecessary_cast, reason = "its type differs")]
pub fn device(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Renames without the system's promise not to replace anything: a name is taken by making
/// something new of that name, which is then replaced.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
fn rename_to_taken_name(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata()?.is_dir() {
        fs::create_dir(to)?;
        // Only onto an empty directory: of a mailbox that somebody uses meanwhile it fails.
        return fs::rename(from, to).inspect_err(|_| {
            let _somebody_uses_it = fs::remove_dir(to);
        });
    }
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // There are no hard links.
        Err(_) => fs::rename(from, to),
    }
}

#[cfg(test)]
mod tests;
