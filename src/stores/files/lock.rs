//! The lock of one mailbox across processes: `flock` on its directory and on a dot file
//! inside it.
//!
//! The kernel ends both locks with their holder, however that dies, so nothing ever
//! needs cleaning. The file itself stays: it holds nothing, and removing it would
//! touch the directory at every session.
//!
//! Why two: NFS locks only what is open for writing, so not the directory; and where no
//! inode is left the file cannot be made, though the owner must be able to log in to
//! delete. Every lock is first that of the directory, wherever that can be locked. So the
//! file may appear at any time: nobody else gets past the directory meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::layout::Links;
use super::reach::{self, open_dir, DirPath};
use crate::descriptors::out_of_the_way;
use crate::store::reason::is_permanent;
use crate::store::Wait;
use crate::system::is_local;

/// Name of the file in the mailbox. Dot files are not messages.
pub const LOCK_FILE: &str = ".pop3d.lock";

/// How often a mailbox or lock file that was replaced meanwhile is tried again. Each round
/// means that a mailbox was removed and made anew at this very moment.
const ATTEMPTS: usize = 8;

/// How long [`acquire`](DirLock::acquire) waits for an [`is_held`](DirLock::is_held) of
/// somebody else to end. That takes microseconds, but a busy machine may not run the asking
/// thread for some slices of time. A holder is told from an asker at once, without any wait.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often it is tried again during [`PATIENCE`].
const RETRY_AFTER: Duration = Duration::from_micros(100);

/// How the file is opened: nothing else in its place is followed or waited for.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// What [`DirLock::acquire`] does about the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFile {
    /// Creates it where there is none. Where there is no room for it, the lock is that of the
    /// directory alone.
    Create,
    /// Locks it if it is there; else the lock is that of the directory alone.
    IfThere,
    /// Fails with [`NotFound`](io::ErrorKind::NotFound) where there is none: the mailbox has
    /// never been locked.
    MustExist,
}

/// A held lock. It ends by [`release`](Self::release), or when it is dropped.
#[derive(Debug)]
pub struct DirLock {
    dir: Arc<OwnedFd>,
    file: Option<File>,
}

impl DirLock {
    /// Takes the lock of a directory; `None` while somebody else has it. May wait for some
    /// milliseconds while somebody asks [`is_held`](Self::is_held), if `dir` may be waited
    /// for.
    ///
    /// # Errors
    /// When it cannot be locked, [`NotFound`](io::ErrorKind::NotFound) when there is no
    /// such directory. A link or a directory in the place of the lock file is a
    /// [permanent](is_permanent) error.
    pub fn acquire<'a>(
        dir: impl Into<DirPath<'a>>,
        lock_file: LockFile,
    ) -> io::Result<Option<Self>> {
        let path = dir.into();
        for _ in 0..ATTEMPTS {
            let dir = out_of_the_way(path.open()?)?;
            let Some(held) = Self::take(dir, lock_file, path.wait)? else {
                return Ok(None);
            };
            // Whoever removes or moves a mailbox holds its lock. Between our open and our
            // lock the path may have become another mailbox's, or nobody's.
            match held.is_at(path) {
                Ok(true) => return Ok(Some(held)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    fn take(dir: OwnedFd, lock_file: LockFile, wait: Wait<'_>) -> io::Result<Option<Self>> {
        let lock = |fd: BorrowedFd<'_>| match wait {
            Wait::No => flock(fd, FlockOperation::NonBlockingLockExclusive),
            Wait::While(_) => lock_patiently(fd),
        };
        let dir_is_locked = match lock(dir.as_fd()) {
            Ok(()) => true,
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) if cannot_lock(error) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = Arc::new(dir);
        let mut held = Self { dir, file: None };
        let file = match open_file(held.dir(), lock_file, wait) {
            Ok(file) => file,
            Err(error) => {
                let is_spared = match lock_file {
                    LockFile::Create => dir_is_locked && is_full(&error),
                    LockFile::IfThere => error.kind() == io::ErrorKind::NotFound,
                    LockFile::MustExist => false,
                };
                return if is_spared {
                    Ok(Some(held))
                } else {
                    Err(error)
                };
            }
        };
        match lock(file.as_fd()) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            result => result?,
        }
        held.file = Some(file);
        Ok(Some(held))
    }

    /// Whether no other machine and no other process is asked when the lock ends.
    pub fn is_local(&self) -> bool {
        is_local(self.dir()) && self.file.as_ref().is_none_or(is_local)
    }

    /// The directory that is locked.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The directory that is locked, to keep beyond the lock.
    pub fn share_dir(&self) -> Arc<OwnedFd> {
        self.dir.clone()
    }

    /// Whether the lock has a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether `path` is still the directory that is locked, and its lock file the one that
    /// is locked. Another directory or file may have taken their place.
    ///
    /// # Errors
    /// When that cannot be found out, or nothing has this path.
    pub fn is_at<'a>(&self, path: impl Into<DirPath<'a>>) -> io::Result<bool> {
        let path = path.into();
        if !is_same(self.dir(), &path.stat()?)? {
            return Ok(false);
        }
        let Some(file) = &self.file else {
            return Ok(true);
        };
        match reach::stat(self.dir(), LOCK_FILE.as_ref(), Links::Refuse, path.wait) {
            Ok(found) => is_same(file.as_fd(), &found),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the lock, whoever else has this. May wait where [`is_local`](Self::is_local) is
    /// false.
    pub fn release(&self) {
        // A child between fork and exec has copies of the descriptors, which would
        // keep the lock past our close. The directory's goes last: the next session finds
        // the file free.
        if let Some(file) = &self.file {
            let _closing_ends_it_too = flock(file.as_fd(), FlockOperation::Unlock);
        }
        let _closing_ends_it_too = flock(self.dir(), FlockOperation::Unlock);
    }

    /// Whether a session has the lock of `dir`. Does not take it, but has a shared lock for
    /// a moment.
    ///
    /// # Errors
    /// When that cannot be found out. Nobody has a lock that cannot be taken.
    pub fn is_held(dir: &Path) -> io::Result<bool> {
        let asked = || -> io::Result<bool> {
            let dir = open_dir(dir)?;
            if is_locked(dir.as_fd())? {
                return Ok(true);
            }
            is_locked(open_file(dir.as_fd(), LockFile::MustExist, Wait::UNTIL_DONE)?.as_fd())
        };
        match asked() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if is_permanent(&error) => Ok(false),
            result => result,
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        self.release();
    }
}

/// Opens the lock file. For writing, as NFS wants it; for reading where it belongs to another
/// user of the mailbox, which is enough on other file systems.
fn open_file(dir: BorrowedFd<'_>, lock_file: LockFile, wait: Wait<'_>) -> io::Result<File> {
    // Everybody who may enter the mailbox may lock it; umask takes away the rest.
    let mode = Mode::from_raw_mode(0o666);
    let there = |access| reach::open(dir, LOCK_FILE.as_ref(), access | ALWAYS, wait);
    let fd = match lock_file {
        LockFile::Create => {
            let flags = OFlags::RDWR | OFlags::CREATE | ALWAYS;
            rustix::fs::openat(dir, LOCK_FILE, flags, mode)
        }
        LockFile::IfThere | LockFile::MustExist => there(OFlags::RDWR),
    };
    let fd = match fd {
        Err(Errno::ACCESS) => there(OFlags::RDONLY),
        fd => fd,
    };
    let fd = fd.map_err(|error| match error {
        Errno::LOOP => not_a_file("a link"),
        Errno::ISDIR => not_a_file("a directory"),
        Errno::NXIO => not_a_file("not a file"),
        error => error.into(),
    })?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::RegularFile => Ok(out_of_the_way(fd)?.into()),
        FileType::Directory => Err(not_a_file("a directory")),
        _ => Err(not_a_file("not a file")),
    }
}

fn not_a_file(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{LOCK_FILE} is {what}"))
}

/// Whether this kind of file, on this file system, has no locks. NFS says `BADF` of what
/// is not open for writing.
fn cannot_lock(error: Errno) -> bool {
    matches!(
        error,
        Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL | Errno::NOSYS
    )
}

/// Whether there is no room for one more file.
fn is_full(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
}

/// Locks `fd`. Waits while only those that ask [`is_held`](DirLock::is_held) have it.
fn lock_patiently(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut begin = None;
    loop {
        match flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            result => return result,
        }
        // An asker holds a shared lock, beside which another shared lock can be had. Beside
        // the lock of a session none can.
        flock(fd, FlockOperation::NonBlockingLockShared)?;
        flock(fd, FlockOperation::Unlock)?;
        if begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(Errno::WOULDBLOCK);
        }
        sleep(RETRY_AFTER);
    }
}

fn is_locked(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _closing_ends_it_too = flock(fd, FlockOperation::Unlock);
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) if cannot_lock(error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn flock(fd: BorrowedFd<'_>, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(fd, operation))
}

fn is_same(fd: BorrowedFd<'_>, found: &rustix::fs::Stat) -> io::Result<bool> {
    let open = rustix::fs::fstat(fd)?;
    Ok((found.st_dev, found.st_ino) == (open.st_dev, open.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!DirLock::is_held(dir.path()).unwrap());
        assert!(!dir.path().join(LOCK_FILE).exists());
        let held = DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .unwrap();
        assert!(DirLock::is_held(dir.path()).unwrap());
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_none());
        drop(held);
        assert!(!DirLock::is_held(dir.path()).unwrap());
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_some());
        assert!(DirLock::acquire(&dir.path().join("no"), LockFile::Create).is_err());
    }

    #[test]
    fn ends_at_once_though_a_child_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .unwrap();
        let copy = held.file.as_ref().unwrap().try_clone().unwrap();
        let copy_of_dir = held.dir.try_clone().unwrap();
        drop(held);
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_some());
        drop((copy, copy_of_dir));
    }

    /// Endless questions keep no session out, and a session that has the lock is not taken
    /// for a question.
    #[test]
    fn questions_keep_nobody_out() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (path, done) = (dir.path(), AtomicBool::new(false));
        drop(DirLock::acquire(path, LockFile::Create).unwrap().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    DirLock::is_held(path).unwrap();
                }
            });
            for round in 0..5000 {
                let held = DirLock::acquire(path, LockFile::MustExist).unwrap();
                if held.is_none() {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(held.is_some(), "refused in round {round}");
            }
            done.store(true, Ordering::Relaxed);
        });
        let held = DirLock::acquire(path, LockFile::Create).unwrap().unwrap();
        let begin = Instant::now();
        for _ in 0..100 {
            assert!(DirLock::acquire(path, LockFile::Create).unwrap().is_none());
        }
        assert!(begin.elapsed() < Duration::from_millis(250));
        drop(held);
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .unwrap();
        assert!(held.is_at(dir.path()).unwrap());
        fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        assert!(!held.is_at(dir.path()).unwrap());
        // The old file keeps its inode while it is open, so the new one has another.
        fs::write(dir.path().join(LOCK_FILE), "").unwrap();
        assert!(!held.is_at(dir.path()).unwrap());
        // Nobody else gets in, where directories can be locked.
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_none());
        // A lock on the old file is no lock of the mailbox.
        flock(held.dir(), FlockOperation::Unlock).unwrap();
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_some());
    }

    #[test]
    fn knows_the_directory_that_it_locks() {
        let base = tempfile::tempdir().unwrap();
        let (dir, away) = (base.path().join("m"), base.path().join("away"));
        fs::create_dir(&dir).unwrap();
        let held = DirLock::acquire(&dir, LockFile::Create).unwrap().unwrap();
        let locks = |dir: &Path| held.is_at(dir).unwrap();
        assert!(locks(&dir));
        fs::rename(&dir, &away).unwrap();
        let gone = held.is_at(&dir).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        fs::create_dir(&dir).unwrap();
        assert!(!locks(&dir), "never locked");
        let _other = DirLock::acquire(&dir, LockFile::Create).unwrap().unwrap();
        assert!(!locks(&dir), "locked by another");
        assert!(locks(&away));
        fs::remove_file(away.join(LOCK_FILE)).unwrap();
        assert!(!locks(&away));
    }

    /// A directory without a lock file is locked too. A lock file that appears later does not
    /// let a second session in.
    #[test]
    fn the_directory_alone_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path(), dir.path().join(LOCK_FILE));
        for lock_file in [LockFile::Create, LockFile::IfThere] {
            let alone = DirLock::acquire(path, LockFile::IfThere).unwrap().unwrap();
            assert!(!alone.has_file() && !file.exists());
            assert!(DirLock::acquire(path, lock_file).unwrap().is_none());
            assert!(DirLock::is_held(path).unwrap());
            assert!(!file.exists(), "made without the lock");
            fs::write(&file, "").unwrap();
            assert!(DirLock::acquire(path, lock_file).unwrap().is_none());
            let now = DirPath {
                wait: Wait::No,
                ..path.into()
            };
            for known in [path.into(), now] {
                let refused = DirLock::acquire(known, LockFile::MustExist);
                assert!(matches!(refused, Ok(None)));
            }
            assert!(alone.is_at(path).unwrap());
            drop(alone);
            assert!(DirLock::acquire(path, lock_file).unwrap().is_some());
            assert!(!DirLock::is_held(path).unwrap());
            fs::remove_file(&file).unwrap();
        }
    }

    /// What cannot become a lock by trying again says what is in its place.
    #[test]
    fn something_else_in_the_place_of_the_file() {
        type Row = (fn(&Path), &'static str);
        let table: [Row; 3] = [
            (
                |file| std::os::unix::fs::symlink("/dev/null", file).unwrap(),
                ".pop3d.lock is a link",
            ),
            (
                |file| fs::create_dir(file).unwrap(),
                ".pop3d.lock is a directory",
            ),
            (
                |file| {
                    let mode = Mode::RUSR | Mode::WUSR;
                    rustix::fs::mknodat(CWD, file, FileType::Fifo, mode, 0).unwrap();
                },
                ".pop3d.lock is not a file",
            ),
        ];
        for (make, want) in table {
            let dir = tempfile::tempdir().unwrap();
            make(&dir.path().join(LOCK_FILE));
            for lock_file in [LockFile::Create, LockFile::MustExist] {
                let error = DirLock::acquire(dir.path(), lock_file).unwrap_err();
                assert_eq!(error.to_string(), want);
                assert!(is_permanent(&error));
            }
            assert!(!DirLock::is_held(dir.path()).unwrap());
        }
    }

    /// A process of its own that holds the lock once this returns.
    fn holder(dir: &Path) -> Child {
        let mut child = Command::new("flock")
            // -o: only this process has the descriptor, as only a server has ours.
            .arg("-o")
            .arg(dir.join(LOCK_FILE))
            .args(["sh", "-c", "echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.as_mut().unwrap();
        out.read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn another_process_is_heeded_and_its_death_frees() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = holder(dir.path());
        assert!(DirLock::is_held(dir.path()).unwrap());
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(DirLock::acquire(dir.path(), LockFile::Create)
            .unwrap()
            .is_some());
    }
}
