//! Schemes, their costs, and how much of them is taken.

use argon2::{Algorithm, Version};
use data_encoding::BASE64_NOPAD;

use super::{compute::KEY_BYTES, HashError, SALT_BYTES};

/// How new hashes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The default.
    Argon2id,
    /// For programs that have no other.
    Bcrypt,
    /// As hard as Argon2 for graphics processors.
    Scrypt,
    /// That of `/etc/shadow`.
    Sha512Crypt,
    /// The one scheme by which a client need not send its password.
    ScramSha256,
}

impl Scheme {
    /// The scheme that scripts call `name`.
    ///
    /// # Errors
    /// [`HashError::Scheme`].
    pub fn named(name: &str) -> Result<Self, HashError> {
        Ok(match name {
            "argon2id" => Self::Argon2id,
            "bcrypt" => Self::Bcrypt,
            "scrypt" => Self::Scrypt,
            "sha512-crypt" => Self::Sha512Crypt,
            "scram-sha-256" => Self::ScramSha256,
            _ => return Err(HashError::Scheme),
        })
    }

    /// Scheme and costs of a new hash. Those of Argon2, bcrypt and scrypt are OWASP's
    /// (Password Storage Cheat Sheet); of its equal choices for scrypt this one takes
    /// 16 MiB, as several are checked at once. SHA-512-crypt and
    /// SCRAM take about as long as Argon2: some tens of milliseconds.
    pub fn recipe(self) -> Recipe {
        match self {
            Self::Argon2id => Recipe::Argon2 {
                algorithm: Algorithm::Argon2id,
                version: Version::V0x13,
                memory: 19_456,
                passes: 2,
                lanes: 1,
            },
            Self::Bcrypt => Recipe::Bcrypt { cost: 10 },
            Self::Scrypt => Recipe::Scrypt {
                log_n: 14,
                block: 8,
                lanes: 5,
            },
            Self::Sha512Crypt => Recipe::Sha512Crypt { rounds: 100_000 },
            // A client computes as many, on a telephone too.
            Self::ScramSha256 => Recipe::Scram {
                iterations: 100_000,
                salt: SALT_BYTES,
            },
        }
    }
}

/// Scheme and costs of a hash: all by which a client could tell it from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipe {
    /// RFC 9106.
    Argon2 {
        /// Which of the three.
        algorithm: Algorithm,
        /// 1.3, or 1.0.
        version: Version,
        /// In KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes, computed one after the other.
        lanes: u32,
    },
    /// bcrypt.
    Bcrypt {
        /// Logarithm of the number of rounds.
        cost: u32,
    },
    /// RFC 7914.
    Scrypt {
        /// Logarithm of the cost N.
        log_n: u8,
        /// The block size r.
        block: u32,
        /// The parallelization p.
        lanes: u32,
    },
    /// SHA-512-crypt.
    Sha512Crypt {
        /// Rounds.
        rounds: u32,
    },
    /// RFC 7677.
    Scram {
        /// Iterations of PBKDF2.
        iterations: u32,
        /// Bytes of the salt, which the client is told.
        salt: usize,
    },
}

/// Memory of one check, in KiB. As many checks run at once as there are cores.
const MEMORY: u64 = 256 * 1024;

/// KiB that one check may write and read in all: about a second.
const MEMORY_WORK: u64 = 1024 * 1024;

/// bcrypt: about two seconds.
const BCRYPT_COSTS: (u64, u64) = (4, 15);

/// SHA-512-crypt: its own least, and about a second.
const ROUNDS: (u64, u64) = (1000, 1_000_000);

/// SCRAM: up to a second, which its clients need as well.
const ITERATIONS: (u64, u64) = (1, 1_000_000);

/// Costs as the text of a hash spells them.
pub(super) enum Asked {
    /// `m`, `t`, `p`.
    Argon2(Algorithm, Version, [u64; 3]),
    /// The cost.
    Bcrypt(u64),
    /// `ln`, `r`, `p`.
    Scrypt([u64; 3]),
    /// `rounds`, if it is there.
    Sha512Crypt(Option<u64>),
    /// The iterations, and the bytes of the salt.
    Scram(u64, usize),
}

impl Asked {
    /// The recipe, if its costs are within bounds.
    pub(super) fn bounded(self) -> Result<Recipe, HashError> {
        Ok(match self {
            Self::Argon2(algorithm, version, [memory, passes, lanes]) => {
                let lanes = bounded("argon2", "p", lanes, (1, 64))?;
                let memory = bounded("argon2", "m", memory, (8 * u64::from(lanes), MEMORY))?;
                let most = MEMORY_WORK / u64::from(memory);
                Recipe::Argon2 {
                    algorithm,
                    version,
                    memory,
                    passes: bounded("argon2", "t", passes, (1, most))?,
                    lanes,
                }
            }
            Self::Bcrypt(cost) => Recipe::Bcrypt {
                cost: bounded("bcrypt", "cost", cost, BCRYPT_COSTS)?,
            },
            Self::Scrypt([log_n, block, lanes]) => {
                let block = bounded("scrypt", "r", block, (1, 64))?;
                // A block is of 128 r bytes; RFC 7914 §2: N is below 2 to the 16 r.
                let most = (MEMORY * 8 / u64::from(block)).ilog2();
                let most = u64::from(most.min(16 * block - 1));
                let log_n = bounded("scrypt", "ln", log_n, (1, most))?;
                let most = (MEMORY_WORK * 8 / u64::from(block)) >> log_n;
                Recipe::Scrypt {
                    log_n: log_n as u8,
                    block,
                    lanes: bounded("scrypt", "p", lanes, (1, most.min(1024)))?,
                }
            }
            Self::Sha512Crypt(rounds) => Recipe::Sha512Crypt {
                rounds: bounded("sha512-crypt", "rounds", rounds.unwrap_or(5000), ROUNDS)?,
            },
            Self::Scram(iterations, salt) => Recipe::Scram {
                iterations: bounded("scram-sha-256", "iterations", iterations, ITERATIONS)?,
                salt,
            },
        })
    }
}

fn bounded(
    scheme: &'static str,
    parameter: &'static str,
    value: u64,
    (least, most): (u64, u64),
) -> Result<u32, HashError> {
    let taken = u32::try_from(value).ok();
    let taken = taken.filter(|_| (least..=most).contains(&value));
    taken.ok_or(HashError::Cost {
        scheme,
        parameter,
        value,
        least,
        most,
    })
}

impl Recipe {
    /// The form of its text, for people.
    pub(super) fn form(self) -> &'static str {
        match self {
            Self::Argon2 { .. } => super::text::ARGON2,
            Self::Bcrypt { .. } => super::text::BCRYPT,
            Self::Scrypt { .. } => super::text::SCRYPT,
            Self::Sha512Crypt { .. } => super::text::SHA512_CRYPT,
            Self::Scram { .. } => super::text::SCRAM,
        }
    }

    /// Bytes of a new digest.
    pub(super) fn digest_bytes(self) -> usize {
        match self {
            Self::Argon2 { .. } | Self::Scrypt { .. } => 32,
            Self::Bcrypt { .. } => 23,
            Self::Sha512Crypt { .. } => 86,
            Self::Scram { .. } => 2 * KEY_BYTES,
        }
    }

    /// The salt of these bytes: of SHA-512-crypt it is characters.
    pub(super) fn spell_salt(self, bytes: [u8; SALT_BYTES]) -> Box<[u8]> {
        match self {
            Self::Sha512Crypt { .. } => {
                let letters = BASE64_NOPAD.encode(&bytes).replace('+', ".");
                letters.as_bytes()[..SALT_BYTES].into()
            }
            _ => bytes.into(),
        }
    }
}
