//! What the stores share in listing a directory: names in one block of memory, and a
//! bounded cache.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom, CWD};

/// Room for directory entries, filled by one system call.
const ENTRIES: usize = 64 * 1024;

/// Memory for cached listings; about 600,000 messages. What is not in it is read
/// from the disk again.
const CACHE_BYTES: usize = 128 << 20;

/// How directories are opened.
const READING_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A mailbox's directory.
#[derive(Clone, Copy, Debug)]
pub struct MailboxDir<'a> {
    /// By what the mailbox is known. Nothing is opened by it: something else may have
    /// taken this path.
    pub path: &'a Path,
    /// The directory that is locked, open to read it and to reach its files.
    pub fd: BorrowedFd<'a>,
}

/// Locks a mutex; a panic elsewhere leaves the data of this module whole.
pub fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// File names, one after the other in one block: 100,000 names are two
/// allocations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Names {
    /// Adds a name.
    pub fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        // 4 GiB of names are 16 million files with the longest names there are.
        self.ends
            .push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name at `index`, which must be below [`len`](Self::len).
    pub fn get(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] as usize,
        };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// The name at `index`, as paths are made of.
    pub fn file(&self, index: usize) -> &OsStr {
        OsStr::from_bytes(self.get(index))
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The index of the name whose key is `key`, among names sorted by their keys.
    pub fn find(&self, key: &[u8], key_of: impl Fn(&[u8]) -> &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match key_of(self.get(middle)).cmp(key) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The names at `order`, in that order, in memory of just the size needed.
    pub fn select(&self, order: impl Iterator<Item = usize> + Clone) -> Self {
        let bytes = order.clone().map(|index| self.get(index).len()).sum();
        let mut chosen = Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(order.clone().count()),
        };
        order.for_each(|index| chosen.push(self.get(index)));
        chosen
    }

    /// The order of the names by the bytes of their keys: for UTF-8 that of `lsort`.
    /// Names of one key stay in the order they have.
    pub fn order(&self, key_of: impl Fn(&[u8]) -> &[u8]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|&a, &b| key_of(self.get(a)).cmp(key_of(self.get(b))));
        order
    }

    /// The same names in the order of their bytes.
    pub fn sorted(&self) -> Self {
        self.select(self.order(|name| name).into_iter())
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.bytes.capacity() + 4 * self.ends.capacity()
    }
}

/// Opens a directory to read it and to reach its files.
///
/// # Errors
/// When there is no such directory.
pub fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, dir, READING_DIR, Mode::empty())?)
}

/// Opens the mailbox `name` below the open directory `base`, if nothing need be waited for:
/// the way to it is in memory and crosses no mount. None in all other cases.
#[cfg(target_os = "linux")]
pub fn open_dir_cached(base: BorrowedFd<'_>, name: &Path) -> Option<OwnedFd> {
    use rustix::fs::{openat2, ResolveFlags};
    let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    openat2(base, name, READING_DIR, Mode::empty(), resolve).ok()
}

/// Whether the open directory `dir` has the path `path`, if nobody need be asked for that:
/// the way to it is in memory. False in all other cases. The way to a directory on a disk of
/// this machine may lead by a link on another one.
#[cfg(target_os = "linux")]
pub fn is_at_cached(dir: BorrowedFd<'_>, path: &Path) -> bool {
    use rustix::fs::{openat2, statx, AtFlags, ResolveFlags, StatxFlags};
    // What is found may be on another machine, which is not asked for it either.
    let nobody = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let which = |fd: BorrowedFd<'_>| {
        let found = statx(fd, "", nobody, StatxFlags::INO).ok()?;
        Some((found.stx_dev_major, found.stx_dev_minor, found.stx_ino))
    };
    let only_to_look = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat2(CWD, path, only_to_look, Mode::empty(), ResolveFlags::CACHED);
    found.is_ok_and(|found| which(found.as_fd()).is_some_and(|found| which(dir) == Some(found)))
}

/// Whether a directory has a path, if nobody need be asked: that is unknown on this platform.
#[cfg(not(target_os = "linux"))]
pub fn is_at_cached(_dir: BorrowedFd<'_>, _path: &Path) -> bool {
    false
}

/// Opens a mailbox if nothing need be waited for: that is unknown on this platform.
#[cfg(not(target_os = "linux"))]
pub fn open_dir_cached(_base: BorrowedFd<'_>, _name: &Path) -> Option<OwnedFd> {
    None
}

/// Opens the directory `name` in the open directory `from`. A link of that name is not
/// followed: an owner of the mailbox could lead the server to other users' mail by one.
///
/// # Errors
/// When there is no such directory, or a link in its place.
pub fn open_dir_in(from: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = READING_DIR | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(from, name, flags, Mode::empty())?)
}

/// Calls `each` for every entry of a directory that may be a message: no dot file
/// and no directory. The type may be unknown or that of a symbolic link.
///
/// # Errors
/// When the directory cannot be read.
pub fn read_dir(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    // It may have been read before by this descriptor.
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut room: Vec<u8> = Vec::with_capacity(ENTRIES);
    let mut entries = RawDir::new(dir, room.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let (name, kind) = (entry.file_name().to_bytes(), entry.file_type());
        if !name.starts_with(b".") && kind != FileType::Directory {
            each(name, kind);
        }
    }
    Ok(())
}

/// Listings of mailboxes by their directory, bounded in memory.
#[derive(Debug)]
pub struct Cache<T> {
    inner: Mutex<Slots<T>>,
    limit: usize,
}

#[derive(Debug)]
struct Slots<T> {
    slots: HashMap<Box<Path>, Slot<T>>,
    weight: usize,
    clock: u64,
}

#[derive(Debug)]
struct Slot<T> {
    value: Arc<T>,
    weight: usize,
    used: u64,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self::with_limit(CACHE_BYTES)
    }
}

impl<T> Cache<T> {
    /// A cache of at most `limit` bytes and one listing.
    fn with_limit(limit: usize) -> Self {
        let inner = Slots {
            slots: HashMap::new(),
            weight: 0,
            clock: 0,
        };
        Self {
            inner: Mutex::new(inner),
            limit,
        }
    }

    /// The listing kept for `dir`; the caller checks whether it still holds.
    pub fn get(&self, dir: &Path) -> Option<Arc<T>> {
        let mut inner = locked(&self.inner);
        inner.clock += 1;
        let clock = inner.clock;
        let slot = inner.slots.get_mut(dir)?;
        slot.used = clock;
        Some(slot.value.clone())
    }

    /// Keeps `value`, about `weight` bytes, for `dir`.
    pub fn put(&self, dir: &Path, value: Arc<T>, weight: usize) {
        let mut inner = locked(&self.inner);
        inner.clock += 1;
        let slot = Slot {
            value,
            weight,
            used: inner.clock,
        };
        inner.weight += weight;
        if let Some(old) = inner.slots.insert(dir.into(), slot) {
            inner.weight -= old.weight;
        }
        if inner.weight > self.limit {
            inner.shrink(self.limit / 4 * 3);
        }
    }

    /// Drops what is kept for `dir`, which is about to go.
    pub fn forget(&self, dir: &Path) {
        let mut inner = locked(&self.inner);
        if let Some(old) = inner.slots.remove(dir) {
            inner.weight -= old.weight;
        }
    }
}

impl<T> Slots<T> {
    /// Drops what was not used for longest, but never the last used.
    fn shrink(&mut self, limit: usize) {
        let slots = self.slots.values();
        let mut by_use: Vec<(u64, usize)> = slots.map(|slot| (slot.used, slot.weight)).collect();
        by_use.sort_unstable();
        by_use.pop();
        let mut last = 0;
        for (used, weight) in by_use {
            if self.weight <= limit {
                break;
            }
            self.weight -= weight;
            last = used;
        }
        self.slots.retain(|_, slot| slot.used > last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_and_are_found() {
        let mut names = Names::default();
        for name in ["b", "", "a\u{e9}", "a", "B"] {
            names.push(name.as_bytes());
        }
        names.push(b"\xff");
        let sorted = names.sorted();
        let got: Vec<&[u8]> = sorted.iter().collect();
        assert_eq!(
            got,
            [&b""[..], b"B", b"a", "a\u{e9}".as_bytes(), b"b", b"\xff"]
        );
    }

    #[test]
    fn cache_drops_the_least_used() {
        let cache = Cache::with_limit(100);
        let path = |n: usize| std::path::PathBuf::from(format!("/{n}"));
        let there = |cache: &Cache<usize>| -> Vec<usize> {
            let inner = locked(&cache.inner);
            let mut all: Vec<usize> = inner.slots.values().map(|slot| *slot.value).collect();
            all.sort_unstable();
            all
        };
        for n in 0..4 {
            cache.put(&path(n), Arc::new(n), 25);
        }
        assert_eq!(cache.get(&path(0)).as_deref(), Some(&0));
        cache.put(&path(4), Arc::new(4), 25);
        assert_eq!(there(&cache), [0, 3, 4]);
        cache.put(&path(3), Arc::new(3), 30);
        cache.forget(&path(0));
        assert_eq!(there(&cache), [3, 4]);
        cache.put(&path(5), Arc::new(5), 1000);
        assert_eq!(there(&cache), [5]);
        assert_eq!(locked(&cache.inner).weight, 1000);
    }
}
