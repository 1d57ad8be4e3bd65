//! Listing a directory: names in one block of memory, and a bounded cache of listings.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustix::fs::FileType;

/// Memory for cached listings; about 600,000 messages. What is not in it is read
/// from the disk again.
const CACHE_BYTES: usize = 128 << 20;

/// A mailbox's directory.
#[derive(Clone, Copy, Debug)]
pub struct MailboxDir<'a> {
    /// The path that names the mailbox. Nothing is opened by it: something else may have
    /// taken this path.
    pub path: &'a Path,
    /// The directory, open to read it and to reach its files.
    pub fd: BorrowedFd<'a>,
    /// Whether the caller has its lock. Only then octets that are counted are kept in it.
    pub is_locked: bool,
}

/// Locks a mutex; a panic elsewhere leaves the data of this module whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// The names in the order of their bytes.
    pub fn sorted(&self) -> Self {
        self.select(self.order(|name| name).into_iter())
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.bytes.capacity() + 4 * self.ends.capacity()
    }
}

/// Calls `each` for every entry of a directory that may be a message: no dot file
/// and no directory. The type may be unknown or that of a symbolic link.
///
/// # Errors
/// When the directory cannot be read.
pub fn read_dir(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    crate::system::entries(dir, |name, kind| {
        if !name.starts_with(b".") && kind != FileType::Directory {
            each(name, kind);
        }
    })
}

/// Listings of mailboxes by their directory, bounded in memory. The least recently used are
/// dropped.
pub struct Cache<T>(Mutex<Listings<T>>);

struct Listings<T> {
    by_dir: LruCache<Box<Path>, (Arc<T>, usize)>,
    weight: usize,
    limit: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self::with_limit(CACHE_BYTES)
    }
}

impl<T> Cache<T> {
    /// A cache of at most `limit` bytes, or of one listing.
    fn with_limit(limit: usize) -> Self {
        Self(Mutex::new(Listings {
            by_dir: LruCache::unbounded(),
            weight: 0,
            limit,
        }))
    }

    /// The listing kept for `dir`; the caller checks whether it still holds.
    pub fn get(&self, dir: &Path) -> Option<Arc<T>> {
        let mut listings = lock(&self.0);
        listings.by_dir.get(dir).map(|(listing, _)| listing.clone())
    }

    /// Keeps `listing`, about `weight` bytes, for `dir`.
    pub fn put(&self, dir: &Path, listing: Arc<T>, weight: usize) {
        // Freed with the cache unlocked: a hundred thousand messages take milliseconds.
        let mut gone = Vec::new();
        let mut listings = lock(&self.0);
        listings.weight += weight;
        gone.extend(listings.by_dir.put(dir.into(), (listing, weight)));
        if let Some((_, replaced)) = gone.first() {
            listings.weight -= replaced;
        }
        while listings.weight > listings.limit && listings.by_dir.len() > 1 {
            if let Some((_, (dropped, weight))) = listings.by_dir.pop_lru() {
                listings.weight -= weight;
                gone.push((dropped, weight));
            }
        }
        drop(listings);
        drop(gone);
    }

    /// Drops the listing of `dir`, which is about to go.
    pub fn forget(&self, dir: &Path) {
        let mut listings = lock(&self.0);
        let gone = listings.by_dir.pop(dir);
        if let Some((_, weight)) = &gone {
            listings.weight -= weight;
        }
        drop(listings);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};
    use std::sync::Weak;

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

    /// A listing that sees whether the cache is unlocked when it is dropped.
    struct Listing(Weak<Cache<Listing>>, Arc<AtomicUsize>);

    impl Drop for Listing {
        fn drop(&mut self) {
            let cache = self.0.upgrade();
            if cache.is_some_and(|cache| cache.0.try_lock().is_ok()) {
                self.1.fetch_add(1, AtomicOrdering::Relaxed);
            }
        }
    }

    #[test]
    fn listings_are_freed_while_the_cache_is_unlocked() {
        let cache = Arc::new(Cache::with_limit(100));
        let freed = Arc::new(AtomicUsize::new(0));
        let put = |path: &str, weight: usize| {
            let listing = Listing(Arc::downgrade(&cache), freed.clone());
            cache.put(Path::new(path), Arc::new(listing), weight);
            freed.load(AtomicOrdering::Relaxed)
        };
        // Replaced, then displaced.
        assert_eq!((put("a", 40), put("a", 40), put("b", 50)), (0, 1, 1));
        assert_eq!(put("c", 99), 3);
        cache.forget(Path::new("c"));
        assert_eq!(freed.load(AtomicOrdering::Relaxed), 4);
    }

    #[test]
    fn cache_drops_the_least_used() {
        let cache = Cache::with_limit(100);
        let path = |n: usize| std::path::PathBuf::from(format!("/{n}"));
        let there = |cache: &Cache<usize>| -> Vec<usize> {
            let listings = lock(&cache.0);
            let mut all: Vec<usize> = listings.by_dir.iter().map(|(_, kept)| *kept.0).collect();
            all.sort_unstable();
            all
        };
        for n in 0..4 {
            cache.put(&path(n), Arc::new(n), 25);
        }
        assert_eq!(cache.get(&path(0)).as_deref(), Some(&0));
        cache.put(&path(4), Arc::new(4), 25);
        assert_eq!(there(&cache), [0, 2, 3, 4]);
        cache.put(&path(3), Arc::new(3), 30);
        assert_eq!(there(&cache), [0, 3, 4]);
        cache.forget(&path(0));
        assert_eq!(there(&cache), [3, 4]);
        cache.put(&path(5), Arc::new(5), 1000);
        assert_eq!(there(&cache), [5]);
        assert_eq!(lock(&cache.0).weight, 1000);
    }
}
