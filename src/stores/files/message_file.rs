//! Files of messages: opened for reading, and read without waiting for a disk where
//! that can be.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, CWD};

use super::mailboxes::Links;
use super::octets::{count, to_announce, Known};
use super::stamp::{is_regular, Stamp};
use crate::descriptors::out_of_the_way;
use crate::store::source::read_cached;
use crate::store::{Begin, Content};

const READING: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens a message to read it. A pipe in the place of a file holds nobody up.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
pub fn open_message(path: &Path) -> io::Result<(File, Stamp)> {
    open_message_at(CWD, path, Links::Follow)
}

/// As [`open_message`], of a name in the open directory `dir`.
///
/// # Errors
/// Those of [`open_message`], and when it is a link that is not to be followed.
pub fn open_message_at(
    dir: BorrowedFd<'_>,
    name: &Path,
    links: Links,
) -> io::Result<(File, Stamp)> {
    let fd = rustix::fs::openat(dir, name, reading(links), Mode::empty())?;
    regular(out_of_the_way(fd)?.into())
}

fn reading(links: Links) -> OFlags {
    match links {
        Links::Follow => READING,
        Links::Refuse => READING | OFlags::NOFOLLOW,
    }
}

/// A file that was opened as a message, and its stamp.
///
/// # Errors
/// When it is not a regular file.
pub fn regular(file: File) -> io::Result<(File, Stamp)> {
    let stat = rustix::fs::fstat(&file)?;
    if !is_regular(&stat) {
        let kind = io::ErrorKind::InvalidData;
        return Err(io::Error::new(kind, "not a regular file"));
    }
    Ok((file, Stamp::new(&stat)))
}

/// As [`open_message_at`], if the system need not read a disk for it; none if it must or
/// cannot tell, and on failure. Whether the file is [`regular`] is still to be seen.
///
/// Where links are refused, none of the directories in `name` is one either.
#[cfg(target_os = "linux")]
pub fn open_message_cached(dir: BorrowedFd<'_>, name: &Path, links: Links) -> Option<File> {
    use rustix::fs::{openat2, ResolveFlags};
    let resolve = match links {
        Links::Follow => ResolveFlags::empty(),
        Links::Refuse => ResolveFlags::NO_SYMLINKS,
    };
    // Behind a mount, or a link to one, another machine or process may be asked.
    let resolve = resolve | ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    let fd = openat2(dir, name, reading(links), Mode::empty(), resolve).ok()?;
    Some(out_of_the_way(fd).ok()?.into())
}

/// Whether the system need not read a disk is unknown here.
#[cfg(not(target_os = "linux"))]
pub fn open_message_cached(_dir: BorrowedFd<'_>, _name: &Path, _links: Links) -> Option<File> {
    None
}

impl Begin {
    /// Whether [`read_whole`](Self::read_whole) may be asked for a message of `size` bytes:
    /// what is not in memory cuts a read short at the border of a page or disk block,
    /// and that must not look like the end.
    pub(super) fn is_read_whole(size: u64, buffer: &[u8]) -> bool {
        const BLOCK: u64 = 512;
        size < buffer.len() as u64 && !size.is_multiple_of(BLOCK)
    }

    /// Reads a message of which its size is told, which spares asking for its stamp, and
    /// counts it. None if it is another one than is told, which a byte too few or too
    /// many shows; `buffer` must have room for that one.
    pub(super) fn read_whole(file: &File, size: u64, buffer: &mut [u8]) -> Option<Self> {
        let room = buffer.get_mut(..=usize::try_from(size).ok()?)?;
        let length = read_cached(file, room).ok()?.unwrap_or(0);
        (length as u64 == size).then(|| Self {
            octets: count(&buffer[..length]),
            length,
            rest: None,
        })
    }

    /// Reads the begin of a message from its file, which has `size` bytes. None if it
    /// cannot be read, or its octets cannot be told by that.
    pub(super) fn read(file: File, size: u64, known: Known, buffer: &mut [u8]) -> Option<Self> {
        let most = usize::try_from(size).map_or(buffer.len(), |size| size.min(buffer.len()));
        if known == Known::Nothing && (most as u64) < size {
            return None;
        }
        let length = match most {
            0 => 0,
            _ => read_cached(&file, &mut buffer[..most]).ok()?.unwrap_or(0),
        };
        let left = size - length as u64;
        let octets = match known {
            Known::Size => size,
            Known::Counted(octets) => octets,
            Known::Told(octets) => to_announce(&buffer[..length], left, octets),
            Known::Nothing if left > 0 => return None,
            Known::Nothing => count(&buffer[..length]),
        };
        Some(Self {
            octets,
            length,
            rest: (left > 0).then(|| Content::File(file, left)),
        })
    }
}
