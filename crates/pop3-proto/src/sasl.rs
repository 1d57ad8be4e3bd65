//! SASL (RFC 4422) as POP3 has it (RFC 5034): mechanisms and their exchanges.
//!
//! An exchange takes the client's responses one by one, decoded from base64, and says by a
//! [`Step`] what comes of each. Nothing here knows users: what a mechanism needs of them
//! is a step of its own.

mod messages;
pub mod scram;

use std::fmt;

use self::messages::{bearer, plain};
use self::scram::{ClientFirst, Scram, ScramChallenge};
use crate::security::TlsFacts;
use crate::{Proof, Secret};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// USER and PASS (RFC 1939 §7).
    User,
    /// APOP (RFC 1939 §7).
    Apop,
    /// RFC 4616.
    Plain,
    /// As PLAIN, by questions; obsolete, and asked for by old clients.
    Login,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7677, tied to the TLS connection.
    ScramSha256Plus,
    /// The client's TLS certificate (RFC 4422, appendix A).
    External,
    /// A token (RFC 7628).
    OauthBearer,
    /// A token, in the form before RFC 7628.
    Xoauth2,
}

/// The mechanisms of AUTH, in the order in which CAPA names them: the better first.
pub const SASL: [Mechanism; 7] = [
    Mechanism::External,
    Mechanism::ScramSha256Plus,
    Mechanism::ScramSha256,
    Mechanism::OauthBearer,
    Mechanism::Xoauth2,
    Mechanism::Plain,
    Mechanism::Login,
];

impl Mechanism {
    /// Its name, for SASL that of IANA's list.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Apop => "APOP",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::External => "EXTERNAL",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism of AUTH that has this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is_it = |mechanism: &Self| mechanism.name().as_bytes().eq_ignore_ascii_case(name);
        SASL.into_iter().find(is_it)
    }

    /// Whether whoever reads the connection learns what is enough to log in.
    pub fn exposes_secret(self) -> bool {
        match self {
            Self::User | Self::Plain | Self::Login | Self::OauthBearer | Self::Xoauth2 => true,
            Self::Apop | Self::ScramSha256 | Self::ScramSha256Plus | Self::External => false,
        }
    }

    /// Whether what it needs is there on a connection with this TLS.
    pub(crate) fn works_over(self, tls: Option<&TlsFacts>) -> bool {
        match self {
            Self::External => tls.is_some_and(|tls| !tls.certificate.is_empty()),
            Self::ScramSha256Plus => tls.is_some_and(|tls| !tls.bindings.is_empty()),
            _ => true,
        }
    }
}

/// Some of the mechanisms of AUTH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// Those that are in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & Self::bit(mechanism) != 0
    }

    /// Them, the better first.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        SASL.into_iter().filter(move |m| self.contains(*m))
    }

    fn bit(mechanism: Mechanism) -> u16 {
        1 << mechanism as u16
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<I: IntoIterator<Item = Mechanism>>(mechanisms: I) -> Self {
        Self(mechanisms.into_iter().fold(0, |all, m| all | Self::bit(m)))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What comes of a client's response.
#[derive(Debug)]
pub(crate) enum Step {
    /// The exchange goes on when the client has answered this challenge.
    Challenge(Vec<u8>, Exchange),
    /// The keys of a user are needed: [`ScramChallenge::challenge`] goes on.
    Keys(Box<ScramChallenge>),
    /// The client has said all: who it is, and its proof.
    Attempt(Box<[u8]>, Proof),
    /// The response is wrong, or malformed, which clients are not told apart.
    Failed,
}

/// An exchange that waits for the client's response.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// For the first one.
    Begun(Mechanism),
    /// For LOGIN's password.
    LoginPassword(Box<[u8]>),
    /// For SCRAM's proof.
    ScramProof(Box<Scram>),
    /// For the empty response by which the client takes note of SCRAM's last message.
    ScramEnd(Box<[u8]>),
}

impl Exchange {
    /// The first challenge; empty for a mechanism in which the client speaks first.
    pub(crate) fn first_challenge(mechanism: Mechanism) -> &'static [u8] {
        match mechanism {
            Mechanism::Login => b"Username:",
            _ => b"",
        }
    }

    /// Takes the client's response. `tls` is the connection's, `offers_plus` says whether
    /// SCRAM-SHA-256-PLUS was offered on it.
    pub(crate) fn step(self, response: &[u8], tls: Option<&TlsFacts>, offers_plus: bool) -> Step {
        match self {
            Self::Begun(mechanism) => first(mechanism, response, tls, offers_plus),
            Self::LoginPassword(user) => Step::Attempt(user, password(response)),
            Self::ScramProof(scram) => match scram.verify(response) {
                Some((user, last)) => Step::Challenge(last, Self::ScramEnd(user)),
                None => Step::Failed,
            },
            Self::ScramEnd(user) if response.is_empty() => Step::Attempt(user, Proof::Verified),
            Self::ScramEnd(_) => Step::Failed,
        }
    }
}

/// Takes the first response of an exchange.
fn first(mechanism: Mechanism, response: &[u8], tls: Option<&TlsFacts>, offers_plus: bool) -> Step {
    let step = match mechanism {
        Mechanism::Plain => {
            plain(response).map(|(user, secret)| Step::Attempt(user.into(), password(secret)))
        }
        Mechanism::Login => Some(Step::Challenge(
            b"Password:".to_vec(),
            Exchange::LoginPassword(response.into()),
        )),
        Mechanism::OauthBearer | Mechanism::Xoauth2 => {
            bearer(mechanism, response).map(|(user, token)| {
                let proof = Proof::Token(Secret::new(token));
                Step::Attempt(user, proof)
            })
        }
        Mechanism::External => {
            let user = tls.and_then(|tls| certified(response, &tls.certificate));
            user.map(|user| Step::Attempt(user, Proof::Verified))
        }
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
            let plus = mechanism == Mechanism::ScramSha256Plus;
            let bindings = tls.map(|tls| &*tls.bindings);
            ClientFirst::parse(response)
                .and_then(|first| first.bound(plus, offers_plus, bindings))
                .map(|first| Step::Keys(Box::new(first)))
        }
        Mechanism::User | Mechanism::Apop => None,
    };
    step.unwrap_or(Step::Failed)
}

fn password(response: &[u8]) -> Proof {
    Proof::Password(Secret::new(response))
}

/// Whom a certificate speaks for: one of its names, the first if the client names none.
fn certified(authorize: &[u8], names: &[Box<str>]) -> Option<Box<[u8]>> {
    let names = names.iter().map(|name| name.as_bytes());
    let name = match authorize {
        b"" => names.into_iter().next(),
        wanted => names.into_iter().find(|name| *name == wanted),
    };
    name.map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_have_their_names() {
        for mechanism in SASL {
            let lower = mechanism.name().to_ascii_lowercase();
            assert_eq!(Mechanism::named(lower.as_bytes()), Some(mechanism));
        }
        for name in [&b"USER"[..], b"APOP", b"", b"PLAIN ", b"CRAM-MD5"] {
            assert_eq!(Mechanism::named(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_certificate_speaks_for_its_own_names() {
        let names = ["ann".into(), "ann@example.org".into()];
        let rows: [(&[u8], Option<&[u8]>); 4] = [
            (b"", Some(b"ann")),
            (b"ann@example.org", Some(b"ann@example.org")),
            (b"bob", None),
            (b"ann ", None),
        ];
        for (wanted, want) in rows {
            assert_eq!(certified(wanted, &names).as_deref(), want, "{wanted:?}");
        }
        assert_eq!(certified(b"", &[]), None);
    }
}
