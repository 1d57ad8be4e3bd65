//! How many callbacks of sessions are under way at once. Each but the first runs inside the
//! event loop that an earlier one has entered.

use std::cell::Cell;
use std::rc::Rc;

/// Callbacks of one interpreter that may be inside `vwait` at once. Each takes some of the
/// 1,000 levels that Tcl allows a script. Without a bound, many clients would take them all,
/// and then no script could run that ends the innermost wait.
const DEEPEST: u32 = 32;

/// The same for all interpreters of a thread, which share its stack: each takes up to 20 KiB
/// of it.
const DEEPEST_OF_THREAD: u32 = 128;

thread_local! {
    static OF_THREAD: Cell<u32> = const { Cell::new(0) };
}

/// What is under way in one interpreter.
#[derive(Default)]
pub struct Depth {
    levels: Cell<u32>,
    /// The interpreter has gone. What waits in it may never end, and must not count for the
    /// others.
    over: Cell<bool>,
}

/// A level of what is under way; ends when dropped.
#[must_use]
pub struct Level(Rc<Depth>);

impl Depth {
    /// Whether no more callbacks may begin inside those that are under way.
    pub fn is_deepest(&self) -> bool {
        self.levels.get() >= DEEPEST || OF_THREAD.get() >= DEEPEST_OF_THREAD
    }

    /// Begins what may call back; none at the deepest level.
    pub fn descend(self: &Rc<Self>) -> Option<Level> {
        if self.is_deepest() {
            return None;
        }
        self.levels.set(self.levels.get() + 1);
        if !self.over.get() {
            OF_THREAD.set(OF_THREAD.get() + 1);
        }
        Some(Level(self.clone()))
    }

    /// The interpreter goes.
    pub fn end(&self) {
        if !self.over.replace(true) {
            OF_THREAD.set(OF_THREAD.get() - self.levels.get());
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.levels.set(self.0.levels.get() - 1);
        if !self.0.over.get() {
            OF_THREAD.set(OF_THREAD.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_for_the_interpreter_and_its_thread() {
        let all: Vec<_> = (0..5).map(|_| Rc::new(Depth::default())).collect();
        let mut held: Vec<Vec<_>> = all
            .iter()
            .map(|depth| std::iter::from_fn(|| depth.descend()).collect())
            .collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 32, 32, 32, 0]);
        held[0].pop();
        assert!(!all[0].is_deepest() && !all[4].is_deepest());
        // What is left of one that has gone does not count for the others.
        all[1].end();
        held[4].extend(std::iter::from_fn(|| all[4].descend()));
        assert_eq!(held[4].len(), 32);
        drop(held);
        assert_eq!(OF_THREAD.get(), 0);
    }
}
