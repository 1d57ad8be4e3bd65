//! What was measured: kept as text, so that reports can be made again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::servers::Server;

/// Values of one run, by key.
pub type Sample = BTreeMap<String, f64>;

/// Median, smallest and largest of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub runs: usize,
}

/// All samples, by row and server, and what was noted of the servers.
#[derive(Debug, Default)]
pub struct Results {
    samples: BTreeMap<(String, Server), Vec<Sample>>,
    /// Notes: what was left out and why, versions, settings of the run.
    pub notes: BTreeMap<String, String>,
}

/// Takes `key=value` pairs apart.
pub fn parse_sample(line: &str) -> Sample {
    let pairs = line
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}

impl Results {
    /// Adds a run's values.
    pub fn add(&mut self, row: &str, server: Server, sample: Sample) {
        self.samples
            .entry((row.to_owned(), server))
            .or_default()
            .push(sample);
    }

    /// The spread of a value over a row's runs.
    pub fn spread(&self, row: &str, server: Server, key: &str) -> Option<Spread> {
        let samples = self.samples.get(&(row.to_owned(), server))?;
        let mut values: Vec<f64> = samples
            .iter()
            .filter_map(|sample| sample.get(key).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let (min, max) = (*values.first()?, *values.last()?);
        let median = (values[(runs - 1) / 2] + values[runs / 2]) / 2.0;
        Some(Spread {
            median,
            min,
            max,
            runs,
        })
    }

    /// The largest of a value over all rows of a server.
    pub fn largest(&self, server: Server, key: &str) -> Option<(f64, &str)> {
        let of_server = self.samples.iter().filter(|((_, of), _)| *of == server);
        let values = of_server.flat_map(|((row, _), samples)| {
            samples
                .iter()
                .filter_map(move |sample| Some((*sample.get(key)?, row.as_str())))
        });
        values.max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Writes everything as lines of text.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = io::BufWriter::new(fs::File::create(path)?);
        for (key, note) in &self.notes {
            writeln!(out, "note {key} {note}")?;
        }
        for ((row, server), samples) in &self.samples {
            for sample in samples {
                write!(out, "run {row} {}", server.name())?;
                for (key, value) in sample {
                    write!(out, " {key}={value}")?;
                }
                writeln!(out)?;
            }
        }
        out.flush()
    }

    /// Reads what [`Results::save`] wrote.
    ///
    /// # Errors
    /// The file system's.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut results = Self::default();
        for line in fs::read_to_string(path)?.lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("note"), Some(key), Some(note)) => {
                    results.notes.insert(key.to_owned(), note.to_owned());
                }
                (Some("run"), Some(row), Some(rest)) => {
                    let server = rest.split(' ').next().and_then(Server::named);
                    if let Some(server) = server {
                        results.add(row, server, parse_sample(rest));
                    }
                }
                _ => {}
            }
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges_of_odd_and_even_numbers_of_runs() {
        let mut results = Results::default();
        for (runs, value, want) in [(1, 5.0, 5.0), (2, 1.0, 3.0), (3, 2.0, 2.0)] {
            results.add(
                "r",
                Server::Ours,
                parse_sample(&format!("rate={value} errors=0")),
            );
            let spread = results.spread("r", Server::Ours, "rate").unwrap();
            assert_eq!((spread.median, spread.runs), (want, runs));
        }
        let spread = results.spread("r", Server::Ours, "rate").unwrap();
        assert_eq!((spread.min, spread.max), (1.0, 5.0));
        assert_eq!(results.spread("r", Server::Raw, "rate"), None);
        assert_eq!(results.largest(Server::Ours, "rate"), Some((5.0, "r")));
    }
}
