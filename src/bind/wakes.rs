//! Wakes what waits for an answer or for its turn: sessions on Tcl channels, and jobs. The
//! thread that has the answer wakes them; they go on in the event loop of their interpreter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::ffi::notifier::Alert;
use crate::store::ids::ServerId;

/// Those of one interpreter that can go on, by what names them.
pub struct Wakes<T> {
    woken: Mutex<VecDeque<T>>,
    alert: Alert,
}

/// A session: its server, and the name of its channel.
pub type Session = (ServerId, Arc<str>);

impl<T: Clone + Send + Sync + 'static> Wakes<T> {
    /// For the interpreter of the calling thread.
    pub fn for_this_thread() -> Arc<Self> {
        Arc::new(Self {
            woken: Mutex::default(),
            alert: Alert::current(),
        })
    }

    /// Wakes this one.
    pub fn waker(self: &Arc<Self>, sleeper: T) -> Waker {
        Waker::from(Arc::new(SleeperWaker {
            wakes: self.clone(),
            sleeper,
        }))
    }

    fn woken(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether none was woken.
    pub fn is_empty(&self) -> bool {
        self.woken().is_empty()
    }

    /// Has one go on later, when the event loop comes to it.
    pub fn postpone(&self, sleeper: T) {
        self.woken().push_back(sleeper);
    }

    /// All that were woken, in this order; they stay.
    pub fn all(&self) -> Vec<T> {
        self.woken().iter().cloned().collect()
    }

    /// Takes out the one that was woken first.
    pub fn pop(&self) -> Option<T> {
        self.woken().pop_front()
    }
}

struct SleeperWaker<T> {
    wakes: Arc<Wakes<T>>,
    sleeper: T,
}

impl<T: Clone + Send + Sync + 'static> Wake for SleeperWaker<T> {
    fn wake(self: Arc<Self>) {
        self.wakes.postpone(self.sleeper.clone());
        // Without the lock: the interpreter may look at once.
        self.wakes.alert.wake();
    }
}
