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

use crate::keyed::keyed;
use crate::store::{scram, Check, Verdict};
use crate::stores::password::{Hash, Recipe, PASSWORD_BYTES};
use crate::text::{characters, names, proves, spellings};
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::{Proof, Secret};

/// How long a password is known to be right without being hashed again.
const RECENT: Duration = Duration::from_secs(60);

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
        if *proof == Proof::Verified {
            return entry.map(|entry| entry.storage.clone()).into();
        }
        let (plain, hashed) = match entry.map(|entry| (&entry.credential, &entry.storage)) {
            Some((Credential::Plain(password), storage)) => (Some((password, storage)), None),
            Some((Credential::Hashed(hashed), storage)) => (None, Some((hashed, storage))),
            None => (None, None),
        };
        // As much work where there is no password to compare with: APOP digests one.
        let nobodys = Secret::new(&b"of nobody"[..]);
        let fits = proves(proof, plain.map_or(&nobodys, |(password, _)| password));
        if let Some((_, storage)) = plain.filter(|_| fits) {
            return Verdict::Admitted(storage.clone());
        }
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
    pub(super) fn scram(&self, user: &[u8]) -> ScramChoice {
        let like = self.like_others(user, is_scram).flatten();
        let (name, entry) = match self.named(user) {
            Some((name, entry)) => (name.into(), Some(entry)),
            None => (characters(user), None),
        };
        let verifier = match entry.map(|entry| &entry.credential) {
            Some(Credential::Plain(password)) => {
                return ScramChoice::Plain(name.into(), Some(password.clone()));
            }
            Some(Credential::Hashed(hashed)) => hashed.hash.scram(),
            None => None,
        };
        match (verifier, like) {
            (Some(verifier), _) => ScramChoice::Ready(ScramKeys {
                salt: verifier.salt.into(),
                iterations: verifier.iterations,
                stored_key: *verifier.stored_key,
                server_key: *verifier.server_key,
            }),
            (None, Some(Recipe::Scram { iterations, salt })) => ScramChoice::Ready(ScramKeys {
                salt: made_up("salt", &name, salt),
                iterations,
                stored_key: keyed(&[b"stored", name.as_bytes()]),
                server_key: keyed(&[b"server", name.as_bytes()]),
            }),
            // As much work as for a password in the clear.
            (None, _) => ScramChoice::Plain(name.into(), None),
        }
    }

    /// See [`Users::all_have_scram`](crate::store::Users::all_have_scram).
    pub(super) fn all_have_scram(&self) -> bool {
        self.recipes.keys().all(|recipe| is_scram(*recipe))
    }
}

/// Whether SCRAM can check a password that is kept so.
fn is_scram(recipe: Option<Recipe>) -> bool {
    matches!(recipe, None | Some(Recipe::Scram { .. }))
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
    /// From a name's password in the clear, or made up for a name that is to look as if it
    /// had one.
    Plain(Box<str>, Option<Secret>),
}

impl ScramChoice {
    /// The keys. Without the lock of the entries: it takes milliseconds.
    pub(super) fn keys(self) -> ScramKeys {
        match self {
            Self::Ready(keys) => keys,
            Self::Plain(name, password) => scram::keys_in_the_clear(&name, password.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests;
