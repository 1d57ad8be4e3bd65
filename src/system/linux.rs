//! Linux.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{
    openat2, renameat_with, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, SeekFrom,
    Stat, CWD,
};
use rustix::io::{preadv2, Errno, ReadWriteFlags};
use rustix::net::{acceptfrom_with, SendFlags, SocketFlags};

use super::Place;

/// Room for directory entries, filled by one system call.
const ENTRIES: usize = 64 * 1024;

/// Opens the file `path` of the directory `dir`, if the directories on the path are in memory
/// and the path crosses no mount: behind a mount another machine or process may be asked
/// (openat2(2)). With [`OFlags::NOFOLLOW`] none of them may be a link either.
///
/// # Errors
/// What the system says. Any error may mean that it must be waited for.
pub fn open_in_memory(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let links = match flags.contains(OFlags::NOFOLLOW) {
        true => ResolveFlags::NO_SYMLINKS,
        false => ResolveFlags::empty(),
    };
    let resolve = links | ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    openat2(dir, path, flags, Mode::empty(), resolve)
}

/// The status of the file `path` of the directory `dir`, as [`open_in_memory`] reaches it.
///
/// # Errors
/// Those of [`open_in_memory`].
pub fn stat_in_memory(dir: BorrowedFd<'_>, path: &Path, follow: bool) -> Result<Stat, Errno> {
    // statat(2) would ask whatever is mounted there.
    let flags = match follow {
        true => OFlags::PATH | OFlags::CLOEXEC,
        false => OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
    };
    rustix::fs::fstat(open_in_memory(dir, path, flags)?)
}

/// Reads on in a file, if the system has that in memory (preadv2(2), RWF_NOWAIT); none if it
/// must be waited for.
///
/// # Errors
/// What the system said.
pub fn read_in_memory(file: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    /// preadv2(2): as −1 it means the file's own position.
    const HERE: u64 = u64::MAX;
    let mut parts = [io::IoSliceMut::new(buffer)];
    match preadv2(file, &mut parts, HERE, ReadWriteFlags::NOWAIT) {
        // Linux 5.9 and 5.10 may say that nothing is left when it is not in memory.
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(n)),
        // Not in memory, or a file system that cannot tell.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether `fd` is on a file system that asks no other machine and no other process. It
/// may have to ask to find that out.
pub fn is_local(fd: impl AsFd) -> bool {
    /// Magic numbers of statfs(2): NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS (two), Coda,
    /// autofs, Lustre, GPFS.
    const REMOTE: [u32; 13] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x6573_5546,
        0x0102_1997,
        0x00C3_6400,
        0x5346_414F,
        0x6B41_4653,
        0x7375_7245,
        0x0187,
        0x0BD0_0BD0,
        0x4750_4653,
    ];
    let kind = rustix::fs::fstatfs(fd).map(|found| found.f_type as u32);
    kind.is_ok_and(|kind| !REMOTE.contains(&kind))
}

/// Calls `each` with the name and the type of every entry of a directory, `.` and `..` among
/// them. The type may be unknown.
///
/// # Errors
/// When the directory cannot be read.
pub fn entries(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    // It may have been read before by this descriptor.
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut room: Vec<u8> = Vec::with_capacity(ENTRIES);
    let mut entries = RawDir::new(dir, room.spare_capacity_mut());
    while let Some(entry) = entries.next() {
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
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can promise it.
        Err(Errno::INVAL | Errno::NOSYS) => super::rename_to_taken_name(from, to),
        result => Ok(result?),
    }
}

/// Renames a file, but never onto something. After an error it has its old name only.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
pub fn rename_file_new(from: Place<'_>, to: Place<'_>) -> io::Result<()> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // Not every file system can promise it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => super::rename_by_link(from, to),
        result => Ok(result?),
    }
}

/// Accepts a connection: not blocking, without delay, not inherited by programs. One system
/// call for all, since Linux hands the listener's TCP_NODELAY on.
///
/// # Errors
/// What the system said.
pub fn accept(listener: &TcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream, peer.try_into()?))
}

/// How to send on a socket that [`accept`] gave: a broken pipe is an error and not a signal.
/// `more`: more follows at once, and one packet can carry both.
pub fn send_flags(more: bool) -> SendFlags {
    match more {
        true => SendFlags::MORE | SendFlags::NOSIGNAL,
        false => SendFlags::NOSIGNAL,
    }
}

/// Has the system break a connection when its peer takes nothing for so long (tcp(7),
/// TCP_USER_TIMEOUT); whether it will: not for what is no socket of TCP.
pub fn bound_stalls(socket: BorrowedFd<'_>, most: Duration) -> bool {
    let most = u32::try_from(most.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(socket, most).is_ok()
}
