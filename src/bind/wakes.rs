//! Wakes sessions on Tcl channels when an answer has come for them. The thread that has the
//! answer wakes them; they go on in the event loop of their interpreter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::ffi::notifier::Alert;
use crate::store::ids::ServerId;

/// The sessions of one interpreter that can go on.
pub struct Wakes {
    woken: Mutex<VecDeque<Sleeper>>,
    alert: Alert,
}

/// A session: its server, and the name of its channel.
pub type Sleeper = (ServerId, Arc<str>);

impl Wakes {
    /// For the interpreter of the calling thread.
    pub fn for_this_thread() -> Arc<Self> {
        Arc::new(Self {
            woken: Mutex::default(),
            alert: Alert::current(),
        })
    }

    /// Wakes a session.
    pub fn waker(self: &Arc<Self>, server: ServerId, channel: &str) -> Waker {
        Waker::from(Arc::new(SessionWaker {
            wakes: self.clone(),
            sleeper: (server, channel.into()),
        }))
    }

    fn woken(&self) -> MutexGuard<'_, VecDeque<Sleeper>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no session was woken.
    pub fn is_empty(&self) -> bool {
        self.woken().is_empty()
    }

    /// Has a session go on later, when the event loop comes to it.
    pub fn postpone(&self, server: ServerId, channel: &str) {
        self.woken().push_back((server, channel.into()));
    }

    /// Takes out the session that was woken first.
    pub fn pop(&self) -> Option<Sleeper> {
        self.woken().pop_front()
    }
}

struct SessionWaker {
    wakes: Arc<Wakes>,
    sleeper: Sleeper,
}

impl Wake for SessionWaker {
    fn wake(self: Arc<Self>) {
        self.wakes.woken().push_back(self.sleeper.clone());
        // Without the lock: the interpreter may look at once.
        self.wakes.alert.wake();
    }
}
