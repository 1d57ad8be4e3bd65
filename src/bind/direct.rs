//! The direct way: sessions use built-in stores without the interpreter, as long as
//! `-auth` and `-storage` are exactly such objects' commands.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::mailboxes::MailboxesObject;
use super::options::Options;
use super::server::ServerObject;
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
    name: String,
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
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Chooses the ways that the options ask for.
    pub fn refresh(&self, server: &ServerObject, options: &Options) {
        let interp = &server.identity.interp;
        let (users, watch) = self.way(interp, &options.auth, options.direct, as_users, |access| {
            access.set_users(Way::Script);
        });
        self.access.set_users(users);
        self.watches.borrow_mut().users = watch;
        let (storage, watch) = self.way(
            interp,
            &options.storage,
            options.direct,
            as_storage,
            |access| {
                access.set_storage(Way::Script);
            },
        );
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
        if prefix.is_empty() {
            return (Way::None, None);
        }
        let words = prefix.to_list().unwrap_or_default();
        let ([name], true) = (&words[..], direct) else {
            return (Way::Script, None);
        };
        let name = name.to_text();
        let found = command::find(interp, &name).and_then(|found| store(&found));
        let Some(found) = found.filter(|_| !is_traced(interp, &name)) else {
            return (Way::Script, None);
        };
        let access = self.access.clone();
        match Watch::new(interp, &name, Box::new(move || by_script(&access))) {
            Some(_watch) => (Way::Direct(found), Some(Watched { name, _watch })),
            None => (Way::Script, None),
        }
    }

    /// Goes back to the scripts' way when a command has got an execution trace, of
    /// which nothing else tells.
    pub fn check(&self, interp: &Interp) {
        let watches = self.watches.borrow();
        let traced = |watched: &Option<Watched>| {
            watched.as_ref().is_some_and(|w| is_traced(interp, &w.name))
        };
        if traced(&watches.users) {
            self.access.set_users(Way::Script);
        }
        if traced(&watches.storage) {
            self.access.set_storage(Way::Script);
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

fn is_traced(interp: &Interp, name: &str) -> bool {
    let words = ["trace", "info", "execution", name].map(Value::text);
    !interp::call(interp, &words).is_ok_and(|traces| traces.is_empty())
}
