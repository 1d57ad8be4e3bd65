//! Output that goes out at a bounded rate.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How often octets go out: often enough that it looks like a slow line, seldom enough that
/// it costs little.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many octets may be written now.
#[derive(Debug)]
pub(super) struct Pace {
    rate: NonZeroU64,
    /// Up to when the octets that have been earned are counted.
    since: Instant,
    earned: usize,
}

impl Pace {
    /// Begins with nothing.
    pub(super) fn new(rate: NonZeroU64, now: Instant) -> Self {
        Self {
            rate,
            since: now,
            earned: 0,
        }
    }

    /// The octets that go out at once: those of an interval, and at least one.
    fn step(&self) -> usize {
        let octets = u128::from(self.rate.get()) * INTERVAL.as_millis() / 1000;
        usize::try_from(octets).unwrap_or(usize::MAX).max(1)
    }

    /// Counts what has been earned. A client that did not take it gets no more than a step
    /// of it later.
    pub(super) fn refresh(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        let octets = u128::from(self.rate.get()) * time.as_nanos() / NANOS;
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let earned = self.earned.saturating_add(octets);
        if earned >= self.step() {
            self.earned = self.step();
            self.since = now;
        } else if octets > 0 {
            self.earned = earned;
            self.since += self.time_for(octets);
        }
    }

    /// How many octets may be written.
    pub(super) fn earned(&self) -> usize {
        self.earned
    }

    /// So many were written.
    pub(super) fn spend(&mut self, octets: usize) {
        self.earned = self.earned.saturating_sub(octets);
    }

    /// When a step of these octets, or all of them, will have been earned.
    pub(super) fn next(&self, octets: usize) -> Instant {
        let wanted = octets.min(self.step()).saturating_sub(self.earned);
        self.since + self.time_for(wanted)
    }

    /// The time in which so many are earned, rounded up. Of at most a step, so it is no more
    /// than a second.
    fn time_for(&self, octets: usize) -> Duration {
        let nanos = (octets as u128 * NANOS).div_ceil(u128::from(self.rate.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Nanoseconds of a second.
const NANOS: u128 = 1_000_000_000;
