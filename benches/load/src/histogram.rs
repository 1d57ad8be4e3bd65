//! Latencies in buckets of 3 %: constant memory, no sorting of millions of samples.

use std::time::Duration;

/// Buckets per doubling.
const FINE: u32 = 32;

/// Counts of durations by size.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

fn bucket(nanoseconds: u64) -> usize {
    let value = nanoseconds.max(u64::from(FINE));
    let exponent = value.ilog2() - FINE.ilog2();
    (exponent * FINE) as usize + (value >> exponent) as usize - FINE as usize
}

fn lower_bound(bucket: usize) -> u64 {
    let (exponent, rest) = (bucket / FINE as usize, bucket % FINE as usize);
    (u64::from(FINE) + rest as u64) << exponent
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = bucket(nanoseconds);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Adds another thread's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The duration that `fraction` of all samples stay below, in microseconds.
    pub fn quantile(&self, fraction: f64) -> f64 {
        if fraction >= 1.0 {
            return self.max as f64 / 1e3;
        }
        let rank = (self.total as f64 * fraction) as u64;
        let mut seen = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen > rank {
                return lower_bound(at) as f64 / 1e3;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (fraction, want) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile(fraction);
            assert!((got - want).abs() <= want * 0.035, "{fraction}: {got}");
        }
    }
}
