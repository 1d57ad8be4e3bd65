//! Opening files, and asking for their status, from an open directory: waiting for a disk,
//! or not at all.
//!
//! With [`Wait::No`] a file is reached only if the directories on the path are in memory, and
//! if the path crosses no mount: behind a mount another machine or process may be asked.
//! Systems other than Linux cannot tell, and always give
//! [`WouldBlock`](io::ErrorKind::WouldBlock).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, Stat, CWD};
use rustix::io::Errno;

use super::layout::Links;
use crate::store::Wait;
use crate::system::{open_in_memory, stat_in_memory};

/// How directories are opened.
const READING_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Opens the file `path` of the directory `dir`, which must exist.
///
/// With [`OFlags::NOFOLLOW`] and [`Wait::No`] none of the directories in `path` may be a link
/// either.
///
/// # Errors
/// What the system says. With [`Wait::No`] any error may mean that it must be waited for.
pub fn open(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    wait: Wait<'_>,
) -> Result<OwnedFd, Errno> {
    match wait {
        Wait::No => open_in_memory(dir, path, flags),
        Wait::While(_) => rustix::fs::openat(dir, path, flags, Mode::empty()),
    }
}

/// The status of the file `path` of the directory `dir`.
///
/// # Errors
/// Those of [`open`].
pub fn stat(dir: BorrowedFd<'_>, path: &Path, links: Links, wait: Wait<'_>) -> Result<Stat, Errno> {
    match wait.may_block() {
        true => rustix::fs::statat(dir, path, links.stat_flags()),
        false => stat_in_memory(dir, path, links == Links::Follow),
    }
}

/// Opens a directory to read it and to reach its files.
///
/// # Errors
/// When there is no such directory.
pub fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    DirPath::from(dir).open()
}

/// Opens the directory `name` in the open directory `from`. A link of that name is not
/// followed: an owner of the mailbox could lead the server to other users' mail by one.
///
/// # Errors
/// When there is no such directory, or a link in its place.
pub fn open_dir_in(from: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = READING_DIR | OFlags::NOFOLLOW;
    Ok(open(from, name.as_ref(), flags, Wait::UNTIL_DONE)?)
}

/// The path of a directory, and how long may be waited for what is found there.
#[derive(Clone, Copy)]
pub struct DirPath<'a> {
    /// Where `path` begins, unless it is absolute.
    pub from: BorrowedFd<'a>,
    /// The path.
    pub path: &'a Path,
    /// How long may be waited.
    pub wait: Wait<'a>,
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for DirPath<'a> {
    fn from(path: &'a P) -> Self {
        Self {
            from: CWD,
            path: path.as_ref(),
            wait: Wait::UNTIL_DONE,
        }
    }
}

impl DirPath<'_> {
    /// Opens the directory to read it and to reach its files.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(open(self.from, self.path, READING_DIR, self.wait)?)
    }

    /// The status of the directory that has the path now.
    ///
    /// # Errors
    /// When nothing has the path.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(stat(self.from, self.path, Links::Follow, self.wait)?)
    }
}
