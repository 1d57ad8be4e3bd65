//! Hashes as texts.

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Version};
use data_encoding::{Encoding, Specification, BASE64, BASE64_NOPAD};
use once_cell::sync::Lazy;

use super::recipe::{Asked, Recipe};
use super::{Hash, HashError, KEY_BYTES};

pub(super) const ARGON2: &str = "$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$DIGEST";
pub(super) const BCRYPT: &str = "$2b$COST$ and 53 characters";
pub(super) const SCRYPT: &str = "$scrypt$ln=LOG2N,r=BLOCK,p=LANES$SALT$DIGEST";
pub(super) const SHA512_CRYPT: &str = "$6$rounds=ROUNDS$SALT$DIGEST, with a salt of at most \
                                       16 and a digest of 86 characters";
pub(super) const SCRAM: &str = "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64";

/// The longest hash: everything within bounds is shorter.
const TEXT_BYTES: usize = 512;

/// The most bytes of SCRAM's salt: clients have bounds, and get it in one line.
const SCRAM_SALT_BYTES: usize = 64;

/// Characters of bcrypt's salt.
const BCRYPT_SALT: usize = 22;

/// Digits of 6 bits that crypt(3) has, which are not in the order of base64.
const CRYPT_DIGITS: &str = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// bcrypt's base64. Some programs have left chance in the bits that the last digit has too
/// many.
static BCRYPT_BASE64: Lazy<Option<Encoding>> = Lazy::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str(CRYPT_DIGITS);
    specification.check_trailing_bits = false;
    specification.encoding().ok()
});

/// Reads a hash.
pub(super) fn parse(text: &str) -> Result<Hash, HashError> {
    let id = match text.strip_prefix('$') {
        Some(rest) => rest.split_once('$').map(|(id, _)| id),
        None => text
            .split_once('$')
            .filter(|(id, _)| *id == "SCRAM-SHA-256")
            .map(|_| "scram"),
    };
    let (form, parts): (_, fn(&str) -> Option<Parts>) = match id {
        Some("argon2id" | "argon2i" | "argon2d") => (ARGON2, argon2),
        Some("2a" | "2b" | "2y") => (BCRYPT, bcrypt),
        Some("scrypt") => (SCRYPT, scrypt),
        Some("6") => (SHA512_CRYPT, sha512_crypt),
        Some("scram") => (SCRAM, scram),
        _ => return Err(HashError::Prefix),
    };
    let parts = Some(text)
        .filter(|text| text.len() <= TEXT_BYTES)
        .and_then(parts);
    let Parts {
        asked,
        salt,
        digest,
    } = parts.ok_or(HashError::Malformed(form))?;
    Ok(Hash {
        text: text.into(),
        recipe: asked.bounded()?,
        salt: salt.into(),
        digest: digest.into(),
    })
}

/// What a text says.
struct Parts {
    asked: Asked,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

/// A decimal number, the greatest one where it is too large.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Reads what is in the PHC string format, with exactly these parameters.
fn phc<'a>(text: &'a str, names: [&str; 3]) -> Option<(PasswordHash<'a>, [u64; 3], Vec<u8>)> {
    let hash = PasswordHash::new(text).ok()?;
    if hash.params.iter().count() != names.len() {
        return None;
    }
    let mut values = [0; 3];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(hash.params.get(name)?.as_str())?;
    }
    let salt = BASE64_NOPAD.decode(hash.salt?.as_str().as_bytes()).ok()?;
    Some((hash, values, salt))
}

fn argon2(text: &str) -> Option<Parts> {
    let (hash, costs, salt) = phc(text, ["m", "t", "p"])?;
    let algorithm = Algorithm::try_from(hash.algorithm).ok()?;
    let version = match hash.version {
        Some(version) => Version::try_from(version).ok()?,
        // Argon2's reference writes none for its version 1.0.
        None => Version::V0x10,
    };
    // RFC 9106 §3.1: a salt of 8 bytes or more.
    (salt.len() >= argon2::MIN_SALT_LEN).then_some(())?;
    Some(Parts {
        asked: Asked::Argon2(algorithm, version, costs),
        salt,
        digest: hash.hash?.as_bytes().into(),
    })
}

fn scrypt(text: &str) -> Option<Parts> {
    let (hash, costs, salt) = phc(text, ["ln", "r", "p"])?;
    if hash.version.is_some() {
        return None;
    }
    Some(Parts {
        asked: Asked::Scrypt(costs),
        salt,
        digest: hash.hash?.as_bytes().into(),
    })
}

fn bcrypt(text: &str) -> Option<Parts> {
    let mut parts = text.split('$').skip(2);
    let (cost, rest) = (parts.next()?, parts.next()?);
    if parts.next().is_some() || cost.len() != 2 || !rest.is_ascii() {
        return None;
    }
    let (salt, digest) = rest.split_at_checked(BCRYPT_SALT)?;
    let base64 = BCRYPT_BASE64.as_ref()?;
    let decode = |text: &str| base64.decode(text.as_bytes()).ok();
    let (salt, digest) = (decode(salt)?, decode(digest)?);
    (digest.len() == 23).then_some(Parts {
        asked: Asked::Bcrypt(number(cost)?),
        salt,
        digest,
    })
}

fn sha512_crypt(text: &str) -> Option<Parts> {
    let mut parts = text.split('$').skip(2).peekable();
    let rounds = parts.next_if(|part| part.starts_with("rounds="));
    let rounds = match rounds {
        Some(rounds) => Some(number(&rounds["rounds=".len()..])?),
        None => None,
    };
    let (salt, digest) = (parts.next()?, parts.next()?);
    let is_digit = |b: u8| CRYPT_DIGITS.as_bytes().contains(&b);
    let fits = salt.len() <= 16 && digest.len() == 86 && digest.bytes().all(is_digit);
    (fits && parts.next().is_none()).then(|| Parts {
        asked: Asked::Sha512Crypt(rounds),
        salt: salt.into(),
        digest: digest.into(),
    })
}

fn scram(text: &str) -> Option<Parts> {
    let mut parts = text.split(['$', ':']).skip(1);
    let iterations = number(parts.next()?)?;
    let mut decode = || BASE64.decode(parts.next()?.as_bytes()).ok();
    let (salt, stored, server) = (decode()?, decode()?, decode()?);
    let fits = (1..=SCRAM_SALT_BYTES).contains(&salt.len())
        && [&stored, &server].iter().all(|key| key.len() == KEY_BYTES);
    (fits && parts.next().is_none() && write_scram(iterations, &salt, &stored, &server) == text)
        .then(|| Parts {
            asked: Asked::Scram(iterations, salt.len()),
            salt,
            digest: [stored, server].concat(),
        })
}

/// Writes a hash.
pub(super) fn write(recipe: Recipe, salt: &[u8], digest: &[u8]) -> String {
    let phc = |bytes: &[u8]| BASE64_NOPAD.encode(bytes);
    match recipe {
        Recipe::Argon2 {
            algorithm,
            version,
            memory,
            passes,
            lanes,
        } => format!(
            "${algorithm}$v={}$m={memory},t={passes},p={lanes}${}${}",
            u32::from(version),
            phc(salt),
            phc(digest)
        ),
        Recipe::Bcrypt { cost } => {
            let base64 = |bytes| BCRYPT_BASE64.as_ref().map(|base64| base64.encode(bytes));
            let [salt, digest] = [salt, digest].map(|part| base64(part).unwrap_or_default());
            format!("$2b${cost:02}${salt}{digest}")
        }
        Recipe::Scrypt {
            log_n,
            block,
            lanes,
        } => {
            let (salt, digest) = (phc(salt), phc(digest));
            format!("$scrypt$ln={log_n},r={block},p={lanes}${salt}${digest}")
        }
        Recipe::Sha512Crypt { rounds } => {
            let [salt, digest] = [salt, digest].map(String::from_utf8_lossy);
            format!("$6$rounds={rounds}${salt}${digest}")
        }
        Recipe::Scram { iterations, .. } => {
            let (stored, server) = digest.split_at(KEY_BYTES.min(digest.len()));
            write_scram(iterations.into(), salt, stored, server)
        }
    }
}

fn write_scram(iterations: u64, salt: &[u8], stored: &[u8], server: &[u8]) -> String {
    let [salt, stored, server] = [salt, stored, server].map(|part| BASE64.encode(part));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
}
