//! The entries of a user database, and how a client's proof is checked against them.
//!
//! Nothing that a client can measure tells whether a name is known. Where any password is
//! hashed, a wrong password costs a name that is not known, or whose password is in the
//! clear, the computation of a hash by a [`Recipe`] of the database. Which recipe depends on
//! the name, so that of many names as many cost each recipe as of the users.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use crate::store::{Check, ScramKeys, Verdict};
use crate::stores::password::keyed::keyed;
use crate::stores::password::{scram_keys, Hash, Recipe, PASSWORD_BYTES};
use crate::text::{characters, names, proves, spellings};
use pop3_proto::{Proof, Secret};

/// How long a password is known to be right without being hashed again.
const RECENT: Duration = Duration::from_secs(60);

/// Iterations of SCRAM for a password that is in the clear (RFC 7677 §4: 4096 or more).
/// They protect nothing here, so there are no more of them.
const PLAIN_ITERATIONS: u32 = 4096;

/// Bytes of SCRAM's salt for such a password, and of those that are made up.
const PLAIN_SALT: usize = 16;

/// One user's entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) credential: Credential,
    pub(super) storage: Box<str>,
}

#[derive(Debug)]
pub(super) enum Credential {
    Plain(Secret),
    Hashed(Arc<Hashed>),
}

/// A hashed password. It goes with the entry, and what is remembered of it, too.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) hash: Hash,
    proven: Mutex<Option<Proven>>,
}

/// The password that was right last, as a keyed digest.
struct Proven {
    digest: [u8; 32],
    at: Instant,
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proven")
    }
}

impl Credential {
    pub(super) fn hashed(hash: Hash) -> Self {
        Self::Hashed(Arc::new(Hashed {
            hash,
            proven: Mutex::default(),
        }))
    }

    fn recipe(&self) -> Option<Recipe> {
        match self {
            Self::Plain(_) => None,
            Self::Hashed(hashed) => Some(hashed.hash.recipe()),
        }
    }
}

impl Hashed {
    /// Without a long computation: whether the password has been right within a minute.
    fn is_proven(&self, password: &[u8]) -> bool {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        match &*proven {
            Some(Proven { digest, at }) if at.elapsed() < RECENT => {
                digest.ct_eq(&self.digest(password)).into()
            }
            _ => {
                *proven = None;
                false
            }
        }
    }

    /// Whether the password is right: computes its hash, once for each spelling.
    fn is_proved_by(&self, password: &[u8]) -> bool {
        // Another session of this user may have paid while this one waited.
        if self.is_proven(password) {
            return true;
        }
        let fits = spellings(password).iter().any(|text| self.hash.fits(text));
        if fits {
            let proven = Proven {
                digest: self.digest(password),
                at: Instant::now(),
            };
            *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Some(proven);
        }
        fits
    }

    /// Users with the same password have other digests.
    fn digest(&self, password: &[u8]) -> [u8; 32] {
        keyed(&[b"proven", self.hash.text().as_bytes(), password])
    }
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// In order, so that a saved file does not change when nothing has changed.
    users: BTreeMap<Box<str>, Entry>,
    /// How many entries there are by each recipe; none: in the clear.
    recipes: BTreeMap<Option<Recipe>, u64>,
}

impl Entries {
    pub(super) fn get(&self, user: &str) -> Option<&Entry> {
        self.users.get(user)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.users.iter().map(|(user, entry)| (&**user, entry))
    }

    pub(super) fn insert(&mut self, user: &str, entry: Entry) {
        self.remove(user);
        *self.recipes.entry(entry.credential.recipe()).or_default() += 1;
        self.users.insert(user.into(), entry);
    }

    pub(super) fn remove(&mut self, user: &str) -> Option<Entry> {
        let entry = self.users.remove(user)?;
        let recipe = entry.credential.recipe();
        match self.recipes.get_mut(&recipe) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.recipes.remove(&recipe);
            }
        }
        Some(entry)
    }

    /// The entry of the user whom a client names.
    fn named(&self, user: &[u8]) -> Option<(&str, &Entry)> {
        let (name, other) = names(user);
        let find = |name: &str| self.users.get_key_value(name);
        let found = find(&name).or_else(|| find(&other?))?;
        Some((found.0, found.1))
    }

    /// A recipe for a name, always the same one; among those that `counts` takes.
    fn like_others(
        &self,
        user: &[u8],
        counts: impl Fn(Option<Recipe>) -> bool,
    ) -> Option<Option<Recipe>> {
        let counted = || self.recipes.iter().filter(|(recipe, _)| counts(**recipe));
        let all: u64 = counted().map(|(_, count)| count).sum();
        let digest = keyed(&[b"like", characters(user).as_bytes()]);
        let chance = digest
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut left = chance.checked_rem(all)?;
        for (recipe, count) in counted() {
            match left.checked_sub(*count) {
                Some(rest) => left = rest,
                None => return Some(*recipe),
            }
        }
        None
    }

    /// See [`Users::verify`](crate::store::Users::verify).
    pub(super) fn verify(&self, user: &[u8], proof: &Proof) -> Verdict {
        let entry = self.named(user).map(|(_, entry)| entry);
        let hashed = match entry.map(|entry| (&entry.credential, &entry.storage)) {
            Some((Credential::Plain(password), storage)) if proves(proof, password) => {
                return Verdict::Admitted(storage.clone());
            }
            Some((Credential::Hashed(hashed), storage)) => Some((hashed, storage)),
            _ => None,
        };
        // APOP's digest cannot be computed from a hash.
        let Proof::Password(password) = proof else {
            return Verdict::Refused;
        };
        if password.expose().len() > PASSWORD_BYTES {
            return Verdict::Refused;
        }
        match hashed {
            Some((hashed, storage)) if hashed.is_proven(password.expose()) => {
                Verdict::Admitted(storage.clone())
            }
            Some((hashed, storage)) => {
                let (hashed, storage) = (hashed.clone(), storage.clone());
                let password = password.clone();
                Verdict::Pending(Box::new(move || {
                    hashed.is_proved_by(password.expose()).then_some(storage)
                }))
            }
            None => match self.like_others(user, |recipe| recipe.is_some()) {
                Some(Some(recipe)) => Verdict::Pending(refusal(recipe, password.clone())),
                _ => Verdict::Refused,
            },
        }
    }

    /// What [`Users::scram`](crate::store::Users::scram) is to compute.
    pub(super) fn scram(&self, user: &[u8]) -> Option<ScramChoice> {
        let is_scram = |recipe| matches!(recipe, None | Some(Recipe::Scram { .. }));
        let like = self.like_others(user, is_scram)?;
        let (name, entry) = match self.named(user) {
            Some((name, entry)) => (name.into(), Some(entry)),
            None => (characters(user), None),
        };
        let storage = entry.map(|entry| entry.storage.clone());
        let verifier = match entry.map(|entry| &entry.credential) {
            Some(Credential::Plain(password)) => {
                return Some(ScramChoice::Plain {
                    salt: made_up("salt", &name, PLAIN_SALT),
                    password: password.clone(),
                    storage,
                });
            }
            Some(Credential::Hashed(hashed)) => hashed.hash.scram(),
            None => None,
        };
        Some(match (verifier, like) {
            (Some(verifier), _) => ScramChoice::Ready(ScramKeys {
                salt: verifier.salt.into(),
                iterations: verifier.iterations,
                stored_key: *verifier.stored_key,
                server_key: *verifier.server_key,
                storage,
            }),
            (None, Some(Recipe::Scram { iterations, salt })) => ScramChoice::Ready(ScramKeys {
                salt: made_up("salt", &name, salt),
                iterations,
                stored_key: keyed(&[b"stored", name.as_bytes()]),
                server_key: keyed(&[b"server", name.as_bytes()]),
                storage: None,
            }),
            // As much work as for a password in the clear.
            (None, _) => ScramChoice::Plain {
                salt: made_up("salt", &name, PLAIN_SALT),
                password: Secret::new(keyed(&[b"password", name.as_bytes()])),
                storage: None,
            },
        })
    }
}

/// The check for a name that is not known: as much work as that of a hash, and no.
fn refusal(recipe: Recipe, password: Secret) -> Check {
    Box::new(move || {
        let decoy = Hash::decoy(recipe);
        for text in spellings(password.expose()) {
            std::hint::black_box(decoy.fits(&text));
        }
        None
    })
}

/// Bytes that nobody can foresee, always the same ones for a name while the process lives.
fn made_up(what: &str, name: &str, length: usize) -> Box<[u8]> {
    let block = |at: usize| keyed(&[what.as_bytes(), name.as_bytes(), &at.to_le_bytes()]);
    (0..).flat_map(block).take(length).collect()
}

/// Where the keys for SCRAM come from.
pub(super) enum ScramChoice {
    /// From a verifier, or made up for a name that is to look as if it had one.
    Ready(ScramKeys),
    /// From a password in the clear, or one made up for a name that is to look as if it had
    /// one.
    Plain {
        salt: Box<[u8]>,
        password: Secret,
        storage: Option<Box<str>>,
    },
}

impl ScramChoice {
    /// The keys. Without the lock of the entries: it takes milliseconds.
    pub(super) fn keys(self) -> ScramKeys {
        match self {
            Self::Ready(keys) => keys,
            Self::Plain {
                salt,
                password,
                storage,
            } => {
                let iterations = PLAIN_ITERATIONS;
                let [stored_key, server_key] = scram_keys(password.expose(), &salt, iterations);
                ScramKeys {
                    salt,
                    iterations,
                    stored_key,
                    server_key,
                    storage,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Users;
    use crate::stores::password::tests::COMPUTED;
    use crate::stores::password::Scheme;
    use crate::stores::udb::UserDb;

    /// "password", quickly checked.
    const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    /// "correctbatteryhorsestapler", quickly checked.
    const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    fn password(text: &[u8]) -> Proof {
        Proof::Password(Secret::new(text))
    }

    /// What a login gives, and how many digests were computed for it: at once, or later.
    fn login(db: &UserDb, user: &str, proof: &Proof) -> (Option<Box<str>>, usize) {
        let before = COMPUTED.get();
        let verdict = db.verify(user.as_bytes(), proof);
        assert_eq!(COMPUTED.get(), before, "not on the event loop");
        let storage = match verdict {
            Verdict::Admitted(storage) => Some(storage),
            Verdict::Refused => None,
            Verdict::Pending(check) => check(),
        };
        (storage, COMPUTED.get() - before)
    }

    fn db(hashes: &[(&str, &str)]) -> UserDb {
        let db = UserDb::new();
        for (user, hash) in hashes {
            db.add_hash(user, hash, "box").unwrap();
        }
        db
    }

    /// RFC 3206, 1939: nobody must learn which names are known. The check of a wrong password
    /// takes as many digests as that of an unknown name; a database in the clear takes none.
    #[test]
    fn an_unknown_name_costs_what_a_wrong_password_does() {
        let hashed = db(&[("ann", ARGON2)]);
        let mixed = db(&[("ann", ARGON2)]);
        mixed.add("bob", "secret", "box").unwrap();
        let clear = UserDb::new();
        clear.add("bob", "secret", "box").unwrap();
        let apop = Proof::Apop {
            challenge: "<1@h>".into(),
            digest: Secret::new(&b"0123456789abcdef0123456789abcdef"[..]),
        };
        let (right, wrong) = (password(b"password"), password(b"wrong"));
        let latin_1 = password(b"wr\xf6ng");
        let utf_8 = password("wr\u{f6}ng".as_bytes());
        let long = password(&[b'x'; PASSWORD_BYTES + 1]);
        let table = [
            (&hashed, "ann", &wrong, None, 1),
            (&hashed, "nobody", &wrong, None, 1),
            (&hashed, "nobody", &right, None, 1),
            (&hashed, "ann", &utf_8, None, 2),
            (&hashed, "nobody", &utf_8, None, 2),
            (&hashed, "ann", &latin_1, None, 2),
            (&hashed, "nobody", &latin_1, None, 2),
            (&hashed, "ann", &long, None, 0),
            (&hashed, "nobody", &long, None, 0),
            (&hashed, "ann", &apop, None, 0),
            (&hashed, "nobody", &apop, None, 0),
            (&hashed, "ann", &right, Some("box"), 1),
            (&mixed, "bob", &wrong, None, 1),
            (&mixed, "nobody", &wrong, None, 1),
            (&mixed, "bob", &password(b"secret"), Some("box"), 0),
            (&clear, "bob", &wrong, None, 0),
            (&clear, "nobody", &wrong, None, 0),
        ];
        for (db, user, proof, storage, computed) in table {
            let want = (storage.map(Box::from), computed);
            assert_eq!(login(db, user, proof), want, "{user} {proof:?}");
        }
    }

    #[test]
    fn a_good_login_is_not_paid_twice_until_the_entry_changes() {
        let db = db(&[("ann", ARGON2), ("bea", ARGON2)]);
        let right = password(b"password");
        let storage = || Some(Box::from("box"));
        assert_eq!(login(&db, "ann", &right), (storage(), 1));
        assert_eq!(login(&db, "ann", &right), (storage(), 0));
        // Neither for another user, nor for another password, which changes nothing.
        assert_eq!(login(&db, "bea", &right), (storage(), 1));
        assert_eq!(login(&db, "ann", &password(b"wrong")), (None, 1));
        assert_eq!(login(&db, "ann", &right), (storage(), 0));
        // Two that wait at once: the second finds what the first has paid.
        db.add_hash("ann", ARGON2, "box").unwrap();
        let waiting = [db.verify(b"ann", &right), db.verify(b"ann", &right)];
        let before = COMPUTED.get();
        for verdict in waiting {
            let Verdict::Pending(check) = verdict else {
                panic!("known before it was paid");
            };
            assert_eq!(check(), storage());
        }
        assert_eq!(COMPUTED.get(), before + 1);
        db.add_hash("ann", BCRYPT, "box").unwrap();
        assert_eq!(login(&db, "ann", &right), (None, 1));
        db.remove("ann").unwrap();
        assert_eq!(login(&db, "ann", &right).0, None);
    }

    #[test]
    fn a_good_login_is_forgotten_after_a_minute() {
        let hashed = Hashed {
            hash: Hash::parse(ARGON2).unwrap(),
            proven: Mutex::default(),
        };
        assert!(hashed.is_proved_by(b"password"));
        assert!(hashed.is_proven(b"password"));
        let age = |by| {
            let mut proven = hashed.proven.lock().unwrap();
            proven.as_mut().unwrap().at -= by;
        };
        age(RECENT / 2);
        assert!(hashed.is_proven(b"password"));
        age(RECENT / 2);
        assert!(!hashed.is_proven(b"password"));
        assert!(hashed.proven.lock().unwrap().is_none());
    }

    /// A password fits its hash as characters, or as the bytes that Tcl reads.
    #[test]
    fn passwords_are_text_and_bytes() {
        let hash = Hash::new("p\u{e4}ss".as_bytes(), Scheme::Sha512Crypt).unwrap();
        let db = db(&[("m\u{fc}ll", hash.text())]);
        let rows: [(&[u8], bool); 4] = [
            (b"p\xc3\xa4ss", true),
            (b"p\xe4ss", true),
            (b"p\xc3\x83\xc2\xa4ss", false),
            (b"pass", false),
        ];
        for (bytes, want) in rows {
            let admitted = login(&db, "m\u{fc}ll", &password(bytes)).0.is_some();
            assert_eq!(admitted, want, "{bytes:x?}");
        }
        let Verdict::Pending(check) = db.verify(b"m\xfcll", &password(b"p\xc3\xa4ss")) else {
            panic!("not hashed");
        };
        assert!(check().is_some());
    }

    /// A name keeps its recipe; of many names as many have each as of the users.
    #[test]
    fn unknown_names_are_like_the_users() {
        let db = db(&[("a", ARGON2), ("b", ARGON2), ("c", ARGON2), ("d", BCRYPT)]);
        db.add("e", "secret", "box").unwrap();
        let entries = db.read();
        let like = |name: &str| entries.like_others(name.as_bytes(), |recipe| recipe.is_some());
        let bcrypt = entries.get("d").unwrap().credential.recipe();
        let all = 2000;
        let names = || (0..all).map(|n| format!("nobody{n}"));
        let count = names().filter(|name| like(name) == Some(bcrypt)).count();
        assert!((all / 8..all / 2).contains(&count), "{count}");
        assert!(names().all(|name| like(&name) == like(&name)));
        drop(entries);
        // What is left has no hash any more.
        for user in ["a", "b", "c", "d"] {
            db.remove(user).unwrap();
        }
        assert_eq!(login(&db, "nobody", &password(b"x")), (None, 0));
        let other = UserDb::new();
        other.add_hash("z", ARGON2, "box").unwrap();
        db.replace_all(other);
        db.rename("z", "y").unwrap();
        assert_eq!(login(&db, "z", &password(b"x")), (None, 1));
    }

    /// A verifier as it was stored; keys of a password in the clear; made-up ones for all
    /// others, which nothing tells from those.
    #[test]
    fn scram_keys_of_every_name() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let verifier = format!("SCRAM-SHA-256$5000:c2FsdHNhbHQ=${key}:{key}");
        let keys = |db: &UserDb, user: &str| db.scram(user.as_bytes()).unwrap();
        let hashed = db(&[("ann", ARGON2)]);
        assert!(hashed.scram(b"ann").is_none());
        assert!(UserDb::new().scram(b"ann").is_none());

        hashed.add_hash("sue", &verifier, "box").unwrap();
        let sue = keys(&hashed, "sue");
        assert_eq!((&*sue.salt, sue.iterations), (&b"saltsalt"[..], 5000));
        assert_eq!((sue.stored_key, sue.server_key), ([0; 32], [0; 32]));
        assert_eq!(sue.storage.as_deref(), Some("box"));
        for user in ["ann", "nobody"] {
            let made_up = keys(&hashed, user);
            assert_eq!((made_up.salt.len(), made_up.iterations), (8, 5000));
            assert_eq!(made_up.storage, None);
            assert_ne!(made_up.salt, keys(&hashed, "other").salt);
            let again = keys(&hashed, user);
            assert_eq!(
                (made_up.salt, made_up.stored_key),
                (again.salt, again.stored_key)
            );
        }

        let clear = UserDb::new();
        clear.add("bob", "pencil", "box").unwrap();
        let bob = keys(&clear, "bob");
        let want = scram_keys(b"pencil", &bob.salt, bob.iterations);
        assert_eq!([bob.stored_key, bob.server_key], want);
        assert_eq!(bob.storage.as_deref(), Some("box"));
        let nobody = keys(&clear, "nobody");
        assert_eq!(
            (nobody.salt.len(), nobody.iterations),
            (bob.salt.len(), bob.iterations)
        );
        assert_eq!(nobody.storage, None);
    }
}
