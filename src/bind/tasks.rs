//! Jobs that wait: for a callback that has yielded, or for their next turn. A job is a future,
//! driven on its interpreter's thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::wakes::Wakes;
use super::world::World;
use crate::store::hold::Hold;
use crate::store::ids::ServerId;

/// At so many waiting jobs, those of sessions that have ended are looked for.
const WORTH_CLEARING: usize = 1024;

/// The waiting jobs of one interpreter.
pub struct Tasks {
    waiting: RefCell<HashMap<u64, Task>>,
    woken: Arc<Wakes<u64>>,
    last_number: Cell<u64>,
    /// At this number those of sessions that have ended are dropped.
    clear_at: Cell<usize>,
}

struct Task {
    owner: Option<Owner>,
    waker: Waker,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// What a job goes with.
pub struct Owner {
    /// Its destruction drops the job.
    pub server: ServerId,
    /// When it has ended the job goes on, unless there are many.
    pub session: Option<Arc<Hold>>,
}

impl Task {
    fn belongs_to(&self, server: ServerId) -> bool {
        let owner = self.owner.as_ref();
        owner.is_some_and(|owner| owner.server == server)
    }

    fn is_abandoned(&self) -> bool {
        let session = self.owner.as_ref().and_then(|owner| owner.session.as_ref());
        session.is_some_and(|session| session.is_ended())
    }
}

impl Tasks {
    /// None yet, in the interpreter of the calling thread.
    pub fn for_this_thread() -> Self {
        Self {
            waiting: RefCell::default(),
            woken: Wakes::for_this_thread(),
            last_number: Cell::new(0),
            clear_at: Cell::new(WORTH_CLEARING),
        }
    }

    /// Whether one can go on.
    pub fn is_any_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Takes out the number of the one that was woken first.
    pub fn pop_woken(&self) -> Option<u64> {
        self.woken.pop()
    }

    fn keep(&self, number: u64, task: Task) {
        self.waiting.borrow_mut().insert(number, task);
        let count = self.waiting.borrow().len();
        if count >= self.clear_at.get() {
            // One that was woken may have a lock to release.
            let woken: HashSet<_> = self.woken.all().into_iter().collect();
            self.drop_those(|number, task| task.is_abandoned() && !woken.contains(&number));
            let kept = self.waiting.borrow().len();
            self.clear_at.set((2 * kept).max(WORTH_CLEARING));
        }
    }

    fn is_of(&self, number: u64, server: ServerId) -> bool {
        let waiting = self.waiting.borrow();
        waiting
            .get(&number)
            .is_some_and(|task| task.belongs_to(server))
    }

    /// Drops all.
    pub fn clear(&self) {
        self.drop_those(|_, _| true);
    }

    fn drop_those(&self, chosen: impl Fn(u64, &Task) -> bool) {
        let chosen: Vec<_> = {
            let mut waiting = self.waiting.borrow_mut();
            waiting
                .extract_if(|number, task| chosen(*number, task))
                .collect()
        };
        // Nothing is borrowed: this deletes coroutines, and traces of these are scripts.
        drop(chosen);
    }
}

impl World {
    /// Does a job as far as it goes now. The rest of it waits; without an owner, as long as
    /// the interpreter lives.
    pub fn spawn(&self, owner: Option<Owner>, job: impl Future<Output = ()> + 'static) {
        let number = self.tasks.last_number.get() + 1;
        self.tasks.last_number.set(number);
        let task = Task {
            owner,
            waker: self.tasks.woken.waker(number),
            future: Box::pin(job),
        };
        self.drive(number, task);
    }

    /// Ends the jobs of a server that is destroyed. Those whose callback has returned hear of
    /// that first: after a `lock` that returned true they call `unlock`. The others are dropped.
    pub fn end_jobs_of(&self, server: ServerId) {
        for number in self.tasks.woken.all() {
            if self.tasks.is_of(number, server) {
                self.resume(number);
            }
        }
        self.tasks.drop_those(|_, task| task.belongs_to(server));
    }

    /// Goes on with a job that was woken, unless it has been dropped.
    pub fn resume(&self, number: u64) {
        let task = self.tasks.waiting.borrow_mut().remove(&number);
        if let Some(task) = task {
            self.drive(number, task);
        }
    }

    /// What a job waits for wakes it when no part of it is running: it is found then.
    fn drive(&self, number: u64, mut task: Task) {
        let mut context = Context::from_waker(&task.waker);
        let waits = task.future.as_mut().poll(&mut context).is_pending();
        let server = task.owner.as_ref().map(|owner| owner.server);
        let is_wanted = || server.is_none_or(|server| self.server(server).is_some());
        if waits && !self.has_ended() && is_wanted() {
            self.tasks.keep(number, task);
        }
    }
}
