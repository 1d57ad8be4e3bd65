//! Files of messages: opened for reading, and read without waiting for a disk where
//! that can be.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, CWD};
use rustix::io::Errno;

use super::layout::Links;
use super::octets::{count, to_announce, ListedOctets};
use super::reach;
use super::stamp::{is_regular, Stamp};
use crate::descriptors::out_of_the_way;
use crate::store::{Content, StartedMessage, Wait};
use crate::system::read_in_memory;

const READING: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens a message to read it. A pipe in the place of a file holds nobody up.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
pub fn open_message(path: &Path) -> io::Result<(File, Stamp)> {
    regular(open_message_at(CWD, path, Links::Follow, Wait::UNTIL_DONE)?)
}

/// How long is waited for the holder of a lease to give it up (fcntl(2), F_SETLEASE). A file
/// server does that when it has written what it kept back.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried again meanwhile.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// Opens what has the path `path` in the open directory `dir`. The caller checks whether it
/// is a [`regular`] file.
///
/// # Errors
/// When it cannot be opened within `wait`, or is a link that is not to be followed.
pub fn open_message_at(
    dir: BorrowedFd<'_>,
    path: &Path,
    links: Links,
    wait: Wait<'_>,
) -> io::Result<File> {
    let flags = match links {
        Links::Follow => READING,
        Links::Refuse => READING | OFlags::NOFOLLOW,
    };
    let begin = Instant::now();
    loop {
        match reach::open(dir, path, flags, wait) {
            // As O_NONBLOCK wants it, which is there for pipes; its holder is told by then.
            Err(Errno::AGAIN)
                if wait.may_block() && wait.is_wanted() && begin.elapsed() < LEASE_PATIENCE =>
            {
                sleep(RETRY_AFTER);
            }
            opened => return Ok(out_of_the_way(opened?)?.into()),
        }
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

impl StartedMessage {
    /// Reads what `buffer` has room for of an open message, as far as the system has it in
    /// memory. `None` if its octets cannot be told by that, or on failure. `named_size` is
    /// the size of the file by its name, `listed` what the listing says of its octets.
    pub(super) fn read(
        file: File,
        named_size: Option<u64>,
        listed: impl FnOnce(&Stamp) -> ListedOctets,
        buffer: &mut [u8],
    ) -> Option<Self> {
        match named_size {
            Some(size) if fits_visibly(size, buffer) => Self::read_whole(&file, size, buffer),
            _ => {
                let (file, stamp) = regular(file).ok()?;
                Self::read_start(file, stamp.size, listed(&stamp), buffer)
            }
        }
    }

    /// Reads and counts a message whose name tells its size, which spares asking for its
    /// stamp. `None` if the size is wrong, which a byte too few or too many shows.
    fn read_whole(file: &File, size: u64, buffer: &mut [u8]) -> Option<Self> {
        let room = buffer.get_mut(..=usize::try_from(size).ok()?)?;
        let length = read_in_memory(file, room).ok()?.unwrap_or(0);
        (length as u64 == size).then(|| Self {
            octets: count(&buffer[..length]),
            length,
            rest: None,
        })
    }

    /// Reads the start of a message from its file, which has `size` bytes.
    fn read_start(file: File, size: u64, listed: ListedOctets, buffer: &mut [u8]) -> Option<Self> {
        let most = usize::try_from(size).map_or(buffer.len(), |size| size.min(buffer.len()));
        if listed == ListedOctets::Unknown && (most as u64) < size {
            return None;
        }
        let length = match most {
            0 => 0,
            _ => read_in_memory(&file, &mut buffer[..most])
                .ok()?
                .unwrap_or(0),
        };
        let left = size - length as u64;
        let octets = match listed {
            ListedOctets::FileSize => size,
            ListedOctets::Counted(octets) => octets,
            ListedOctets::Claimed(octets) => to_announce(&buffer[..length], left, octets),
            ListedOctets::Unknown if left > 0 => return None,
            ListedOctets::Unknown => count(&buffer[..length]),
        };
        Some(Self {
            octets,
            length,
            rest: (left > 0).then(|| Content::File(file, left)),
        })
    }
}

/// Whether a message of `size` bytes can be read at once and seen to be whole. A read that
/// does not wait ends early at the border of a page or disk block that is not in memory,
/// and that must not look like the end of the message.
fn fits_visibly(size: u64, buffer: &[u8]) -> bool {
    const BLOCK: u64 = 512;
    size < buffer.len() as u64 && !size.is_multiple_of(BLOCK)
}
