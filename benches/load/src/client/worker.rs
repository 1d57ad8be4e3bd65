//! One thread of the client: an epoll loop over its share of the connections.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{sockopt, AddressFamily, SocketFlags, SocketType};
use rustix::time::Timespec;

use super::session::{Session, Tally};
use super::Plan;
use crate::stream::Stream;

/// How a run proceeds; each thread looks at it after every wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum Phase {
    /// Working, not yet counted.
    #[allow(dead_code, reason = "what a new run is in; only compared with")]
    Warm,
    /// Working and counted.
    Measured,
    /// Sessions end at their next good point.
    Draining,
    /// A thread has failed; all stop at once.
    Aborted,
}

/// What the threads and their coordinator share.
#[derive(Default)]
pub struct Shared {
    phase: AtomicU8,
    /// Operations counted so far, by all threads.
    pub operations: AtomicU64,
    /// Connections that are held, by all threads.
    pub held: AtomicUsize,
}

impl Shared {
    /// Goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// Whether the run is in `phase` or past it.
    pub fn reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) >= phase as u8
    }
}

/// Connections of one thread that may be on their way in at a time: below any
/// server's backlog, so that no SYN is dropped (a repeat takes a second).
const OPENING: usize = 100;

/// A thread that hears nothing for so long gives up.
const SILENCE: Duration = Duration::from_secs(30);

struct Connection {
    session: Session,
    stream: Option<Stream>,
    held: bool,
}

/// The loop's state.
pub struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Connections that were opened at least once.
    started: usize,
    opening: usize,
    open: usize,
    tally: Tally,
    published: u64,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// A thread that works for these users, one connection each.
    ///
    /// # Errors
    /// No epoll descriptor.
    pub fn new(plan: &'a Plan, shared: &'a Shared, users: Vec<String>) -> io::Result<Self> {
        let connection = |user| Connection {
            session: Session::new(user),
            stream: None,
            held: false,
        };
        Ok(Self {
            plan,
            shared,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: users.into_iter().map(connection).collect(),
            started: 0,
            opening: 0,
            open: 0,
            tally: Tally::default(),
            published: 0,
            buffer: vec![0; plan.buffer],
        })
    }

    /// Works until the run is over.
    ///
    /// # Errors
    /// The first thing that went wrong; the other threads are told to stop.
    pub fn run(mut self) -> Result<Tally, String> {
        let done = self.work();
        done.inspect_err(|_| self.shared.enter(Phase::Aborted))?;
        Ok(self.tally)
    }

    fn work(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(256);
        let mut heard = Instant::now();
        loop {
            if self.shared.reached(Phase::Aborted) {
                return Ok(());
            }
            let draining = self.shared.reached(Phase::Draining);
            self.tally.on = self.shared.reached(Phase::Measured) && !draining;
            if draining {
                self.release_held()?;
                if self.open == 0 {
                    return Ok(());
                }
            } else {
                self.start_more()?;
            }
            events.clear();
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(format!("epoll: {error}")),
            }
            if !events.is_empty() || self.all_held() {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return Err(format!("nothing for {SILENCE:?}; {}", self.waiting_for()));
            }
            for event in &events {
                let index = event.data.u64() as usize;
                self.ready(index, draining).map_err(|error| {
                    format!("{error} ({})", self.connections[index].session.describe())
                })?;
            }
            self.publish();
        }
    }

    fn all_held(&self) -> bool {
        self.open > 0 && self.connections.iter().all(|connection| connection.held)
    }

    fn waiting_for(&self) -> String {
        let waiting = self
            .connections
            .iter()
            .find(|connection| connection.stream.is_some());
        waiting.map_or_else(String::new, |connection| connection.session.describe())
    }

    fn publish(&mut self) {
        let fresh = self.tally.operations - self.published;
        if fresh > 0 {
            self.shared.operations.fetch_add(fresh, Ordering::Relaxed);
            self.published = self.tally.operations;
        }
    }

    fn start_more(&mut self) -> Result<(), String> {
        while self.started < self.connections.len() && self.opening < OPENING {
            self.opening += 1;
            self.started += 1;
            self.connect(self.started - 1)
                .map_err(|error| format!("connect: {error}"))?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        // The hello of TLS is written at once: on this machine a connection is, too.
        let flags = match self.plan.tls {
            Some(_) => SocketFlags::CLOEXEC,
            None => SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        };
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // Close with a reset: no port stays in TIME_WAIT, so a run leaves
        // nothing behind that slows the next one.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.plan.port);
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        self.open += 1;
        let socket = TcpStream::from(socket);
        let stream = match &self.plan.tls {
            Some(config) => {
                socket.set_nonblocking(true)?;
                Stream::client(socket, config)?
            }
            None => Stream::plain(socket),
        };
        self.connections[index].stream = Some(stream);
        Ok(())
    }

    fn ready(&mut self, index: usize, draining: bool) -> Result<(), String> {
        let connection = &mut self.connections[index];
        loop {
            let Some(stream) = &mut connection.stream else {
                return Ok(());
            };
            let count = match stream.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("read: {error}")),
            };
            let session = &mut connection.session;
            session.receive(&self.buffer[..count], self.plan, draining, &mut self.tally)?;
            if !session.output.is_empty() {
                send(stream, &mut session.output)?;
            }
            if session.is_held() && !connection.held {
                connection.held = true;
                self.opening -= 1;
                self.shared.held.fetch_add(1, Ordering::Relaxed);
            }
            if session.is_over() {
                return self.session_over(index, draining);
            }
            // A full buffer means that more may wait; else epoll will tell. TLS may have more
            // in any case.
            if count < self.buffer.len() && self.plan.tls.is_none() {
                return Ok(());
            }
        }
    }

    fn session_over(&mut self, index: usize, draining: bool) -> Result<(), String> {
        let connection = &mut self.connections[index];
        if let (Some(stream), true) = (&connection.stream, self.tally.on) {
            self.tally.resumed += u64::from(stream.is_resumed());
        }
        connection.stream = None;
        self.open -= 1;
        if draining {
            return Ok(());
        }
        connection.session.restart();
        self.connect(index)
            .map_err(|error| format!("connect: {error}"))
    }

    fn release_held(&mut self) -> Result<(), String> {
        for connection in self
            .connections
            .iter_mut()
            .filter(|connection| connection.held)
        {
            connection.held = false;
            if let Some(stream) = &mut connection.stream {
                connection.session.release();
                send(stream, &mut connection.session.output)?;
            }
        }
        Ok(())
    }
}

/// Writes all commands at once; they are few enough for the socket's buffer.
fn send(stream: &mut Stream, output: &mut Vec<u8>) -> Result<(), String> {
    let count = stream
        .write(&[IoSlice::new(output)])
        .map_err(|error| format!("write: {error}"))?;
    if count < output.len() {
        return Err(format!(
            "only {count} of {} bytes of commands could be written",
            output.len()
        ));
    }
    output.clear();
    Ok(())
}
