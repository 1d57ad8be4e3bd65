//! `pop3d::udb`: user databases as Tcl objects.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::direct::OfferedStore;
use super::object::{self, Identity, Kind};
use super::world::World;
use crate::ffi::command::{Command, Error};
use crate::ffi::interp;
use crate::ffi::{Interp, Value};
use crate::stores::password::HashError;
use crate::stores::udb::{hash, UserDb, UserError};
use crate::text::characters;

const KIND: Kind = Kind {
    prefix: "p3udb",
    noun: "user database",
    namespace: "::pop3d::udb::udb",
    constructor: "::pop3d::udb::new",
    methods: "add, destroy, exists, lookup, read, remove, rename, save, or who",
    more: "addhash, and hash",
};

/// Makes the commands of the package.
pub fn register(world: &Rc<World>) {
    object::register(world, &KIND, |_, identity| {
        let users = Arc::new(UserDb::new());
        let object = Rc::new(UsersObject { identity, users });
        object.identity.create(object.clone());
        object.identity.set("lastfile", &Value::text(""));
        object
    });
}

/// One user database.
struct UsersObject {
    identity: Identity,
    /// The users; sessions look into them too.
    users: Arc<UserDb>,
}

impl Command for UsersObject {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let (method, args) = self.identity.method(args)?;
        let users = &self.users;
        let done = |()| Value::text("");
        match (&*method, args) {
            ("add", [user, password, storage]) => Ok(users
                .add(&user.to_text(), &password.to_text(), &storage.to_text())
                .map(done)?),
            ("add", _) => Err(self.identity.usage("add user password storage")),
            ("addhash", [user, hash, storage]) => Ok(users
                .add_hash(&user.to_text(), &hash.to_text(), &storage.to_text())
                .map(done)?),
            ("addhash", _) => Err(self.identity.usage("addhash user hash storage")),
            ("hash", [password, scheme @ ..]) if scheme.len() < 2 => {
                let scheme = scheme.first().map(Value::to_text);
                let hashed = hash(&password.to_text(), scheme.as_deref());
                let hash = hashed.map_err(|error| bad_scheme(error, scheme.as_deref()))?;
                Ok(Value::text(hash.text()))
            }
            ("hash", _) => Err(self.identity.usage("hash password ?scheme?")),
            ("remove", [user]) => Ok(users.remove(&user.to_text()).map(done)?),
            ("remove", _) => Err(self.identity.usage("remove user")),
            ("rename", [user, new]) => {
                Ok(users.rename(&user.to_text(), &new.to_text()).map(done)?)
            }
            ("rename", _) => Err(self.identity.usage("rename user newName")),
            ("lookup", [user]) => {
                let account = users.account(&user.to_text())?;
                let password = characters(account.password.expose());
                Ok(Value::texts([&*password, &*account.storage]))
            }
            ("lookup", _) => Err(self.identity.usage("lookup user")),
            ("exists", [user]) => Ok(Value::int(users.exists(&user.to_text()).into())),
            ("exists", _) => Err(self.identity.usage("exists user")),
            ("who", []) => Ok(Value::texts(users.who())),
            ("who", _) => Err(self.identity.usage("who")),
            ("save", []) => self.save(None),
            ("save", [file]) => self.save(Some(file)),
            ("save", _) => Err(self.identity.usage("save ?file?")),
            ("read", [file]) => self.read(file),
            ("read", _) => Err(self.identity.usage("read file")),
            ("destroy", []) => {
                self.identity.delete();
                Ok(Value::text(""))
            }
            ("destroy", _) => Err(self.identity.usage("destroy")),
            _ => Err(self.identity.bad_method(&method)),
        }
    }

    fn deleted(&self, _interp: &Interp) {
        self.identity.delete_namespace();
    }

    fn offers(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(OfferedStore::Users(self.users.clone())))
    }
}

impl UsersObject {
    /// The file named last, which scripts read as `lastfile`.
    fn last_file(&self) -> Option<Value> {
        interp::get_var(&self.identity.interp, &self.identity.variable("lastfile"))
    }

    fn save(&self, file: Option<&Value>) -> Result<Value, Error> {
        let given = file.filter(|file| !file.is_empty()).cloned();
        let file = given.or_else(|| self.last_file()).filter(|f| !f.is_empty());
        let file = file.ok_or(UserError::NoFileToSave)?;
        self.users.save(&path(&file)?)?;
        Ok(Value::text(""))
    }

    /// Reads a file of `add USER PASSWORD STORAGE` and `addhash USER HASH STORAGE` lines, a
    /// Tcl script, in a safe interpreter. A file that fails changes nothing.
    fn read(&self, file: &Value) -> Result<Value, Error> {
        if file.is_empty() {
            return Err(UserError::NoFileToRead.into());
        }
        let interp = &self.identity.interp;
        let script = Value::text(
            "apply {file {
                set entries {}
                set safe [interp create -safe]
                try {
                    $safe eval {
                        set entries {}
                        proc add {user password storage} {
                            lappend ::entries add $user $password $storage
                            return
                        }
                        proc addhash {user hash storage} {
                            lappend ::entries addhash $user $hash $storage
                            return
                        }
                    }
                    interp limit $safe time -seconds [expr {[clock seconds] + 10}]
                    if {[catch {$safe invokehidden -global source $file} said options]} {
                        if {[clock seconds] >= [interp limit $safe time -seconds]} {
                            set said \"couldn't read \\\"$file\\\": it takes longer than 10 seconds\"
                            set options {-code error -errorcode {POP3D USER FILE}}
                        } elseif {[regexp {.*\\(file \"[^\n]*\" line (\\d+)\\)} [dict get $options -errorinfo] all line]} {
                            set note \"line $line of \\\"$file\\\": expected add USER PASSWORD MAILBOX,\"
                            append note { or addhash USER HASH MAILBOX}
                            dict set options -errorinfo \"$said\\n    ($note)\"
                            dict set options -errorstack {}
                        }
                        return -options $options $said
                    }
                    interp limit $safe time -seconds {}
                    return [$safe eval {set ::entries}]
                } finally {
                    interp delete $safe
                }
            }}",
        );
        let words = script.to_list().unwrap_or_default();
        let entries = interp::call(interp, &[&words[..], std::slice::from_ref(file)].concat())?;
        let entries = entries.to_list().unwrap_or_default();
        let read = UserDb::new();
        for entry in entries.chunks_exact(4) {
            let [command, user, password, storage] = [0, 1, 2, 3].map(|at| entry[at].to_text());
            match &*command {
                "addhash" => read.add_hash(&user, &password, &storage),
                _ => read.add(&user, &password, &storage),
            }
            .map_err(|error| {
                let entry = format!("entry of user \"{user}\" in \"{}\"", file.to_text());
                Error::from(error).with_note(&entry)
            })?;
        }
        self.users.replace_all(read);
        self.identity.set("lastfile", file);
        Ok(Value::text(""))
    }
}

fn path(file: &Value) -> Result<std::path::PathBuf, Error> {
    file.to_path().ok_or_else(|| {
        let message = format!("\"{}\" is no file name", file.to_text());
        Error::new(message, &["FILE"])
    })
}

/// The error of `hash`, with the scheme that there is not.
fn bad_scheme(error: UserError, scheme: Option<&str>) -> Error {
    let scheme = scheme.filter(|_| matches!(error, UserError::Hash(HashError::Scheme)));
    let note = scheme.map(|scheme| format!("the scheme given is \"{scheme}\""));
    Error::from(error).with_advice(note.as_deref())
}

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        let word = match error {
            UserError::Unknown(_) => "UNKNOWN",
            UserError::Known(_) => "KNOWN",
            UserError::NoUser | UserError::NoPassword | UserError::NoStorage => "MISSING",
            UserError::Hash(HashError::Scheme) => "SCHEME",
            UserError::Hash(_) => "HASH",
            UserError::Hashed(_) => "HASHED",
            UserError::NoFileToSave | UserError::NoFileToRead | UserError::Save { .. } => "FILE",
        };
        Error::new(error.to_string(), &["USER", word]).with_advice(error.advice())
    }
}
