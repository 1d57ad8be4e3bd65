//! The digests themselves.

use argon2::Argon2;
use hmac::{Hmac, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};

use super::{Recipe, BCRYPT_PASSWORD_BYTES};

/// Bytes of StoredKey and of ServerKey.
pub const KEY_BYTES: usize = 32;

/// The digest of a password, of `length` bytes where the scheme has a choice; none where the
/// scheme refuses the costs, which [`Recipe`]s do not have.
pub(super) fn digest(
    recipe: Recipe,
    password: &[u8],
    salt: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    #[cfg(test)]
    super::tests::COMPUTED.set(super::tests::COMPUTED.get() + 1);
    let mut out = vec![0; length];
    match recipe {
        Recipe::Argon2 {
            algorithm,
            version,
            memory,
            passes,
            lanes,
        } => {
            let params = argon2::Params::new(memory, passes, lanes, Some(length)).ok()?;
            let argon2 = Argon2::new(algorithm, version, params);
            argon2.hash_password_into(password, salt, &mut out).ok()?;
        }
        Recipe::Bcrypt { cost } => {
            let mut key = [password, b"\0"].concat();
            key.truncate(BCRYPT_PASSWORD_BYTES);
            let digest = bcrypt::bcrypt(cost, salt.try_into().ok()?, &key);
            // bcrypt's texts leave out the last byte.
            out = digest[..digest.len() - 1].into();
        }
        Recipe::Scrypt {
            log_n,
            block,
            lanes,
        } => {
            let params = scrypt::Params::new(log_n, block, lanes, length).ok()?;
            scrypt::scrypt(password, salt, &params, &mut out).ok()?;
        }
        Recipe::Sha512Crypt { rounds } => {
            let params = sha_crypt::Sha512Params::new(rounds as usize).ok()?;
            let digest = sha_crypt::sha512_crypt_b64(password, salt, &params);
            out = digest.ok()?.into_bytes();
        }
        Recipe::Scram { iterations, .. } => {
            out = scram_keys(password, salt, iterations).concat();
        }
    }
    Some(out)
}

/// StoredKey and ServerKey of SCRAM-SHA-256 (RFC 5802 §3).
///
/// The password is prepared by SASLprep (RFC 4013); one that is no UTF-8, or that SASLprep
/// forbids, is taken as it is, as PostgreSQL does.
pub fn scram_keys(password: &[u8], salt: &[u8], iterations: u32) -> [[u8; KEY_BYTES]; 2] {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
    let mut salted = [0; KEY_BYTES];
    pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    let client_key = hmac(&salted, b"Client Key");
    [
        Sha256::digest(client_key).into(),
        hmac(&salted, b"Server Key"),
    ]
}

pub(super) fn hmac(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; KEY_BYTES] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; KEY_BYTES];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}
