//! The keys of SCRAM (RFC 5802) for users whose password is known in the clear, and for
//! users that are not known: a client must not learn which it is.

use hmac::{Hmac, Mac};
use once_cell::sync::Lazy;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::Reply;
use rustix::rand::{getrandom, GetRandomFlags};
use sha2::Sha256;

/// How often a password is hashed: the least that RFC 7677 §4 allows. More would protect
/// nothing, as the password is known in the clear.
const ITERATIONS: u32 = 4096;

/// Salts and made-up keys come of it and of the user's name, so that they stay.
static PROCESS_KEY: Lazy<Option<[u8; 32]>> = Lazy::new(random);

/// Random bytes; none on a kernel without them.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty());
    filled.is_ok_and(|n| n == N).then_some(bytes)
}

/// The answer to [`Request::Keys`](pop3_proto::Request::Keys), with keys that are there
/// already; none on a kernel without random bytes.
pub fn reply(keys: ScramKeys) -> Option<Reply> {
    let nonce = random()?;
    Some(Reply::Keys { keys, nonce })
}

/// The keys of a user's password, or made-up ones. Takes a millisecond.
pub fn keys(user: &[u8], password: Option<&[u8]>) -> Option<ScramKeys> {
    let salt = derived(b"salt", user)?;
    let made_up = derived(b"password", user)?;
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(
        password.unwrap_or(&made_up),
        &salt[..16],
        ITERATIONS,
        &mut salted,
    );
    Some(ScramKeys::of(&salted, &salt[..16], ITERATIONS))
}

/// Bytes that nobody else can know, for a user's name.
fn derived(purpose: &[u8], user: &[u8]) -> Option<[u8; 32]> {
    let key = PROCESS_KEY.as_ref()?;
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(key).ok()?;
    let mac = mac
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(user);
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_are_not_known_have_keys_that_stay() {
        let of = |user: &[u8], password: Option<&[u8]>| keys(user, password).unwrap();
        let known = of(b"ann", Some(b"secret"));
        let unknown = of(b"bob", None);
        assert_eq!(of(b"bob", None), unknown);
        assert_eq!(known.salt.len(), unknown.salt.len());
        assert_eq!(known.iterations, unknown.iterations);
        assert_ne!(known.salt, unknown.salt);
        // A user that is removed keeps its salt.
        assert_eq!(of(b"ann", None).salt, known.salt);
        assert_ne!(of(b"ann", None).stored_key, known.stored_key);
        assert_ne!(of(b"ann", Some(b"other")).stored_key, known.stored_key);
    }

    #[test]
    fn nonces_never_come_twice() {
        let nonce = || match reply(keys(b"u", None).unwrap()) {
            Some(Reply::Keys { nonce, .. }) => nonce,
            other => panic!("{other:?}"),
        };
        assert_ne!(nonce(), nonce());
    }
}
