//! A certificate to show to clients: whom it is for, and which of several a client gets.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::error::Error;
use super::files;
use super::server::PemPair;

/// A certificate with its chain and its key.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names that it is for, in small letters; `*.` begins those for every name
    /// one label longer.
    names: Box<[Box<str>]>,
    /// The channel binding `tls-server-end-point`; none where RFC 5929 has none.
    pub(super) end_point: Option<Arc<[u8]>>,
}

/// How well a certificate fits the name that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Wildcard,
    None,
}

impl Certificate {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// A file cannot be used, or the key is that of another certificate.
    pub(super) fn load(pair: &PemPair, provider: &CryptoProvider) -> Result<Self, Error> {
        let chain = files::certificates(&pair.certificate)?;
        let bad_certificate = |reason: String| {
            let file = pair.certificate.clone();
            Error::BadCertificate { file, reason }
        };
        let parsed = parse(&chain[0]).ok_or_else(|| bad_certificate("it is damaged".into()))?;
        let (names, end_point) = (dns_names(&parsed), end_point(&parsed, &chain[0]));
        let key = files::private_key(&pair.key)?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| bad_key(&pair.key, &error))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => {
                let (certificate_file, key_file) = (pair.certificate.clone(), pair.key.clone());
                return Err(Error::KeyDoesNotFit {
                    certificate_file,
                    key_file,
                });
            }
            Err(error) => return Err(bad_certificate(error.to_string())),
        }
        Ok(Self {
            key: Arc::new(key),
            names,
            end_point,
        })
    }

    fn fit(&self, name: &str) -> Fit {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let is_wildcard = |own: &str| {
            own.strip_prefix("*.")
                .is_some_and(|own| parent == Some(own))
        };
        if self.names.iter().any(|own| **own == *name) {
            Fit::Exact
        } else if self.names.iter().any(|own| is_wildcard(own)) {
            Fit::Wildcard
        } else {
            Fit::None
        }
    }
}

/// The index of the certificate that a client gets: the first of those that fit the name
/// it asks for best, and whose signature it can check; else the first of all.
pub(super) fn choose<'a>(
    certificates: impl Iterator<Item = &'a Certificate>,
    hello: &ClientHello<'_>,
) -> usize {
    let Some(name) = hello.server_name() else {
        return 0;
    };
    // RFC 6066 §3: names of hosts do not depend on capitals.
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let signs = |c: &Certificate| {
        let schemes = hello.signature_schemes();
        c.key.key.choose_scheme(schemes).is_some()
    };
    let fitting = certificates
        .enumerate()
        .map(|(at, certificate)| (certificate.fit(name), at, certificate))
        .filter(|(fit, _, certificate)| *fit != Fit::None && signs(certificate));
    let best = fitting.min_by_key(|(fit, at, _)| (*fit, *at));
    best.map_or(0, |(_, at, _)| at)
}

fn bad_key(file: &Path, error: &TlsError) -> Error {
    let reason = match error {
        TlsError::General(reason) => reason.clone(),
        error => error.to_string(),
    };
    let file = file.into();
    Error::BadKey { file, reason }
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// What a certificate says whom it is for; nothing if it says it in no proper form.
pub(super) fn alternative_names<'a>(certificate: &'a X509Certificate<'a>) -> &'a [GeneralName<'a>] {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.map_or(&[], |names| &names.value.general_names)
}

fn dns_names(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let name = |general: &GeneralName<'_>| match general {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    };
    alternative_names(certificate)
        .iter()
        .filter_map(name)
        .collect()
}

/// RFC 5929 §4.1: the digest of the certificate, by the hash of its signature, or SHA-256
/// in the place of MD5 and SHA-1. A signature without just one hash (Ed25519) has none.
fn end_point(certificate: &X509Certificate<'_>, der: &[u8]) -> Option<Arc<[u8]>> {
    let algorithm = &certificate.signature_algorithm;
    let digest = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => {
            digest_by(parameters.hash_algorithm_oid())
        }
        _ => digest_by(&algorithm.algorithm),
    };
    digest.map(|digest| digest(der))
}

type DigestOf = fn(&[u8]) -> Arc<[u8]>;

/// The digest of a signature or hash algorithm; none if it has none that is known.
fn digest_by(algorithm: &Oid<'_>) -> Option<DigestOf> {
    let sha_256: DigestOf = |der| Sha256::digest(der).as_slice().into();
    let sha_384: DigestOf = |der| Sha384::digest(der).as_slice().into();
    let sha_512: DigestOf = |der| Sha512::digest(der).as_slice().into();
    let known = [
        (oid::OID_PKCS1_SHA256WITHRSA, sha_256),
        (oid::OID_SIG_ECDSA_WITH_SHA256, sha_256),
        (oid::OID_NIST_HASH_SHA256, sha_256),
        (oid::OID_PKCS1_SHA384WITHRSA, sha_384),
        (oid::OID_SIG_ECDSA_WITH_SHA384, sha_384),
        (oid::OID_NIST_HASH_SHA384, sha_384),
        (oid::OID_PKCS1_SHA512WITHRSA, sha_512),
        (oid::OID_SIG_ECDSA_WITH_SHA512, sha_512),
        (oid::OID_NIST_HASH_SHA512, sha_512),
        (oid::OID_PKCS1_MD5WITHRSAENC, sha_256),
        (oid::OID_PKCS1_SHA1WITHRSA, sha_256),
        (oid::OID_SHA1_WITH_RSA, sha_256),
        (oid::OID_HASH_SHA1, sha_256),
    ];
    let found = known.iter().find(|(known, _)| known == algorithm);
    found.map(|(_, digest)| *digest)
}
