//! The load generator: closed-loop clients that verify what they receive.

mod reading;
mod session;
mod worker;

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::histogram::Histogram;
use crate::mailbox::{Kind, Manifest};
use crate::procfs::{self, Usage};
use session::Tally;
use worker::{Phase, Shared, Worker};

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// USER PASS STAT QUIT on a new connection each; an operation is a session.
    Logins,
    /// RETR of each message in turn; an operation is a message.
    Retr,
    /// The same with all commands of a mailbox sent at once.
    RetrPipelined,
    /// USER PASS LIST QUIT; an operation is a session.
    List,
    /// USER PASS LIST UIDL QUIT; an operation is a session.
    ListUidl,
    /// TOP n 0 of each message in turn; an operation is a whole mailbox.
    Top,
    /// Connections are held once the greeting has come.
    IdleBefore,
    /// Connections are held once the login is done.
    IdleAfter,
}

impl Workload {
    /// Names on the command line.
    pub const NAMES: [(&'static str, Workload); 8] = [
        ("logins", Self::Logins),
        ("retr", Self::Retr),
        ("retr-pipelined", Self::RetrPipelined),
        ("list", Self::List),
        ("list-uidl", Self::ListUidl),
        ("top", Self::Top),
        ("idle-before", Self::IdleBefore),
        ("idle-after", Self::IdleAfter),
    ];

    /// The workload of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|&(_, workload)| workload)
            .ok_or_else(|| format!("unknown workload {name:?}"))
    }

    fn holds(self) -> bool {
        matches!(self, Self::IdleBefore | Self::IdleAfter)
    }
}

/// How much of the replies is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verify {
    /// Status, framing and line counts: for a server that rebuilds messages.
    Framing,
    /// The bytes of messages too: for storages that announce sizes of files.
    Bytes,
    /// Every byte, and every number that the server announces.
    Exact,
}

impl Verify {
    /// The level of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "framing" => Ok(Self::Framing),
            "bytes" => Ok(Self::Bytes),
            "exact" => Ok(Self::Exact),
            _ => Err(format!("--verify {name}: framing, bytes or exact")),
        }
    }
}

/// One run of the load generator.
pub struct Plan {
    /// What to do.
    pub workload: Workload,
    /// With whose mailboxes.
    pub kind: &'static Kind,
    /// What these must look like.
    pub manifest: Manifest,
    /// How much of the replies is verified.
    pub verify: Verify,
    /// The server's port on the loopback interface.
    pub port: u16,
    /// How many connections at a time.
    pub connections: usize,
    /// Threads of the client.
    pub threads: usize,
    /// Uncounted time before the measured part.
    pub warmup: Duration,
    /// The measured part; it is prolonged until every connection could have
    /// completed one operation.
    pub duration: Duration,
    /// The longest that the measured part is prolonged to.
    pub limit: Duration,
    /// Bytes asked for by one read.
    pub buffer: usize,
    /// Processes whose trees are the server.
    pub pids: Vec<u32>,
    /// None: without TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// Held connections stay until standard input ends.
    pub hold: bool,
}

/// What a run has shown.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whole operations in the measured part.
    pub operations: u64,
    /// Bytes of multi-line replies in the measured part.
    pub bytes: u64,
    /// Length of the measured part in seconds.
    pub seconds: f64,
    /// The server before.
    pub before: Usage,
    /// The server at the end of the measured part, connections still open.
    pub after: Usage,
    /// Processor seconds of this client in the measured part.
    pub client_cpu: f64,
    /// Connections held.
    pub held: usize,
    /// Connections whose TLS handshake resumed a session, of those that ended.
    pub resumed: u64,
    latencies: Histogram,
}

impl Outcome {
    /// One line of `key=value`, for programs.
    pub fn line(&self) -> String {
        let mut out = String::new();
        let seconds = self.seconds.max(1e-9);
        let operations = self.operations.max(1) as f64;
        let server = self.after.cpu - self.before.cpu;
        let grown = |after: u64, before: u64| after.saturating_sub(before);
        let held = self.held.max(1) as f64;
        let values = [
            ("rate", self.operations as f64 / seconds),
            ("mbps", self.bytes as f64 / seconds / 1e6),
            ("ops", self.operations as f64),
            ("seconds", self.seconds),
            ("p50_us", self.latencies.quantile(0.5)),
            ("p99_us", self.latencies.quantile(0.99)),
            ("max_us", self.latencies.quantile(1.0)),
            ("server_cpu_s", server),
            ("server_cpu_us_per_op", server * 1e6 / operations),
            ("client_cpu_s", self.client_cpu),
            ("rss_kib", self.after.rss as f64),
            ("pss_kib", self.after.pss as f64),
            ("held", self.held as f64),
            ("resumed", self.resumed as f64),
            (
                "rss_kib_per_connection",
                grown(self.after.rss, self.before.rss) as f64 / held,
            ),
            (
                "pss_kib_per_connection",
                grown(self.after.pss, self.before.pss) as f64 / held,
            ),
            ("processes", self.after.processes as f64),
        ];
        for (key, value) in values {
            let _ = write!(out, "{key}={value:.3} ");
        }
        out + "errors=0"
    }
}

/// Runs the plan.
///
/// # Errors
/// The first error or wrong byte; there are no results then.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    if plan.connections > plan.kind.users && plan.workload != Workload::IdleBefore {
        return Err(format!(
            "{} has only {} users",
            plan.kind.name, plan.kind.users
        ));
    }
    let shared = Shared::default();
    let threads = plan.threads.min(plan.connections).max(1);
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for thread in 0..threads {
            let users = (thread..plan.connections).step_by(threads);
            let users = users
                .map(|user| plan.kind.user(user % plan.kind.users))
                .collect();
            let worker = Worker::new(plan, &shared, users).map_err(|error| error.to_string())?;
            workers.push(scope.spawn(move || worker.run()));
        }
        let mut outcome = if plan.workload.holds() {
            hold(plan, &shared)
        } else {
            measure(plan, &shared)
        };
        shared.enter(Phase::Draining);
        for worker in workers {
            let tally = worker
                .join()
                .map_err(|_| "a thread of the client panicked")??;
            add(&mut outcome, &tally);
        }
        if outcome.operations == 0 && !plan.workload.holds() {
            return Err(format!("not one operation in {:.1} s", outcome.seconds));
        }
        Ok(outcome)
    })
}

fn add(outcome: &mut Outcome, tally: &Tally) {
    outcome.operations += tally.operations;
    outcome.bytes += tally.bytes;
    outcome.resumed += tally.resumed;
    outcome.latencies.merge(&tally.latencies);
}

fn own_cpu() -> f64 {
    procfs::usage(&[std::process::id()], false).cpu
}

fn measure(plan: &Plan, shared: &Shared) -> Outcome {
    let pause = Duration::from_millis(10);
    let wait_until = |end: Instant| {
        while Instant::now() < end && !shared.reached(Phase::Aborted) {
            thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        }
    };
    wait_until(Instant::now() + plan.warmup);
    let (before, client) = (procfs::usage(&plan.pids, false), own_cpu());
    shared.enter(Phase::Measured);
    let begun = Instant::now();
    wait_until(begun + plan.duration);
    let least = plan.connections as u64;
    while shared.operations.load(std::sync::atomic::Ordering::Relaxed) < least
        && begun.elapsed() < plan.limit
        && !shared.reached(Phase::Aborted)
    {
        thread::sleep(pause);
    }
    shared.enter(Phase::Draining);
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = own_cpu() - client;
    let after = procfs::usage(&plan.pids, false);
    Outcome {
        seconds,
        before,
        after,
        client_cpu,
        ..Outcome::default()
    }
}

fn hold(plan: &Plan, shared: &Shared) -> Outcome {
    let before = procfs::usage(&plan.pids, true);
    let begun = Instant::now();
    let held = || shared.held.load(std::sync::atomic::Ordering::Relaxed);
    while held() < plan.connections && !shared.reached(Phase::Aborted) {
        thread::sleep(Duration::from_millis(10));
    }
    let seconds = begun.elapsed().as_secs_f64();
    // Whatever the server frees or does after a login is to be over.
    thread::sleep(plan.warmup);
    let after = procfs::usage(&plan.pids, true);
    if plan.hold {
        println!("held {}", held());
        let _ = std::io::stdin().read(&mut [0]);
    }
    Outcome {
        seconds,
        before,
        after,
        held: held(),
        ..Outcome::default()
    }
}
