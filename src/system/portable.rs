//! Other systems with descriptors and `openat`: macOS, the BSDs. What is said of each function
//! in `linux.rs` holds here too.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::Place;

/// Opens nothing: whether it must be waited for is unknown.
///
/// # Errors
/// Always that it would block.
pub fn open_in_memory(
    _dir: BorrowedFd<'_>,
    _path: &Path,
    _flags: OFlags,
) -> Result<OwnedFd, Errno> {
    Err(Errno::AGAIN)
}

/// Asks nothing, as [`open_in_memory`].
///
/// # Errors
/// Always that it would block.
pub fn stat_in_memory(_dir: BorrowedFd<'_>, _path: &Path, _follow: bool) -> Result<Stat, Errno> {
    Err(Errno::AGAIN)
}

/// Reads nothing, as [`open_in_memory`].
///
/// # Errors
/// None.
pub fn read_in_memory(_file: &File, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Whether `fd` is on a file system of this machine: unknown.
pub fn is_local(_fd: impl AsFd) -> bool {
    false
}

/// Calls `each` with the name and the type of every entry of a directory, `.` and `..` among
/// them. The type may be unknown.
///
/// # Errors
/// When the directory cannot be read.
pub fn entries(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    // By a descriptor of its own, which begins at the first entry.
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        each(entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(())
}

/// Renames, but never onto something.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    super::rename_to_taken_name(from, to)
}

/// Renames a file, but never onto something. After an error it has its old name only.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
pub fn rename_file_new(from: Place<'_>, to: Place<'_>) -> io::Result<()> {
    super::rename_by_link(from, to)
}

/// Accepts a connection: not blocking, without delay, not inherited by programs.
///
/// # Errors
/// What the system said.
pub fn accept(listener: &TcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    // It also keeps Apple's systems from sending a signal for a broken pipe.
    let (stream, peer) = socket2::SockRef::from(listener).accept()?;
    stream.set_nonblocking(true)?;
    stream.set_tcp_nodelay(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer))
}

/// How to send on a socket that [`accept`] gave: a broken pipe is an error and not a signal.
/// That more follows at once cannot be said.
#[cfg(not(target_vendor = "apple"))]
pub fn send_flags(_more: bool) -> SendFlags {
    SendFlags::NOSIGNAL
}

/// The same: the socket itself is so.
#[cfg(target_vendor = "apple")]
pub fn send_flags(_more: bool) -> SendFlags {
    SendFlags::empty()
}

/// Breaks no connection: the caller must watch it.
pub fn bound_stalls(_socket: BorrowedFd<'_>, _most: Duration) -> bool {
    false
}
