//! Connections that a proxy hands on: they begin with a header of the PROXY protocol, version
//! 1 or 2 (HAProxy's "The PROXY protocol"), which says whose they are.
//!
//! The header is taken from the socket to its last byte, and no further: what follows may be
//! TLS.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream as Socket;
use tokio::time::timeout;

use super::proxy_header::{end, parse, HeaderError, Named};
use super::runtime::LoopSlot;
use super::server::{Caller, Ticket};
use super::wait::{first, Either};
use super::Server;
use crate::descriptors::Reserve;

/// How long a header may take, if the time to log in is not shorter. It comes with the
/// connection, so only lost packets delay it.
const TIME: Duration = Duration::from_secs(5);

/// Bytes looked at in one go: nearly every header.
const CHUNK: usize = 512;

/// Takes a fresh connection of a proxy, once its header has come.
pub(super) fn welcome(
    server: &Arc<Server>,
    stream: TcpStream,
    socket: SocketAddr,
    (descriptors, slot): (Reserve, LoopSlot),
    ticket: Ticket,
) {
    let (server, since) = (server.clone(), Instant::now());
    // From now on it hears of the end, whenever it begins to run.
    let mut ended = server.listening_ended.subscribe();
    let on = slot.event_loop();
    on.spawn(async move {
        // The end first: a header that comes with it makes no session.
        let read = match first(ended.changed(), header(stream, server.header_time())).await {
            Either::First(_) => return,
            Either::Second(read) => read,
        };
        drop(ticket);
        match read {
            Ok((stream, named)) => {
                let (peer, place) = named.client(socket);
                let caller = Caller { peer, place, since };
                server.receive(stream, caller, (Some(descriptors), slot));
            }
            Err(error) => server.log.header_failed(socket, &error),
        }
    });
}

impl Server {
    /// How long a header may take.
    fn header_time(&self) -> Duration {
        let login = self.config().map(|config| config.limits.login_timeout);
        login
            .filter(|time| !time.is_zero())
            .map_or(TIME, |time| time.min(TIME))
    }
}

/// The header of a connection, and the connection after it.
async fn header(stream: TcpStream, time: Duration) -> Result<(TcpStream, Named), HeaderError> {
    let socket = Socket::from_std(stream)?;
    let named = timeout(time, read(&socket)).await;
    let named = named.map_err(|_| HeaderError::Late)??;
    Ok((socket.into_std()?, named))
}

async fn read(socket: &Socket) -> Result<Named, HeaderError> {
    let mut header = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let come = socket.peek(&mut chunk).await?;
        if come == 0 {
            return Err(HeaderError::Closed);
        }
        let before = header.len();
        header.extend_from_slice(&chunk[..come]);
        let end = end(&header)?;
        take(socket, &mut chunk[..end.map_or(come, |end| end - before)]).await?;
        if let Some(end) = end {
            return parse(&header[..end]);
        }
    }
}

/// Takes bytes from the socket that were seen in it.
async fn take(socket: &Socket, mut seen: &mut [u8]) -> Result<(), HeaderError> {
    while !seen.is_empty() {
        socket.readable().await?;
        match socket.try_read(seen) {
            Ok(0) => return Err(HeaderError::Closed),
            Ok(n) => seen = &mut seen[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
