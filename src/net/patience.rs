//! How a loop's thread behaves to others on its core.
//!
//! A client or a script that runs there is better not pushed aside for each command that
//! it sends or causes: it goes on to the end of its work, and the loop then finds several.
//! So a patient thread is a batch thread (SCHED_BATCH, sched(7)). Beside somebody who
//! computes on and on, though, it would get its turn only some milliseconds after each
//! command. Hence it is watched how long the thread waits for its turns; when that is out
//! of all proportion to what it does, it has the usual policy for a while.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Sleeps after which the times are looked at.
const LOOK: u32 = 16;

/// Patience costs too much if the thread waits for so many times as long as it works ...
const OUT_OF_PROPORTION: u64 = 8;

/// ... and for longer than this after each sleep, in nanoseconds.
const HARMLESS: u64 = 500_000;

/// Sleeps without patience before it is tried again: at first, and at most after it has
/// cost too much again and again.
const PAUSE: (u32, u32) = (1024, 65_536);

/// Patience that has done well for so many sleeps begins anew with the first pause.
const TRUSTED: u32 = 4096;

/// A thread's patience.
pub(super) struct Patience {
    state: State,
    times: File,
    be_batch: fn(bool) -> bool,
}

impl Patience {
    /// The calling thread's, which is patient from now on; `be_batch` makes it a batch
    /// thread or one with the usual policy, and tells whether that was done.
    ///
    /// # Errors
    /// When the system does not tell what the thread waits for, or refuses the policy.
    pub(super) fn begin(be_batch: fn(bool) -> bool) -> io::Result<Self> {
        let times = File::open("/proc/thread-self/schedstat")?;
        // Some systems count nothing there, not even turns.
        let now = read(&times).filter(|now| now.turns > 0);
        let now = now.ok_or(io::ErrorKind::InvalidData)?;
        if !be_batch(true) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let state = State::new(now);
        Ok(Self {
            state,
            times,
            be_batch,
        })
    }

    /// To be called before each sleep of the thread; whether it is patient.
    pub(super) fn before_sleep(&mut self) -> bool {
        let before = self.state.patient;
        self.state.before_sleep(|| read(&self.times));
        if self.state.patient != before {
            // Refused, for whatever has changed in the process, the policy stays as it is.
            let _done = (self.be_batch)(self.state.patient);
        }
        self.state.patient
    }
}

/// What a thread has done since it began, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// It ran for so long.
    ran: u64,
    /// It could have run for so much longer, but others did.
    waited: u64,
    /// So often it began to run.
    turns: u64,
}

/// Reads a thread's `schedstat` (proc(5)): nanoseconds run and waited, turns.
fn read(file: &File) -> Option<Times> {
    let mut text = [0; 64];
    let length = file.read_at(&mut text, 0).ok()?;
    let mut numbers = std::str::from_utf8(&text[..length])
        .ok()?
        .split_ascii_whitespace();
    let mut number = || numbers.next()?.parse().ok();
    Some(Times {
        ran: number()?,
        waited: number()?,
        turns: number()?,
    })
}

struct State {
    patient: bool,
    /// Since it became so.
    sleeps: u32,
    /// Sleeps of the next pause.
    pause: u32,
    /// At the last look.
    times: Times,
}

impl State {
    fn new(times: Times) -> Self {
        Self {
            patient: true,
            sleeps: 0,
            pause: PAUSE.0,
            times,
        }
    }

    fn before_sleep(&mut self, times: impl FnOnce() -> Option<Times>) {
        self.sleeps = self.sleeps.wrapping_add(1);
        if self.patient && self.sleeps.is_multiple_of(LOOK) {
            self.look(times());
        } else if !self.patient && self.sleeps >= self.pause {
            self.pause = (self.pause * 4).min(PAUSE.1);
            self.sleeps = 0;
            self.times = times().unwrap_or(self.times);
            self.patient = true;
        }
    }

    fn look(&mut self, now: Option<Times>) {
        if now.is_none_or(|now| self.is_kept_waiting(now)) {
            self.sleeps = 0;
            self.patient = false;
        } else if self.sleeps >= TRUSTED {
            self.pause = PAUSE.0;
        }
        self.times = now.unwrap_or(self.times);
    }

    fn is_kept_waiting(&self, now: Times) -> bool {
        let ran = now.ran.saturating_sub(self.times.ran);
        let waited = now.waited.saturating_sub(self.times.waited);
        waited / u64::from(LOOK) > HARMLESS && waited / OUT_OF_PROPORTION > ran
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1_000;

    /// Sleeps, and µs that the thread waits before each, if it is patient.
    type Waits<'a> = &'a [(u32, u64)];

    /// At which sleep the thread became patient or ceased to be.
    type Changes<'a> = &'a [(u32, bool)];

    /// Those of a thread that runs 20 µs for each sleep.
    fn changes(waits: Waits) -> Vec<(u32, bool)> {
        let mut now = Times::default();
        let mut state = State::new(now);
        let mut changes = Vec::new();
        let each = waits
            .iter()
            .flat_map(|&(n, wait)| (0..n).map(move |_| wait));
        for (sleep, wait) in (1..).zip(each) {
            let before = state.patient;
            now.ran += 20 * MICROSECOND;
            now.waited += if before { wait * MICROSECOND } else { 1 };
            state.before_sleep(|| Some(now));
            if state.patient != before {
                changes.push((sleep, state.patient));
            }
        }
        changes
    }

    #[test]
    fn patience_ends_where_it_costs_too_much() {
        let table: &[(&str, Waits, Changes)] = &[
            ("alone", &[(100_000, 0)], &[]),
            ("a client on the same core", &[(100_000, 50)], &[]),
            ("long, but not in all", &[(100_000, 450)], &[]),
            (
                "somebody who computes",
                &[(7000, 4000)],
                &[
                    (16, false),
                    (1040, true),
                    (1056, false),
                    (5152, true),
                    (5168, false),
                ],
            ),
            (
                "somebody who computes for a while, twice",
                &[(8, 0), (100, 4000), (10_000, 50), (1100, 4000)],
                &[
                    (16, false),
                    (1040, true),
                    (10_112, false),
                    (11_136, true),
                    (11_152, false),
                ],
            ),
        ];
        for (what, waits, want) in table {
            assert_eq!(changes(waits), *want, "{what}");
        }
    }

    /// Who works hard beside others has waited for his turns, but no longer than is fair.
    #[test]
    fn a_busy_thread_stays_patient() {
        let mut now = Times::default();
        let mut state = State::new(now);
        for _ in 0..1000 {
            now.ran += 3_000 * MICROSECOND;
            now.waited += 4_000 * MICROSECOND;
            state.before_sleep(|| Some(now));
            assert!(state.patient);
        }
    }

    /// Beside somebody who computes for ever hardly any patience is left.
    #[test]
    fn trials_get_rare() {
        let trials = changes(&[(10_000_000, 4000)]).len() / 2;
        assert!((100..200).contains(&trials), "{trials}");
    }

    /// After as many sleeps as can be counted it is still watched; and who cannot be
    /// watched is not patient.
    #[test]
    fn nobody_is_patient_unwatched() {
        let mut state = State::new(Times::default());
        state.sleeps = u32::MAX - 20;
        let looks = std::cell::Cell::new(0);
        for _ in 0..100 {
            state.before_sleep(|| {
                looks.set(looks.get() + 1);
                Some(Times::default())
            });
        }
        assert!(looks.get() >= 5, "{}", looks.get());
        (0..LOOK).for_each(|_| state.before_sleep(|| None));
        assert!(!state.patient);
    }

    #[test]
    fn the_system_tells_a_threads_times() {
        let Ok(file) = File::open("/proc/thread-self/schedstat") else {
            return;
        };
        let before = read(&file).unwrap();
        let begun = std::time::Instant::now();
        loop {
            let now = read(&file).unwrap();
            if now.ran - before.ran > 10_000 * MICROSECOND {
                break;
            }
            assert!(begun.elapsed().as_secs() < 20, "{before:?} {now:?}");
        }
    }
}
