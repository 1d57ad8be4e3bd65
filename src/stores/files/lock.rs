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

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::listing::{is_at_cached, open_dir};
use crate::descriptors::out_of_the_way;
use crate::store::reason::is_permanent;

/// Name of the file in the mailbox. Dot files are not messages.
pub const LOCK_FILE: &str = ".pop3d.lock";

/// How often a mailbox or lock file that was replaced meanwhile is tried again. Each round
/// means that a mailbox was removed and made anew at this very moment.
const ATTEMPTS: usize = 8;

/// How long somebody's question whether the lock is held is waited out, and how often
/// it is looked whether it has been answered. It takes microseconds, but on a busy machine
/// its asker may be put aside meanwhile, for some slices of time. Who holds the lock is
/// told from a question at once, without any wait.
const PATIENCE: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// How the file is opened: nothing else in its place is followed or waited for.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// What becomes of a mailbox without a lock file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// The file is made.
    Make,
    /// The lock is that of the directory alone.
    Go,
    /// It is an error.
    Fail,
}

/// Takes a lock of a file or directory, or says `WOULDBLOCK`.
type Take = fn(BorrowedFd<'_>) -> Result<(), Errno>;

/// A held lock; dropping it ends it.
#[derive(Debug)]
pub struct DirLock {
    dir: Arc<OwnedFd>,
    file: Option<File>,
}

impl DirLock {
    /// Takes the lock of the directory `dir`; `None` while somebody else has it. May
    /// wait for some milliseconds.
    ///
    /// # Errors
    /// When it cannot be locked, [`NotFound`](io::ErrorKind::NotFound) when there is no
    /// such directory. A link or a directory in the place of the lock file is a
    /// [permanent](is_permanent) error.
    pub fn acquire(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, Absent::Make, lock_patiently)
    }

    /// The same for a directory that has been locked before.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), and `NotFound` when it has not.
    pub fn acquire_again(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, Absent::Fail, lock_patiently)
    }

    /// As [`acquire`](Self::acquire), but makes no lock file.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_as_it_is(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, Absent::Go, lock_patiently)
    }

    /// As [`acquire_again`](Self::acquire_again), of a directory that is open and had the
    /// path `path`, without waiting: `None` also while somebody only asks for the lock, when
    /// another directory has the path meanwhile, or when that cannot be told.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_at_once(dir: OwnedFd, path: &Path) -> io::Result<Option<Self>> {
        let held = Self::take(out_of_the_way(dir)?, Absent::Fail, |fd| {
            flock(fd, FlockOperation::NonBlockingLockExclusive)
        });
        match held? {
            Some(held) if is_at_cached(held.dir(), path) && held.has_its_name()? => Ok(Some(held)),
            _ => Ok(None),
        }
    }

    fn acquire_by(path: &Path, absent: Absent, take: Take) -> io::Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            let dir = out_of_the_way(open_dir(path)?)?;
            let Some(held) = Self::take(dir, absent, take)? else {
                return Ok(None);
            };
            // Whoever removes or moves a mailbox holds its lock: between our open
            // and our lock the path may have become another mailbox's, or nobody's.
            match held.is_at(path) {
                Ok(true) => return Ok(Some(held)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    fn take(dir: OwnedFd, absent: Absent, take: Take) -> io::Result<Option<Self>> {
        let dir_is_locked = match take(dir.as_fd()) {
            Ok(()) => true,
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) if cannot_lock(error) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = Arc::new(dir);
        let mut held = Self { dir, file: None };
        let file = match open_file(held.dir(), absent) {
            Ok(file) => file,
            Err(error) if absent == Absent::Make && dir_is_locked && is_full(&error) => {
                return Ok(Some(held));
            }
            Err(error) if absent == Absent::Go && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(held));
            }
            Err(error) => return Err(error),
        };
        match take(file.as_fd()) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            result => result?,
        }
        held.file = Some(file);
        Ok(Some(held))
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

    /// Whether `path` is still the directory that is locked: another one may have
    /// taken its path, or another lock file, that somebody else may have, its name.
    ///
    /// # Errors
    /// When that cannot be found out, or nothing has this path.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(is_same(self.dir(), &rustix::fs::stat(path)?)? && self.has_its_name()?)
    }

    /// Whether the lock file is still the one that is locked, if there is one.
    fn has_its_name(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        match rustix::fs::statat(self.dir(), LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => is_same(file.as_fd(), &found),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether somebody has the lock of `dir`, without taking it (a shared lock for
    /// the moment of the question).
    ///
    /// # Errors
    /// When that cannot be found out. Nobody has a lock that cannot be taken.
    pub fn is_held(dir: &Path) -> io::Result<bool> {
        let asked = || -> io::Result<bool> {
            let dir = open_dir(dir)?;
            if is_locked(dir.as_fd())? {
                return Ok(true);
            }
            is_locked(open_file(dir.as_fd(), Absent::Fail)?.as_fd())
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
        // A child between fork and exec has copies of the descriptors, which would
        // keep the lock past our close. The directory's goes last: the next session finds
        // the file free.
        if let Some(file) = &self.file {
            let _closing_ends_it_too = flock(file.as_fd(), FlockOperation::Unlock);
        }
        let _closing_ends_it_too = flock(self.dir(), FlockOperation::Unlock);
    }
}

/// The lock file, for writing as NFS wants it; where it belongs to another user of
/// the same mailbox, for reading, which is enough elsewhere.
fn open_file(dir: BorrowedFd<'_>, absent: Absent) -> io::Result<File> {
    // Everybody who may enter the mailbox may lock it; umask takes away the rest.
    let mode = Mode::from_raw_mode(0o666);
    let create = match absent {
        Absent::Make => OFlags::CREATE,
        Absent::Go | Absent::Fail => OFlags::empty(),
    };
    let open = |flags| rustix::fs::openat(dir, LOCK_FILE, flags | ALWAYS, mode);
    let fd = match open(OFlags::RDWR | create) {
        Err(Errno::ACCESS) => open(OFlags::RDONLY),
        result => result,
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

/// Locks; waits while the lock is held only by [questions](DirLock::is_held).
fn lock_patiently(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut begin = None;
    loop {
        match flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            result => return result,
        }
        // A question holds a shared lock, beside which there is room for another; a
        // session lets nobody in.
        flock(fd, FlockOperation::NonBlockingLockShared)?;
        flock(fd, FlockOperation::Unlock)?;
        if begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(Errno::WOULDBLOCK);
        }
        sleep(LOOK_AGAIN);
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
        let held = DirLock::acquire(dir.path()).unwrap().unwrap();
        assert!(DirLock::is_held(dir.path()).unwrap());
        assert!(DirLock::acquire(dir.path()).unwrap().is_none());
        drop(held);
        assert!(!DirLock::is_held(dir.path()).unwrap());
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
        assert!(DirLock::acquire(&dir.path().join("no")).is_err());
    }

    #[test]
    fn ends_at_once_though_a_child_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap().unwrap();
        let copy = held.file.as_ref().unwrap().try_clone().unwrap();
        let copy_of_dir = held.dir.try_clone().unwrap();
        drop(held);
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
        drop((copy, copy_of_dir));
    }

    /// Whoever asks without end keeps nobody out, and whoever holds the lock is known at
    /// once for what it is.
    #[test]
    fn questions_keep_nobody_out() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (path, done) = (dir.path(), AtomicBool::new(false));
        drop(DirLock::acquire(path).unwrap().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    DirLock::is_held(path).unwrap();
                }
            });
            for round in 0..5000 {
                let held = DirLock::acquire_again(path).unwrap();
                if held.is_none() {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(held.is_some(), "refused in round {round}");
            }
            done.store(true, Ordering::Relaxed);
        });
        let held = DirLock::acquire(path).unwrap().unwrap();
        let begin = Instant::now();
        for _ in 0..100 {
            assert!(DirLock::acquire(path).unwrap().is_none());
        }
        assert!(begin.elapsed() < Duration::from_millis(250));
        drop(held);
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap().unwrap();
        assert!(held.is_at(dir.path()).unwrap());
        fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        assert!(!held.is_at(dir.path()).unwrap());
        // The old file keeps its inode while it is open, so the new one has another.
        fs::write(dir.path().join(LOCK_FILE), "").unwrap();
        assert!(!held.is_at(dir.path()).unwrap());
        // Nobody else gets in, where directories can be locked.
        assert!(DirLock::acquire(dir.path()).unwrap().is_none());
        // A lock on the old file is no lock of the mailbox.
        flock(held.dir(), FlockOperation::Unlock).unwrap();
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
    }

    #[test]
    fn knows_the_directory_that_it_locks() {
        let base = tempfile::tempdir().unwrap();
        let (dir, away) = (base.path().join("m"), base.path().join("away"));
        fs::create_dir(&dir).unwrap();
        let held = DirLock::acquire(&dir).unwrap().unwrap();
        let locks = |dir: &Path| held.is_at(dir).unwrap();
        assert!(locks(&dir));
        fs::rename(&dir, &away).unwrap();
        let gone = held.is_at(&dir).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        fs::create_dir(&dir).unwrap();
        assert!(!locks(&dir), "never locked");
        let _other = DirLock::acquire(&dir).unwrap().unwrap();
        assert!(!locks(&dir), "locked by another");
        assert!(locks(&away));
        fs::remove_file(away.join(LOCK_FILE)).unwrap();
        assert!(!locks(&away));
    }

    /// A directory that has no lock file is locked all the same, whenever the file
    /// appears: nobody gets both what one has.
    #[test]
    fn the_directory_alone_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path(), dir.path().join(LOCK_FILE));
        type Way = fn(&Path) -> io::Result<Option<DirLock>>;
        let (make, as_it_is): (Way, Way) = (DirLock::acquire, DirLock::acquire_as_it_is);
        for way in [make, as_it_is] {
            let alone = DirLock::acquire_as_it_is(path).unwrap().unwrap();
            assert!(!alone.has_file() && !file.exists());
            assert!(way(path).unwrap().is_none());
            assert!(DirLock::is_held(path).unwrap());
            assert!(!file.exists(), "made by who did not get the lock");
            fs::write(&file, "").unwrap();
            assert!(way(path).unwrap().is_none());
            assert!(DirLock::acquire_again(path).unwrap().is_none());
            assert!(DirLock::acquire_at_once(open_dir(path).unwrap(), path)
                .unwrap()
                .is_none());
            assert!(alone.is_at(path).unwrap());
            drop(alone);
            assert!(way(path).unwrap().is_some());
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
            for way in [DirLock::acquire, DirLock::acquire_again] {
                let error = way(dir.path()).unwrap_err();
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
        assert!(DirLock::acquire(dir.path()).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
    }
}
