//! Direct use: sessions use stores without the interpreter, as long as `-auth` and
//! `-storage` are exactly commands that [offer](OfferedStore) one.

use std::cell::RefCell;
use std::sync::Arc;

use super::watched::Use;
use super::world::World;
use crate::ffi::command;
use crate::ffi::{Interp, Value};
use crate::store::access::{Access, Route};
use crate::store::{Storage, Users};

/// What a server uses directly, and how it learns that it may no longer.
pub struct Direct {
    access: Arc<Access>,
    used: RefCell<Used>,
}

#[derive(Default)]
struct Used {
    users: Option<Use>,
    storage: Option<Use>,
}

impl Direct {
    /// Without users and storage yet.
    pub fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            used: RefCell::default(),
        }
    }

    /// The routes, as sessions read them.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Chooses the routes that these options of a server ask for.
    pub fn refresh(&self, world: &World, auth: &Value, storage: &Value, direct: bool) {
        let (users, used) = self.route(world, auth, direct, OfferedStore::users, |access| {
            access.set_users(Route::Script);
        });
        self.access.set_users(users);
        let before = std::mem::replace(&mut self.used.borrow_mut().users, used);
        drop(before);
        let (storage, used) = self.route(world, storage, direct, OfferedStore::storage, |access| {
            access.set_storage(Route::Script);
        });
        self.access.set_storage(storage);
        let before = std::mem::replace(&mut self.used.borrow_mut().storage, used);
        drop(before);
    }

    fn route<T: ?Sized + 'static>(
        &self,
        world: &World,
        prefix: &Value,
        direct: bool,
        kind: fn(OfferedStore) -> Option<Arc<T>>,
        by_script: fn(&Access),
    ) -> (Route<T>, Option<Use>) {
        let words = prefix.to_list();
        let name = match words.as_deref() {
            Some([]) => return (Route::None, None),
            Some([name]) if direct => name.clone(),
            _ => return (Route::Script, None),
        };
        let (interp, text) = (&world.interp, name.to_text());
        let Some(found) = OfferedStore::of(interp, &text).and_then(kind) else {
            return (Route::Script, None);
        };
        let used = Arc::downgrade(&found);
        let is_still = Box::new(move |interp: &Interp| {
            let offered = OfferedStore::of(interp, &name.to_text()).and_then(kind);
            let both = offered.zip(used.upgrade());
            both.is_some_and(|(offered, used)| Arc::ptr_eq(&offered, &used))
        });
        let access = self.access.clone();
        let changed = Box::new(move || by_script(&access));
        let at = Arc::as_ptr(&found).cast::<()>();
        match world.watched.watch(interp, &text, at, is_still, changed) {
            Some(used) => (Route::Direct(found), Some(used)),
            None => (Route::Script, None),
        }
    }

    /// Uses nothing any more.
    pub fn release(&self) {
        let used = self.used.take();
        drop(used);
    }
}

/// A store that a command [offers](command::Command::offers): sessions can use it without the
/// interpreter.
pub enum OfferedStore {
    /// For `-auth`.
    Users(Arc<dyn Users>),
    /// For `-storage`.
    Storage(Arc<dyn Storage>),
}

impl OfferedStore {
    /// What the command of this name offers.
    fn of(interp: &Interp, name: &str) -> Option<Self> {
        let offered = command::find(interp, name)?.offers()?;
        offered.downcast().ok().map(|offered| *offered)
    }

    fn users(self) -> Option<Arc<dyn Users>> {
        match self {
            Self::Users(users) => Some(users),
            Self::Storage(_) => None,
        }
    }

    fn storage(self) -> Option<Arc<dyn Storage>> {
        match self {
            Self::Storage(storage) => Some(storage),
            Self::Users(_) => None,
        }
    }
}

/// Whether the command prefix is the command of a storage that can be used directly.
pub fn is_store(interp: &Interp, prefix: &Value) -> bool {
    match prefix.to_list().as_deref() {
        Some([name]) => {
            let offered = OfferedStore::of(interp, &name.to_text());
            matches!(offered, Some(OfferedStore::Storage(_)))
        }
        _ => false,
    }
}
