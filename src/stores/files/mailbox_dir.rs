//! What happens to the directories of mailboxes as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lock::{DirLock, LockFile, LOCK_FILE};
use crate::store::reason::is_permanent;
use crate::text::to_native;

/// The directory below `base` that `mailbox` names. Names are made of one or more
/// file names with slashes between them; none of them is `..`. A `.` among them means
/// nothing, so that each mailbox has one path, and by it one lock. None where `mailbox`
/// leads out, or the system encoding cannot express it.
pub fn path_within(base: &Path, mailbox: &str) -> Option<PathBuf> {
    if mailbox.starts_with('/') || mailbox.contains('\0') {
        return None;
    }
    let mut path = PathBuf::with_capacity(base.as_os_str().len() + 1 + mailbox.len());
    path.push(base);
    let mut named = false;
    for part in mailbox.split('/') {
        match part {
            "" | "." => continue,
            ".." => return None,
            _ => {}
        }
        path.push(to_native(part)?);
        named = true;
    }
    named.then_some(path)
}

/// Adds the locks of the mailboxes inside `dir` to `locks`. False while one of them is
/// locked by another session. No lock file is made here, and only locks that have one are
/// kept: a directory without a lock file has never been used as a mailbox.
///
/// # Errors
/// When the system cannot say what is inside, or whether it is locked.
pub fn lock_within(dir: &Path, locks: &mut Vec<DirLock>) -> io::Result<bool> {
    let Some(entries) = if_there(fs::read_dir(dir))? else {
        return Ok(true);
    };
    for entry in entries {
        let entry = entry?;
        if !if_there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        match if_there(DirLock::acquire(&entry.path(), LockFile::IfThere))? {
            Some(Some(lock)) => locks.extend(Some(lock).filter(DirLock::has_file)),
            Some(None) => return Ok(false),
            None => {}
        }
        if !lock_within(&entry.path(), locks)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `None` for what has gone, and for what cannot be used, so that no session has it locked.
///
/// # Errors
/// All others.
pub fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_permanent(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// Removes a mailbox whose lock is held. The lock file goes last: as long as anything is in
/// the directory, no other session gets its lock.
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
