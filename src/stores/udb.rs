//! The built-in user database: what `pop3d::udb` objects are made of.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustix::fs::{flock, FlockOperation};
use tempfile::NamedTempFile;

use super::tcl_list::push_element;
use crate::store::reason::Reason;
use crate::store::{Account, Users};
use crate::text::{characters, shown};
use pop3_proto::Secret;

/// Users with their passwords and mailboxes, in memory.
///
/// Sessions look users up while scripts change them. Names are kept in order, so
/// that a saved file does not change when nothing has changed.
#[derive(Debug, Default)]
pub struct UserDb {
    users: RwLock<BTreeMap<Box<str>, Account>>,
}

/// Why a change of the users was refused. Scripts see the text, which is Tcllib's.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user name was given.
    #[error("user specification missing")]
    NoUser,
    /// An empty password was given.
    #[error("password not specified")]
    NoPassword,
    /// An empty storage reference was given.
    #[error("storage location not defined")]
    NoStorage,
    /// There is no such user.
    #[error("user \"{0}\" not known")]
    Unknown(Box<str>),
    /// The new name is taken.
    #[error("user \"{0}\" is known")]
    Known(Box<str>),
    /// `save` without a file, and none was read before.
    #[error("No file known to save data into")]
    NoFileToSave,
    /// `read` without a file.
    #[error("No file known to read from")]
    NoFileToRead,
    /// The file could not be written; what was there before is still there.
    #[error("couldn't save \"{file}\": {}", Reason(source))]
    Save {
        /// The file as scripts name it.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl UserDb {
    /// A database without users.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `user`, or changes the password and mailbox of a known one.
    ///
    /// # Errors
    /// When one of the three is empty.
    pub fn add(&self, user: &str, password: &str, storage: &str) -> Result<(), UserError> {
        named(user)?;
        if password.is_empty() {
            return Err(UserError::NoPassword);
        }
        if storage.is_empty() {
            return Err(UserError::NoStorage);
        }
        let account = Account {
            password: Secret::new(password.as_bytes()),
            storage: storage.into(),
        };
        self.write().insert(user.into(), account);
        Ok(())
    }

    /// Removes `user`.
    ///
    /// # Errors
    /// When the name is empty or not known.
    pub fn remove(&self, user: &str) -> Result<(), UserError> {
        named(user)?;
        let removed = self.write().remove(user);
        removed.map(drop).ok_or_else(|| unknown(user))
    }

    /// Gives `user` the name `new`.
    ///
    /// # Errors
    /// When a name is empty, `user` is not known, or `new` is.
    pub fn rename(&self, user: &str, new: &str) -> Result<(), UserError> {
        named(user)?;
        named(new)?;
        let mut users = self.write();
        if !users.contains_key(user) {
            return Err(unknown(user));
        }
        if users.contains_key(new) {
            return Err(UserError::Known(new.into()));
        }
        if let Some(account) = users.remove(user) {
            users.insert(new.into(), account);
        }
        Ok(())
    }

    /// The entry of `user`; as [`Users::lookup`], but an error that scripts know.
    ///
    /// # Errors
    /// When the name is not known.
    pub fn account(&self, user: &str) -> Result<Account, UserError> {
        self.lookup(user).ok_or_else(|| unknown(user))
    }

    /// Whether `user` is known.
    pub fn exists(&self, user: &str) -> bool {
        self.read().contains_key(user)
    }

    /// The names of all users, sorted.
    pub fn who(&self) -> Vec<Box<str>> {
        self.read().keys().cloned().collect()
    }

    /// Takes the users of `other` in place of its own, at once: what `read` does
    /// after the whole file proved good.
    pub fn replace_all(&self, other: Self) {
        let users = other.users.into_inner();
        *self.write() = users.unwrap_or_else(PoisonError::into_inner);
    }

    /// Writes all users to `file`, a Tcl script of `add USER PASSWORD STORAGE`
    /// lines that only its owner can read. What `file` held before is kept as
    /// `file.old`; whenever the machine stops, `file` holds the old users or the
    /// new ones, and after the return the new ones.
    ///
    /// # Errors
    /// [`UserError::Save`] when files cannot be written.
    pub fn save(&self, file: &Path) -> Result<(), UserError> {
        let script = self.script();
        replace_file(file, script.as_bytes()).map_err(|source| UserError::Save {
            file: shown(file.as_os_str()),
            source,
        })
    }

    fn script(&self) -> String {
        let mut script =
            String::from("# -*- tcl -*-\n# ----------- user authentication database -\n\n");
        for (user, account) in self.read().iter() {
            let password = characters(account.password.expose());
            script.push_str("\tadd");
            for element in [user, password.as_ref(), &account.storage] {
                script.push(' ');
                push_element(&mut script, element);
            }
            script.push('\n');
        }
        script.push('\n');
        script
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Box<str>, Account>> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Box<str>, Account>> {
        self.users.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users for UserDb {
    fn lookup(&self, user: &str) -> Option<Account> {
        self.read().get(user).cloned()
    }
}

fn named(user: &str) -> Result<(), UserError> {
    if user.is_empty() {
        return Err(UserError::NoUser);
    }
    Ok(())
}

fn unknown(user: &str) -> UserError {
    UserError::Unknown(user.into())
}

/// Replaces `file` in one step, durably, keeping the old one as `file.old`.
fn replace_file(file: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    remove_stale(directory);
    let temporary = write_temporary(directory, content)?;
    keep_old(file)?;
    // Dropped before it has its name, the temporary file is removed.
    temporary.persist(file)?;
    File::open(directory)?.sync_all()
}

/// Begins the names of temporary files.
const TEMPORARY: &str = ".pop3d-udb.";

/// No `save` takes so long; what is older was left by a process that has ended.
const STALE: Duration = Duration::from_secs(60);

/// A new file of mode 0600 with `content`, on the disk when this returns. Its name is
/// random: after a crash the next process of the same number (in a container) must not
/// stumble over what was left. It is locked as long as it is written.
fn write_temporary(directory: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let private = Permissions::from_mode(0o600);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(TEMPORARY).permissions(private);
    let mut file = builder.tempfile_in(directory)?;
    // Where the file system has no locks, age alone tells.
    let _ = flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Removes temporary files that crashed processes have left: there are passwords in them.
/// A failure harms nobody but them.
fn remove_stale(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            let _ = remove_if_stale(&entry.path());
        }
    }
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let age = found.modified()?.elapsed().unwrap_or_default();
    if found.is_file() && age > STALE {
        let file = File::open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Keeps `file` as `file.old`, which only its owner can read. A second link, so that `file` exists all the time;
/// where the file system has no links, a rename.
fn keep_old(file: &Path) -> io::Result<()> {
    let mut old = file.as_os_str().to_owned();
    old.push(".old");
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A rename onto a directory would fail, but only after its `.old`.
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        _ => {}
    }
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(file, &old).or_else(|_| fs::rename(file, &old))?;
    // Of somebody else's file only the owner can.
    let _ = fs::set_permissions(&old, Permissions::from_mode(0o600));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<(), UserError>) -> String {
        result.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn errors_have_the_texts_that_scripts_know() {
        let db = UserDb::new();
        db.add("fred", "pw", "box").unwrap();
        db.add("ann", "pw", "box").unwrap();
        let table = [
            (db.add("", "p", "s"), "user specification missing"),
            (db.add("u", "", "s"), "password not specified"),
            (db.add("u", "p", ""), "storage location not defined"),
            (db.remove(""), "user specification missing"),
            (db.remove("bob"), "user \"bob\" not known"),
            (db.rename("", "x"), "user specification missing"),
            (db.rename("fred", ""), "user specification missing"),
            (db.rename("bob", "x"), "user \"bob\" not known"),
            (db.rename("fred", "ann"), "user \"ann\" is known"),
            (db.rename("fred", "fred"), "user \"fred\" is known"),
            (db.account("bob").map(drop), "user \"bob\" not known"),
            (
                Err(UserError::NoFileToSave),
                "No file known to save data into",
            ),
            (Err(UserError::NoFileToRead), "No file known to read from"),
        ];
        for (result, want) in table {
            assert_eq!(text(result), want);
        }
    }

    #[test]
    fn users_come_and_go() {
        let db = UserDb::new();
        db.add("fred", "old", "box").unwrap();
        db.add("fred", "pw", "box 2").unwrap();
        db.rename("fred", "ann").unwrap();
        assert!(!db.exists("fred"));
        assert!(db.exists("ann"));
        let account = db.lookup("ann").unwrap();
        assert_eq!(account.password.expose(), b"pw");
        assert_eq!(&*account.storage, "box 2");
        db.add("Zoe", "p", "s").unwrap();
        assert_eq!(db.who(), ["Zoe".into(), "ann".into()] as [Box<str>; 2]);

        let other = UserDb::new();
        other.add("new", "p", "s").unwrap();
        db.replace_all(other);
        assert_eq!(db.who(), ["new".into()] as [Box<str>; 1]);
        db.remove("new").unwrap();
        assert!(db.who().is_empty());
    }

    #[test]
    fn saved_as_a_script() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let db = UserDb::new();
        db.add("fred", "s3cret", "box").unwrap();
        db.add("{", "a b", "[exit]").unwrap();
        let first = "# -*- tcl -*-\n# ----------- user authentication database -\n\n\
                     \tadd fred s3cret box\n\tadd \\{ {a b} {[exit]}\n\n";
        db.save(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), first);
        assert!(!dir.path().join("users.old").exists());

        db.remove("{").unwrap();
        for _ in 0..2 {
            db.save(&file).unwrap();
        }
        db.remove("fred").unwrap();
        db.save(&file).unwrap();
        let old = fs::read_to_string(dir.path().join("users.old")).unwrap();
        assert!(old.ends_with("\n\tadd fred s3cret box\n\n"), "{old}");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_save_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::create_dir(&file).unwrap();
        let error = UserDb::new().save(&file).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("couldn't save \"{}\": is a directory", file.display())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = dir.path().join("no/users");
        assert_eq!(
            UserDb::new().save(&missing).unwrap_err().to_string(),
            format!(
                "couldn't save \"{}\": no such file or directory",
                missing.display()
            )
        );
    }
}
