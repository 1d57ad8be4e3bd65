//! Runs rows: every server in turn, and that again and again, so that whatever
//! the machine does besides strikes all of them alike.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::results::{parse_sample, Results, Sample};
use super::rows::{Row, Sweep, TCLLIB_CONNECTIONS};
use super::servers::{pinned, Places, Running, Server, CLIENT_CORE};
use crate::mailbox::{self, Kind};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Recorded runs of each row and server.
    pub runs: usize,
    /// Length of a run's measured part, in seconds.
    pub seconds: f64,
    /// Uncounted seconds before it.
    pub warmup: f64,
    /// Leaves out what takes Tcllib seconds for each operation, holds fewer connections.
    pub quick: bool,
}

/// One call of the load generator.
#[derive(Clone, Copy)]
struct Load<'a> {
    workload: &'a str,
    kind: &'a str,
    connections: usize,
    seconds: f64,
    warmup: f64,
    /// How its handshakes are; none: without TLS.
    tls: Option<&'a str>,
}

/// The state of a benchmark: servers that run and results so far.
pub struct Runner {
    places: Places,
    effort: Effort,
    servers: Vec<Server>,
    running: BTreeMap<Server, Running>,
    /// What was measured.
    pub results: Results,
    /// Runs that failed: wrong bytes, errors, dead servers.
    pub failures: Vec<String>,
}

impl Runner {
    /// A benchmark of these servers.
    pub fn new(places: Places, effort: Effort, servers: Vec<Server>) -> Self {
        let (results, failures) = (Results::default(), Vec::new());
        Self {
            places,
            effort,
            servers,
            running: BTreeMap::new(),
            results,
            failures,
        }
    }

    /// Starts a server, or says why it is left out.
    fn ensure(&mut self, server: Server) -> bool {
        if self.running.get_mut(&server).is_some_and(Running::is_alive) {
            return true;
        }
        self.running.remove(&server);
        match Running::start(server, &self.places) {
            Ok(running) => {
                let note = format!("version-{}", server.name());
                self.results.notes.insert(note, running.version.clone());
                self.running.insert(server, running);
                true
            }
            Err(error) => {
                println!("  {}: left out: {error}", server.name());
                self.results
                    .notes
                    .insert(format!("left-out-{}", server.name()), error);
                self.servers.retain(|&other| other != server);
                false
            }
        }
    }

    /// Makes the mailboxes of a kind.
    ///
    /// # Errors
    /// The file system's.
    pub fn prepare(&self, kind: &str) -> Result<(), String> {
        let kind = Kind::named(kind).ok_or_else(|| format!("unknown kind {kind}"))?;
        mailbox::build(&self.places.mail, kind).map_err(|error| format!("mailboxes: {error}"))
    }

    fn command(&self, running: &Running, server: Server, load: Load) -> Command {
        let mut command = pinned(CLIENT_CORE, self.places.programs.join("load"));
        command.args(["--workload", load.workload, "--kind", load.kind]);
        command
            .args(["--verify", server.verify()])
            .arg("--mail")
            .arg(&self.places.mail);
        let port = match load.tls {
            Some(how) => {
                command.args(["--tls", how]);
                running.tls_port.unwrap_or(0)
            }
            None => running.port,
        };
        for (option, value) in [
            ("--port", port.to_string()),
            ("--pids", running.pid().to_string()),
            ("--connections", load.connections.to_string()),
            ("--seconds", load.seconds.to_string()),
            ("--warmup", load.warmup.to_string()),
        ] {
            command.args([option, &value]);
        }
        command
    }

    /// One run; the interpreter is watched meanwhile.
    fn measure(&mut self, server: Server, load: Load) -> Result<Sample, String> {
        let Some(mut running) = self.running.remove(&server) else {
            return Err("is not running".to_owned());
        };
        running.watch();
        let output = self
            .command(&running, server, load)
            .stdin(Stdio::null())
            .output();
        let stall = running.stall();
        self.running.insert(server, running);
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let mut sample = parse_sample(&String::from_utf8_lossy(&output.stdout));
        if let Some(stall) = stall {
            sample.insert("stall_ms".to_owned(), stall);
        }
        Ok(sample)
    }

    fn record(
        &mut self,
        name: &str,
        server: Server,
        done: Result<Sample, String>,
    ) -> Option<Sample> {
        match done {
            Ok(sample) => {
                self.results.add(name, server, sample.clone());
                Some(sample)
            }
            Err(error) => {
                let failure = format!("{name}, {}: {error}", server.name());
                println!("  FAILED {failure}");
                self.failures.push(failure);
                None
            }
        }
    }

    fn takes_part(&self, row: &Row, server: Server) -> bool {
        let too_slow = server == Server::Tcllib && row.slow_for_tcllib && self.effort.quick;
        row.servers.contains(&server) && !too_slow
    }

    fn load_of(&self, row: &Row, server: Server) -> Load<'static> {
        let connections = match (server, row.fresh) {
            (Server::Tcllib, true) => TCLLIB_CONNECTIONS,
            (_, true) if self.effort.quick => 1000,
            _ => row.connections,
        };
        Load {
            workload: row.workload,
            kind: row.kind,
            connections,
            seconds: self.effort.seconds,
            warmup: if row.fresh { 1.0 } else { self.effort.warmup },
            tls: row.tls,
        }
    }

    /// Runs a row for all servers; its mailboxes are there.
    pub fn row(&mut self, row: &Row) {
        println!(
            "{}: {} connections, {}",
            row.name, row.connections, row.kind
        );
        let servers: Vec<Server> = self
            .servers
            .iter()
            .copied()
            .filter(|&server| self.takes_part(row, server))
            .collect();
        // The first round warms caches and indexes and is not recorded.
        for round in 0..=self.effort.runs {
            for &server in &servers {
                if row.fresh {
                    self.running.remove(&server);
                }
                if !self.servers.contains(&server) || !self.ensure(server) {
                    continue;
                }
                let load = self.load_of(row, server);
                if row.fresh {
                    // What a first session loads once is not memory per connection.
                    let first = Load {
                        workload: "logins",
                        connections: 8,
                        seconds: 0.2,
                        ..load
                    };
                    let _ = self.measure(
                        server,
                        Load {
                            warmup: 0.1,
                            ..first
                        },
                    );
                }
                if round == 0 {
                    let _ = self.measure(
                        server,
                        Load {
                            seconds: 0.3,
                            warmup: 0.2,
                            ..load
                        },
                    );
                    continue;
                }
                let done = self.measure(server, load);
                if let Some(sample) = self.record(row.name, server, done) {
                    print_sample(server, &sample);
                }
            }
        }
    }

    /// Runs a sweep; its mailboxes are there.
    pub fn sweep(&mut self, sweep: &Sweep) {
        for &(step, kind, idle) in sweep.steps {
            println!("{}: {step}", sweep.name);
            let name = format!("{}/{kind}/{idle}", sweep.name);
            for round in 0..=self.effort.runs {
                for server in sweep.servers.iter().copied() {
                    if !self.servers.contains(&server) || !self.ensure(server) {
                        continue;
                    }
                    let held = self.hold(server, kind, idle);
                    let load = Load {
                        workload: sweep.workload,
                        kind,
                        connections: sweep.connections,
                        seconds: self.effort.seconds,
                        warmup: self.effort.warmup,
                        tls: None,
                    };
                    let done = held.and_then(|held| {
                        let done = self.measure(server, load);
                        release(held);
                        done
                    });
                    if round == 0 {
                        continue;
                    }
                    if let Some(sample) = self.record(&name, server, done) {
                        print_sample(server, &sample);
                    }
                }
            }
        }
    }

    /// Holds so many idle connections by a process of their own.
    fn hold(&self, server: Server, kind: &str, idle: usize) -> Result<Option<Child>, String> {
        let Some(running) = self.running.get(&server).filter(|_| idle > 0) else {
            return Ok(None);
        };
        let load = Load {
            workload: "idle-before",
            kind,
            connections: idle,
            seconds: 0.0,
            warmup: 0.2,
            tls: None,
        };
        let mut command = self.command(running, server, load);
        command
            .arg("--hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        if let Some(output) = &mut child.stdout {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        if line.starts_with("held") {
            return Ok(Some(child));
        }
        let _ = child.wait();
        Err(format!("could not hold {idle} connections"))
    }
}

fn release(held: Option<Child>) {
    if let Some(mut child) = held {
        drop(child.stdin.take());
        let _ = child.wait_with_output();
    }
}

fn print_sample(server: Server, sample: &Sample) {
    let value = |key: &str| sample.get(key).copied().unwrap_or(0.0);
    println!(
        "  {:<10} {:>10.1}/s {:>8.1} MB/s  cpu/op {:>8.1} µs  client {:>5.2} s  p50 {:>8.0} p99 {:>8.0} µs  \
         pss/conn {:>6.2} KiB  stall {:>5.1} ms  resumed {:>5.0}",
        server.name(),
        value("rate"),
        value("mbps"),
        value("server_cpu_us_per_op"),
        value("client_cpu_s"),
        value("p50_us"),
        value("p99_us"),
        value("pss_kib_per_connection"),
        value("stall_ms"),
        value("resumed"),
    );
}
