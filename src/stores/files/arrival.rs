//! A message on its way into a mailbox: it is written under a name that no message has,
//! synced, and then gets its own name, so that nobody ever sees a part of it.
//!
//! All files are reached from open directories. What a crash leaves is swept when something
//! is next delivered into the mailbox.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use once_cell::sync::OnceCell;
use pop3_proto::body::OctetCounter;
use rustix::fs::{flock, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::listing::lock;
use super::stamp::{is_regular, now, Stamp};
use crate::keyed::random;
use crate::store::delivery::UID_LENGTH;
use crate::system::{entries, rename_file_new};

/// Begins the names of what is being written. Dot files are not messages.
const TEMPORARY: &str = ".pop3d.new.";

/// What has not been written to for so long was left by a process that has ended. It is the
/// time after which Maildir, too, gives up a file in `tmp`.
const STALE_SECONDS: i64 = 36 * 60 * 60;

/// How often this process looks for such files in one mailbox.
const SWEEP_AFTER: Duration = Duration::from_secs(60 * 60);

/// Of how many mailboxes it is remembered when they were last swept.
const MOST_SWEPT: usize = 1024;

/// How long a delivery waits for its [`Turn`].
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it asks for it.
const RETRY_AFTER: Duration = Duration::from_micros(500);

/// Bytes of a message copied at a time.
const CHUNK: usize = 64 * 1024;

/// The directories by which a message is delivered.
pub struct Places {
    /// Where it is written.
    pub written: Arc<OwnedFd>,
    /// Where it then is.
    pub delivered: Arc<OwnedFd>,
}

/// What has been written of a message: all of it.
pub struct Written {
    /// Octets as POP3 counts them.
    pub octets: u64,
    /// Whether its last line has an end, or there is no line.
    pub ended: bool,
    /// The stamp of its file. A new name changes no more than its time of change.
    pub stamp: Stamp,
    /// A random number that no other message has.
    pub number: u64,
}

/// Why a message could not be written.
pub enum Failed {
    /// Its source could not be read.
    Source(io::Error),
    /// The disk refused.
    Disk(io::Error),
}

/// A message that is being written. Dropped before it has been
/// [delivered](Self::deliver), nothing is left of it.
pub struct Arrival {
    dir: Arc<OwnedFd>,
    number: u64,
    name: String,
    file: File,
    is_delivered: bool,
}

impl Arrival {
    /// An empty file, which only its owner may read, as is the habit of delivery agents.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(dir: &Arc<OwnedFd>) -> io::Result<Self> {
        let bytes = random().map_err(|error| io::Error::other(error.to_string()))?;
        let number = u64::from_le_bytes(bytes);
        let name = format!("{TEMPORARY}{number:016x}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(dir, &name, flags, private)?);
        Ok(Self {
            dir: dir.clone(),
            number,
            name,
            file,
            is_delivered: false,
        })
    }

    /// Writes all of `source`; it is on the disk when this returns.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn write(&mut self, source: &mut dyn Read) -> Result<Written, Failed> {
        let mut buffer = vec![0; CHUNK];
        let mut counter = OctetCounter::new();
        let mut ended = true;
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let chunk = &buffer[..n];
                    self.file.write_all(chunk).map_err(Failed::Disk)?;
                    counter.push(chunk);
                    ended = chunk.ends_with(b"\n");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failed::Source(error)),
            }
        }
        let done = self.file.sync_all();
        let stat = done.and_then(|()| Ok(rustix::fs::fstat(&self.file)?));
        Ok(Written {
            octets: counter.octets(),
            ended,
            stamp: Stamp::new(&stat.map_err(Failed::Disk)?),
            number: self.number,
        })
    }

    /// Gives it the name `name` in `dir`, for good.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where something has that name. The
    /// message is not there then, nor after any other error.
    pub fn deliver(&mut self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        rename_file_new((self.dir.as_fd(), &self.name), (dir.as_fd(), name))?;
        self.is_delivered = true;
        rustix::fs::fsync(dir).map_err(|error| {
            let _may_be_there_after_a_crash = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            error.into()
        })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.is_delivered {
            let _swept_later = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

/// A turn among the deliveries into one directory, which ends when it is dropped.
pub struct Turn(Arc<OwnedFd>);

impl Turn {
    /// Waits for a turn: the lock of `dir`, if that can be locked. Nobody keeps one for longer
    /// than it takes to read the mailbox's directories.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) when somebody keeps it.
    pub fn wait(dir: &Arc<OwnedFd>) -> io::Result<Self> {
        let begin = Instant::now();
        while let Err(Errno::WOULDBLOCK) = flock(dir, FlockOperation::NonBlockingLockExclusive) {
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "somebody has locked it",
                ));
            }
            sleep(RETRY_AFTER);
        }
        Ok(Self(dir.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _closing_ends_it_too = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A file name that was never used, by Maildir's rules: the time, what makes it unique, and
/// the host; then `fields`. As a unique id it has at most 70 characters, as long as `fields`
/// has no more than 33.
pub fn unique_name(number: u64, fields: &str) -> String {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let mut name = format!("{seconds}.M{micros:06}R{number:016x}.");
    let room = UID_LENGTH.saturating_sub(name.len() + fields.len());
    name.push_str(&host()[..host().len().min(room.max(1))]);
    name.push_str(fields);
    name
}

/// This machine's name as a part of file names.
fn host() -> &'static str {
    static HOST: OnceCell<String> = OnceCell::new();
    HOST.get_or_init(|| {
        let system = rustix::system::uname();
        let name = system.nodename().to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let plain = |c| if plain(c) { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        match name.is_empty() {
            true => "localhost".into(),
            false => name,
        }
    })
}

/// When mailboxes were last swept by this process.
#[derive(Default)]
pub struct Sweeps(Mutex<HashMap<Box<Path>, Instant>>);

impl Sweeps {
    /// Removes what crashed processes have left in `dir`, if that has not been done lately
    /// for the mailbox `mailbox`. A failure harms nothing but the room on the disk.
    pub fn sweep(&self, mailbox: &Path, dir: BorrowedFd<'_>) {
        if self.is_due(mailbox) {
            let _tried_again_later = sweep(dir);
        }
    }

    fn is_due(&self, mailbox: &Path) -> bool {
        let now = Instant::now();
        let mut swept = lock(&self.0);
        let last = swept.get(mailbox);
        if last.is_some_and(|last| now.duration_since(*last) < SWEEP_AFTER) {
            return false;
        }
        if swept.len() >= MOST_SWEPT {
            swept.clear();
        }
        swept.insert(mailbox.into(), now);
        true
    }
}

fn sweep(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut found = Vec::new();
    entries(dir, |name, _| {
        if name.starts_with(TEMPORARY.as_bytes()) {
            found.push(name.to_vec());
        }
    })?;
    for name in found {
        let _one_of_many = remove_if_stale(dir, &name);
    }
    Ok(())
}

fn remove_if_stale(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_regular(&stat) && stat.st_mtime + STALE_SECONDS < now() {
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn names_are_ids_and_never_the_same() {
        for fields in ["", ",S=1,W=1", ",S=123456789012,W=123456789012"] {
            let names = [1, u64::MAX].map(|number| unique_name(number, fields));
            assert_ne!(names[0], names[1]);
            for name in names {
                assert!(crate::store::delivery::is_uid(name.as_bytes()), "{name}");
                assert!(
                    !name.contains([':', '/']) && name.ends_with(fields),
                    "{name}"
                );
            }
        }
    }

    /// Only what is old, ours and a file goes.
    #[test]
    fn leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let open = Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
        let old = SystemTime::now() - Duration::from_secs(37 * 60 * 60);
        let age = |file: &File| file.set_modified(old).unwrap();
        for (name, is_old) in [
            (".pop3d.new.1", true),
            (".pop3d.new.2", false),
            ("new.3", true),
        ] {
            let file = File::create(dir.path().join(name)).unwrap();
            if is_old {
                age(&file);
            }
        }
        fs::create_dir(dir.path().join(".pop3d.new.4")).unwrap();
        age(&File::open(dir.path().join(".pop3d.new.4")).unwrap());
        let left = || {
            let mut left: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            left.sort();
            left
        };
        let sweeps = Sweeps::default();
        sweeps.sweep(dir.path(), open.as_fd());
        assert_eq!(left(), [".pop3d.new.2", ".pop3d.new.4", "new.3"]);
        // Not again at once.
        age(&File::create(dir.path().join(".pop3d.new.1")).unwrap());
        sweeps.sweep(dir.path(), open.as_fd());
        assert_eq!(left().len(), 4);
        Sweeps::default().sweep(dir.path(), open.as_fd());
        assert_eq!(left().len(), 3);
    }
}
