//! How many callbacks of sessions are under way on a thread, each but the first inside the
//! event loop that another has entered.

use std::cell::Cell;

/// Callbacks that may wait in the event loop on top of each other. Each takes some of the
/// 1,000 levels that Tcl allows a script, and of the thread's stack, which its interpreters
/// share; without a bound a crowd of clients takes all, and then nothing can end the wait
/// that is on top.
const DEEPEST: u32 = 32;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A level of what is under way; ends when dropped.
#[must_use]
pub struct Level(());

/// Whether no more callbacks may begin inside those that are under way.
pub fn is_deepest() -> bool {
    DEPTH.get() >= DEEPEST
}

/// Begins what may call back; none at the deepest level.
pub fn descend() -> Option<Level> {
    if is_deepest() {
        return None;
    }
    DEPTH.set(DEPTH.get() + 1);
    Some(Level(()))
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
