//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677).
//!
//! The client's messages are [`ClientFirst`] and what [`Scram::verify`] takes; between them
//! stand the user's keys, which whoever knows the users gives.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::messages::unescaped;
use crate::security::ChannelBindings;

/// What is known of a user's password (RFC 5802 §3): enough to check it, not to have it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// How often the password was hashed.
    pub iterations: u32,
    /// What it was hashed with.
    pub salt: Box<[u8]>,
    /// By this the client is checked.
    pub stored_key: [u8; 32],
    /// By this the client checks the server.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys")
    }
}

impl ScramKeys {
    /// The keys of a password that was salted and hashed: `Hi(password, salt, iterations)`,
    /// which is PBKDF2 with HMAC-SHA-256 (RFC 5802 §2.2).
    pub fn of(salted_password: &[u8; 32], salt: &[u8], iterations: u32) -> Self {
        let client_key = hmac(salted_password, b"Client Key");
        Self {
            iterations,
            salt: salt.into(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(salted_password, b"Server Key"),
        }
    }
}

/// A client's first message (RFC 5802 §7, client-first-message).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// The part that the proof repeats: what precedes `bare`.
    gs2: &'a [u8],
    /// The part that the proof covers.
    bare: &'a [u8],
    binding: Binding<'a>,
    user: Box<[u8]>,
    nonce: &'a [u8],
}

/// What a client says of channel bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding<'a> {
    /// It knows none.
    Unknown,
    /// It knows them, and thinks that the server does not.
    NotOffered,
    /// It uses the one of this name.
    Used(&'a str),
}

impl<'a> ClientFirst<'a> {
    /// None if it is malformed, asks for what this server does not know, or somebody wants
    /// to act as somebody else.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (flag, rest) = split_comma(message)?;
        let (authorize, bare) = split_comma(rest)?;
        let gs2 = &message[..message.len() - bare.len()];
        let binding = match flag {
            b"n" => Binding::Unknown,
            b"y" => Binding::NotOffered,
            flag => Binding::Used(std::str::from_utf8(flag.strip_prefix(b"p=")?).ok()?),
        };
        let mut attributes = bare.split(|b| *b == b',');
        // An `m=` first would be an extension that must be understood.
        let name = attributes.next()?.strip_prefix(b"n=")?;
        let nonce = attributes.next()?.strip_prefix(b"r=")?;
        let acts_as_itself = authorize.is_empty() || authorize.strip_prefix(b"a=") == Some(name);
        let fits = acts_as_itself && is_nonce(nonce) && !name.is_empty();
        fits.then_some(Self {
            gs2,
            bare,
            binding,
            user: unescaped(name)?,
            nonce,
        })
    }

    /// Checks what it says of channel bindings (RFC 5802 §6). `plus`: the mechanism is
    /// SCRAM-SHA-256-PLUS; `offers_plus`: that was offered.
    pub(super) fn bound(
        self,
        plus: bool,
        offers_plus: bool,
        bindings: Option<&ChannelBindings>,
    ) -> Option<ScramChallenge> {
        let data = match (self.binding, plus) {
            (Binding::Unknown, false) => &[][..],
            // Somebody between the two has taken PLUS out of the list.
            (Binding::NotOffered, false) if !offers_plus => &[],
            (Binding::Used(name), true) => bindings?.named(name)?,
            _ => return None,
        };
        Some(ScramChallenge {
            binding: [self.gs2, data].concat().into(),
            bare: self.bare.into(),
            nonce: self.nonce.into(),
            user: self.user,
        })
    }
}

/// An exchange whose challenge needs the user's keys.
pub(crate) struct ScramChallenge {
    /// What the client's proof must repeat of its first message, and of the channel.
    binding: Box<[u8]>,
    bare: Box<[u8]>,
    nonce: Box<[u8]>,
    /// Whose keys are needed.
    pub(crate) user: Box<[u8]>,
}

impl fmt::Debug for ScramChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramChallenge")
    }
}

impl ScramChallenge {
    /// The challenge, and the exchange that waits for its answer. `nonce` must never come
    /// twice.
    pub(crate) fn challenge(self, keys: ScramKeys, nonce: [u8; 18]) -> (Vec<u8>, Scram) {
        let nonce = [&self.nonce[..], BASE64.encode(&nonce).as_bytes()].concat();
        let rest = format!(",s={},i={}", BASE64.encode(&keys.salt), keys.iterations);
        let challenge = [b"r=", &nonce[..], rest.as_bytes()].concat();
        let signed = [&self.bare[..], b",", &challenge, b","].concat();
        let scram = Scram {
            binding: self.binding,
            nonce,
            signed,
            user: self.user,
            keys,
        };
        (challenge, scram)
    }
}

/// An exchange that waits for the client's proof.
pub(crate) struct Scram {
    binding: Box<[u8]>,
    nonce: Vec<u8>,
    /// What the proof signs, but for the client's last message (RFC 5802 §3, AuthMessage).
    signed: Vec<u8>,
    user: Box<[u8]>,
    keys: ScramKeys,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scram")
    }
}

impl Scram {
    /// Takes the client's proof (RFC 5802 §7, client-final-message). Gives the user and the
    /// server's last message; none if the proof is wrong.
    pub(super) fn verify(mut self, message: &[u8]) -> Option<(Box<[u8]>, Vec<u8>)> {
        let at = message.len() - message.iter().rev().position(|b| *b == b',')?;
        let (unproven, proof) = (&message[..at - 1], message[at..].strip_prefix(b"p=")?);
        let mut attributes = unproven.split(|b| *b == b',');
        let binding = attributes.next()?.strip_prefix(b"c=")?;
        let nonce = attributes.next()?.strip_prefix(b"r=")?;
        if BASE64.decode(binding).ok()? != *self.binding || nonce != self.nonce {
            return None;
        }
        let proof: [u8; 32] = BASE64.decode(proof).ok()?.try_into().ok()?;
        self.signed.extend_from_slice(unproven);
        let signature = hmac(&self.keys.stored_key, &self.signed);
        let client_key: [u8; 32] = std::array::from_fn(|n| proof[n] ^ signature[n]);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        if !bool::from(stored_key.ct_eq(&self.keys.stored_key)) {
            return None;
        }
        let verifier = BASE64.encode(&hmac(&self.keys.server_key, &self.signed));
        Some((self.user, format!("v={verifier}").into_bytes()))
    }
}

fn hmac(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(key).map(|mac| mac.chain_update(data));
    // HMAC takes keys of any length.
    mac.map_or([0; 32], |mac| mac.finalize().into_bytes().into())
}

/// What stands before the first comma, and after.
fn split_comma(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == b',')?;
    Some((&text[..at], &text[at + 1..]))
}

/// RFC 5802 §7: printable, without comma, at least one character.
fn is_nonce(nonce: &[u8]) -> bool {
    !nonce.is_empty() && nonce.iter().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The salted password of RFC 7677 §3: "pencil", 4096 times.
    const SALTED: &str = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn keys() -> ScramKeys {
        let salted = data_encoding::HEXLOWER.decode(SALTED.as_bytes()).unwrap();
        let salt = BASE64.decode(SALT.as_bytes()).unwrap();
        ScramKeys::of(&salted.try_into().unwrap(), &salt, 4096)
    }

    /// The exchange of RFC 7677 §3 up to the proof; its nonce is no base64.
    fn example() -> Scram {
        let first = ClientFirst::parse(FIRST).unwrap();
        let challenge = first.bound(false, false, None).unwrap();
        let nonce = [&challenge.nonce[..], NONCE.as_bytes()].concat();
        let text = [b"r=", &nonce[..], b",s=", SALT.as_bytes(), b",i=4096"].concat();
        Scram {
            signed: [&challenge.bare[..], b",", &text, b","].concat(),
            binding: challenge.binding,
            nonce,
            user: challenge.user,
            keys: keys(),
        }
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let (user, last) = example().verify(LAST).unwrap();
        assert_eq!(&*user, b"user");
        let want = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(last, want);
    }

    #[test]
    fn every_changed_byte_of_the_proof_is_refused() {
        for at in 0..LAST.len() {
            for change in [1, 0x20, 0x80] {
                let mut message = LAST.to_vec();
                message[at] ^= change;
                assert!(example().verify(&message).is_none(), "{at}");
            }
        }
        for end in 0..LAST.len() {
            assert!(example().verify(&LAST[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn challenges_hold_nonce_salt_and_iterations() {
        let first = ClientFirst::parse(FIRST).unwrap();
        let challenge = first.bound(false, false, None).unwrap();
        let (text, _) = challenge.challenge(keys(), [0; 18]);
        let want = format!("r=rOprNGfwEbeRWgbNEkqOAAAAAAAAAAAAAAAAAAAAAAAA,s={SALT},i=4096");
        assert_eq!(String::from_utf8_lossy(&text), want);
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        let good: [&[u8]; 5] = [
            b"n,,n=user,r=x",
            b"y,,n=user,r=x",
            b"p=tls-exporter,,n=user,r=x",
            b"n,a=us=2Cer,n=us=2Cer,r=x,e=ignored",
            b"n,,n=j\xc3\xb6,r=!~",
        ];
        for message in good {
            assert!(ClientFirst::parse(message).is_some(), "{message:?}");
        }
        let bad: [&[u8]; 16] = [
            b"",
            b"n",
            b"n,",
            b"n,,",
            b"n,,n",
            b"n,,x",
            b"n,,n=,r=x",
            b"n,,n=user",
            b"n,,n=user,",
            b"n,,n=user,r",
            b"n,,n=user,r=",
            b"n,,n=user,r=a b",
            b"n,a,n=user,r=x",
            b"n,a=other,n=user,r=x",
            b"n,,m=ext,n=user,r=x",
            b"n,,n=us=2Xer,r=x",
        ];
        for message in bad {
            assert_eq!(ClientFirst::parse(message), None, "{message:?}");
        }
    }

    #[test]
    fn channel_bindings_are_asked_for_where_they_can_be() {
        let bindings = ChannelBindings {
            exporter: Some(b"EXPORTED"[..].into()),
            server_end_point: None,
        };
        /// A message, whether it is of PLUS, whether that is offered, what is bound.
        type Row = (&'static [u8], bool, bool, Option<&'static [u8]>);
        let rows: [Row; 8] = [
            (b"n,,n=u,r=x", false, true, Some(b"n,,")),
            (b"y,,n=u,r=x", false, false, Some(b"y,,")),
            (b"y,,n=u,r=x", false, true, None),
            (b"n,,n=u,r=x", true, true, None),
            (
                b"p=tls-exporter,,n=u,r=x",
                true,
                true,
                Some(b"p=tls-exporter,,EXPORTED"),
            ),
            (b"p=tls-exporter,,n=u,r=x", false, true, None),
            (b"p=tls-server-end-point,,n=u,r=x", true, true, None),
            (b"p=tls-unique,,n=u,r=x", true, true, None),
        ];
        for (message, plus, offered, want) in rows {
            let first = ClientFirst::parse(message).unwrap();
            let bound = first.bound(plus, offered, Some(&bindings));
            let bound = bound.map(|challenge| challenge.binding);
            assert_eq!(bound.as_deref(), want, "{message:?}");
        }
    }

    #[test]
    fn no_key_is_printed() {
        assert_eq!(format!("{:?}", keys()), "ScramKeys");
        assert_eq!(format!("{:?}", example()), "Scram");
    }
}
