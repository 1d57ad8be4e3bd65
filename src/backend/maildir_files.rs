//! Which files a Maildir holds, while others deliver and rename.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, CWD};

use super::listing::{is_regular, now, open_dir, open_dir_at, read_dir, DirStamp, Names, Stamp};
use super::maildir_name::base;

/// The directories that messages are in, in the order they pass through them. To
/// read them in this order is to miss no message that moves meanwhile.
pub const PLACES: [&str; 2] = ["new", "cur"];

/// How often directories that change while they are read are read again.
pub const ATTEMPTS: usize = 3;

/// How often the directories are read for one listing to find what was renamed meanwhile:
/// whoever renames without end must not keep a login from its end.
const LOOKS: usize = 16;

/// Which files there are.
pub struct Found {
    /// Of the directories, before they were read.
    stamps: [DirStamp; 2],
    /// Whether these stamps change when there are other messages.
    pub settled: bool,
    /// Whether nothing changed while they were read: then what was there is in it.
    whole: bool,
    /// Seconds since 1970 before anything was read.
    pub moment: i64,
    /// File names in the order of their base names, none of which is there twice.
    pub names: Names,
    /// For each name, its place in [`PLACES`].
    pub places: Box<[u8]>,
}

impl Found {
    /// Reads both directories.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Self::read_at(CWD, dir)
    }

    /// As [`read`](Self::read), of a mailbox that is named from `from` on.
    ///
    /// # Errors
    /// As there.
    pub fn read_at(from: BorrowedFd<'_>, dir: &Path) -> io::Result<Self> {
        let moment = now();
        let paths = PLACES.map(|place| dir.join(place));
        let mut stamps = stamps(from, &paths)?;
        for attempt in 1.. {
            let (names, places) = read_places(from, &paths)?;
            let after = self::stamps(from, &paths)?;
            // A file that is renamed while its directory is read may show twice or
            // not at all.
            let whole = stamps == after;
            if whole || attempt == ATTEMPTS {
                let settled = whole && stamps.iter().all(|stamp| stamp.is_settled(moment));
                return Ok(Self {
                    stamps,
                    settled,
                    whole,
                    moment,
                    names,
                    places,
                });
            }
            stamps = after;
        }
        unreachable!("the last attempt returns")
    }

    /// Whether there are the same names now.
    ///
    /// # Errors
    /// When the directories have gone.
    pub fn still_holds(&self, dir: &Path) -> io::Result<bool> {
        self.still_holds_at(CWD, dir)
    }

    /// As [`still_holds`](Self::still_holds), of a mailbox that is named from `from` on.
    ///
    /// # Errors
    /// As there.
    pub fn still_holds_at(&self, from: BorrowedFd<'_>, dir: &Path) -> io::Result<bool> {
        let paths = PLACES.map(|place| dir.join(place));
        Ok(self.settled && stamps(from, &paths)? == self.stamps)
    }

    /// The base name of a file.
    pub fn base(&self, index: usize) -> &[u8] {
        base(self.names.get(index))
    }

    /// The file of a base name.
    pub fn find(&self, wanted: &[u8]) -> Option<usize> {
        self.names.find(wanted, base)
    }

    /// Where a file was.
    pub fn path(&self, dir: &Path, index: usize) -> PathBuf {
        let place = PLACES[usize::from(self.places[index])];
        let name = self.names.file(index);
        let length = dir.as_os_str().len() + place.len() + name.len() + 2;
        let mut path = PathBuf::with_capacity(length);
        path.extend([dir, place.as_ref(), name.as_ref()]);
        path
    }
}

fn stamps(from: BorrowedFd<'_>, paths: &[PathBuf; 2]) -> io::Result<[DirStamp; 2]> {
    let [new, cur] = paths;
    Ok([DirStamp::at(from, new)?, DirStamp::at(from, cur)?])
}

/// The files of both places, sorted, those that show twice only once.
fn read_places(from: BorrowedFd<'_>, paths: &[PathBuf; 2]) -> io::Result<(Names, Box<[u8]>)> {
    let mut names = Names::default();
    let mut places = Vec::new();
    for (place, path) in (0u8..).zip(paths) {
        read_dir(&open_dir_at(from, path)?, |name, kind| {
            // Where the file system does not tell, opening will.
            if matches!(kind, FileType::RegularFile | FileType::Unknown) {
                names.push(name);
                places.push(place);
            }
        })?;
    }
    let mut order = names.order(base);
    // The later one is the one to keep: in `cur/`, or under its new flags.
    let same = |a: usize, b: usize| base(names.get(a)) == base(names.get(b));
    order.dedup_by(|later, earlier| {
        let twice = same(*later, *earlier);
        if twice {
            *earlier = *later;
        }
        twice
    });
    let places = order.iter().map(|&index| places[index]).collect();
    Ok((names.select(order.into_iter()), places))
}

/// Opens both directories to reach their files.
///
/// # Errors
/// When one of them cannot be opened.
pub fn open_places(dir: &Path) -> io::Result<[OwnedFd; 2]> {
    let [new, cur] = PLACES.map(|place| open_dir(&dir.join(place)));
    Ok([new?, cur?])
}

/// The stamp of a message; `None` when it is none, or none any more.
pub fn stamp_of(dirs: &[OwnedFd; 2], found: &Found, index: usize) -> Option<Stamp> {
    let dir = &dirs[usize::from(found.places[index])];
    let name = found.names.file(index);
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    is_regular(&stat).then(|| Stamp::new(&stat))
}

/// Where messages are that were renamed since they were found.
#[derive(Default)]
pub struct Renamed {
    latest: Option<(Found, [OwnedFd; 2])>,
    looks: usize,
}

impl Renamed {
    /// The stamp of the message of this base name; `None` when it has gone.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn stamp_of(&mut self, dir: &Path, base: &[u8]) -> io::Result<Option<Stamp>> {
        // What is no regular file is not there however often one looks.
        for _ in 0..=ATTEMPTS {
            if let Some((found, dirs)) = &self.latest {
                let there = found.find(base);
                if let Some(stamp) = there.and_then(|index| stamp_of(dirs, found, index)) {
                    return Ok(Some(stamp));
                }
                if there.is_none() && found.whole {
                    // Deleted, and messages do not come back.
                    break;
                }
            }
            // Renamed once more since, or deleted.
            if self.looks == LOOKS {
                break;
            }
            self.looks += 1;
            self.latest = Some((Found::read(dir)?, open_places(dir)?));
        }
        Ok(None)
    }
}
