//! What the stores share in listing a directory: names in one block of memory,
//! stamps by which changes are noticed, and a bounded cache.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, CWD};

/// How long a thing must have been left alone before its time stamp tells that
/// nothing changed: two changes within one tick of the file system's clock have the
/// same stamp. Ticks are 10 ms where Linux stamps, 2 s on the coarsest systems.
const SETTLED_SECONDS: i64 = 2;

/// Room for directory entries, filled by one system call.
const ENTRIES: usize = 64 * 1024;

/// Memory for cached listings; about 600,000 messages. What is not in it is read
/// from the disk again.
const CACHE_BYTES: usize = 128 << 20;

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

    /// All that is known of a file whose name tells its size.
    pub fn told(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Whether it is only [`told`](Self::told).
    pub fn is_told(&self) -> bool {
        *self == Self::told(self.size)
    }

    /// Whether a later change is sure to give another stamp, for a stamp taken at
    /// or after `now` (seconds since 1970).
    pub fn is_settled(&self, now: i64) -> bool {
        self.changed + SETTLED_SECONDS < now
    }

    /// Whether it is `other`, as far as it is known.
    pub fn may_be(&self, other: &Self) -> bool {
        match self.is_told() {
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
    /// The stamp of `dir` now. It is the inode's change time, which unlike the
    /// modification time cannot be set back.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn of(dir: &Path) -> io::Result<Self> {
        Self::at(CWD, dir)
    }

    /// As [`of`](Self::of), of a directory that is named from `from` on.
    ///
    /// # Errors
    /// As there.
    pub fn at(from: BorrowedFd<'_>, dir: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statat(from, dir, AtFlags::empty())?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            seconds: stat.st_ctime,
            nanos: stat.st_ctime_nsec as u32,
        })
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

/// Opens a directory to read it and to reach its files.
///
/// # Errors
/// When there is no such directory.
pub fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    open_dir_at(CWD, dir)
}

/// As [`open_dir`], of a directory that is named from `from` on.
///
/// # Errors
/// As there.
pub fn open_dir_at(from: BorrowedFd<'_>, dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(from, dir, flags, Mode::empty())?)
}

/// Calls `each` for every entry of a directory that may be a message: no dot file
/// and no directory. The type may be unknown or that of a symbolic link.
///
/// # Errors
/// When the directory cannot be read.
pub fn read_dir(dir: &OwnedFd, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
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

    #[test]
    fn a_young_stamp_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = DirStamp::of(dir.path()).unwrap();
        assert!(!stamp.is_settled(now()));
        assert!(stamp.is_settled(stamp.seconds + 3));
    }
}
