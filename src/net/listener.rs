//! The listening socket and the tasks that accept.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{mpsc, Arc};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::runtime::{LoopSlot, Loops};
use super::{wait, Server};
use crate::descriptors::{out_of_the_way, Reserve};

/// Connections that wait to be accepted: a burst of thousands of clients finds
/// room; the kernel cuts it to its own bound.
const BACKLOG: i32 = 4096;

/// Loops that accept: a new connection wakes those of them that have nothing to do.
const ACCEPTING_LOOPS: usize = 4;

/// Accepted in one go before others have their turn.
const ACCEPTS_PER_WAKE: usize = 64;

/// How long a connection takes to close that makes room for another.
const CLOSING: Duration = Duration::from_millis(1);

/// The first pause after an error, and the longest. Descriptors come free when
/// connections end; until then the kernel's queue holds the clients.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The hold on the tasks that accept.
pub(super) struct Listening {
    pub(super) port: u16,
    /// Ends the tasks when dropped.
    stop: watch::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Listening {
    /// Ends the tasks and waits until the port is free.
    pub(super) fn close(self) {
        drop(self.stop);
        // An error means that the last of them has gone; nobody sends.
        let _ = self.stopped.recv();
    }
}

/// Where a server listens.
pub enum Endpoint<'a> {
    /// On a port, at this address; without one at all of them.
    Address(Option<&'a str>, u16),
    /// On a socket that listens already.
    Inherited(OwnedFd),
}

/// Binds, and has loops accept connections for `server`: the one that is free first
/// takes the next.
pub(super) fn start(server: Arc<Server>, on: Endpoint<'_>) -> io::Result<Listening> {
    let loops = super::runtime::loops()?;
    let listener = match on {
        Endpoint::Address(address, port) => bind(address, port)?,
        Endpoint::Inherited(socket) => adopt(socket)?,
    };
    let port = listener.local_addr()?.port();
    let (stop, stopping) = watch::channel(());
    let (confirm, stopped) = mpsc::channel();
    let shared = Arc::new(listener);
    let listening = Listening {
        port,
        stop,
        stopped,
    };
    for (here, on) in loops.iter().enumerate().take(ACCEPTING_LOOPS) {
        let listener = {
            let _loop = on.enter();
            #[allow(deprecated, reason = "a std listener's descriptor stays its own")]
            AsyncFd::new(Shared(shared.clone()))
        };
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                drop(confirm);
                drop(shared);
                listening.close();
                return Err(error);
            }
        };
        let acceptor = Acceptor {
            server: server.clone(),
            loops: loops.clone(),
            here,
            listener,
        };
        let (mut stopping, confirm) = (stopping.clone(), confirm.clone());
        on.spawn(async move {
            wait::first(stopping.changed(), accept_all(&acceptor)).await;
            drop(acceptor);
            drop(confirm);
        });
    }
    Ok(listening)
}

/// The listening socket, which several loops watch.
struct Shared(Arc<TcpListener>);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What one loop accepts by.
struct Acceptor {
    server: Arc<Server>,
    loops: Loops,
    /// Index of the loop.
    here: usize,
    listener: AsyncFd<Shared>,
}

/// Binds to the first of the address's meanings that works. Without one: to
/// IPv6 and IPv4 at once, or IPv4 only where there is no IPv6.
fn bind(address: Option<&str>, port: u16) -> io::Result<TcpListener> {
    let Some(address) = address.filter(|a| !a.is_empty()) else {
        return match bind_to((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(e) if lacks_ipv6(&e) => bind_to((Ipv4Addr::UNSPECIFIED, port).into()),
            other => other,
        };
    };
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for meaning in (address, port).to_socket_addrs()? {
        match bind_to(meaning) {
            Ok(listener) => return Ok(listener),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

fn lacks_ipv6(e: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = e.raw_os_error();
    [
        Errno::AFNOSUPPORT,
        Errno::ADDRNOTAVAIL,
        Errno::PROTONOSUPPORT,
    ]
    .iter()
    .any(|errno| code == Some(errno.raw_os_error()))
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // So that `up` works at once after `down`, past connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets what accepted sockets inherit, and what accepting needs.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Replies are short and written whole: nothing is won by waiting for more.
    socket.set_tcp_nodelay(true)?;
    // A client that vanished without a word must not hold its mailbox for ever, even
    // without an idle time-out.
    socket.set_keepalive(true)
}

/// Takes a socket that another process has bound, and that listens.
fn adopt(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    let is_tcp = socket.local_addr()?.as_socket().is_some() && socket.r#type()? == Type::STREAM;
    if !is_tcp || !rustix::net::sockopt::socket_acceptconn(&socket)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    prepare(&socket)?;
    Ok(socket.into())
}

/// Accepts until dropped.
async fn accept_all(acceptor: &Acceptor) {
    let mut pause = BACK_OFF.0;
    loop {
        match accept_some(acceptor).await {
            Ok(()) => pause = BACK_OFF.0,
            Err(error) => {
                acceptor.server.log.accept_failed(&error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Accepts what has come, up to a bound.
async fn accept_some(acceptor: &Acceptor) -> io::Result<()> {
    let mut ready = acceptor.listener.readable().await?;
    for _ in 0..ACCEPTS_PER_WAKE {
        match ready.try_io(|listener| accept(&listener.get_ref().0)) {
            Ok(Ok((stream, peer))) => {
                let descriptors = descriptors(&acceptor.server).await;
                let slot = LoopSlot::take(&acceptor.loops, acceptor.here);
                acceptor.server.welcome(stream, peer, (descriptors, slot));
            }
            // That one client has gone; the others wait still.
            Ok(Err(e)) if is_of_the_client(&e) => {}
            Ok(Err(e)) => return Err(e),
            Err(_would_block) => break,
        }
    }
    Ok(())
}

/// What a new connection needs; where there is not enough, what the connection has that
/// has waited longest without logging in. None if there is none.
async fn descriptors(server: &Server) -> Option<Reserve> {
    loop {
        let descriptors = Reserve::for_connection();
        if descriptors.is_some() || !server.make_room() {
            return descriptors;
        }
        tokio::time::sleep(CLOSING).await;
    }
}

/// accept(2): errors of the network that are pending on the new connection are
/// to be treated like EAGAIN, by retrying.
fn is_of_the_client(e: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        e.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | TimedOut
    )
}

/// One connection: not blocking, without delay.
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = crate::system::accept(listener)?;
    let stream = TcpStream::from(out_of_the_way(stream)?);
    Ok((
        stream,
        SocketAddr::new(peer.ip().to_canonical(), peer.port()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_neither_block_nor_delay() {
        let listener = bind(Some("127.0.0.1"), 0).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = loop {
            match accept(&listener) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        let error = stream.peek(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let flags = rustix::io::fcntl_getfd(&stream).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
