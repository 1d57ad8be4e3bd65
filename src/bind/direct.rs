//! The direct way: sessions use built-in stores without the interpreter, as long as
//! `-auth` and `-storage` are exactly such objects' commands.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::mailboxes::MailboxesObject;
use super::users::UsersObject;
use super::watched::Use;
use super::world::World;
use crate::ffi::command::{self, Command};
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
    /// No way to anything yet.
    pub fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            used: RefCell::default(),
        }
    }

    /// The ways.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Chooses the ways that these options of a server ask for.
    pub fn refresh(&self, world: &World, auth: &Value, storage: &Value, direct: bool) {
        let (users, used) = self.way(world, auth, direct, as_users, |access| {
            access.set_users(Route::Script);
        });
        self.access.set_users(users);
        let before = std::mem::replace(&mut self.used.borrow_mut().users, used);
        drop(before);
        let (storage, used) = self.way(world, storage, direct, as_storage, |access| {
            access.set_storage(Route::Script);
        });
        self.access.set_storage(storage);
        let before = std::mem::replace(&mut self.used.borrow_mut().storage, used);
        drop(before);
    }

    fn way<T: ?Sized + 'static>(
        &self,
        world: &World,
        prefix: &Value,
        direct: bool,
        store: fn(&Rc<dyn Command>) -> Option<Arc<T>>,
        by_script: fn(&Access),
    ) -> (Route<T>, Option<Use>) {
        let words = prefix.to_list();
        let name = match words.as_deref() {
            Some([]) => return (Route::None, None),
            Some([name]) if direct => name.clone(),
            _ => return (Route::Script, None),
        };
        let (interp, text) = (&world.interp, name.to_text());
        let found = command::find(interp, &text).and_then(|found| store(&found));
        let Some(found) = found else {
            return (Route::Script, None);
        };
        let used = Arc::downgrade(&found);
        let is_still = Box::new(move |interp: &Interp| {
            let used = used.upgrade();
            used.is_some_and(|used| is_still(interp, &name, &used, store))
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

fn as_users(command: &Rc<dyn Command>) -> Option<Arc<dyn Users>> {
    let object: &dyn std::any::Any = &**command;
    let object = object.downcast_ref::<UsersObject>()?;
    Some(object.users.clone())
}

fn as_storage(command: &Rc<dyn Command>) -> Option<Arc<dyn Storage>> {
    let object: &dyn std::any::Any = &**command;
    let object = object.downcast_ref::<MailboxesObject>()?;
    Some(object.mailboxes.clone())
}

/// Whether the command prefix is a built-in store's object.
pub fn is_store(interp: &Interp, prefix: &Value) -> bool {
    match prefix.to_list().as_deref() {
        Some([name]) => {
            let found = command::find(interp, &name.to_text());
            found.is_some_and(|found| as_storage(&found).is_some())
        }
        _ => false,
    }
}

/// Whether the command of this name is the store that is used.
fn is_still<T: ?Sized>(
    interp: &Interp,
    name: &Value,
    used: &Arc<T>,
    store: fn(&Rc<dyn Command>) -> Option<Arc<T>>,
) -> bool {
    let found = command::find(interp, &name.to_text()).and_then(|found| store(&found));
    found.is_some_and(|found| Arc::ptr_eq(&found, used))
}
