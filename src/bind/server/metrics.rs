//! What a server has done, as text for Prometheus and others that scrape: OpenMetrics 1.0,
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>. Its HTTP
//! type is `application/openmetrics-text; version=1.0.0; charset=utf-8`. The older text format
//! (`text/plain; version=0.0.4`) can be read from it, too, without the types of counters.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::stats::Stats;

/// The whole exposition.
pub(super) fn text(stats: &Stats) -> String {
    let mut text = Exposition {
        text: String::new(),
        server: escaped(&stats.server),
    };
    let net = &stats.net;
    let tally = &net.tally;
    let connections = "Connections that are open now.";
    text.family("connections", "gauge", connections);
    text.sample("connections", &[], stats.connections);
    let accepted = "Connections that were taken.";
    text.counter("connections_accepted", accepted, net.accepted);
    let refused = "Connections that were turned away.";
    text.counters("connections_refused", refused, "reason", &net.turned_away);
    let ended = "Sessions that have ended.";
    text.counters("sessions_ended", ended, "reason", &net.ended);
    text.family("logins", "counter", "Logins by mechanism and result.");
    for (mechanism, results) in &net.logins {
        for (result, count) in results {
            let labels = [("mechanism", *mechanism), ("result", *result)];
            text.sample("logins_total", &labels, count);
        }
    }
    let verbs: Vec<_> = tally.by_verb.iter().collect();
    text.counters("commands", "Lines of clients.", "command", &verbs);
    let messages = "Messages sent to their end.";
    let sent = [("RETR", tally.messages - tally.tops), ("TOP", tally.tops)];
    text.counters("messages", messages, "command", &sent);
    text.family("octets", "counter", "Octets of messages sent.");
    text.unit("octets", "octets");
    text.sample("octets_total", &[], tally.octets);
    text.counter("deletions", "Messages deleted by QUIT.", tally.deleted);
    text.callbacks(stats);
    let failures = "Requests that a built-in store could not do.";
    text.counter("store_failures", failures, net.stores_failed);
    let unreadable = "Messages that could not be read to their end.";
    text.counter("unreadable_messages", unreadable, net.messages_unreadable);
    let handshakes = "TLS handshakes.";
    text.counters("tls_handshakes", handshakes, "version", &net.handshakes);
    let resumed = "TLS handshakes that have resumed a session.";
    text.counter("tls_handshakes_resumed", resumed, net.handshakes_resumed);
    let failed = "TLS handshakes that have failed.";
    text.counter("tls_handshakes_failed", failed, net.handshakes_failed);
    text.text.push_str("# EOF\n");
    text.text
}

struct Exposition {
    text: String,
    /// The server's name, escaped.
    server: String,
}

impl Exposition {
    fn callbacks(&mut self, stats: &Stats) {
        let took = "Time that callbacks took.";
        self.family("callback_seconds", "summary", took);
        self.unit("callback_seconds", "seconds");
        for (method, count) in &stats.callbacks {
            let labels = [("method", *method)];
            self.sample("callback_seconds_count", &labels, count.calls);
            self.sample("callback_seconds_sum", &labels, seconds(count.time));
        }
        let longest = "Time that the longest callback took.";
        self.family("callback_longest_seconds", "gauge", longest);
        self.unit("callback_longest_seconds", "seconds");
        for (method, count) in &stats.callbacks {
            let longest = seconds(count.longest);
            self.sample("callback_longest_seconds", &[("method", method)], longest);
        }
        let failures = "Callbacks that failed or returned what they should not.";
        let counts = stats.callbacks.iter();
        let counts: Vec<_> = counts
            .map(|(method, count)| (*method, count.failures))
            .collect();
        self.counters("callback_failures", failures, "method", &counts);
    }

    /// A counter for each kind.
    fn counters(&mut self, name: &str, help: &str, label: &str, counts: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (kind, count) in counts {
            self.sample(&format!("{name}_total"), &[(label, *kind)], count);
        }
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], count);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP pop3d_{name} {help}"));
        self.line(format_args!("# TYPE pop3d_{name} {kind}"));
    }

    /// The family's name ends in its unit.
    fn unit(&mut self, name: &str, unit: &str) {
        self.line(format_args!("# UNIT pop3d_{name} {unit}"));
    }

    /// The labels' values are words of ours, which need no escapes.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let more: String = labels
            .iter()
            .map(|(label, value)| format!(",{label}=\"{value}\""))
            .collect();
        let server = self.server.clone();
        self.line(format_args!(
            "pop3d_{name}{{server=\"{server}\"{more}}} {value}"
        ));
    }

    fn line(&mut self, line: impl Display) {
        // A string takes everything.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A label's value, as it stands between quotation marks.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn seconds(time: Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let table = [
            ("srv", "srv"),
            ("a\"b", r#"a\"b"#),
            (r"a\b", r"a\\b"),
            ("a\nb", r"a\nb"),
            (r"\n", r"\\n"),
            ("\u{f6}", "\u{f6}"),
        ];
        for (value, want) in table {
            assert_eq!(escaped(value), want);
        }
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(
            seconds(Duration::from_nanos(12_000_000_345)),
            "12.000000345"
        );
        assert_eq!(seconds(Duration::ZERO), "0.000000000");
    }
}
