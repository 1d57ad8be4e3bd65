//! Replacing a file of users.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{flock, FlockOperation};
use tempfile::NamedTempFile;

/// Replaces `file` in one step, durably, keeping the old one as `file.old`.
pub(super) fn replace_file(file: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    remove_stale(directory);
    let temporary = write_temporary(directory, content)?;
    keep_old(file, directory)?;
    // Dropped before it has its name, the temporary file is removed.
    temporary.persist(file)?;
    File::open(directory)?.sync_all()
}

/// Begins the names of temporary files.
const TEMPORARY: &str = ".pop3d-udb.";

/// No `save` takes so long; what is older was left by a process that has ended.
const STALE: Duration = Duration::from_secs(60);

/// A new file of mode 0600 with `content`, on the disk when this returns. Its name is
/// random: after a crash the next process of the same number (in a container) must not
/// stumble over what was left. It is locked as long as it is written.
fn write_temporary(directory: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let private = Permissions::from_mode(0o600);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(TEMPORARY).permissions(private);
    let mut file = builder.tempfile_in(directory)?;
    // Where the file system has no locks, age alone tells.
    let _ = flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Removes temporary files that crashed processes have left: there are passwords in them.
/// A failure harms nobody but them.
fn remove_stale(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            let _ = remove_if_stale(&entry.path());
        }
    }
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let age = found.modified()?.elapsed().unwrap_or_default();
    if found.is_file() && age > STALE {
        let file = File::open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Keeps `file` as `file.old`, which only its owner can read. A second link, or a copy where
/// the file system has no links: `file` exists all the time.
fn keep_old(file: &Path, directory: &Path) -> io::Result<()> {
    let mut old = file.as_os_str().to_owned();
    old.push(".old");
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A rename onto a directory would fail, but only after its `.old`.
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        _ => {}
    }
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if fs::hard_link(file, &old).is_err() {
        write_temporary(directory, &fs::read(file)?)?.persist(&old)?;
    }
    // Of somebody else's file only the owner can.
    let _ = fs::set_permissions(&old, Permissions::from_mode(0o600));
    Ok(())
}
