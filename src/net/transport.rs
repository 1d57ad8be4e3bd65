//! The bytes of one connection: read and written without waiting.

use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// A client's socket.
pub(super) struct Transport(TcpStream);

impl Transport {
    /// Registers `stream`, which must not block, with the runtime that is entered.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        TcpStream::from_std(stream).map(Self)
    }

    /// Reads what has come. As less than asked means that there is no more, this is
    /// told to the runtime, as tokio's own `poll_read` does: it saves a call that reads
    /// nothing.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come; else what the system said.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        let read = self.0.try_io(Interest::READABLE, || {
            got = rustix::io::read(&self.0, &mut *buffer)?;
            if got > 0 && got < buffer.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(got)
        });
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && got > 0 => Ok(got),
            other => other,
        }
    }

    /// Writes what the socket takes. `last`: the end of the stream follows at once, and
    /// one packet can carry both.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; else what the system said.
    #[cfg(target_os = "linux")]
    pub(super) fn write(&self, bytes: &[u8], last: bool) -> io::Result<usize> {
        use rustix::net::{send, SendFlags};
        // And not the signal of a broken pipe, but the error.
        let flags = match last {
            true => SendFlags::MORE | SendFlags::NOSIGNAL,
            false => SendFlags::NOSIGNAL,
        };
        self.0
            .try_io(Interest::WRITABLE, || Ok(send(&self.0, bytes, flags)?))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn write(&self, bytes: &[u8], _last: bool) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Writes a last line, whatever the runtime knows of the socket: it may be too new for
    /// that. A client that takes nothing does not get it.
    pub(super) fn write_last(&self, bytes: &[u8]) {
        use rustix::net::{send, SendFlags};
        let _ = send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Waits until something has come.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Waits until something can be written.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    /// Waits until the connection is broken. The end of input alone is none.
    pub(super) async fn broken(&self) {
        // An error says as much.
        let _ = self.0.ready(Interest::ERROR).await;
    }

    /// Has the system break the connection when the client takes nothing for so long
    /// (tcp(7), TCP_USER_TIMEOUT); whether it will. A slow reader may take less than
    /// what the system tells us of, for hours.
    #[cfg(target_os = "linux")]
    pub(super) fn bound_stalls(&self, most: Duration) -> bool {
        let most = u32::try_from(most.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&self.0, most).is_ok()
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn bound_stalls(&self, _most: Duration) -> bool {
        false
    }

    /// Half-closes: the client sees the end of the stream, what it still sends can be
    /// read.
    pub(super) fn shut_writing(&self) {
        self.shut(Shutdown::Write);
    }

    /// Shuts both sides, so that whoever reads or writes finds the end.
    pub(super) fn shut_both(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        // Refused: it is shut already.
        let _ = socket2::SockRef::from(&self.0).shutdown(how);
    }
}
