//! Runs an interpreter's job queue from its event loop, and the sessions on Tcl channels
//! that waited for an answer.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::callbacks::{self, Progress};
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
    /// Whose turn is next, so that new jobs and unfinished ones alternate.
    long_next: Cell<bool>,
}

impl JobSource {
    /// The source for a world's queue.
    pub fn new(world: &Rc<World>) -> Self {
        Self {
            world: Rc::downgrade(world),
            long_next: Cell::new(false),
        }
    }

    fn next(&self, world: &World) -> Option<(Job, Progress)> {
        let long = || world.unfinished.borrow_mut().pop_front();
        let new = || world.jobs.pop().map(|job| (job, Progress::default()));
        if self.long_next.replace(!self.long_next.get()) {
            long().or_else(new)
        } else {
            new().or_else(long)
        }
    }

    /// A job whose server has been destroyed is dropped, which answers it.
    fn step(&self, world: &World, job: Job, progress: Progress) {
        if let Some(server) = world.server(job.server).filter(|_| job.is_wanted()) {
            if let Some(rest) = callbacks::run(&server, job, progress) {
                world.unfinished.borrow_mut().push_back(rest);
            }
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
        waiting || !world.wakes.is_empty() || !world.unfinished.borrow().is_empty()
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
                Some((job, progress)) => self.step(&world, job, progress),
                None if !more_lines => return,
                None => {}
            }
            if started.elapsed() >= SLICE {
                return;
            }
        }
    }
}
