//! The results as Markdown.

use std::fmt::Write as _;

use super::results::{Results, Spread};
use super::rows::{Goal, Line, Sweep, Target, CPU, ROWS, STALL, SWEEPS};
use super::servers::Server;

/// Servers in the order of the table's columns, with their headings.
const COLUMNS: [(Server, &str); 6] = [
    (Server::Tcllib, "Tcllib"),
    (Server::Dovecot, "Dovecot"),
    (Server::Raw, "raw"),
    (Server::Ours, "ours"),
    (Server::OursDbox, "ours, dbox"),
    (Server::OursProcs, "ours, Tcl procs"),
];

/// A number with as many digits as one can believe.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let whole = text.len() - if digits > 0 { digits + 1 } else { 0 };
    let mut out = String::new();
    for (at, digit) in text.char_indices() {
        if at > 0 && at < whole && (whole - at) % 3 == 0 && &text[at - 1..at] != "-" {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |spread| {
            let (median, min, max) = (spread.median, spread.min, spread.max);
            format!("{} ({}–{})", number(median), number(min), number(max))
        },
    )
}

/// How a target stands: the condition in words, and whether it is reached, if that is known.
pub fn judge(results: &Results, row: &str, line: &Line, target: &Target) -> (String, Option<bool>) {
    let median = |server| {
        results
            .spread(row, server, line.key)
            .map(|spread| spread.median)
    };
    let ours = if line.key == STALL.key {
        results
            .largest(target.ours, line.key)
            .map(|(value, _)| value)
    } else {
        median(target.ours)
    };
    let heading = |server| {
        COLUMNS
            .iter()
            .find(|(of, _)| *of == server)
            .map_or("", |(_, name)| *name)
    };
    let who = if target.ours == Server::Ours {
        ""
    } else {
        heading(target.ours)
    };
    let separator = if who.is_empty() { "" } else { ": " };
    let ratio = |other| Some(ours? / median(other)?);
    let (goal, value, reached) = match target.goal {
        Goal::Times(factor, other) => {
            let value = ratio(other);
            let goal = format!("≥ {factor} × {}", heading(other));
            (goal, value, value.map(|value| value >= factor))
        }
        Goal::Part(part, other) => {
            let value = ratio(other);
            let goal = format!("≤ {part} × {}", heading(other));
            (goal, value, value.map(|value| value <= part))
        }
        Goal::AtMost(most) => (
            format!("≤ {most} {}", line.unit),
            ours,
            ours.map(|value| value <= most),
        ),
    };
    let mark = match reached {
        Some(true) => "reached",
        Some(false) => "**missed**",
        None => "not measured",
    };
    let value = value.map_or_else(String::new, |value| format!(" {}", number(value)));
    (format!("{who}{separator}{goal}:{value} {mark}"), reached)
}

fn table(results: &Results) -> String {
    let mut out = String::from("| work |");
    for (_, heading) in COLUMNS {
        let _ = write!(out, " {heading} |");
    }
    out.push_str(" to reach |\n|---|");
    out.push_str(&"---:|".repeat(COLUMNS.len()));
    out.push_str("---|\n");
    for row in &ROWS {
        let shown = row.lines.iter().any(|line| line.key == CPU.key);
        let cpu = (!shown && !row.fresh).then_some(&CPU);
        for line in row.lines.iter().chain(cpu) {
            let _ = write!(out, "| {}, {} |", line.title, line.unit);
            for (server, _) in COLUMNS {
                let _ = write!(
                    out,
                    " {} |",
                    spread(results.spread(row.name, server, line.key))
                );
            }
            let judged = line
                .targets
                .iter()
                .map(|target| judge(results, row.name, line, target).0);
            let _ = writeln!(out, " {} |", judged.collect::<Vec<_>>().join("; "));
        }
    }
    let _ = write!(out, "| {}, {} |", STALL.title, STALL.unit);
    for (server, _) in COLUMNS {
        let _ = match results.largest(server, STALL.key) {
            Some((value, row)) => write!(out, " {} ({row}) |", number(value)),
            None => write!(out, " – |"),
        };
    }
    let judged = STALL
        .targets
        .iter()
        .map(|target| judge(results, "", &STALL, target).0);
    let _ = writeln!(out, " {} |", judged.collect::<Vec<_>>().join("; "));
    out
}

fn sweep_table(results: &Results, sweep: &Sweep) -> String {
    let mut out = format!("### {}\n\n| |", sweep.title);
    for &server in sweep.servers {
        for (heading, _, unit) in sweep.columns {
            let _ = write!(out, " {}: {heading}, {unit} |", server.name());
        }
    }
    out.push_str("\n|---|");
    out.push_str(&"---:|".repeat(sweep.servers.len() * sweep.columns.len()));
    out.push('\n');
    for (step, kind, idle) in sweep.steps {
        let _ = write!(out, "| {step} |");
        let row = format!("{}/{kind}/{idle}", sweep.name);
        for &server in sweep.servers {
            for (_, key, _) in sweep.columns {
                let _ = write!(out, " {} |", spread(results.spread(&row, server, key)));
            }
        }
        out.push('\n');
    }
    out
}

/// The whole page.
pub fn markdown(results: &Results) -> String {
    let note = |key: &str| results.notes.get(key).map_or("?", String::as_str);
    let mut out = String::from("# Benchmark\n\nMade by `make bench`; do not edit.\n\n");
    let _ = writeln!(
        out,
        "{}. Servers: ours {}, Tcllib's pop3d {}, Dovecot {}.\n\
         Median (smallest–largest) of {} interleaved runs of {} s each; every server runs on \
         one core, with all its processes, and the client on another (taskset).\nThe client verifies every byte it is sent, but of Tcllib's messages, which \
         are rebuilt, only the framing.\n*Raw* writes prepared bytes to the same client: the \
         ceiling of machine and client. Memory is\nthe growth of the proportional set size, \
         kernel buffers apart (Tcllib: {} connections).\n\
         Half of the messages are stored with LF line ends, which cost Tcllib far more, half with CRLF.\n\
         The longest stall beside Dovecot and raw is that of an interpreter which does nothing: \
         what machine and load do to it.\n",
        note("machine"),
        note("version-ours"),
        note("version-tcllib"),
        note("version-dovecot"),
        note("runs"),
        note("seconds"),
        super::rows::TCLLIB_CONNECTIONS,
    );
    out.push_str("![How many times faster than Dovecot](benchmark.svg)\n\n");
    out.push_str(&table(results));
    for (key, reason) in &results.notes {
        if let Some(server) = key.strip_prefix("left-out-") {
            let _ = writeln!(out, "\n{server} is left out: {reason}");
        }
    }
    let measured = |sweep: &&Sweep| {
        sweep.steps.iter().any(|(_, kind, idle)| {
            let row = format!("{}/{kind}/{idle}", sweep.name);
            results.spread(&row, Server::Ours, "rate").is_some()
                || results.spread(&row, Server::Dovecot, "rate").is_some()
        })
    };
    for (index, sweep) in SWEEPS.iter().filter(measured).enumerate() {
        out.push_str(if index == 0 { "\n## Sweeps\n\n" } else { "\n" });
        out.push_str(&sweep_table(results, sweep));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::results::parse_sample;
    use super::*;

    #[test]
    fn numbers_have_three_good_digits() {
        let table = [
            (0.1234, "0.12"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1234567.0, "1,234,567"),
        ];
        for (value, want) in table {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn targets_are_judged_by_medians() {
        let mut results = Results::default();
        let row = &ROWS[0];
        let (line, targets) = (&row.lines[0], row.lines[0].targets);
        results.add(row.name, Server::Dovecot, parse_sample("rate=100"));
        assert_eq!(judge(&results, row.name, line, &targets[0]).1, None);
        results.add(row.name, Server::Ours, parse_sample("rate=999"));
        let (text, reached) = judge(&results, row.name, line, &targets[0]);
        assert_eq!(
            (text.as_str(), reached),
            ("≥ 10 × Dovecot: 9.99 **missed**", Some(false))
        );
        results.add(row.name, Server::Raw, parse_sample("rate=1600"));
        assert_eq!(judge(&results, row.name, line, &targets[1]).1, Some(true));
        assert!(
            markdown(&results).contains("| 100 (100–100) | 1,600 (1,600–1,600) | 999 (999–999) |")
        );
    }
}
