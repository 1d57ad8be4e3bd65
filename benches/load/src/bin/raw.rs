//! `raw`: the ceiling. A POP3 server that knows its few mailboxes by heart and
//! writes prepared bytes; no files, no users, no limits. It shows what machine
//! and client can do at most, and is no use otherwise.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;

use pop3d_load::args::Args;
use pop3d_load::corpus;
use pop3d_load::mailbox::{self, Kind, Manifest};
use pop3d_load::stream::{self, Stream};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::ServerConfig;

/// Every reply of a mailbox, ready to be written.
struct Mailbox {
    stat: Vec<u8>,
    list: Vec<u8>,
    uidl: Vec<u8>,
    retr: Vec<Vec<u8>>,
    top: Vec<Vec<u8>>,
}

impl Mailbox {
    fn new(kind: &Kind, manifest: &Manifest) -> Self {
        let count = kind.messages;
        let body =
            |lines: Vec<u8>| [format!("+OK {count} messages\r\n").into_bytes(), lines].concat();
        let ids = (1..=count).map(|number| format!("{number} 1700000000.M{number:06}P1.raw\r\n"));
        let mut uidl: Vec<u8> = ids.collect::<String>().into_bytes();
        uidl.extend_from_slice(b".\r\n");
        let (mut retr, mut top) = (Vec::new(), Vec::new());
        // Listings of huge mailboxes need no messages.
        for index in 0..if count > 1000 { 0 } else { count } {
            let (wire, octets) = corpus::wire(&kind.message(index));
            top.push([b"+OK \r\n".to_vec(), corpus::top(&wire)].concat());
            retr.push([format!("+OK {octets} octets\r\n").into_bytes(), wire].concat());
        }
        Self {
            stat: format!("+OK {count} {}\r\n", manifest.octets).into_bytes(),
            list: body(mailbox::listing(
                manifest.messages.iter().map(|wanted| wanted.octets),
            )),
            uidl: body(uidl),
            retr,
            top,
        }
    }
}

/// The mailboxes made so far, by kind.
struct Mailboxes {
    mail: PathBuf,
    made: Mutex<HashMap<&'static str, Arc<Mailbox>>>,
}

impl Mailboxes {
    fn get(&self, user: &str) -> Option<Arc<Mailbox>> {
        let kind = Kind::named(user.split_once('-')?.0)?;
        let mut made = self.made.lock().ok()?;
        if let Some(mailbox) = made.get(kind.name) {
            return Some(Arc::clone(mailbox));
        }
        let manifest = Manifest::read(&self.mail, kind).ok()?;
        let mailbox = Arc::new(Mailbox::new(kind, &manifest));
        made.insert(kind.name, Arc::clone(&mailbox));
        Some(mailbox)
    }
}

/// A reply that is still to be written, by reference.
#[derive(Clone, Copy)]
enum Reply {
    Fixed(&'static [u8]),
    Stat,
    List,
    Uidl,
    Retr(usize),
    Top(usize),
}

struct Connection {
    stream: Stream,
    mailbox: Option<Arc<Mailbox>>,
    input: Vec<u8>,
    replies: Vec<Reply>,
    /// Replies of `replies`, and bytes of the one after, that are written.
    written: (usize, usize),
    /// Whether epoll waits for room to write rather than for input.
    blocked: bool,
    quit: bool,
}

const NO: &[u8] = b"-ERR no\r\n";

impl Connection {
    fn answer(&mut self, line: &str, mailboxes: &Mailboxes) -> Reply {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || {
            rest.split(' ')
                .next()?
                .parse::<usize>()
                .ok()?
                .checked_sub(1)
        };
        let count = self
            .mailbox
            .as_ref()
            .map_or(0, |mailbox| mailbox.retr.len());
        match (verb, number()) {
            ("USER", _) => {
                self.mailbox = mailboxes.get(rest);
                Reply::Fixed(b"+OK please send PASS command\r\n")
            }
            ("PASS", _) if self.mailbox.is_some() => Reply::Fixed(b"+OK congratulations\r\n"),
            ("STAT", _) if self.mailbox.is_some() => Reply::Stat,
            ("LIST", _) if self.mailbox.is_some() => Reply::List,
            ("UIDL", _) if self.mailbox.is_some() => Reply::Uidl,
            ("RETR", Some(index)) if index < count => Reply::Retr(index),
            ("TOP", Some(index)) if index < count => Reply::Top(index),
            ("QUIT", _) => {
                self.quit = true;
                Reply::Fixed(b"+OK shutting down\r\n")
            }
            _ => Reply::Fixed(NO),
        }
    }

    fn bytes(mailbox: Option<&Mailbox>, reply: Reply) -> &[u8] {
        match (reply, mailbox) {
            (Reply::Fixed(bytes), _) => bytes,
            (_, None) => NO,
            (Reply::Stat, Some(mailbox)) => &mailbox.stat,
            (Reply::List, Some(mailbox)) => &mailbox.list,
            (Reply::Uidl, Some(mailbox)) => &mailbox.uidl,
            (Reply::Retr(index), Some(mailbox)) => &mailbox.retr[index],
            (Reply::Top(index), Some(mailbox)) => &mailbox.top[index],
        }
    }

    /// Reads, answers, writes; false when the connection is done with.
    fn ready(&mut self, buffer: &mut [u8], mailboxes: &Mailboxes) -> io::Result<bool> {
        if self.replies.is_empty() && !self.stream.is_blocked() {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let input = std::mem::take(&mut self.input);
            let mut rest = &input[..];
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let line = String::from_utf8_lossy(&rest[..end]);
                let reply = self.answer(line.trim_end(), mailboxes);
                self.replies.push(reply);
                rest = &rest[end + 1..];
            }
            self.input.extend_from_slice(rest);
        }
        self.write()?;
        Ok(!self.quit || self.waits())
    }

    /// Whether something is still to be written.
    fn waits(&self) -> bool {
        !self.replies.is_empty() || self.stream.is_blocked()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written.0 < self.replies.len() {
            let (first, offset) = self.written;
            let mailbox = self.mailbox.as_deref();
            let pending = self.replies[first..].iter().take(64);
            let mut slices: Vec<IoSlice> = pending
                .map(|&reply| IoSlice::new(Self::bytes(mailbox, reply)))
                .collect();
            slices[0].advance(offset);
            let mut count = match self.stream.write(&slices) {
                Ok(count) => count + offset,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            while let Some(&reply) = self.replies.get(self.written.0) {
                let len = Self::bytes(mailbox, reply).len();
                if count < len {
                    break;
                }
                count -= len;
                self.written.0 += 1;
            }
            self.written.1 = count;
        }
        self.replies.clear();
        self.written = (0, 0);
        self.stream.flush()
    }
}

const LISTENER: u64 = u64::MAX;

/// One thread: its own epoll set, the listener shared with the others.
fn serve(
    listener: &TcpListener,
    mailboxes: &Mailboxes,
    tls: Option<&Arc<ServerConfig>>,
) -> io::Result<()> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &set,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN | EventFlags::EXCLUSIVE,
    )?;
    let mut connections: Vec<Option<Box<Connection>>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        epoll::wait(&set, spare_capacity(&mut events), None)?;
        for event in &events {
            if event.data.u64() == LISTENER {
                let Ok((socket, _)) = listener.accept() else {
                    continue;
                };
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                let mut stream = match tls {
                    Some(config) => Stream::server(socket, config)?,
                    None => Stream::plain(socket),
                };
                // With TLS it goes out after the handshake.
                stream.write(&[IoSlice::new(b"+OK raw ready\r\n")])?;
                let slot = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll::add(
                    &set,
                    &stream.socket,
                    EventData::new_u64(slot as u64),
                    EventFlags::IN,
                )?;
                connections[slot] = Some(Box::new(Connection {
                    stream,
                    mailbox: None,
                    input: Vec::new(),
                    replies: Vec::new(),
                    written: (0, 0),
                    blocked: false,
                    quit: false,
                }));
                continue;
            }
            let slot = event.data.u64() as usize;
            let Some(connection) = &mut connections[slot] else {
                continue;
            };
            if !matches!(connection.ready(&mut buffer, mailboxes), Ok(true)) {
                connections[slot] = None;
                free.push(slot);
            } else if connection.blocked != connection.waits() {
                connection.blocked = !connection.blocked;
                let wanted = if connection.blocked {
                    EventFlags::OUT
                } else {
                    EventFlags::IN
                };
                epoll::modify(&set, &connection.stream.socket, event.data, wanted)?;
            }
        }
    }
}

fn run() -> Result<(), String> {
    let args = Args::parse(
        std::env::args().skip(1),
        &["mail", "port", "threads", "certificate"],
    )?;
    let mail = PathBuf::from(args.text("mail").ok_or("--mail DIRECTORY is missing")?);
    let mailboxes = Mailboxes {
        mail,
        made: Mutex::default(),
    };
    let listener = listen(args.value("port", 0u16)?, "port")?;
    let tls = match args.text("certificate") {
        None => None,
        Some(dir) => {
            let config = stream::server_config(Path::new(dir));
            let config = config.map_err(|error| format!("--certificate {dir}: {error}"))?;
            Some((listen(0, "tls-port")?, config))
        }
    };
    println!("ready");
    let threads = args.value("threads", 1usize)?;
    thread::scope(|scope| {
        let plain = || serve(&listener, &mailboxes, None).map_err(|error| error.to_string());
        if let Some((listener, config)) = &tls {
            scope.spawn(|| serve(listener, &mailboxes, Some(config)));
        }
        for _ in 1..threads {
            scope.spawn(plain);
        }
        plain()
    })
}

/// Listens on the loopback interface, and says the port.
fn listen(port: u16, name: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = listener.map_err(|error| format!("listen: {error}"))?;
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    // The standard library's backlog of 128 is too short for a burst.
    rustix::net::listen(&listener, 4096).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("{name} {}", address.port());
    Ok(listener)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raw: {error}");
            ExitCode::FAILURE
        }
    }
}
