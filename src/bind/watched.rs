//! The commands of built-in stores that servers use directly: each is watched once, however
//! many servers use it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use crate::ffi::command::Watch;
use crate::ffi::Interp;

/// Those of one interpreter.
#[derive(Default)]
pub struct WatchedCommands(RefCell<Vec<Weak<Watched>>>);

/// One command.
struct Watched {
    name: String,
    /// The store behind it.
    store: *const (),
    /// Whether the name is still that store's.
    is_still: Box<dyn Fn(&Interp) -> bool>,
    /// The servers that use it, to be notified when it is not.
    users: RefCell<Vec<User>>,
    last_user: Cell<u64>,
    /// Somebody has renamed, deleted or replaced it.
    over: Cell<bool>,
    watch: OnceCell<Watch>,
}

/// The number of a use, and what notifies its server.
type User = (u64, Box<dyn Fn()>);

/// The use of a command by one server, until it is dropped.
pub struct Use {
    watched: Rc<Watched>,
    user: u64,
}

impl WatchedCommands {
    /// Watches the command `name` of the store at `store`; none if there is no such
    /// command. `changed` runs, once, when the name is no longer that store's. Tcl reports
    /// renaming and deleting; `is_still` is asked before each wait for events.
    pub fn watch(
        &self,
        interp: &Interp,
        name: &str,
        store: *const (),
        is_still: Box<dyn Fn(&Interp) -> bool>,
        changed: Box<dyn Fn()>,
    ) -> Option<Use> {
        let same = |w: &Rc<Watched>| w.name == name && w.store == store && !w.over.get();
        let known = self.live().into_iter().find(same);
        let watched = match known {
            Some(known) => known,
            None => {
                let new = Watched::new(interp, name, store, is_still)?;
                self.0.borrow_mut().push(Rc::downgrade(&new));
                new
            }
        };
        let user = watched.last_user.get() + 1;
        watched.last_user.set(user);
        watched.users.borrow_mut().push((user, changed));
        Some(Use { watched, user })
    }

    /// Looks whether the commands are what they were: Tcl does not report that another
    /// command has the name since `interp hide`.
    pub fn check(&self, interp: &Interp) {
        for watched in self.live() {
            if !watched.over.get() && !(watched.is_still)(interp) {
                watched.notify();
            }
        }
    }

    fn live(&self) -> Vec<Rc<Watched>> {
        let mut all = self.0.borrow_mut();
        let live: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        if live.len() < all.len() {
            *all = live.iter().map(Rc::downgrade).collect();
        }
        live
    }
}

impl Watched {
    fn new(
        interp: &Interp,
        name: &str,
        store: *const (),
        is_still: Box<dyn Fn(&Interp) -> bool>,
    ) -> Option<Rc<Self>> {
        let watched = Rc::new(Self {
            name: name.to_owned(),
            store,
            is_still,
            users: RefCell::default(),
            last_user: Cell::new(0),
            over: Cell::new(false),
            watch: OnceCell::new(),
        });
        let weak = Rc::downgrade(&watched);
        let notify = move || {
            if let Some(watched) = weak.upgrade() {
                watched.notify();
            }
        };
        let watch = Watch::new(interp, name, Box::new(notify))?;
        let _first = watched.watch.set(watch);
        Some(watched)
    }

    fn notify(&self) {
        self.over.set(true);
        for (_, changed) in self.users.take() {
            changed();
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut users = self.watched.users.borrow_mut();
        users.retain(|(user, _)| *user != self.user);
    }
}
