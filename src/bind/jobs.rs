//! Runs an interpreter's job queue from its event loop, and the sessions on Tcl channels
//! that waited for an answer.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::callbacks;
use super::log;
use super::step::step;
use super::world::World;
use crate::ffi::interp::Preserved;
use crate::ffi::notifier::Source;
use crate::store::jobs::Job;

/// How long jobs may keep the interpreter before its other events get their turn.
/// A frame of an animated user interface is 16 ms: a fifth of it goes unnoticed.
const SLICE: Duration = Duration::from_millis(3);

/// The event source of one interpreter's jobs.
pub struct JobSource {
    world: Weak<World>,
    /// Whose turn is next, so that new jobs and those that have waited alternate.
    woken_next: Cell<bool>,
}

/// What is done next.
enum Next {
    New(Job),
    /// A job that has waited, by its number.
    Woken(u64),
}

impl JobSource {
    /// The source for a world's queue.
    pub fn new(world: &Rc<World>) -> Self {
        Self {
            world: Rc::downgrade(world),
            woken_next: Cell::new(false),
        }
    }

    fn next(&self, world: &World) -> Option<Next> {
        let woken = || world.tasks.pop_woken().map(Next::Woken);
        let new = || world.jobs.pop().map(Next::New);
        if self.woken_next.replace(!self.woken_next.get()) {
            woken().or_else(new)
        } else {
            new().or_else(woken)
        }
    }

    /// A job whose server has been destroyed is dropped, which answers it.
    fn step(world: &World, next: Next) {
        match next {
            Next::New(job) => {
                if let Some(server) = world.server(job.server) {
                    callbacks::run(&server, job);
                }
            }
            Next::Woken(number) => world.resume(number),
        }
    }

    /// Lets sessions that have an answer go on. Many may have one at once: then the others
    /// come in the next turn, as [`pending`](Source::pending) tells.
    fn wake_sessions(world: &World) {
        for (server, channel) in step(std::iter::from_fn(|| world.wakes.pop())) {
            let talking = world
                .server(server)
                .and_then(|server| server.channel(&channel));
            if let Some(session) = talking.or_else(|| world.departing(&channel)) {
                session.advance();
            }
        }
    }
}

/// Ends the servers that were to be destroyed when their last connection had closed. They
/// do not wait for log lines: their own are written as they go.
fn end_servers(world: &World) {
    for id in world.network.take_closed() {
        if let Some(server) = world.server(id) {
            server.connection_closed();
        }
    }
}

impl Source for JobSource {
    fn prepare(&self) {
        if let Some(world) = self.world.upgrade() {
            // What is asked may be a script's, which deletes the interpreter.
            let _preserved = Preserved::new(&world.interp);
            log::refresh(&world);
            world.watched.check(&world.interp);
        }
    }

    fn pending(&self) -> bool {
        let Some(world) = self.world.upgrade() else {
            return false;
        };
        if world.depth.is_deepest() {
            return false;
        }
        let waiting = !world.jobs.is_empty() || !world.network.is_empty();
        waiting || !world.wakes.is_empty() || world.tasks.is_any_woken()
    }

    fn run(&self) {
        let started = Instant::now();
        // Once in each turn of the event loop: a step of sessions, then others.
        let mut woken = false;
        // A callback may delete the interpreter: not before all is done.
        let _preserved = self
            .world
            .upgrade()
            .map(|world| Preserved::new(&world.interp));
        while let Some(world) = self.world.upgrade() {
            if world.depth.is_deepest() {
                return;
            }
            let more_lines = {
                let _level = world.depth.descend();
                end_servers(&world);
                log::write_next(&world)
            };
            if !std::mem::replace(&mut woken, true) {
                Self::wake_sessions(&world);
            }
            let _level = world.depth.descend();
            match self.next(&world) {
                Some(next) => Self::step(&world, next),
                None if !more_lines => return,
                None => {}
            }
            if started.elapsed() >= SLICE {
                return;
            }
        }
    }
}
