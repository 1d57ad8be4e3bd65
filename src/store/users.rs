//! The contract of users: what a session asks of a user database.

use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::{Proof, Secret};

use super::scram;
use crate::text::{characters, proves};

/// One user's entry, with a password in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What PASS or APOP is checked against.
    pub password: Secret,
    /// The reference by which the storage knows the user's mailbox.
    pub storage: Box<str>,
}

impl Account {
    /// The storage reference, if the proof fits. An empty one fails the login, as in
    /// Tcllib.
    pub fn admits(self, proof: &Proof) -> Option<Box<str>> {
        let admitted = proves(proof, &self.password) && !self.storage.is_empty();
        admitted.then_some(self.storage)
    }
}

/// The check of a hashed password, which takes from tens of milliseconds to seconds: the
/// storage reference, if the password fits. Not to be run on an event loop, nor on an
/// interpreter's thread.
pub type Check = Box<dyn FnOnce() -> Option<Box<str>> + Send>;

/// What a user database says to a proof.
pub enum Verdict {
    /// It fits: the storage reference.
    Admitted(Box<str>),
    /// No such user, or it does not fit: not told apart.
    Refused,
    /// The hash of a password must be computed first, which also tells nobody whether there
    /// is such a user.
    Pending(Check),
}

impl From<Option<Box<str>>> for Verdict {
    fn from(storage: Option<Box<str>>) -> Self {
        storage.map_or(Self::Refused, Self::Admitted)
    }
}

/// A user database: the direct way for `-auth`.
pub trait Users: Send + Sync {
    /// Checks what the client that calls itself `user` offers. Called on event loops:
    /// what takes longer than microseconds is a [`Verdict::Pending`].
    fn verify(&self, user: &[u8], proof: &Proof) -> Verdict;

    /// What a SCRAM-SHA-256 exchange needs of the user whom a client names (RFC 5802 §3). For
    /// a name that is not known, or whose password is hashed by another scheme, keys that no
    /// password fits, always the same. May take some milliseconds: not to be called on an
    /// event loop.
    fn scram(&self, user: &[u8]) -> ScramKeys {
        scram::keys_in_the_clear(&characters(user), None)
    }

    /// Whether every user can log in by SCRAM: else it is not offered.
    fn all_have_scram(&self) -> bool {
        false
    }
}
