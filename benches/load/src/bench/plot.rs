//! The ratios as a picture: an SVG of bars on a logarithmic scale, Dovecot = 1.

use std::fmt::Write as _;

use super::report::number;
use super::results::Results;
use super::rows::{Goal, Line, Row, ROWS};
use super::servers::Server;

const LEFT: f64 = 480.0;
const RIGHT: f64 = 60.0;
const WIDTH: f64 = 1140.0;
const TOP: f64 = 74.0;
const STEP: f64 = 40.0;
/// Ends of the scale; what is beyond is drawn at its end.
const SCALE: (f64, f64) = (0.001, 100.0);

/// Marks: server, name, colour.
const MARKS: [(Server, &str, &str); 5] = [
    (Server::Ours, "ours, built-in stores", "#1f6fb4"),
    (Server::OursDbox, "ours, dbox", "#6aaed6"),
    (Server::OursProcs, "ours, Tcl procs", "#2a9d5c"),
    (Server::Tcllib, "Tcllib", "#d1495b"),
    (Server::Raw, "raw", "#777777"),
];

fn x(ratio: f64) -> f64 {
    let (low, high) = (SCALE.0.ln(), SCALE.1.ln());
    let part = (ratio.clamp(SCALE.0, SCALE.1).ln() - low) / (high - low);
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

/// How many times better than Dovecot: costs are turned round.
fn ratio(results: &Results, row: &Row, line: &Line, server: Server) -> Option<f64> {
    let median = |server| {
        results
            .spread(row.name, server, line.key)
            .map(|spread| spread.median)
    };
    let (value, dovecot) = (median(server)?, median(Server::Dovecot)?);
    let ratio = if is_cost(line) {
        dovecot / value
    } else {
        value / dovecot
    };
    ratio.is_finite().then_some(ratio)
}

fn is_cost(line: &Line) -> bool {
    !matches!(line.key, "rate" | "mbps")
}

fn goal(line: &Line) -> Option<f64> {
    line.targets.iter().find_map(|target| match target.goal {
        Goal::Times(factor, Server::Dovecot) => Some(factor),
        Goal::Part(part, Server::Dovecot) => Some(1.0 / part),
        _ => None,
    })
}

fn text(out: &mut String, at: (f64, f64), attributes: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" {attributes}>{text}</text>",
        at.0, at.1
    );
}

fn axis(out: &mut String, bottom: f64) {
    for decade in [0.001, 0.01, 0.1, 1.0, 10.0, 100.0] {
        let at = x(decade);
        let colour = if decade == 1.0 { "#222" } else { "#ddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>",
            TOP - 12.0
        );
        let label = if decade == 1.0 {
            "Dovecot".to_owned()
        } else {
            format!("{decade} ×")
        };
        text(
            out,
            (at, bottom + 18.0),
            "text-anchor=\"middle\" fill=\"#444\"",
            &label,
        );
    }
}

fn legend(out: &mut String) {
    let mut at = 20.0;
    for (_, name, colour) in MARKS {
        let _ = writeln!(
            out,
            "<circle cx=\"{at}\" cy=\"44\" r=\"5\" fill=\"{colour}\"/>"
        );
        text(out, (at + 10.0, 48.0), "fill=\"#222\"", name);
        at += 34.0 + name.chars().count() as f64 * 7.0;
    }
    let _ = writeln!(
        out,
        "<line x1=\"{at}\" y1=\"36\" x2=\"{at}\" y2=\"52\" stroke=\"#222\" stroke-width=\"2\" \
         stroke-dasharray=\"3 2\"/>"
    );
    text(out, (at + 8.0, 48.0), "fill=\"#222\"", "to reach");
}

fn row(out: &mut String, results: &Results, row: &Row, line: &Line, y: f64) {
    let title = if is_cost(line) {
        format!("{} (less is better)", line.title)
    } else {
        line.title.to_owned()
    };
    text(
        out,
        (LEFT - 14.0, y + 4.0),
        "text-anchor=\"end\" fill=\"#222\"",
        &title,
    );
    for (server, _, colour) in &MARKS {
        let Some(ratio) = ratio(results, row, line, *server) else {
            continue;
        };
        let at = x(ratio);
        if *server == Server::Ours {
            let (from, to) = (at.min(x(1.0)), at.max(x(1.0)));
            let _ = writeln!(
                out,
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>",
                y - 7.0,
                to - from
            );
            let anchor = if ratio < 1.0 { "end" } else { "start" };
            let beside = if ratio < 1.0 { at - 6.0 } else { at + 6.0 };
            let style = format!("text-anchor=\"{anchor}\" fill=\"{colour}\" font-weight=\"bold\"");
            text(
                out,
                (beside, y - 9.0),
                &style,
                &format!("{} ×", number(ratio)),
            );
        } else {
            let _ = writeln!(
                out,
                "<circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\" stroke=\"#fff\"/>"
            );
        }
    }
    if let Some(goal) = goal(line) {
        let at = x(goal);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#222\" \
             stroke-width=\"2\" stroke-dasharray=\"3 2\"/>",
            y - 8.0,
            y + 12.0
        );
    }
}

/// The picture of all rows that Dovecot took part in.
pub fn svg(results: &Results) -> String {
    let lines = ROWS
        .iter()
        .flat_map(|row| row.lines.iter().map(move |line| (row, line)));
    let lines: Vec<_> = lines
        .filter(|(row, line)| {
            results
                .spread(row.name, Server::Dovecot, line.key)
                .is_some()
        })
        .collect();
    let bottom = TOP + STEP * lines.len() as f64;
    let height = bottom + 36.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let heading = "font-size=\"16\" font-weight=\"bold\" fill=\"#222\"";
    text(
        &mut out,
        (14.0, 22.0),
        heading,
        "How many times better than Dovecot (medians, logarithmic)",
    );
    legend(&mut out);
    axis(&mut out, bottom);
    for (index, (of, line)) in lines.iter().enumerate() {
        row(
            &mut out,
            results,
            of,
            line,
            TOP + STEP * (index as f64 + 0.5),
        );
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::results::parse_sample;
    use super::*;

    #[test]
    fn costs_are_turned_round_and_the_scale_is_logarithmic() {
        let mut results = Results::default();
        results.add(
            "logins",
            Server::Dovecot,
            parse_sample("rate=100 server_cpu_us_per_op=800"),
        );
        results.add(
            "logins",
            Server::Ours,
            parse_sample("rate=600 server_cpu_us_per_op=80"),
        );
        let ratio_of = |line: usize| ratio(&results, &ROWS[0], &ROWS[0].lines[line], Server::Ours);
        assert_eq!((ratio_of(0), ratio_of(1)), (Some(6.0), Some(10.0)));
        assert!((x(10.0) - x(1.0) - (x(1.0) - x(0.1))).abs() < 1e-9);
        let svg = svg(&results);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("6.00 ×") && svg.contains("10.0 ×"));
    }
}
