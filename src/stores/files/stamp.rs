//! Stamps, by which changes of files and directories are noticed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::layout::Links;
use super::reach;
use crate::store::reason::Reason;
use crate::store::Wait;
use crate::text::shown;

/// How long a thing must have been left alone before its time stamp tells that
/// nothing changed: two changes within one tick of the file system's clock have the
/// same stamp. Ticks are 10 ms where Linux stamps, 2 s on the coarsest systems.
const SETTLED_SECONDS: i64 = 2;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the content, seconds. Anybody can set it back.
    pub seconds: i64,
    /// The rest of that time in nanoseconds.
    pub nanos: u32,
    /// Time of the last change of anything in the inode, seconds: never set back, and
    /// another one when an inode is used again.
    pub changed: i64,
    /// The rest of that time in nanoseconds.
    pub changed_nanos: u32,
    /// Number of the inode.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of a file.
    pub fn new(stat: &Stat) -> Self {
        Self {
            size: stat.st_size as u64,
            seconds: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
            changed: stat.st_ctime,
            changed_nanos: stat.st_ctime_nsec as u32,
            inode: stat.st_ino,
        }
    }

    /// The stamp of the message `name` in the directory `dir`; `None` when no regular
    /// file has that name, or none any more.
    ///
    /// # Errors
    /// When the system cannot say. That must not look like a message that has gone: a
    /// client that leaves mail on the server would forget its id, and fetch it again.
    pub fn at(
        dir: BorrowedFd<'_>,
        name: &OsStr,
        links: Links,
        wait: Wait<'_>,
    ) -> io::Result<Option<Self>> {
        match stat(dir, name, links, wait) {
            Ok(stat) => Ok(is_regular(&stat).then(|| Self::new(&stat))),
            // Removed after its directory was read, or a link that leads nowhere.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) if links == Links::Follow => Ok(None),
            Err(error) => {
                let error = io::Error::from(error);
                let name = shown(name);
                let text = format!("{}: {}", name.escape_debug(), Reason(&error));
                Err(io::Error::new(error.kind(), text))
            }
        }
    }

    /// A stamp of which only the size is known, from the file's name.
    pub fn of_size(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Whether only the size is known.
    pub fn has_size_only(&self) -> bool {
        *self == Self::of_size(self.size)
    }

    /// Whether a later change is sure to give another stamp, for a stamp taken at
    /// or after `now` (seconds since 1970).
    pub fn is_settled(&self, now: i64) -> bool {
        self.changed + SETTLED_SECONDS < now
    }

    /// Whether it equals `other` in all that is known of it.
    pub fn may_be(&self, other: &Self) -> bool {
        match self.has_size_only() {
            true => self.size == other.size,
            false => self == other,
        }
    }

    /// Whether it is the same message for its owner: new access rights, links and names
    /// do not matter.
    pub fn is_same_message(&self, other: &Self) -> bool {
        let message = |stamp: &Self| (stamp.size, stamp.seconds, stamp.nanos, stamp.inode);
        message(self) == message(other)
    }
}

/// [`reach::stat`], which tests can make fail.
fn stat(dir: BorrowedFd<'_>, name: &OsStr, links: Links, wait: Wait<'_>) -> Result<Stat, Errno> {
    #[cfg(test)]
    if let Some(errno) = failing::errno(name) {
        return Err(errno);
    }
    reach::stat(dir, name.as_ref(), links, wait)
}

/// Whether `stat` is that of a regular file: the only ones that are messages, as a
/// pipe or device would hold up its reader.
pub fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// What tells one state of a directory from another: changes with every name that
/// comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirStamp {
    device: u64,
    inode: u64,
    seconds: i64,
    nanos: u32,
}

impl DirStamp {
    /// The stamp of an open directory now. It is the inode's change time, which unlike
    /// the modification time cannot be set back.
    ///
    /// # Errors
    /// What the system said.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstat(dir)?))
    }

    /// The stamp of the directory `name` in the open directory `from`.
    ///
    /// # Errors
    /// When there is none, or a link in its place.
    pub fn in_dir(from: BorrowedFd<'_>, name: &str, wait: Wait<'_>) -> io::Result<Self> {
        let stat = reach::stat(from, name.as_ref(), Links::Refuse, wait)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Self::new(&stat)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn new(stat: &Stat) -> Self {
        Self {
            device: crate::system::device(stat),
            inode: stat.st_ino,
            seconds: stat.st_ctime,
            nanos: stat.st_ctime_nsec as u32,
        }
    }

    /// Whether a later change is sure to give another stamp, for a stamp taken at
    /// or after `now` (seconds since 1970).
    pub fn is_settled(&self, now: i64) -> bool {
        self.seconds + SETTLED_SECONDS < now
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Failures of a disk, for tests: they cannot be had from a real one in CI.
#[cfg(test)]
pub mod failing {
    use std::cell::RefCell;
    use std::ffi::{OsStr, OsString};

    use rustix::io::Errno;

    thread_local! {
        static FAILING: RefCell<Option<(OsString, Errno)>> = const { RefCell::new(None) };
    }

    /// Lets questions for files of this name fail, on this thread, while `act` runs.
    pub fn with<T>(name: &str, errno: Errno, act: impl FnOnce() -> T) -> T {
        FAILING.set(Some((name.into(), errno)));
        let done = act();
        FAILING.set(None);
        done
    }

    pub(super) fn errno(name: &OsStr) -> Option<Errno> {
        let failing = FAILING.with_borrow(Option::clone);
        failing.and_then(|(failing, errno)| (failing == name).then_some(errno))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::store::{Storage, StoreError, Wait};
    use crate::stores::dbox::dbox;
    use crate::stores::files::mailboxes::{Mailboxes, Octets};
    use crate::stores::mailbox_store::MailboxStore;
    use crate::stores::maildir::maildir;
    use pop3_proto::Failure;

    #[test]
    fn a_young_stamp_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = DirStamp::of(File::open(dir.path()).unwrap().as_fd()).unwrap();
        assert!(!stamp.is_settled(now()));
        assert!(stamp.is_settled(stamp.seconds + 3));
    }

    /// A mailbox `m` with the messages `1`, `2` and `3`.
    fn filled(boxes: Mailboxes, place: &str) -> (tempfile::TempDir, Mailboxes) {
        let base = tempfile::tempdir().unwrap();
        boxes.set_base("base", base.path()).unwrap();
        boxes.add("m").unwrap();
        for name in ["1", "2", "3"] {
            std::fs::write(base.path().join("m").join(place).join(name), "x\n").unwrap();
        }
        (base, boxes)
    }

    /// A message that the system says nothing of is not left out: the login fails, for a
    /// kept listing as for a fresh one, and its lock ends.
    #[test]
    fn only_what_is_not_there_is_no_message() {
        type Row = (Errno, Result<u32, Failure>);
        let table: &[Row] = &[
            (Errno::NOENT, Ok(2)),
            (Errno::NOTDIR, Ok(2)),
            (Errno::IO, Err(Failure::Temporary)),
            (Errno::NOMEM, Err(Failure::Temporary)),
            (Errno::STALE, Err(Failure::Temporary)),
            (Errno::NAMETOOLONG, Err(Failure::Temporary)),
            (Errno::ACCESS, Err(Failure::Permanent)),
        ];
        type Store = (fn() -> Mailboxes, &'static str);
        let stores: [Store; 3] = [(dbox, ""), (maildir, "new"), (maildir, "cur")];
        for (make, place) in stores {
            for octets in [Octets::File, Octets::Wire] {
                let (_base, boxes) = filled(make(), place);
                boxes.set_octets(octets);
                for (errno, want) in table {
                    let lock = || boxes.lock("m", Wait::UNTIL_DONE).map(|drop| drop.count());
                    let got = failing::with("2", *errno, lock);
                    if let Err(error) = &got {
                        let text = format!("couldn't list \"m\": 2: {}", Reason(&(*errno).into()));
                        assert_eq!(error.to_string(), text);
                    }
                    let got = got.map_err(|error| error.failure());
                    assert_eq!(got, *want, "{errno} in \"{place}\"");
                    assert_eq!(lock().unwrap(), 3);
                }
            }
        }
    }

    /// A listing that is kept is not believed when the system does not say whether it
    /// still holds.
    #[test]
    fn a_kept_listing_fails_as_a_fresh_one() {
        for (boxes, place) in [(dbox(), ""), (maildir(), "new")] {
            let (_base, boxes) = filled(boxes, place);
            std::thread::sleep(std::time::Duration::from_millis(3100));
            assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 3);
            drop(boxes.lock("m", Wait::No));
            failing::with("2", Errno::IO, || {
                assert!(matches!(
                    boxes.lock("m", Wait::No),
                    Err(StoreError::WouldBlock)
                ));
                let failed = boxes.lock("m", Wait::UNTIL_DONE).map(drop).unwrap_err();
                assert!(matches!(failed, StoreError::Io { .. }), "{failed}");
            });
            assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 3);
        }
    }
}
