//! `pop3d::dbox` and `pop3d::maildir`: mailboxes as Tcl objects.

use std::any::Any;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use super::delivery;
use super::direct::OfferedStore;
use super::object::{self, Identity, Kind};
use super::world::World;
use crate::ffi::command::{Command, Error};
use crate::ffi::interp;
use crate::ffi::value::learn_system_encoding;
use crate::ffi::{Interp, Value};
use crate::stores::files::mailbox_error::{MailboxError, NUMBERS};
use crate::stores::files::mailboxes::{Links, Mailboxes, Octets};
use crate::stores::mailbox_store::MailboxStore;
use crate::stores::{dbox, maildir};
use crate::text::shown;

const METHODS: &str = "add, base, dele, destroy, exists, get, list, lock, locked, move, remove, \
                       size, stat, or unlock";

const MORE: &str = "cget, configure, deliver, expunge, fetch, messages, and uidl";

const DBOX: Kind = Kind {
    prefix: "p3dbox",
    noun: "mailbox database",
    namespace: "::pop3d::dbox::dbox",
    constructor: "::pop3d::dbox::new",
    methods: METHODS,
    more: MORE,
};

const MAILDIR: Kind = Kind {
    prefix: "p3maildir",
    noun: "mailbox database",
    namespace: "::pop3d::maildir::maildir",
    constructor: "::pop3d::maildir::new",
    methods: METHODS,
    more: MORE,
};

/// Makes the commands of `pop3d::dbox`.
pub fn register_dbox(world: &Rc<World>) {
    object::register(world, &DBOX, |world, identity| {
        construct(world, identity, dbox::dbox(), &["-octets", "-links"])
    });
}

/// Makes the commands of `pop3d::maildir`.
pub fn register_maildir(world: &Rc<World>) {
    object::register(world, &MAILDIR, |world, identity| {
        construct(world, identity, maildir::maildir(), &["-octets"])
    });
}

fn construct(
    world: &Rc<World>,
    identity: Identity,
    mailboxes: Mailboxes,
    options: &'static [&'static str],
) -> Rc<dyn Command> {
    let world = world.clone();
    let mailboxes = Arc::new(mailboxes);
    let object = Rc::new(MailboxesObject {
        world,
        identity,
        mailboxes,
        options,
    });
    object.identity.create(object.clone());
    object.identity.set("dir", &Value::text(""));
    object
}

/// One set of mailboxes.
struct MailboxesObject {
    world: Rc<World>,
    identity: Identity,
    /// The mailboxes; sessions use them too.
    mailboxes: Arc<Mailboxes>,
    /// The names of its options.
    options: &'static [&'static str],
}

impl Command for MailboxesObject {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (method, args) = self.identity.method(args)?;
        match (&*method, args) {
            ("base", [directory]) => self.base(directory),
            ("base", _) => Err(self.identity.usage("base directory")),
            ("configure" | "cget", args) => self.options(&method, args),
            ("get", [mailbox, id]) => self.get(&mailbox.to_text(), number(id)?),
            _ => invoke(&self.identity, &*self.mailboxes, &method, args),
        }
    }

    fn deleted(&self, _interp: &Interp) {
        self.mailboxes.unlock_all();
        self.identity.delete_namespace();
    }

    fn offers(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(OfferedStore::Storage(self.mailboxes.clone())))
    }
}

impl MailboxesObject {
    fn base(&self, directory: &Value) -> Result<Value, Error> {
        learn_system_encoding(&self.identity.interp);
        let path = directory.to_path().unwrap_or_default();
        self.mailboxes.set_base(&directory.to_text(), &path)?;
        self.identity.set("dir", directory);
        Ok(Value::text(""))
    }

    /// A mime token, of Tcllib's mime if it is there. For a session, whose `-storage`
    /// calls us, a message that mime refuses is given as a file: what arrives in a mailbox
    /// need not be well made, and its owner must be able to fetch and delete it.
    ///
    /// The session gets the message as the store opens it, without what may have taken its
    /// path, and with its octets.
    fn get(&self, mailbox: &str, id: i64) -> Result<Value, Error> {
        let found = self.mailboxes.path_of(mailbox, id)?;
        let path = Value::text(&shown(found.as_os_str()));
        let fetched = self.world.calls.fetching(id);
        if let Some(call) = &fetched {
            let message = self.mailboxes.get(mailbox, id)?;
            if let Some(fetching) = &mut *call.fetching.borrow_mut() {
                fetching.opened = Some((found, message));
            }
        }
        let words = ["::mime::initialize", "-file"].map(Value::text);
        let words = [&words[..], slice::from_ref(&path)].concat();
        match interp::call(&self.identity.interp, &words) {
            Err(_) if fetched.is_some() => Ok(Value::list(&[Value::text("file"), path])),
            token => Ok(token?),
        }
    }

    fn options(&self, method: &str, args: &[Value]) -> Result<Value, Error> {
        let known = |name: &Value| self.options.iter().find(|option| name.is(option));
        let unknown = |name: &Value| {
            let (name, options) = (name.to_text(), self.options.join(" or "));
            let message = format!("unknown option \"{name}\": expected {options}");
            Error::new(message, &["OPTION", &name])
        };
        match (method, args) {
            ("configure", []) => {
                let pairs = self
                    .options
                    .iter()
                    .map(|option| (*option, self.get_option(option)));
                Ok(Value::dict(pairs))
            }
            (_, [name, ..]) if known(name).is_none() => Err(unknown(name)),
            (_, [name]) => Ok(self.get_option(&name.to_text())),
            ("configure", [name, value]) => {
                self.set_option(&name.to_text(), &value.to_text())?;
                Ok(Value::text(""))
            }
            ("cget", _) => Err(self.identity.usage("cget option")),
            _ => Err(self.identity.usage("configure ?option? ?value?")),
        }
    }

    fn get_option(&self, option: &str) -> Value {
        Value::text(match option {
            "-links" => match self.mailboxes.links() {
                Links::Follow => "follow",
                Links::Refuse => "refuse",
            },
            _ => match self.mailboxes.octets() {
                Octets::File => "file",
                Octets::Wire => "wire",
            },
        })
    }

    fn set_option(&self, option: &str, value: &str) -> Result<(), Error> {
        let bad = |expected: &str| {
            let message = format!("bad value \"{value}\" for {option}: expected {expected}");
            Error::new(message, &["OPTION", option, value])
        };
        match option {
            "-links" => self.mailboxes.set_links(match value {
                "follow" => Links::Follow,
                "refuse" => Links::Refuse,
                _ => return Err(bad("follow or refuse")),
            }),
            _ => self.mailboxes.set_octets(match value {
                "file" => Octets::File,
                "wire" => Octets::Wire,
                _ => return Err(bad("file or wire")),
            }),
        }
        Ok(())
    }
}

/// Runs a method that all objects with mailboxes have.
///
/// # Errors
/// What the method raises, and when there is no such method.
pub fn invoke(
    identity: &Identity,
    store: &dyn MailboxStore,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let done = |()| Value::text("");
    match (method, args) {
        ("list", []) => Ok(Value::texts(store.list()?)),
        ("list", _) => Err(identity.usage("list")),
        ("move", [old, new]) => Ok(store.rename(&old.to_text(), &new.to_text()).map(done)?),
        ("move", _) => Err(identity.usage("move old new")),
        ("destroy", []) => {
            identity.delete();
            Ok(Value::text(""))
        }
        ("destroy", _) => Err(identity.usage("destroy")),
        _ => match delivery::invoke(identity, store, method, args) {
            Some(done) => done,
            None => on_mailbox(identity, store, method, args),
        },
    }
}

/// The methods on one mailbox.
fn on_mailbox(
    identity: &Identity,
    boxes: &dyn MailboxStore,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let flag = |flag: bool| Value::int(flag.into());
    let octets = |octets: u64| Value::int(i64::try_from(octets).unwrap_or(i64::MAX));
    let mailbox = args.first().map(Value::to_text).unwrap_or_default();
    let done = |()| Value::text("");
    Ok(match (method, &args[args.len().min(1)..]) {
        ("add" | "remove" | "exists" | "lock" | "locked" | "stat" | "unlock", _)
            if args.len() != 1 =>
        {
            return Err(identity.usage(&format!("{method} mbox")));
        }
        ("add", _) => boxes.add(&mailbox).map(done)?,
        ("remove", _) => boxes.remove(&mailbox).map(done)?,
        ("exists", _) => flag(boxes.exists(&mailbox)?),
        ("lock", _) => flag(boxes.lock_kept(&mailbox)?),
        ("locked", _) => flag(boxes.is_locked(&mailbox)?),
        ("stat", _) => Value::int(boxes.stat(&mailbox)?.into()),
        ("unlock", _) => boxes.unlock(&mailbox).map(done)?,
        ("size", []) if args.len() == 1 => octets(boxes.size(&mailbox)?),
        ("size", [id]) if id.is_empty() => octets(boxes.size(&mailbox)?),
        ("size", [id]) => octets(boxes.size_of(&mailbox, number(id)?)?),
        ("size", _) => return Err(identity.usage("size mbox ?msgId?")),
        ("uidl", []) if args.len() == 1 => Value::texts(boxes.uids(&mailbox)?.iter()),
        ("uidl", [id]) => Value::text(&boxes.uid(&mailbox, number(id)?)?),
        ("uidl", _) => return Err(identity.usage("uidl mbox ?msgId?")),
        ("dele", [ids]) => {
            let ids = ids.to_list().ok_or_else(|| bad_id(ids))?;
            let ids: Result<Vec<_>, _> = ids.iter().map(number).collect();
            boxes.delete(&mailbox, &ids?).map(done)?
        }
        ("dele", _) => return Err(identity.usage("dele mbox msgList")),
        ("get", _) => return Err(identity.usage("get mbox msgId")),
        (method, _) => return Err(identity.bad_method(method)),
    })
}

/// The number of a message that a script has named.
///
/// # Errors
/// When it is no integer.
pub fn number(id: &Value) -> Result<i64, Error> {
    id.to_int().ok_or_else(|| bad_id(id))
}

fn bad_id(id: &Value) -> Error {
    let id = id.to_text();
    let error = Error::new(
        format!("id \"{id}\" out of range"),
        &["MAILBOX", "MESSAGE", &id],
    );
    error.with_note(NUMBERS)
}

impl From<MailboxError> for Error {
    fn from(error: MailboxError) -> Self {
        let code: &[&str] = match error.is_permanent() {
            // Somebody must mend something: sessions tell their clients so.
            true => &["MAILBOX", "UNUSABLE"],
            false => &["MAILBOX"],
        };
        Error::new(error.to_string(), code).with_advice(error.advice())
    }
}
