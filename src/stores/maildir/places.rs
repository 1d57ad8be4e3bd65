//! Which files a Maildir holds, while others deliver and rename.
//!
//! All files are reached from the open directory of the mailbox, by way of `new` and
//! `cur`, which are opened without following a link: a user that may write into one mailbox
//! could otherwise have the server read and delete the mail of another.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::name::base;
use crate::store::Wait;
use crate::stores::files::layout::Links;
use crate::stores::files::listing::{read_dir, Names};
use crate::stores::files::reach::open_dir_in;
use crate::stores::files::stamp::{now, DirStamp, Stamp};

/// The directories that messages are in, in the order they pass through them. To
/// read them in this order is to miss no message that moves meanwhile.
pub const PLACES: [&str; 2] = ["new", "cur"];

/// How often directories that change while they are read are read again.
pub const ATTEMPTS: usize = 3;

/// How often the directories are read for one listing to find what was renamed meanwhile:
/// endless renaming must not keep a login from its end.
const LOOKS: usize = 16;

/// The files of a Maildir when its directories were read.
pub struct FoundFiles {
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

impl FoundFiles {
    /// Reads both directories of the mailbox `dir`.
    ///
    /// # Errors
    /// When one of them cannot be read, or is a link.
    pub fn read(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let moment = now();
        let mut stamps = stamps(dir, Wait::UNTIL_DONE)?;
        for attempt in 1.. {
            let (names, places) = read_places(&open_places(dir)?)?;
            let after = self::stamps(dir, Wait::UNTIL_DONE)?;
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

    /// Whether the directories hold the same names now.
    ///
    /// # Errors
    /// When the directories have gone.
    pub fn still_holds(&self, dir: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<bool> {
        Ok(self.settled && stamps(dir, wait)? == self.stamps)
    }

    /// The base name of a file.
    pub fn base(&self, index: usize) -> &[u8] {
        base(self.names.get(index))
    }

    /// The file of a base name.
    pub fn find(&self, wanted: &[u8]) -> Option<usize> {
        self.names.find(wanted, base)
    }

    /// The place of a file in [`PLACES`].
    pub fn place(&self, index: usize) -> usize {
        self.places[index].into()
    }

    /// Where a file was.
    pub fn entry(&self, index: usize) -> Entry {
        Entry {
            place: PLACES[self.place(index)],
            name: self.names.file(index).into(),
        }
    }
}

/// A file in one of the two directories.
pub struct Entry {
    place: &'static str,
    name: OsString,
}

impl Entry {
    /// Opens the directory of the file to do something with it.
    ///
    /// # Errors
    /// Those of `act`, and when the directory cannot be opened or is a link.
    pub fn reach<T>(
        &self,
        dir: BorrowedFd<'_>,
        act: impl FnOnce(BorrowedFd<'_>, &Self) -> io::Result<T>,
    ) -> io::Result<T> {
        act(open_dir_in(dir, self.place)?.as_fd(), self)
    }

    /// Its name in its directory.
    pub fn name(&self) -> &Path {
        self.name.as_ref()
    }

    /// Its path in the mailbox.
    pub fn path(&self) -> PathBuf {
        Path::new(self.place).join(&self.name)
    }
}

fn stamps(dir: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<[DirStamp; 2]> {
    let [new, cur] = PLACES.map(|place| DirStamp::in_dir(dir, place, wait));
    Ok([new?, cur?])
}

/// The files of both places, sorted, those that show twice only once.
fn read_places(dirs: &[OwnedFd; 2]) -> io::Result<(Names, Box<[u8]>)> {
    let mut names = Names::default();
    let mut places = Vec::new();
    for (place, dir) in (0u8..).zip(dirs) {
        read_dir(dir.as_fd(), |name, kind| {
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
/// When one of them cannot be opened, or is a link.
pub fn open_places(dir: BorrowedFd<'_>) -> io::Result<[OwnedFd; 2]> {
    let [new, cur] = PLACES.map(|place| open_dir_in(dir, place));
    Ok([new?, cur?])
}

/// The stamp of a message; `None` when it is none, or none any more.
///
/// # Errors
/// When the system cannot say.
pub fn stamp_of(
    dirs: &[OwnedFd; 2],
    found: &FoundFiles,
    index: usize,
) -> io::Result<Option<Stamp>> {
    let dir = dirs[found.place(index)].as_fd();
    Stamp::at(
        dir,
        found.names.file(index),
        Links::Refuse,
        Wait::UNTIL_DONE,
    )
}

/// Where messages are that were renamed since they were found.
#[derive(Default)]
pub struct Renamed {
    latest: Option<(FoundFiles, [OwnedFd; 2])>,
    looks: usize,
}

impl Renamed {
    /// The stamp of the message of this base name; `None` when it has gone.
    ///
    /// # Errors
    /// When the directories cannot be read, or the system cannot say.
    pub fn stamp_of(&mut self, dir: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<Stamp>> {
        // What is no regular file is not there however often one looks.
        for _ in 0..=ATTEMPTS {
            if let Some((found, dirs)) = &self.latest {
                let there = found.find(base);
                if let Some(index) = there {
                    if let Some(stamp) = stamp_of(dirs, found, index)? {
                        return Ok(Some(stamp));
                    }
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
            self.latest = Some((FoundFiles::read(dir)?, open_places(dir)?));
        }
        Ok(None)
    }
}
