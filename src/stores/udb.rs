//! The built-in user database: what `pop3d::udb` objects are made of.

mod entries;
mod file;

use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::entries::{Credential, Entries, Entry};
use self::file::replace_file;
use super::password::{Hash, HashError, Scheme};
use super::tcl_list::push_element;
use crate::store::reason::{advice_on, Reason};
use crate::store::{Account, Users, Verdict};
use crate::text::{characters, shown};
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::{Proof, Secret};

/// Users with their passwords and mailboxes, in memory.
///
/// Sessions look users up while scripts change them. Names are kept in order, so
/// that a saved file does not change when nothing has changed.
#[derive(Debug, Default)]
pub struct UserDb {
    users: RwLock<Entries>,
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
    /// The hash, or the scheme by which to hash, cannot be used.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The user's password is known by its hash only.
    #[error("password of user \"{0}\" is hashed, and not known in the clear")]
    Hashed(Box<str>),
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

impl UserError {
    /// What to do about it, where the text does not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoUser => Some("expected the name of a user that is not empty"),
            Self::NoPassword => Some("expected a password that is not empty"),
            Self::NoStorage => Some("expected a mailbox whose name is not empty"),
            Self::Unknown(_) => Some("the method \"who\" tells the users that there are"),
            Self::Known(_) => Some("take another name, or remove that user first"),
            Self::NoFileToSave | Self::NoFileToRead => Some("expected the name of a file"),
            Self::Save { source, .. } => advice_on(source),
            Self::Hash(_) | Self::Hashed(_) => None,
        }
    }
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
        if password.is_empty() {
            named(user)?;
            return Err(UserError::NoPassword);
        }
        let password = Secret::new(password.as_bytes());
        self.insert(user, Credential::Plain(password), storage)
    }

    /// Adds `user` with the text of a hash in the place of the password, or changes a known
    /// one.
    ///
    /// # Errors
    /// When one of the three is empty, and when the hash cannot be used ([`Hash::parse`]).
    pub fn add_hash(&self, user: &str, hash: &str, storage: &str) -> Result<(), UserError> {
        named(user)?;
        let hash = Hash::parse(hash)?;
        self.insert(user, Credential::hashed(hash), storage)
    }

    fn insert(&self, user: &str, credential: Credential, storage: &str) -> Result<(), UserError> {
        named(user)?;
        if storage.is_empty() {
            return Err(UserError::NoStorage);
        }
        let entry = Entry {
            credential,
            storage: storage.into(),
        };
        self.write().insert(user, entry);
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
        if users.get(user).is_none() {
            return Err(unknown(user));
        }
        if users.get(new).is_some() {
            return Err(UserError::Known(new.into()));
        }
        if let Some(entry) = users.remove(user) {
            users.insert(new, entry);
        }
        Ok(())
    }

    /// The entry of `user`.
    ///
    /// # Errors
    /// When the name is not known, and when the password is hashed.
    pub fn account(&self, user: &str) -> Result<Account, UserError> {
        let users = self.read();
        let entry = users.get(user).ok_or_else(|| unknown(user))?;
        match &entry.credential {
            Credential::Plain(password) => Ok(Account {
                password: password.clone(),
                storage: entry.storage.clone(),
            }),
            Credential::Hashed(_) => Err(UserError::Hashed(user.into())),
        }
    }

    /// Whether `user` is known.
    pub fn exists(&self, user: &str) -> bool {
        self.read().get(user).is_some()
    }

    /// The names of all users, sorted.
    pub fn who(&self) -> Vec<Box<str>> {
        self.read().iter().map(|(user, _)| user.into()).collect()
    }

    /// Takes the users of `other` in place of its own, at once: what `read` does
    /// after the whole file proved good.
    pub fn replace_all(&self, other: Self) {
        let users = other.users.into_inner();
        *self.write() = users.unwrap_or_else(PoisonError::into_inner);
    }

    /// Writes all users to `file`, a Tcl script of `add USER PASSWORD STORAGE` and
    /// `addhash USER HASH STORAGE` lines that only its owner can read. What `file` held before is kept as
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
        for (user, entry) in self.read().iter() {
            let (command, password) = match &entry.credential {
                Credential::Plain(password) => ("add", characters(password.expose())),
                Credential::Hashed(hashed) => ("addhash", hashed.hash.text().into()),
            };
            script.push('\t');
            script.push_str(command);
            for element in [user, password.as_ref(), &entry.storage] {
                script.push(' ');
                push_element(&mut script, element);
            }
            script.push('\n');
        }
        script.push('\n');
        script
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.users.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users for UserDb {
    fn verify(&self, user: &[u8], proof: &Proof) -> Verdict {
        self.read().verify(user, proof)
    }

    fn scram(&self, user: &[u8]) -> ScramKeys {
        let choice = self.read().scram(user);
        choice.keys()
    }

    fn all_have_scram(&self) -> bool {
        self.read().all_have_scram()
    }
}

/// Hashes a password by the scheme of this name, by default `argon2id`. Takes tens of
/// milliseconds.
///
/// # Errors
/// When the password is empty or too long, and when there is no such scheme.
pub fn hash(password: &str, scheme: Option<&str>) -> Result<Hash, UserError> {
    let scheme = scheme.map_or(Ok(Scheme::Argon2id), Scheme::named)?;
    if password.is_empty() {
        return Err(UserError::NoPassword);
    }
    Ok(Hash::new(password.as_bytes(), scheme)?)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
        let account = db.account("ann").unwrap();
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
    fn hashes_are_saved_as_they_were_added() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let db = UserDb::new();
        db.add("bob", "s3cret", "box").unwrap();
        let hash = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
        db.add_hash("ann", hash, "box 2").unwrap();
        db.save(&file).unwrap();
        let lines = format!("\n\taddhash ann {{{hash}}} {{box 2}}\n\tadd bob s3cret box\n\n");
        let saved = fs::read_to_string(&file).unwrap();
        assert!(saved.ends_with(&lines), "{saved}");
    }

    #[test]
    fn a_bad_hash_changes_nothing() {
        let db = UserDb::new();
        db.add("fred", "pw", "box").unwrap();
        let good = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
        assert!(matches!(
            db.add_hash("fred", "pw", "b"),
            Err(UserError::Hash(_))
        ));
        assert_eq!(
            text(db.add_hash("", good, "b")),
            "user specification missing"
        );
        assert_eq!(
            text(db.add_hash("fred", good, "")),
            "storage location not defined"
        );
        assert_eq!(&*db.account("fred").unwrap().storage, "box");
        db.add_hash("fred", good, "b").unwrap();
        assert_eq!(
            text(db.account("fred").map(drop)),
            "password of user \"fred\" is hashed, and not known in the clear"
        );
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
