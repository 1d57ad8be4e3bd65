//! Where the descriptors are that sessions keep.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use rustix::io::{fcntl_dupfd_cloexec, Errno};
use rustix::process::{getrlimit, Resource};

/// Tcl 8.6 waits with select(2), which cannot watch descriptors from here on, and ends the
/// process if it must.
pub const SELECTABLE: i32 = 1024;

/// Of those that it can watch, sessions take none from here on: they are the scripts'.
/// (Where there are few sessions no descriptor need be moved, which costs two calls each.)
const OF_SCRIPTS: i32 = 256;

/// Where the process may not have more than these, or has them already, so many are left
/// to scripts; but no more than a quarter of all.
const LEAST_OF_SCRIPTS: i32 = 64;

/// Descriptors that the process has besides: event loops, listeners, libraries, and
/// connections that close at this moment; but no more than a quarter of all.
const OF_PROCESS: i32 = 64;

/// Descriptors of a session besides its socket: the directory and the lock file of its
/// mailbox, and the message that it sends.
const OF_SESSION: usize = 3;

/// Descriptors of the process that are reserved for connections and their sessions.
static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// The descriptors of one connection; free again when dropped.
///
/// They are reserved before they are opened: strangers who say nothing must not take what
/// sessions need that have logged in.
#[derive(Debug)]
pub struct Reserve(AtomicUsize);

impl Reserve {
    /// Reserves the socket of a connection; none if there are not enough.
    pub fn for_connection() -> Option<Self> {
        let reserve = Self(AtomicUsize::new(0));
        reserve.more(1).then_some(reserve)
    }

    /// Reserves what a session needs besides, once; where there is not enough, what
    /// `make_room` frees (at once or in a moment), one at each call. Whether it has that.
    pub fn for_session(&self, make_room: impl Fn() -> bool) -> bool {
        if self.0.load(Ordering::Relaxed) > 1 || self.more(OF_SESSION) {
            return true;
        }
        let enough = (0..OF_SESSION).all(|_| make_room());
        if enough {
            RESERVED.fetch_add(OF_SESSION, Ordering::Relaxed);
            self.0.fetch_add(OF_SESSION, Ordering::Relaxed);
        }
        enough
    }

    /// Gives back what a session needs: the login failed.
    pub fn without_session(&self) {
        let had = self.0.swap(1, Ordering::Relaxed);
        RESERVED.fetch_sub(had - 1, Ordering::Relaxed);
    }

    fn more(&self, n: usize) -> bool {
        let limit = known_limit();
        let most = limit - left_to_scripts(limit) - OF_PROCESS.min(limit / 4);
        let most = usize::try_from(most).unwrap_or(0);
        let fits = RESERVED.fetch_add(n, Ordering::Relaxed) + n <= most;
        match fits {
            true => self.0.fetch_add(n, Ordering::Relaxed),
            false => RESERVED.fetch_sub(n, Ordering::Relaxed),
        };
        fits
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        RESERVED.fetch_sub(*self.0.get_mut(), Ordering::Relaxed);
    }
}

/// How many descriptors the process may have.
fn limit() -> i32 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// The same, asked for every 32nd time: it hardly ever changes, and each connection
/// wants to know.
fn known_limit() -> i32 {
    static KNOWN: AtomicI32 = AtomicI32::new(0);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    // Another thread may be asking for the first time.
    if known != 0 && !ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(32) {
        return known;
    }
    let limit = limit();
    KNOWN.store(limit, Ordering::Relaxed);
    limit
}

fn left_to_scripts(limit: i32) -> i32 {
    LEAST_OF_SCRIPTS.min(limit / 4)
}

/// The same on a descriptor that scripts do not need; or as it is when there are none, and
/// it is not one of the last.
///
/// # Errors
/// When sessions have all that they may take.
pub fn out_of_the_way(fd: OwnedFd) -> io::Result<OwnedFd> {
    if !(OF_SCRIPTS..SELECTABLE).contains(&fd.as_raw_fd()) {
        return Ok(fd);
    }
    if let Ok(moved) = fcntl_dupfd_cloexec(&fd, SELECTABLE) {
        return Ok(moved);
    }
    let limit = limit().min(SELECTABLE);
    match fd.as_raw_fd() < limit - left_to_scripts(limit) {
        true => Ok(fd),
        false => Err(Errno::MFILE.into()),
    }
}
