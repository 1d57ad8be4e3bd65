//! The TLS side of one connection: bytes of the socket on one side, those of the
//! connection on the other. It waits for nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor, ServerConnection};
use rustls::{Error as TlsError, InvalidMessage};

use super::facts::Facts;
use super::server::Tls;

/// The most that one write encrypts, in bytes: four records, which the system can take
/// at once. So much waits for a slow client.
pub const CHUNK: usize = 64 * 1024;

/// The alert of that name in a record (RFC 8446 §5.1, §6.2).
const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// So many reads of the socket may bring nothing for the connection (parts of records,
/// empty ones, messages of TLS) before others have their turn.
const READS_PER_TURN: usize = 16;

/// The TLS side of one connection. Each method gets the socket, which does not block.
pub struct Session {
    state: State,
    /// So many bytes of the connection are encrypted, but not all of them are written.
    encrypted: usize,
    /// The end is among what is written: nothing follows.
    ended: bool,
    /// See [`take_octets_read`](Self::take_octets_read).
    octets_read: usize,
}

enum State {
    /// The client has not said yet which server it wants.
    Hello(Acceptor, Tls),
    /// The handshake goes on, or is over.
    Chosen(ServerConnection, Option<Arc<[u8]>>),
    /// The handshake has failed.
    Failed,
}

impl Session {
    /// A session that waits for the client's hello.
    pub fn new(tls: &Tls) -> Self {
        Self {
            state: State::Hello(Acceptor::default(), tls.clone()),
            encrypted: 0,
            ended: false,
            octets_read: 0,
        }
    }

    /// Goes on with the handshake; when it is over, tells what it has settled. A client
    /// whose handshake fails has been sent the alert that says why.
    ///
    /// # Errors
    /// `WouldBlock`: the socket takes nothing, if [`wants_write`](Self::wants_write), or
    /// has nothing. `InvalidData`: the client has broken the rules of TLS, or agrees to
    /// nothing that is offered. `UnexpectedEof`: it has closed. Else what the system said.
    pub fn handshake<S: Read + Write>(&mut self, socket: &mut S) -> io::Result<Facts> {
        loop {
            let next = match &mut self.state {
                State::Hello(acceptor, tls) => match hello(acceptor, socket)? {
                    Ok(accepted) => accept(accepted, tls),
                    Err(failure) => Err(failure),
                },
                State::Chosen(connection, end_point) => {
                    go_on(connection, socket)?;
                    return Ok(Facts::of(connection, end_point.clone()));
                }
                State::Failed => return Err(ErrorKind::BrokenPipe.into()),
            };
            self.state = match next {
                Ok(chosen) => chosen,
                Err((error, alert)) => {
                    self.state = State::Failed;
                    send_alert(alert, socket);
                    return Err(broken(error));
                }
            };
        }
    }

    /// Whether something waits for the socket to take it.
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::Chosen(connection, _) => connection.wants_write(),
            State::Hello(..) | State::Failed => false,
        }
    }

    /// Whether [`read`](Self::read) has something without the socket.
    pub fn has_input(&mut self) -> bool {
        let first = self.established().map(|c| c.reader().into_first_chunk());
        // The end of input is something as well.
        !matches!(first, Ok(Err(e)) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Reads what the client has sent, first what has been decrypted already. Nothing
    /// (`Ok(0)`) is the end, whether the client has announced it or not.
    ///
    /// # Errors
    /// `WouldBlock`: the socket has nothing, or nothing of it is for the connection, for
    /// now. `InvalidData`: the client has broken the rules of TLS, and was sent an alert.
    /// Else what the system said.
    pub fn read<S: Read + Write>(
        &mut self,
        socket: &mut S,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        for _ in 0..READS_PER_TURN {
            let connection = self.established()?;
            match connection.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.octets_read += receive(connection, socket)?;
                }
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            };
        }
        // It is asked for again in the next turn, since the socket may have more.
        match self.established()?.reader().read(buffer) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// How many octets of the socket [`read`](Self::read) has worked on since this was asked
    /// last: many more than it brings, if the client sends tiny records.
    pub fn take_octets_read(&mut self) -> usize {
        std::mem::take(&mut self.octets_read)
    }

    /// Writes `bytes`, or the first [`CHUNK`] of them. They count as written when the
    /// socket has taken all that they were encrypted to. Until then this says
    /// `WouldBlock`, and must be called again with the same bytes, or more; as must be
    /// whoever writes to a socket that takes nothing. Writing nothing writes what waits.
    ///
    /// `last`: these are the last, and the announcement of the end follows them at once.
    ///
    /// # Errors
    /// `WouldBlock`: the socket takes nothing. `BrokenPipe`: the end was announced. Else
    /// what the system said.
    pub fn write<S: Write>(
        &mut self,
        socket: &mut S,
        bytes: &[u8],
        last: bool,
    ) -> io::Result<usize> {
        self.encrypt(bytes, last)?;
        flush(self.established()?, socket)?;
        let written = self.encrypted.min(bytes.len());
        self.encrypted -= written;
        Ok(written)
    }

    /// Encrypts `bytes` that are written next, unless the first of them are already.
    fn encrypt(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        if self.encrypted > 0 || bytes.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let connection = self.established()?;
        let n = connection.writer().write(bytes)?;
        let ends = last && n == bytes.len();
        if ends {
            connection.send_close_notify();
        }
        self.ended = ends;
        self.encrypted = n;
        Ok(())
    }

    /// Writes the last bytes, after those that wait, and announces the end, as far as the
    /// socket takes it. The first of `bytes` may wait already: [`write`](Self::write) was
    /// called with them. Returns how many of `bytes` are encrypted now, and so must not be
    /// written again: all, or none without an established connection.
    pub fn write_last<S: Write>(&mut self, socket: &mut S, bytes: &[u8]) -> usize {
        let rest = bytes.get(self.encrypted..).unwrap_or_default();
        if let (false, Ok(connection)) = (self.ended, self.established()) {
            // What waits may be a chunk already.
            connection.set_buffer_limit(None);
            // Refused: the connection is broken.
            let _ = connection.writer().write_all(rest);
            self.end(socket);
            return bytes.len();
        }
        0
    }

    /// Announces the end (`close_notify`), if the handshake is over, as far as the socket
    /// takes it. Nothing can be written afterwards.
    pub fn end<S: Write>(&mut self, socket: &mut S) {
        let ended = std::mem::replace(&mut self.ended, true);
        if let Ok(connection) = self.established() {
            if !ended {
                connection.send_close_notify();
            }
            // Refused: the client finds an end that is not announced.
            let _ = flush(connection, socket);
        }
    }

    /// The connection, if its handshake is over.
    fn established(&mut self) -> io::Result<&mut ServerConnection> {
        match &mut self.state {
            State::Chosen(connection, _) if !connection.is_handshaking() => Ok(connection),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }
}

type Failure = (TlsError, AcceptedAlert);

/// Reads the client's hello.
fn hello<S: Read>(
    acceptor: &mut Acceptor,
    socket: &mut S,
) -> io::Result<Result<Accepted, Failure>> {
    loop {
        if acceptor.read_tls(socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(Ok(accepted)),
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Tells a client that its hello is refused, if it takes that.
fn send_alert<S: Write>(mut alert: AcceptedAlert, socket: &mut S) {
    // Rustls has none for messages that come before their time.
    if let Ok(0) = alert.write(socket) {
        let _ = socket.write(&UNEXPECTED_MESSAGE);
    }
}

/// Answers the client's hello.
fn accept(accepted: Accepted, tls: &Tls) -> Result<State, Failure> {
    let (config, end_point) = tls.answer(&accepted.client_hello());
    let mut connection = accepted.into_connection(config)?;
    connection.set_buffer_limit(Some(CHUNK));
    Ok(State::Chosen(connection, end_point))
}

/// Goes on with the handshake to its end.
fn go_on<S: Read + Write>(connection: &mut ServerConnection, socket: &mut S) -> io::Result<()> {
    loop {
        flush(connection, socket)?;
        if !connection.is_handshaking() {
            return Ok(());
        }
        if receive(connection, socket)? == 0 && connection.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads from the socket once, and decrypts. What rustls answers is written as far as the
/// socket takes it; the rest goes before what is written next.
fn receive<S: Read + Write>(
    connection: &mut ServerConnection,
    socket: &mut S,
) -> io::Result<usize> {
    let n = connection.read_tls(socket)?;
    let processed = connection.process_new_packets();
    let flushed = match connection.wants_write() {
        true => flush(connection, socket),
        false => Ok(()),
    };
    processed.map_err(broken)?;
    match flushed {
        Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
        _ => Ok(n),
    }
}

/// Writes all that waits.
fn flush<S: Write>(connection: &mut ServerConnection, socket: &mut S) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(socket) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            other => drop(other?),
        }
    }
    Ok(())
}

/// What a client has done wrong, for the log.
fn broken(error: TlsError) -> io::Error {
    match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            io::Error::new(ErrorKind::InvalidData, "the client does not speak TLS")
        }
        error => io::Error::new(ErrorKind::InvalidData, error),
    }
}
