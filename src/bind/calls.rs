//! The callbacks of one interpreter that are under way: begun as coroutines, and, when they
//! have yielded, waited for. They know for which connection the script runs that runs now.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::message::Fetching;
use crate::ffi::command::Watch;
use crate::ffi::coroutine::{Coroutines, Failure, Running, Started, Suspended};
use crate::ffi::interp::Raised;
use crate::ffi::{Interp, Value};
use crate::store::ids::{ConnectionId, ServerId};

/// The callbacks of one interpreter.
pub struct Calls {
    coroutines: Coroutines,
    last_number: Cell<u64>,
    /// Those that have neither ended nor yielded. Each but the first runs inside the event
    /// loop that an earlier one has entered.
    running: RefCell<Vec<(u64, Rc<Call>)>>,
    suspended: RefCell<HashMap<u64, Waiting>>,
}

/// A callback that has yielded.
struct Waiting {
    call: Rc<Call>,
    coroutine: Rc<Watch>,
}

/// A callback that is under way.
pub struct Call {
    /// Whose callback it is.
    pub server: ServerId,
    /// For which connection.
    pub connection: ConnectionId,
    /// What a storage's `get` is called for.
    pub fetching: RefCell<Option<Fetching>>,
}

/// What has become of a callback so far.
pub enum Begun {
    /// It has ended.
    Ended(Result<Value, Failure>),
    /// It has yielded.
    Suspended {
        /// The rest of it.
        rest: Rest,
        /// The error of a command that it has yielded to (`yieldto`).
        error: Option<Raised>,
    },
}

impl Calls {
    /// None yet.
    pub fn new(interp: &Interp) -> Rc<Self> {
        Rc::new(Self {
            coroutines: Coroutines::new(interp),
            last_number: Cell::new(0),
            running: RefCell::default(),
            suspended: RefCell::default(),
        })
    }

    /// Calls a command, given as its words, at the global level.
    pub fn begin(self: &Rc<Self>, call: &Rc<Call>, words: Vec<Value>) -> Begun {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        self.running.borrow_mut().push((number, call.clone()));
        let started = self.coroutines.start(number, words);
        // The last to begin is the first to end or to yield.
        self.running.borrow_mut().pop();
        match started {
            Started::Ended(outcome) => Begun::Ended(outcome),
            Started::Suspended { rest, error } => {
                let (call, coroutine) = (call.clone(), rest.coroutine());
                let waiting = Waiting { call, coroutine };
                self.suspended.borrow_mut().insert(number, waiting);
                let calls = self.clone();
                let rest = Rest {
                    calls,
                    number,
                    rest,
                };
                Begun::Suspended { rest, error }
            }
        }
    }

    /// The callback that runs now, if it is to get a message of this number for a session.
    pub fn fetching(&self, id: i64) -> Option<Rc<Call>> {
        let call = self.current()?;
        let is_this = |fetching: &Fetching| i64::from(fetching.number.get()) == id;
        let fetches = call.fetching.borrow().as_ref().is_some_and(is_this);
        fetches.then_some(call)
    }

    /// The callback that runs now: the one whose coroutine it is; in a coroutine of a script's
    /// own, the one that was begun last.
    pub fn current(&self) -> Option<Rc<Call>> {
        if self.running.borrow().is_empty() && self.suspended.borrow().is_empty() {
            return None;
        }
        // Nothing is borrowed: scripts can take the place of `info`.
        let coroutine = self.coroutines.running();
        let (running, suspended) = (self.running.borrow(), self.suspended.borrow());
        let found = match coroutine {
            Running::Numbered(number) => {
                let begun = running.iter().rev().find(|(n, _)| *n == number);
                let begun = begun.map(|(_, call)| call);
                begun.or_else(|| Some(&suspended.get(&number)?.call))
            }
            Running::Named(name) => {
                let mut all = suspended.values();
                let renamed = all.find(|waiting| waiting.coroutine.is_named(&name));
                let last = || Some(&running.last()?.1);
                renamed.map(|waiting| &waiting.call).or_else(last)
            }
            Running::Nothing => running.last().map(|(_, call)| call),
        };
        found.cloned()
    }
}

/// The rest of a callback that has yielded: a future of its result. If it is dropped before
/// that, the callback's coroutine is deleted.
pub struct Rest {
    calls: Rc<Calls>,
    number: u64,
    rest: Suspended,
}

impl Rest {
    /// Bounds how long it may take, in milliseconds.
    pub fn limit(&mut self, milliseconds: u32) {
        self.rest.limit(milliseconds);
    }
}

impl Future for Rest {
    type Output = Result<Value, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.rest).poll(context)
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let gone = self.calls.suspended.borrow_mut().remove(&self.number);
        drop(gone);
    }
}
