//! Whether a client's proof fits the password.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::{Proof, Secret};

impl Proof {
    /// Whether this proves knowledge of `password`.
    ///
    /// Takes the same time wherever the first difference is. The digest of APOP
    /// is compared without regard to case: RFC 1939 §7 asks for lower case, some
    /// clients send upper.
    pub fn matches(&self, password: &Secret) -> bool {
        match self {
            Self::Password(offered) => offered == password,
            Self::Apop { challenge, digest } => {
                let want = apop_digest(challenge, password);
                let offered = digest.expose().to_ascii_lowercase();
                want.as_slice().ct_eq(&offered).into()
            }
            Self::Token(_) => false,
            Self::Verified => true,
        }
    }
}

/// MD5 of the time stamp followed by the shared secret, as 32 lower-case
/// hexadecimal digits (RFC 1939 §7, APOP).
fn apop_digest(challenge: &str, password: &Secret) -> [u8; 32] {
    let sum = Md5::new()
        .chain_update(challenge)
        .chain_update(password.expose())
        .finalize();
    let mut digits = [0; 32];
    HEXLOWER.encode_mut(&sum, &mut digits);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    #[test]
    fn a_password_matches_itself_only() {
        let table = [
            ("", "", true),
            ("secret", "secret", true),
            ("secret", "Secret", false),
            ("secret", "secret ", false),
            ("secret", "", false),
            ("", "secret", false),
        ];
        for (offered, password, want) in table {
            let proof = Proof::Password(secret(offered));
            assert_eq!(proof.matches(&secret(password)), want, "{offered:?}");
        }
    }

    /// The example of RFC 1939 §7.
    #[test]
    fn apop_of_the_rfc() {
        let table = [
            ("c4c9334bac560ecc979e58001b3e22fb", true),
            ("C4C9334BAC560ECC979E58001B3E22FB", true),
            ("c4c9334bac560ecc979e58001b3e22fc", false),
            ("c4c9334bac560ecc979e58001b3e22f", false),
            ("c4c9334bac560ecc979e58001b3e22fb0", false),
            ("", false),
            ("tanstaaf", false),
        ];
        for (digest, want) in table {
            let proof = Proof::Apop {
                challenge: "<1896.697170952@dbc.mtview.ca.us>".into(),
                digest: secret(digest),
            };
            assert_eq!(proof.matches(&secret("tanstaaf")), want, "{digest}");
            assert!(!proof.matches(&secret("tanstaaF")), "{digest}");
        }
    }
}
