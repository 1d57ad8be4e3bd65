//! What happens to the directories of mailboxes as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{renameat_with, RenameFlags, CWD};
use rustix::io::Errno;

use super::lock::{DirLock, LOCK_FILE};

/// The directory below `base` that `mailbox` names. Names are made of one or more
/// file names with slashes between them; none of them is `.` or `..`.
pub fn path_within(base: &Path, mailbox: &str) -> Option<PathBuf> {
    if mailbox.starts_with('/') || mailbox.contains('\0') {
        return None;
    }
    let mut path = PathBuf::with_capacity(base.as_os_str().len() + 1 + mailbox.len());
    path.push(base);
    let mut named = false;
    for part in mailbox.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return None;
        }
        path.push(part);
        named = true;
    }
    named.then_some(path)
}

/// Adds the locks of the mailboxes inside `dir` to `locks`; an error while somebody has
/// one. Only what was locked before has a lock file: none is made here.
///
/// # Errors
/// Without the cause, which is no matter: the mailbox stays.
pub fn lock_within(dir: &Path, locks: &mut Vec<DirLock>) -> Result<(), ()> {
    // Where no lock can be taken nobody has one, unless it is for want of descriptors.
    let ignore = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => Err(()),
        _ => Ok(()),
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return ignore(error),
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match DirLock::acquire_again(&entry.path()) {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(()),
            Err(error) => ignore(error)?,
        }
        lock_within(&entry.path(), locks)?;
    }
    Ok(())
}

/// Removes a mailbox whose lock is held. The lock file goes last: as long as there
/// is anything in the directory, nobody else gets its lock.
///
/// # Errors
/// When something cannot be removed; what was not reached is still there.
pub fn remove_mailbox(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == LOCK_FILE {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    match fs::remove_file(dir.join(LOCK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::remove_dir(dir),
    }
}

/// Renames, but never onto something.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can promise it.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        result => Ok(result?),
    }
}
