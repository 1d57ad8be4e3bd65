//! The bytes of one connection: read and written without waiting, on TCP or on TLS.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::system::{bound_stalls, send_flags};
use crate::tls::{Facts, Session, Tls};

/// What a client whose handshake has failed may have sent besides, in bytes. It is thrown
/// away, since a socket that is closed with input left takes the alert back.
const THROWN_AWAY: usize = 64 * 1024;

/// A client's socket, and TLS on it once [`start_tls`](Self::start_tls) was called.
pub(super) struct Transport {
    socket: TcpStream,
    /// Elsewhere, so that connections without TLS do not grow. Locked for single steps,
    /// never while something is awaited.
    tls: OnceLock<Box<Mutex<Session>>>,
}

impl Transport {
    /// Registers `stream`, which must not block, with the runtime that is entered.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        let socket = TcpStream::from_std(stream)?;
        let tls = OnceLock::new();
        Ok(Self { socket, tls })
    }

    /// From now on all bytes are those of TLS, and the handshake comes first. What was
    /// read before is the caller's to throw away (RFC 2595 §4); what was not is TLS's,
    /// whatever it is. All that was to be written must have been. A second call does
    /// nothing.
    pub(super) fn start_tls(&self, tls: &Tls) {
        self.tls
            .get_or_init(|| Box::new(Mutex::new(Session::new(tls))));
    }

    /// Whether there is TLS, or its handshake.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Goes on with the handshake of TLS; when it is over, tells what it has settled.
    /// Before that nothing can be read or written. A client whose handshake fails is told
    /// why by an alert, and the end follows.
    ///
    /// # Errors
    /// `WouldBlock`: wait by [`poll_handshake`](Self::poll_handshake). `NotConnected`:
    /// there is no TLS. Others as [`Session::handshake`] says.
    pub(super) fn handshake(&self) -> io::Result<Facts> {
        let mut session = self.session().ok_or(ErrorKind::NotConnected)?;
        let done = session.handshake(&mut self.io());
        drop(session);
        if let Err(error) = &done {
            if error.kind() == ErrorKind::InvalidData {
                self.shut(Shutdown::Write);
                self.throw_input_away();
            }
        }
        done
    }

    /// Waits until the handshake can go on.
    pub(super) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session().is_some_and(|session| session.wants_write()) {
            true => self.socket.poll_write_ready(cx),
            false => self.socket.poll_read_ready(cx),
        }
    }

    /// Reads what has come; with TLS, what it has decrypted already first.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come; else what the system said, or
    /// [`Session::read`].
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.session() {
            Some(mut session) => session.read(&mut self.io(), buffer),
            None => self.io().read(buffer),
        }
    }

    /// How many octets of the socket TLS has worked on in [`read`](Self::read), since this was
    /// asked last.
    pub(super) fn take_octets_of_tls(&self) -> usize {
        self.session().map_or(0, |mut tls| tls.take_octets_read())
    }

    /// Writes what the socket takes. `last`: the end of the stream follows at once, and
    /// one packet can carry both.
    ///
    /// Who is told `WouldBlock` writes the same bytes again, or more: with TLS, they may
    /// be on their way already. What is written counts when the socket has taken it; so
    /// nothing waits here that the caller does not know of.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; else what the system said.
    pub(super) fn write(&self, bytes: &[u8], last: bool) -> io::Result<usize> {
        let mut io = Io { last, ..self.io() };
        match self.session() {
            Some(mut session) => session.write(&mut io, bytes, last),
            None => io.write(bytes),
        }
    }

    /// Writes a last line, whatever the runtime knows of the socket: it may be too new for
    /// that. A client that takes nothing, or is in the handshake of TLS, does not get it.
    /// Returns how many bytes need not be written again.
    pub(super) fn write_last(&self, bytes: &[u8]) -> usize {
        use rustix::net::{send, SendFlags};
        if let Some(mut session) = self.session() {
            return session.write_last(&mut self.io(), bytes);
        }
        let flags = send_flags(false) | SendFlags::DONTWAIT;
        // Refused: the driver finds out why.
        send(&self.socket, bytes, flags).unwrap_or(0)
    }

    /// Waits until something has come.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self
            .session()
            .is_some_and(|mut session| session.has_input())
        {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// Waits until something can be written.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Whether the client has closed its side and nothing that it sent is left. With TLS the
    /// notice of that is among what is left, so it is seen when it is read.
    pub(super) fn is_at_end(&self) -> bool {
        use rustix::net::{recv, RecvFlags};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.socket, &mut [0; 1], flags).is_ok_and(|(_, n)| n == 0)
    }

    /// Waits until the connection is broken. The end of input alone is none.
    pub(super) async fn broken(&self) {
        // An error says as much.
        let _ = self.socket.ready(Interest::ERROR).await;
    }

    /// Has the system break the connection when the client takes nothing for so long;
    /// whether it will. A slow reader may take less than what the system tells us of, for
    /// hours.
    pub(super) fn bound_stalls(&self, most: Duration) -> bool {
        bound_stalls(self.socket.as_fd(), most)
    }

    /// Half-closes: the client sees the end of the stream, what it still sends can be
    /// read. TLS announces the end, if the socket takes that.
    pub(super) fn shut_writing(&self) {
        self.end_tls();
        self.shut(Shutdown::Write);
    }

    /// Has TLS announce the end, if the socket takes that (RFC 8446 §6.1): whoever closes
    /// says so first, after a time-out too.
    pub(super) fn end_tls(&self) {
        if let Some(mut session) = self.session() {
            session.end(&mut self.io());
        }
    }

    /// Shuts both sides, so that whoever reads or writes finds the end.
    pub(super) fn shut_both(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        // Refused: it is shut already.
        let _ = socket2::SockRef::from(&self.socket).shutdown(how);
    }

    fn throw_input_away(&self) {
        let mut rest = THROWN_AWAY;
        let mut buffer = [0; 4096];
        while rest > 0 {
            match self.io().read(&mut buffer) {
                Ok(n) if n > 0 => rest = rest.saturating_sub(n),
                _ => return,
            }
        }
    }

    fn session(&self) -> Option<MutexGuard<'_, Session>> {
        let session = self.tls.get()?;
        // Only its driver goes on with it, and a driver that panicked does not.
        Some(session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn io(&self) -> Io<'_> {
        let socket = &self.socket;
        Io {
            socket,
            last: false,
        }
    }
}

/// The socket's own bytes.
struct Io<'a> {
    socket: &'a TcpStream,
    /// The end of the stream follows.
    last: bool,
}

impl Read for Io<'_> {
    /// As less than asked means that there is no more, this is told to the runtime, as
    /// tokio's own `poll_read` does: it saves a call that reads nothing.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        let read = self.socket.try_io(Interest::READABLE, || {
            got = rustix::io::read(self.socket, &mut *buffer)?;
            if got > 0 && got < buffer.len() {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(got)
        });
        match read {
            Err(e) if e.kind() == ErrorKind::WouldBlock && got > 0 => Ok(got),
            other => other,
        }
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = send_flags(self.last);
        let send = || Ok(rustix::net::send(self.socket, bytes, flags)?);
        self.socket.try_io(Interest::WRITABLE, send)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = send_flags(self.last);
        self.socket.try_io(Interest::WRITABLE, || {
            let mut nothing = rustix::net::SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(
                self.socket,
                slices,
                &mut nothing,
                flags,
            )?)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
