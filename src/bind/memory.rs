//! `pop3d::memory`: mailboxes in memory as Tcl objects.

use std::any::Any;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use super::direct::OfferedStore;
use super::mailboxes::{invoke, number};
use super::object::{self, Identity, Kind};
use super::world::World;
use crate::ffi::command::{Command, Error};
use crate::ffi::interp;
use crate::ffi::{Interp, Value};
use crate::stores::memory::MemoryBoxes;

const KIND: Kind = Kind {
    prefix: "p3memory",
    noun: "mailbox database",
    namespace: "::pop3d::memory::memory",
    constructor: "::pop3d::memory::new",
    methods: "add, dele, deliver, destroy, exists, expunge, fetch, get, list, lock, locked, \
              messages, move, remove, size, stat, uidl, or unlock",
    more: "",
};

/// Makes the commands of the package.
pub fn register(world: &Rc<World>) {
    object::register(world, &KIND, |world, identity| {
        let object = Rc::new(MemoryObject {
            world: world.clone(),
            identity,
            mailboxes: Arc::default(),
        });
        object.identity.create(object.clone());
        object
    });
}

/// One set of mailboxes.
struct MemoryObject {
    world: Rc<World>,
    identity: Identity,
    /// The mailboxes; sessions use them too.
    mailboxes: Arc<MemoryBoxes>,
}

impl Command for MemoryObject {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (method, args) = self.identity.method(args)?;
        match (&*method, args) {
            ("get", [mailbox, id]) => self.get(&mailbox.to_text(), number(id)?),
            _ => invoke(&self.identity, &*self.mailboxes, &method, args),
        }
    }

    fn deleted(&self, _interp: &Interp) {
        self.mailboxes.close();
        self.identity.delete_namespace();
    }

    fn offers(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(OfferedStore::Storage(self.mailboxes.clone())))
    }
}

impl MemoryObject {
    /// A mime token, of Tcllib's mime if it is there. For a session, whose `-storage`
    /// calls us, a message that mime refuses is given as its bytes: what is delivered need
    /// not be well made, and its owner must be able to fetch and delete it.
    fn get(&self, mailbox: &str, id: i64) -> Result<Value, Error> {
        let bytes = Value::bytes(&self.mailboxes.bytes(mailbox, id)?);
        let words = ["::mime::initialize", "-string"].map(Value::text);
        let words = [&words[..], slice::from_ref(&bytes)].concat();
        match interp::call(&self.identity.interp, &words) {
            Err(_) if self.world.calls.fetching(id).is_some() => {
                Ok(Value::list(&[Value::text("data"), bytes]))
            }
            token => Ok(token?),
        }
    }
}
