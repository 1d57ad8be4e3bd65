//! The keys of SCRAM-SHA-256 (RFC 5802) for passwords, and for names that are not known: a
//! client must not learn which it is.

use pbkdf2::pbkdf2_hmac;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::{Reply, Secret};
use sha2::Sha256;

use crate::keyed::{keyed, random};

/// How often a password that is known in the clear is hashed: the least that RFC 7677 §4
/// allows. More would protect nothing.
const ITERATIONS: u32 = 4096;

/// Bytes of the salt of such a password.
pub const SALT: usize = 16;

/// The answer to [`Request::Keys`](pop3_proto::Request::Keys); none on a system without
/// random numbers.
pub fn reply(keys: ScramKeys) -> Option<Reply> {
    let nonce = random().ok()?;
    Some(Reply::Keys { keys, nonce })
}

/// The keys of a password, which take milliseconds.
///
/// The password is prepared by SASLprep (RFC 4013); one that is no UTF-8, or that SASLprep
/// forbids, is taken as it is, as PostgreSQL does.
pub fn keys(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
    let mut salted = [0; 32];
    pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    ScramKeys::of(&salted, salt, iterations)
}

/// The keys of a password that is known in the clear or, without one, keys that no password
/// fits. The salt stays with the name, whether or not there is such a user.
pub fn keys_in_the_clear(name: &str, password: Option<&Secret>) -> ScramKeys {
    let name = name.as_bytes();
    let salt = keyed(&[b"salt", name]);
    let made_up = keyed(&[b"password", name]);
    let password = password.map_or(&made_up[..], Secret::expose);
    keys(password, &salt[..SALT], ITERATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_known_have_keys_that_stay() {
        let of = |name: &str, password: Option<&str>| {
            let password = password.map(|text| Secret::new(text.as_bytes()));
            keys_in_the_clear(name, password.as_ref())
        };
        let known = of("ann", Some("secret"));
        let unknown = of("bob", None);
        assert_eq!(of("bob", None), unknown);
        assert_eq!(known.salt.len(), unknown.salt.len());
        assert_eq!(known.iterations, unknown.iterations);
        assert_ne!(known.salt, unknown.salt);
        // A user that is removed keeps its salt.
        assert_eq!(of("ann", None).salt, known.salt);
        assert_ne!(of("ann", None).stored_key, known.stored_key);
        assert_ne!(of("ann", Some("other")).stored_key, known.stored_key);
    }

    #[test]
    fn nonces_never_come_twice() {
        let nonce = || match reply(keys_in_the_clear("u", None)) {
            Some(Reply::Keys { nonce, .. }) => nonce,
            other => panic!("{other:?}"),
        };
        assert_ne!(nonce(), nonce());
    }
}
