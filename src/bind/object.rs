//! What servers, user databases and mailbox databases have in common as Tcl objects.

use std::cell::RefCell;
use std::rc::Rc;

use super::world::World;
use crate::ffi::command::{self, Command, Error, Token};
use crate::ffi::interp;
use crate::ffi::{Interp, Value};

/// A kind of object.
pub struct Kind {
    /// Objects without a name are called this and a number.
    pub prefix: &'static str,
    /// What error messages call it.
    pub noun: &'static str,
    /// Holds a namespace for every object.
    pub namespace: &'static str,
    /// The command that makes one.
    pub constructor: &'static str,
    /// What `bad option` says that there is, in Tcllib's words where Tcllib has the object.
    pub methods: &'static str,
    /// The methods that Tcllib's words leave out.
    pub more: &'static str,
}

/// The Tcl side of one object: its command, its name and its namespace, which
/// exists exactly as long as the object.
pub struct Identity {
    /// As given to `new`; the command is `::NAME`.
    pub name: String,
    /// The interpreter that it lives in.
    pub interp: Interp,
    kind: &'static Kind,
    token: RefCell<Option<Token>>,
}

impl Identity {
    /// The name for a new object: the one argument, or one made of the prefix.
    ///
    /// # Errors
    /// Wrong number of arguments, or the name is a command's already.
    pub fn new(world: &World, kind: &'static Kind, args: &[Value]) -> Result<Self, Error> {
        let name = match args {
            [] => format!("{}{}", kind.prefix, world.next_number(kind.prefix)),
            [name] => name.to_text(),
            _ => return Err(Error::wrong_args(&format!("{} ?name?", kind.constructor))),
        };
        if command::exists(&world.interp, &format!("::{name}")) {
            let noun = kind.noun;
            let message = format!("command \"{name}\" already exists, unable to create {noun}");
            let error = Error::new(message, &["EXISTS", &name]);
            return Err(error.with_note("take another name, or none"));
        }
        Ok(Self {
            name,
            interp: world.interp.clone(),
            kind,
            token: RefCell::new(None),
        })
    }

    /// Makes command and namespace.
    pub fn create(&self, object: Rc<dyn Command>) {
        interp::create_namespace(&self.interp, &self.variable(""));
        let token = command::create(&self.interp, &format!("::{}", self.name), object);
        *self.token.borrow_mut() = Some(token);
    }

    /// Deletes the command; the object's `deleted` follows from that.
    pub fn delete(&self) {
        let token = self.token.borrow_mut().take();
        if let Some(token) = token {
            token.delete();
        }
    }

    /// Deletes the namespace.
    pub fn delete_namespace(&self) {
        // That of an empty name is the one of all objects.
        let is_own = !self.name.trim_matches(':').is_empty();
        if is_own && !interp::is_deleted(&self.interp) {
            interp::delete_namespace(&self.interp, &self.variable(""));
        }
    }

    /// The full name of a variable in the object's namespace; of the namespace
    /// itself for the empty name.
    pub fn variable(&self, variable: &str) -> String {
        let namespace = format!("{}::{}", self.kind.namespace, self.name);
        match variable {
            "" => namespace,
            _ => format!("{namespace}::{variable}"),
        }
    }

    /// Sets a variable of the namespace, for readers.
    pub fn set(&self, variable: &str, value: &Value) {
        if !interp::is_deleted(&self.interp) {
            interp::set_var(&self.interp, &self.variable(variable), value);
        }
    }

    /// Splits the arguments of the object's command.
    ///
    /// # Errors
    /// When there is no method.
    pub fn method<'a>(&self, args: &'a [Value]) -> Result<(String, &'a [Value]), Error> {
        match args {
            [] => Err(self.usage("option ?arg arg ...?")),
            [method, rest @ ..] => Ok((method.to_text(), rest)),
        }
    }

    /// The error for a method that there is not.
    pub fn bad_method(&self, method: &str) -> Error {
        let message = format!("bad option \"{method}\": must be {}", self.kind.methods);
        let error = Error::new(message, &["METHOD", method]);
        match self.kind.more {
            "" => error,
            more => error.with_note(&format!("there are also {more}")),
        }
    }

    /// The error for a wrong number of arguments.
    pub fn usage(&self, usage: &str) -> Error {
        Error::wrong_args(&format!("{} {usage}", self.name))
    }
}

/// Makes the constructor command of a kind.
pub fn register<F>(world: &Rc<World>, kind: &'static Kind, construct: F)
where
    F: Fn(&Rc<World>, Identity) -> Rc<dyn Command> + 'static,
{
    struct Constructor<F> {
        world: Rc<World>,
        kind: &'static Kind,
        construct: F,
    }
    impl<F> Command for Constructor<F>
    where
        F: Fn(&Rc<World>, Identity) -> Rc<dyn Command> + 'static,
    {
        fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
            let identity = Identity::new(&self.world, self.kind, args)?;
            let name = Value::text(&identity.name);
            (self.construct)(&self.world, identity);
            Ok(name)
        }
    }
    let interp = &world.interp;
    // The namespaces of the constructor and of the objects.
    let own = kind
        .constructor
        .rsplit_once("::")
        .map_or("", |(own, _)| own);
    interp::create_namespace(interp, own);
    interp::create_namespace(interp, kind.namespace);
    let world = world.clone();
    command::create(
        interp,
        kind.constructor,
        Rc::new(Constructor {
            world,
            kind,
            construct,
        }),
    );
}
