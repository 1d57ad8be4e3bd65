//! The rows of the table: what is run, what is read off it, what is to be reached.

use super::servers::Server;
use super::servers::Server::{Dovecot, Ours, OursDbox, OursProcs, Raw, Tcllib};

/// A figure to reach, for one of our servers.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Which of ours.
    pub ours: Server,
    /// The condition.
    pub goal: Goal,
}

/// Conditions on a median.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least so many times another server's.
    Times(f64, Server),
    /// At most such a part of another server's.
    Part(f64, Server),
    /// At most so much.
    AtMost(f64),
}

/// One line of the table: a value of the load generator's output.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// What is measured, in words.
    pub title: &'static str,
    /// Key in the load generator's output.
    pub key: &'static str,
    /// Unit, as printed.
    pub unit: &'static str,
    /// Figures to reach.
    pub targets: &'static [Target],
}

/// One thing that is run.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// The load generator's workload.
    pub workload: &'static str,
    /// Whose mailboxes.
    pub kind: &'static str,
    /// Connections at a time.
    pub connections: usize,
    /// Which servers can do it, in the order in which they are run.
    pub servers: &'static [Server],
    /// What is read off it.
    pub lines: &'static [Line],
    /// How the handshakes of TLS are, `full` or `resumed`; none: without TLS.
    pub tls: Option<&'static str>,
    /// Memory is measured on a server that has just been started.
    pub fresh: bool,
    /// Tcllib takes seconds for each operation: left out of the quick run.
    pub slow_for_tcllib: bool,
}

/// Connections that Tcllib's server can hold on Tcl 8.6, which waits with select(2).
pub const TCLLIB_CONNECTIONS: usize = 900;

const ALL: &[Server] = &[Ours, OursDbox, OursProcs, Tcllib, Dovecot, Raw];
/// Tcllib has no UIDL.
const WITH_UIDL: &[Server] = &[Ours, OursDbox, Dovecot, Raw];

const fn times(factor: f64, other: Server) -> Target {
    Target {
        ours: Ours,
        goal: Goal::Times(factor, other),
    }
}

const fn rate(title: &'static str, targets: &'static [Target]) -> Line {
    Line {
        title,
        key: "rate",
        unit: "/s",
        targets,
    }
}

const fn throughput(title: &'static str, targets: &'static [Target]) -> Line {
    Line {
        title,
        key: "mbps",
        unit: "MB/s",
        targets,
    }
}

/// What one operation costs the server: its processes' time on its core. Shown for every
/// row.
pub const CPU: Line = Line {
    title: "server CPU per operation",
    key: "server_cpu_us_per_op",
    unit: "µs",
    targets: &[],
};

/// Those that can do TLS.
const WITH_TLS: &[Server] = &[Ours, Dovecot, Raw];

/// Server CPU of a login over TLS, at most such a part of Dovecot's.
const fn tls_login(title: &'static str, targets: &'static [Target]) -> Line {
    Line {
        title,
        key: CPU.key,
        unit: CPU.unit,
        targets,
    }
}

const SIX_TIMES: &[Target] = &[times(6.0, Dovecot)];

const ROW: Row = Row {
    name: "",
    workload: "",
    kind: "",
    connections: 1,
    servers: ALL,
    lines: &[],
    tls: None,
    fresh: false,
    slow_for_tcllib: false,
};

/// All rows.
pub const ROWS: [Row; 18] = [
    Row {
        name: "logins",
        workload: "logins",
        kind: "u",
        connections: 50,
        lines: &[
            rate(
                "logins (USER PASS STAT QUIT), 50 connections, mailboxes of 10",
                &[
                    times(10.0, Dovecot),
                    times(0.6, Raw),
                    Target {
                        ours: OursProcs,
                        goal: Goal::Times(2.0, Tcllib),
                    },
                ],
            ),
            Line {
                title: "server CPU per login",
                key: CPU.key,
                unit: CPU.unit,
                targets: &[Target {
                    ours: Ours,
                    goal: Goal::Part(0.09, Dovecot),
                }],
            },
        ],
        ..ROW
    },
    Row {
        name: "retr-10k",
        workload: "retr",
        kind: "k",
        connections: 8,
        lines: &[throughput(
            "RETR 100 × 10 KiB, 8 connections",
            &[times(4.0, Dovecot), times(0.55, Raw)],
        )],
        ..ROW
    },
    Row {
        name: "retr-10k-pipelined",
        workload: "retr-pipelined",
        kind: "k",
        connections: 8,
        lines: &[throughput(
            "the same pipelined, 8 connections",
            &[times(3.5, Dovecot)],
        )],
        ..ROW
    },
    Row {
        name: "retr-1m",
        workload: "retr",
        kind: "m",
        connections: 8,
        lines: &[throughput(
            "RETR 1 MiB MIME × 10, 8 connections",
            &[times(4.5, Dovecot), times(0.6, Raw)],
        )],
        slow_for_tcllib: true,
        ..ROW
    },
    Row {
        name: "retr-10m",
        workload: "retr",
        kind: "b",
        lines: &[throughput(
            "RETR 10 MiB, 1 connection",
            &[times(5.0, Dovecot), times(0.55, Raw)],
        )],
        slow_for_tcllib: true,
        ..ROW
    },
    Row {
        name: "list-10k",
        workload: "list",
        kind: "n10000",
        connections: 2,
        lines: &[rate(
            "login and LIST, 10,000 messages, 2 connections",
            SIX_TIMES,
        )],
        ..ROW
    },
    Row {
        name: "list-uidl-10k",
        workload: "list-uidl",
        kind: "n10000",
        connections: 2,
        servers: WITH_UIDL,
        lines: &[rate(
            "login, LIST and UIDL, 10,000 messages, 2 connections",
            &[times(30.0, Dovecot)],
        )],
        ..ROW
    },
    Row {
        name: "list-100k",
        workload: "list",
        kind: "n100000",
        connections: 2,
        lines: &[rate(
            "login and LIST, 100,000 messages, 2 connections",
            SIX_TIMES,
        )],
        slow_for_tcllib: true,
        ..ROW
    },
    Row {
        name: "list-uidl-100k",
        workload: "list-uidl",
        kind: "n100000",
        connections: 2,
        servers: WITH_UIDL,
        lines: &[rate(
            "login, LIST and UIDL, 100,000 messages, 2 connections",
            SIX_TIMES,
        )],
        ..ROW
    },
    Row {
        name: "top",
        workload: "top",
        kind: "k",
        lines: &[rate("TOP n 0 of 100 messages, 1 connection", &[])],
        slow_for_tcllib: true,
        ..ROW
    },
    Row {
        name: "top-8",
        workload: "top",
        kind: "k",
        connections: 8,
        lines: &[rate(
            "TOP n 0 of 100 messages, 8 connections",
            &[times(3.0, Dovecot)],
        )],
        slow_for_tcllib: true,
        ..ROW
    },
    Row {
        name: "idle-before",
        workload: "idle-before",
        kind: "u",
        connections: 5000,
        lines: &[Line {
            title: "memory per idle connection before login, 5,000 held",
            key: "pss_kib_per_connection",
            unit: "KiB",
            targets: &[Target {
                ours: Ours,
                goal: Goal::AtMost(3.0),
            }],
        }],
        fresh: true,
        ..ROW
    },
    Row {
        name: "idle-after",
        workload: "idle-after",
        kind: "u",
        // Each has four descriptors, so that 20,000 are enough.
        connections: 4000,
        lines: &[Line {
            title: "memory per connection logged in, 4,000 held, mailboxes of 10",
            key: "pss_kib_per_connection",
            unit: "KiB",
            targets: &[Target {
                ours: Ours,
                goal: Goal::AtMost(6.0),
            }],
        }],
        fresh: true,
        ..ROW
    },
    Row {
        name: "tls-logins",
        workload: "logins",
        kind: "u",
        connections: 8,
        servers: WITH_TLS,
        tls: Some("full"),
        lines: &[tls_login(
            "server CPU per login over TLS 1.3, full handshake, 8 connections",
            &[Target {
                ours: Ours,
                goal: Goal::Part(0.12, Dovecot),
            }],
        )],
        ..ROW
    },
    Row {
        name: "tls-logins-resumed",
        workload: "logins",
        kind: "u",
        connections: 8,
        servers: WITH_TLS,
        tls: Some("resumed"),
        lines: &[tls_login(
            "server CPU per login over TLS 1.3, resumed, 8 connections",
            &[Target {
                ours: Ours,
                goal: Goal::Part(0.1, Dovecot),
            }],
        )],
        ..ROW
    },
    Row {
        name: "tls-retr-10m",
        workload: "retr",
        kind: "b",
        servers: WITH_TLS,
        tls: Some("full"),
        lines: &[throughput(
            "RETR 10 MiB over TLS, 1 connection",
            &[times(3.0, Dovecot), times(0.6, Raw)],
        )],
        ..ROW
    },
    Row {
        name: "tls-retr-10k",
        workload: "retr",
        kind: "k",
        connections: 8,
        servers: WITH_TLS,
        tls: Some("full"),
        lines: &[throughput(
            "RETR 100 × 10 KiB over TLS, 8 connections",
            &[times(3.0, Dovecot)],
        )],
        ..ROW
    },
    Row {
        name: "tls-idle-after",
        workload: "idle-after",
        kind: "u",
        connections: 2000,
        servers: WITH_TLS,
        tls: Some("full"),
        lines: &[Line {
            title: "memory per connection logged in over TLS, 2,000 held",
            key: "pss_kib_per_connection",
            unit: "KiB",
            targets: &[
                Target {
                    ours: Ours,
                    goal: Goal::Part(0.25, Dovecot),
                },
                Target {
                    ours: Ours,
                    goal: Goal::AtMost(24.0),
                },
            ],
        }],
        fresh: true,
        ..ROW
    },
];

/// The last line of the table is over all rows: the longest stall of an interpreter.
pub const STALL: Line = Line {
    title: "interpreter's longest stall under all of the above",
    key: "stall_ms",
    unit: "ms",
    targets: &[
        Target {
            ours: Ours,
            goal: Goal::AtMost(20.0),
        },
        Target {
            ours: OursProcs,
            goal: Goal::AtMost(20.0),
        },
    ],
};

/// The sweeps: rows over a growing parameter, for the second table.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is measured, in words.
    pub title: &'static str,
    /// The load generator's workload.
    pub workload: &'static str,
    /// Working connections.
    pub connections: usize,
    /// Value of the parameter in words, mailboxes, idle connections held beside.
    pub steps: &'static [(&'static str, &'static str, usize)],
    /// Which servers.
    pub servers: &'static [Server],
    /// The columns: heading, key, unit.
    pub columns: &'static [(&'static str, &'static str, &'static str)],
}

const CPU_PER_OPERATION: (&str, &str, &str) = ("server CPU", "server_cpu_us_per_op", "µs");

/// All sweeps.
pub const SWEEPS: [Sweep; 3] = [
    Sweep {
        name: "sweep-messages",
        title: "login and LIST, by messages in the mailbox (2 connections)",
        workload: "list",
        connections: 2,
        steps: &[
            ("100", "n100", 0),
            ("1,000", "n1000", 0),
            ("10,000", "n10000", 0),
            ("100,000", "n100000", 0),
        ],
        servers: &[Ours, Dovecot],
        columns: &[("sessions", "rate", "/s"), CPU_PER_OPERATION],
    },
    Sweep {
        name: "sweep-connections",
        title: "logins on 50 connections, by idle connections held beside them",
        workload: "logins",
        connections: 50,
        steps: &[
            ("1", "u", 1),
            ("10", "u", 10),
            ("100", "u", 100),
            ("1,000", "u", 1000),
            ("10,000", "u", 10_000),
        ],
        servers: &[Ours, Dovecot, Raw],
        columns: &[("logins", "rate", "/s"), CPU_PER_OPERATION],
    },
    Sweep {
        name: "sweep-size",
        title: "RETR, by size of the message (1 connection)",
        workload: "retr",
        connections: 1,
        steps: &[
            ("1 KiB", "z1k", 0),
            ("10 KiB", "z10k", 0),
            ("100 KiB", "z100k", 0),
            ("1 MiB", "z1m", 0),
            ("10 MiB", "z10m", 0),
            ("100 MiB", "z100m", 0),
        ],
        servers: &[Ours, Dovecot, Raw],
        columns: &[("throughput", "mbps", "MB/s"), CPU_PER_OPERATION],
    },
];
