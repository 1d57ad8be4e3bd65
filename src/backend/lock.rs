//! The lock of one mailbox across processes: `flock` on a dot file inside it.
//!
//! The kernel ends the lock with its holder, however that dies, so nothing ever
//! needs cleaning. The file itself stays: it holds nothing, and removing it would
//! touch the directory at every session. (A lock on the directory would need no
//! file, but NFS locks only what is open for writing.)

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::descriptors::out_of_the_way;

/// Name of the file in the mailbox. Dot files are not messages.
pub const LOCK_FILE: &str = ".pop3d.lock";

/// How often a lock file that was replaced meanwhile is tried again. Each round
/// means that a mailbox was removed and made anew at this very moment.
const ATTEMPTS: usize = 8;

/// How long somebody's question whether the lock is held is waited out, and how often
/// it is looked whether it has been answered. It takes microseconds, but on a busy machine
/// its asker may be put aside meanwhile, for some slices of time. Who holds the lock is
/// told from who asks at once, without any wait.
const PATIENCE: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// How the file is opened: nothing else in its place is followed or waited for.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A held lock; dropping it ends it.
#[derive(Debug)]
pub struct DirLock(File);

impl DirLock {
    /// Takes the lock of the directory `dir`; `None` while somebody else has it. May
    /// wait for some milliseconds.
    ///
    /// # Errors
    /// When the file cannot be made or locked, [`NotFound`](io::ErrorKind::NotFound)
    /// when there is no such directory.
    pub fn acquire(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, OFlags::CREATE, lock_patiently)
    }

    /// The same for a directory that has been locked before.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), and `NotFound` when it has not.
    pub fn acquire_again(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, OFlags::empty(), lock_patiently)
    }

    /// As [`acquire_again`](Self::acquire_again), but without waiting: `None` also while
    /// somebody only asks for the lock.
    ///
    /// # Errors
    /// As above.
    pub fn acquire_at_once(dir: &Path) -> io::Result<Option<Self>> {
        Self::acquire_by(dir, OFlags::empty(), |file| {
            flock(file, FlockOperation::NonBlockingLockExclusive)
        })
    }

    fn acquire_by(
        dir: &Path,
        create: OFlags,
        lock: fn(&File) -> Result<(), Errno>,
    ) -> io::Result<Option<Self>> {
        let path = dir.join(LOCK_FILE);
        for _ in 0..ATTEMPTS {
            let file = open(&path, create)?;
            match lock(&file) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                result => result?,
            }
            // Whoever removes or moves a mailbox holds its lock: between our open
            // and our lock the file may have become another mailbox's, or nobody's.
            if is_at(&file, CWD, &path)? {
                return Ok(Some(Self(file)));
            }
        }
        Ok(None)
    }

    /// Whether the open directory `dir` is still the one that is locked: another one may
    /// have taken its path, or another lock file, that somebody else may have, its name.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn locks(&self, dir: BorrowedFd<'_>) -> io::Result<bool> {
        is_at(&self.0, dir, Path::new(LOCK_FILE))
    }

    /// Whether somebody has the lock of `dir`, without taking it (a shared lock for
    /// the moment of the question).
    pub fn is_held(dir: &Path) -> bool {
        let Ok(file) = open(&dir.join(LOCK_FILE), OFlags::empty()) else {
            return false;
        };
        let asked = flock(&file, FlockOperation::NonBlockingLockShared);
        if asked.is_ok() {
            let _closing_ends_it_too = flock(&file, FlockOperation::Unlock);
        }
        asked == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // A child between fork and exec has a copy of the descriptor, which would
        // keep the lock past our close.
        let _closing_ends_it_too = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The lock file, for writing as NFS wants it; where it belongs to another user of
/// the same mailbox, for reading, which is enough elsewhere.
fn open(path: &PathBuf, create: OFlags) -> io::Result<File> {
    // Everybody who may enter the mailbox may lock it; umask takes away the rest.
    let mode = Mode::from_raw_mode(0o666);
    let fd = match rustix::fs::open(path, OFlags::RDWR | ALWAYS | create, mode) {
        Err(Errno::ACCESS) => rustix::fs::open(path, OFlags::RDONLY | ALWAYS, mode)?,
        result => result?,
    };
    Ok(out_of_the_way(fd)?.into())
}

/// Locks; waits while those who have the file locked only [ask](DirLock::is_held).
fn lock_patiently(file: &File) -> Result<(), Errno> {
    let mut begin = None;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {}
            result => return result,
        }
        // A question holds a shared lock, beside which there is room for another; a
        // session lets nobody in.
        flock(file, FlockOperation::NonBlockingLockShared)?;
        flock(file, FlockOperation::Unlock)?;
        if begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(Errno::WOULDBLOCK);
        }
        sleep(LOOK_AGAIN);
    }
}

fn flock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}

fn is_at(file: &File, dir: BorrowedFd<'_>, path: &Path) -> io::Result<bool> {
    let locked = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok((found.st_dev, found.st_ino) == (locked.st_dev, locked.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!DirLock::is_held(dir.path()));
        assert!(!dir.path().join(LOCK_FILE).exists());
        let held = DirLock::acquire(dir.path()).unwrap().unwrap();
        assert!(DirLock::is_held(dir.path()));
        assert!(DirLock::acquire(dir.path()).unwrap().is_none());
        drop(held);
        assert!(!DirLock::is_held(dir.path()));
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
        assert!(DirLock::acquire(&dir.path().join("no")).is_err());
    }

    #[test]
    fn ends_at_once_though_a_child_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap().unwrap();
        let copy = held.0.try_clone().unwrap();
        drop(held);
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
        drop(copy);
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
                    DirLock::is_held(path);
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
        let path = dir.path().join(LOCK_FILE);
        let old = open(&path, OFlags::CREATE).unwrap();
        assert!(is_at(&old, CWD, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&old, CWD, &path).unwrap());
        // The old file keeps its inode while it is open, so the new one has another.
        let _new = open(&path, OFlags::CREATE).unwrap();
        assert!(!is_at(&old, CWD, &path).unwrap());
        // A lock on the old file is no lock of the mailbox.
        flock(&old, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
    }

    #[test]
    fn knows_the_directory_that_it_locks() {
        use std::os::fd::AsFd;
        let base = tempfile::tempdir().unwrap();
        let (dir, away) = (base.path().join("m"), base.path().join("away"));
        fs::create_dir(&dir).unwrap();
        let held = DirLock::acquire(&dir).unwrap().unwrap();
        let locks = |dir: &Path| held.locks(File::open(dir).unwrap().as_fd()).unwrap();
        assert!(locks(&dir));
        fs::rename(&dir, &away).unwrap();
        fs::create_dir(&dir).unwrap();
        assert!(!locks(&dir), "never locked");
        let _other = DirLock::acquire(&dir).unwrap().unwrap();
        assert!(!locks(&dir), "locked by another");
        assert!(locks(&away));
        fs::remove_file(away.join(LOCK_FILE)).unwrap();
        assert!(!locks(&away));
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
        assert!(DirLock::is_held(dir.path()));
        assert!(DirLock::acquire(dir.path()).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(DirLock::acquire(dir.path()).unwrap().is_some());
    }
}
