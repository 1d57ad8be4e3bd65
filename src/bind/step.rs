//! Long work is done in steps, between which others have their turn.

use std::future;
use std::iter;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a step takes, whatever is done in it.
pub const STEP_TIME: Duration = Duration::from_millis(1);

/// So many callbacks or sessions, or as many as are done in this time.
const STEP: (usize, Duration) = (16, STEP_TIME);

/// The next items, as many as belong to one step, and at least one. The others stay.
pub fn step<T>(items: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let begun = Instant::now();
    let mut first = true;
    let mut items = items.take(STEP.0);
    iter::from_fn(move || {
        let in_time = std::mem::take(&mut first) || begun.elapsed() < STEP.1;
        in_time.then(|| items.next()).flatten()
    })
}

/// Counts what a job does in its turn.
pub struct Turn {
    left: usize,
    begun: Instant,
}

impl Turn {
    /// The first.
    pub fn begin() -> Self {
        let (left, begun) = (STEP.0, Instant::now());
        Self { left, begun }
    }

    /// Before each item: waits for the job's next turn if as much is done as belongs to one
    /// step.
    pub async fn next_item(&mut self) {
        if self.left == 0 || self.begun.elapsed() >= STEP.1 {
            turn_over().await;
            *self = Self::begin();
        }
        self.left -= 1;
    }
}

/// Lets others have their turn.
async fn turn_over() {
    let mut over = false;
    future::poll_fn(|context| {
        if std::mem::replace(&mut over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_by_parts() {
        for (time, most) in [(Duration::ZERO, STEP.0), (STEP.1, 1)] {
            let mut left = 0..100;
            let mut done = Vec::new();
            while !left.is_empty() {
                let before = done.len();
                for item in step(left.by_ref()) {
                    std::thread::sleep(time);
                    done.push(item);
                }
                // Fewer where this thread was kept waiting, but some.
                assert!((1..=most).contains(&(done.len() - before)), "{done:?}");
            }
            assert!(done.iter().copied().eq(0..100), "{done:?}");
        }
    }
}
