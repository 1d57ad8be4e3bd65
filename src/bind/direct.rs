//! The direct way: sessions use built-in stores without the interpreter, as long as
//! `-auth` and `-storage` are exactly such objects' commands.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::mailboxes::MailboxesObject;
use super::users::UsersObject;
use crate::backend::access::{Access, Way};
use crate::backend::{Storage, Users};
use crate::ffi::command::{self, Command, Watch};
use crate::ffi::interp;
use crate::ffi::{Interp, Value};

/// What a server uses directly, and how it learns that it may no longer.
pub struct Direct {
    access: Arc<Access>,
    watches: RefCell<Watches>,
}

#[derive(Default)]
struct Watches {
    users: Option<Watched>,
    storage: Option<Watched>,
}

/// A command that is used directly.
struct Watched {
    name: Value,
    _watch: Watch,
}

impl Direct {
    /// No way to anything yet.
    pub fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            watches: RefCell::default(),
        }
    }

    /// The ways.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Chooses the ways that these options of a server ask for.
    pub fn refresh(&self, interp: &Interp, auth: &Value, storage: &Value, direct: bool) {
        let (users, watch) = self.way(interp, auth, direct, as_users, |access| {
            access.set_users(Way::Script);
        });
        self.access.set_users(users);
        self.watches.borrow_mut().users = watch;
        let (storage, watch) = self.way(interp, storage, direct, as_storage, |access| {
            access.set_storage(Way::Script);
        });
        self.access.set_storage(storage);
        self.watches.borrow_mut().storage = watch;
    }

    fn way<T: ?Sized>(
        &self,
        interp: &Interp,
        prefix: &Value,
        direct: bool,
        store: fn(&Rc<dyn Command>) -> Option<Arc<T>>,
        by_script: fn(&Access),
    ) -> (Way<T>, Option<Watched>) {
        let words = prefix.to_list();
        let name = match words.as_deref() {
            Some([]) => return (Way::None, None),
            Some([name]) if direct => name,
            _ => return (Way::Script, None),
        };
        let text = name.to_text();
        let found = command::find(interp, &text).and_then(|found| store(&found));
        let Some(found) = found.filter(|_| !is_traced(interp, name)) else {
            return (Way::Script, None);
        };
        let access = self.access.clone();
        let name = name.clone();
        match Watch::new(interp, &text, Box::new(move || by_script(&access))) {
            Some(_watch) => (Way::Direct(found), Some(Watched { name, _watch })),
            None => (Way::Script, None),
        }
    }

    /// Goes back to the scripts' way when a command has got an execution trace, or another
    /// command has its name since `interp hide`: nothing else tells of these.
    ///
    /// Only a command that is used directly is asked for: it exists, so that no error
    /// changes `errorInfo`. Nothing is borrowed meanwhile: `trace` may be a script's.
    pub fn check(&self, interp: &Interp) {
        let name = |watched: &Option<Watched>| Some(watched.as_ref()?.name.clone());
        let (users, storage) = {
            let watches = self.watches.borrow();
            (name(&watches.users), name(&watches.storage))
        };
        if let (Way::Direct(used), Some(name)) = (self.access.users(), users) {
            if !is_still(interp, &name, &used, as_users) {
                self.access.set_users(Way::Script);
            }
        }
        if let (Way::Direct(used), Some(name)) = (self.access.storage(), storage) {
            if !is_still(interp, &name, &used, as_storage) {
                self.access.set_storage(Way::Script);
            }
        }
    }

    /// Watches nothing any more.
    pub fn release(&self) {
        let watches = self.watches.take();
        drop(watches);
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

/// Whether the command of this name is the store that is used, and nobody traces it.
fn is_still<T: ?Sized>(
    interp: &Interp,
    name: &Value,
    used: &Arc<T>,
    store: fn(&Rc<dyn Command>) -> Option<Arc<T>>,
) -> bool {
    let found = command::find(interp, &name.to_text()).and_then(|found| store(&found));
    found.is_some_and(|found| Arc::ptr_eq(&found, used)) && !is_traced(interp, name)
}

fn is_traced(interp: &Interp, name: &Value) -> bool {
    let words = ["::trace", "info", "execution"].map(Value::text);
    let words = [&words[..], std::slice::from_ref(name)].concat();
    !interp::call(interp, &words).is_ok_and(|traces| traces.is_empty())
}
