//! The digests themselves.

use super::{Recipe, BCRYPT_PASSWORD_BYTES};
use crate::store::scram;
use argon2::Argon2;

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
            let keys = scram::keys(password, salt, iterations);
            out = [keys.stored_key, keys.server_key].concat();
        }
    }
    Some(out)
}
