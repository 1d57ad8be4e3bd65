//! `attack`: how long a login takes while others are silent, slow, or guess passwords.
//!
//!     attack --port PORT [--user u1] [--password secret] [--silent 10000] [--wrong 5000]
//!            [--addresses 60000] [--seconds 10]
//!
//! Prints a line for each: the login alone, beside `silent` connections (half of them send one
//! octet a second), and beside these and `wrong` failed logins a second from so many addresses
//! of the loopback network. A login is from `connect` to the reply to PASS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pop3d_load::args::Args;
use pop3d_load::histogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily, SocketFlags, SocketType};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use rustix::time::Timespec;

/// Between two rounds of the attackers.
const ROUND: Duration = Duration::from_millis(2);

/// Between two logins of the user.
const PAUSE: Duration = Duration::from_millis(2);

/// Connections that may be on their way in at a time: below the backlog.
const OPENING: usize = 100;

/// What the command line says, and what the attackers have done.
struct Plan {
    port: u16,
    user: String,
    password: String,
    silent: usize,
    wrong: f64,
    addresses: u32,
    duration: Duration,
    held: AtomicUsize,
    is_guessing: AtomicBool,
    is_over: AtomicBool,
    refused: AtomicUsize,
    turned_away: AtomicUsize,
}

/// A connection of an attacker.
struct Attacker {
    socket: TcpStream,
    does: Does,
    heard: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    Octets,
    Guesses,
}

/// All attackers, in one thread.
struct Crowd<'a> {
    plan: &'a Plan,
    epoll: rustix::fd::OwnedFd,
    attackers: Vec<Option<Attacker>>,
    free: Vec<usize>,
    /// Greetings awaited.
    opening: usize,
    connected: u32,
}

impl<'a> Crowd<'a> {
    fn new(plan: &'a Plan) -> io::Result<Self> {
        Ok(Self {
            plan,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            attackers: Vec::new(),
            free: Vec::new(),
            opening: 0,
            connected: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let (mut begun, mut slow, mut started) = (None, 0, 0_usize);
        let (mut events, mut since) = (Vec::with_capacity(512), Instant::now());
        while !self.plan.is_over.load(Ordering::Relaxed) {
            while self.opening < OPENING && self.attackers.len() < self.plan.silent {
                let does = [Does::Nothing, Does::Octets][self.attackers.len() % 2];
                self.connect(does)?;
            }
            if self.plan.is_guessing.load(Ordering::Relaxed) {
                let begun = *begun.get_or_insert_with(Instant::now);
                let due = (begun.elapsed().as_secs_f64() * self.plan.wrong) as usize;
                while started < due && self.opening < OPENING {
                    self.connect(Does::Guesses)?;
                    started += 1;
                }
            }
            // Each slow connection once a second.
            let passed = since.elapsed();
            since += passed;
            let octets = (passed.as_secs_f64() * self.plan.silent as f64).ceil() as usize;
            for _ in 0..octets.min(self.plan.silent) {
                slow = (slow + 1) % self.plan.silent;
                if let Some(Some(Attacker {
                    socket,
                    does: Does::Octets,
                    ..
                })) = self.attackers.get_mut(slow)
                {
                    let _ = socket.write(b"x");
                }
            }
            events.clear();
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: ROUND.subsec_nanos().into(),
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&tick)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.ready(event.data.u64() as usize);
            }
        }
        Ok(())
    }

    /// From the next address of 127.1.0.0 and so on.
    fn connect(&mut self, does: Does) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        self.connected = (self.connected + 1) % self.plan.addresses;
        let from = Ipv4Addr::from_bits(0x7f01_0000 + self.connected);
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.plan.port);
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let at = self.free.pop().unwrap_or(self.attackers.len());
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        let attacker = Some(Attacker {
            socket: socket.into(),
            does,
            heard: 0,
        });
        match self.attackers.get_mut(at) {
            Some(place) => *place = attacker,
            None => self.attackers.push(attacker),
        }
        self.opening += 1;
        Ok(())
    }

    fn ready(&mut self, at: usize) {
        let Some(Some(attacker)) = self.attackers.get_mut(at) else {
            return;
        };
        let mut buffer = [0; 512];
        let count = match attacker.socket.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) | Ok(0) => 0,
            Ok(count) => count,
        };
        let before = attacker.heard;
        attacker.heard += buffer[..count].iter().filter(|&&b| b == b'\n').count();
        if before == 0 {
            self.opening -= 1;
        }
        let does = attacker.does;
        if count == 0 || (before == 0 && buffer[0] == b'-') {
            self.plan.turned_away.fetch_add(1, Ordering::Relaxed);
            return self.end(at);
        }
        match (does, before) {
            (Does::Guesses, 0) => {
                let _ = attacker.socket.write(b"USER nobody\r\nPASS wrong\r\n");
            }
            (Does::Guesses, _) if attacker.heard == 3 => {
                self.plan.refused.fetch_add(1, Ordering::Relaxed);
                self.end(at);
            }
            (Does::Octets, 0) => {
                let _ = attacker.socket.write(b"USER ");
                self.plan.held.fetch_add(1, Ordering::Relaxed);
            }
            (Does::Nothing, 0) => {
                self.plan.held.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn end(&mut self, at: usize) {
        self.attackers[at] = None;
        self.free.push(at);
    }
}

/// One login; how long it took.
fn login(plan: &Plan) -> io::Result<Duration> {
    let begun = Instant::now();
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, plan.port))?;
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(&socket);
    let mut line = String::new();
    let mut expect = |command: &str| -> io::Result<()> {
        (&socket).write_all(command.as_bytes())?;
        line.clear();
        reader.read_line(&mut line)?;
        match line.starts_with("+OK") {
            true => Ok(()),
            false => Err(io::Error::other(format!("{command:?}: {line:?}"))),
        }
    };
    expect("")?;
    expect(&format!("USER {}\r\n", plan.user))?;
    expect(&format!("PASS {}\r\n", plan.password))?;
    let taken = begun.elapsed();
    expect("QUIT\r\n")?;
    Ok(taken)
}

/// Logins for some time, one after the other.
fn measure(plan: &Plan, beside: &str) -> io::Result<()> {
    let (mut times, mut count, begun) = (Histogram::default(), 0, Instant::now());
    let refused = plan.refused.load(Ordering::Relaxed);
    while begun.elapsed() < plan.duration {
        times.record(login(plan)?);
        count += 1;
        thread::sleep(PAUSE);
    }
    let wrong = (plan.refused.load(Ordering::Relaxed) - refused) as f64;
    println!(
        "{beside}: logins={count} p50_us={:.0} p90_us={:.0} p99_us={:.0} max_us={:.0} \
         wrong_per_second={:.0} held={} turned_away={}",
        times.quantile(0.5),
        times.quantile(0.9),
        times.quantile(0.99),
        times.quantile(1.0),
        wrong / begun.elapsed().as_secs_f64(),
        plan.held.load(Ordering::Relaxed),
        plan.turned_away.load(Ordering::Relaxed),
    );
    Ok(())
}

fn phases(plan: &Plan) -> io::Result<()> {
    measure(plan, "alone")?;
    thread::scope(|scope| {
        let crowd = Crowd::new(plan)?;
        let attackers = scope.spawn(move || crowd.run());
        let done = (|| {
            while plan.held.load(Ordering::Relaxed) < plan.silent {
                if attackers.is_finished() {
                    return Ok(());
                }
                thread::sleep(ROUND);
            }
            measure(plan, "beside the slow and the silent")?;
            plan.is_guessing.store(true, Ordering::Relaxed);
            thread::sleep(plan.duration / 5);
            measure(plan, "beside these and wrong logins")
        })();
        plan.is_over.store(true, Ordering::Relaxed);
        let attacked = attackers.join().map_err(|_| io::Error::other("panic"))?;
        attacked.and(done)
    })
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let known = [
        "port",
        "user",
        "password",
        "silent",
        "wrong",
        "addresses",
        "seconds",
    ];
    let args = Args::parse(std::env::args().skip(1), &known)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    let text = |key, default: &str| args.text(key).unwrap_or(default).to_owned();
    phases(&Plan {
        port: args.value("port", 0)?,
        user: text("user", "u1"),
        password: text("password", "secret"),
        silent: args.value("silent", 10_000)?,
        wrong: args.value("wrong", 5_000.0)?,
        addresses: args.value("addresses", 60_000)?,
        duration: Duration::from_secs_f64(args.value("seconds", 10.0)?),
        held: AtomicUsize::new(0),
        is_guessing: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        refused: AtomicUsize::new(0),
        turned_away: AtomicUsize::new(0),
    })?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attack: {error}");
            ExitCode::FAILURE
        }
    }
}
