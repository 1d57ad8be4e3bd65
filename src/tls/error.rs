//! Why certificates, keys or authorities cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::text::{shown, Reason};

/// Why settings cannot be used. Its text names the file and the reason, for whoever
/// administers the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no certificate to show to clients.
    #[error("there is no certificate")]
    NoPair,
    /// A file cannot be read.
    #[error("couldn't read \"{}\": {}", name(.file), Reason(.source))]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not text in PEM form (RFC 7468).
    #[error("\"{}\" is no valid PEM file: {reason}", name(.file))]
    BadPem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of certificates holds none in PEM form.
    #[error("\"{}\" holds no certificate", name(.file))]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate cannot be used.
    #[error("\"{}\" holds a certificate that cannot be used: {reason}", name(.file))]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of a private key holds none in PEM form.
    #[error("\"{}\" holds no private key", name(.file))]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A private key needs a passphrase, and nobody is there to give one.
    #[error("\"{}\" holds an encrypted private key, which cannot be used", name(.file))]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// A private key is damaged, or of a kind that cannot be used.
    #[error("\"{}\" holds a private key that cannot be used: {reason}", name(.file))]
    BadKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A private key is that of another certificate.
    #[error(
        "the private key in \"{}\" does not fit the certificate in \"{}\"",
        name(.key_file),
        name(.certificate_file)
    )]
    KeyDoesNotFit {
        /// The file of the certificate.
        certificate_file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
    },
    /// The library refused, by no fault of a file.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl Error {
    /// What to do about it, where the text does not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the user of this process needs the right to read it")
            }
            Self::BadPem { .. } => {
                Some("expected sections from \"-----BEGIN ...-----\" to \"-----END ...-----\"")
            }
            Self::NoCertificate { .. } => Some("expected \"-----BEGIN CERTIFICATE-----\" in it"),
            Self::NoKey { .. } => Some("expected \"-----BEGIN PRIVATE KEY-----\" in it"),
            Self::EncryptedKey { .. } => {
                Some("decrypt it, as by \"openssl pkey -in FILE -out NEW\"")
            }
            Self::KeyDoesNotFit { .. } => {
                Some("the server's own certificate comes first in its file; take the key of that")
            }
            Self::NoPair
            | Self::Unreadable { .. }
            | Self::BadCertificate { .. }
            | Self::BadKey { .. }
            | Self::Library(_) => None,
        }
    }
}

/// A file as scripts know it.
fn name(file: &Path) -> String {
    shown(file.as_os_str())
}
