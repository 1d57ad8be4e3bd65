//! Hashed passwords: their text forms, their bounds, and their computation.
//!
//! A [`Hash`] is what a user's entry holds in place of a password. Its text is that of the
//! scheme's own world, so that hashes move between this and other programs:
//!
//! | scheme | text | source |
//! |---|---|---|
//! | Argon2 | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$DIGEST` | RFC 9106, PHC string format |
//! | bcrypt | `$2b$COST$` salt and digest | Provos and Mazières, 1999 |
//! | scrypt | `$scrypt$ln=LOG2N,r=BLOCK,p=LANES$SALT$DIGEST` | RFC 7914, PHC string format |
//! | SHA-512-crypt | `$6$rounds=ROUNDS$SALT$DIGEST` | Drepper, "Unix crypt using SHA-256 and SHA-512" |
//! | SCRAM-SHA-256 | `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` | RFC 5803, RFC 7677 |

mod compute;
mod recipe;
mod text;

use crate::keyed::random;
use subtle::ConstantTimeEq;

pub use self::compute::KEY_BYTES;
pub use self::recipe::{Recipe, Scheme};

/// The longest password that is hashed, in bytes. SHA-512-crypt takes time by its square.
pub const PASSWORD_BYTES: usize = 1024;

/// The longest password of bcrypt, in bytes: it ignores what follows.
const BCRYPT_PASSWORD_BYTES: usize = 72;

/// Bytes of a new salt.
const SALT_BYTES: usize = 16;

/// Why a hash was refused or not made. No text shows a password or a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// There is no such scheme.
    #[error("unknown scheme: must be argon2id, bcrypt, scrypt, sha512-crypt, or scram-sha-256")]
    Scheme,
    /// The text begins as no hash does.
    #[error(
        "not a hash: must begin with $argon2id$, $argon2i$, $argon2d$, $2a$, $2b$, $2y$, \
         $scrypt$, $6$, or SCRAM-SHA-256$"
    )]
    Prefix,
    /// The rest of the text does not have the form of its scheme.
    #[error("malformed hash: must be {0}")]
    Malformed(&'static str),
    /// A cost that would hold up or exhaust the server, or that the scheme does not allow.
    #[error("hash asks for {scheme} {parameter}={value}: must be {least} to {most}")]
    Cost {
        /// The scheme's name.
        scheme: &'static str,
        /// The cost as the hash spells it.
        parameter: &'static str,
        /// What the hash asks for.
        value: u64,
        /// The least that is taken.
        least: u64,
        /// The most that is taken, with the hash's other costs as they are.
        most: u64,
    },
    /// The password is longer than the scheme takes.
    #[error("password is longer than {0} bytes, the most that can be hashed by this scheme")]
    Password(usize),
    /// The system gave no random numbers for the salt.
    #[error("no random numbers for a salt")]
    Random,
}

/// A hashed password.
#[derive(Clone)]
pub struct Hash {
    text: Box<str>,
    recipe: Recipe,
    salt: Box<[u8]>,
    digest: Box<[u8]>,
}

/// The parts of a SCRAM verifier (RFC 5802 §3).
pub struct Verifier<'a> {
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: &'a [u8],
    /// By which the client's proof is checked.
    pub stored_key: &'a [u8; KEY_BYTES],
    /// By which the server proves that it knows the verifier.
    pub server_key: &'a [u8; KEY_BYTES],
}

impl Hash {
    /// Reads the text of a hash, and refuses one whose check would cost too much.
    ///
    /// # Errors
    /// [`HashError::Prefix`], [`HashError::Malformed`], [`HashError::Cost`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        text::parse(text)
    }

    /// Hashes a password with a new salt, and the costs that [`Scheme::recipe`] gives.
    /// Takes tens of milliseconds.
    ///
    /// # Errors
    /// [`HashError::Password`], [`HashError::Random`].
    pub fn new(password: &[u8], scheme: Scheme) -> Result<Self, HashError> {
        let most = match scheme {
            Scheme::Bcrypt => BCRYPT_PASSWORD_BYTES,
            _ => PASSWORD_BYTES,
        };
        if password.len() > most {
            return Err(HashError::Password(most));
        }
        let recipe = scheme.recipe();
        let salt = recipe.spell_salt(random::<SALT_BYTES>().map_err(|_| HashError::Random)?);
        let digest = compute::digest(recipe, password, &salt, recipe.digest_bytes())
            .ok_or(HashError::Malformed(recipe.form()))?;
        Ok(Self {
            text: text::write(recipe, &salt, &digest).into(),
            recipe,
            salt,
            digest: digest.into(),
        })
    }

    /// A hash that costs what one by `recipe` does.
    pub fn decoy(recipe: Recipe) -> Self {
        Self {
            text: "".into(),
            recipe,
            salt: recipe.spell_salt([0; SALT_BYTES]),
            digest: vec![0; recipe.digest_bytes()].into(),
        }
    }

    /// Whether it is the hash of `password`. Takes as long as the hash's costs say, tens of
    /// milliseconds to about two seconds; a password over [`PASSWORD_BYTES`] fits none, at
    /// once.
    pub fn fits(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_BYTES {
            return false;
        }
        let digest = compute::digest(self.recipe, password, &self.salt, self.digest.len());
        digest.is_some_and(|digest| digest.ct_eq(&self.digest).into())
    }

    /// The text by which it is saved.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its scheme and costs.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// What it holds, if it is a SCRAM verifier.
    pub fn scram(&self) -> Option<Verifier<'_>> {
        match self.recipe {
            Recipe::Scram { iterations, .. } => {
                let (stored_key, rest) = self.digest.split_first_chunk()?;
                Some(Verifier {
                    iterations,
                    salt: &self.salt,
                    stored_key,
                    server_key: rest.first_chunk()?,
                })
            }
            _ => None,
        }
    }
}

/// Without the hash: whoever has it can guess the password.
impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash({:?})", self.recipe)
    }
}

#[cfg(test)]
pub(crate) mod tests;
