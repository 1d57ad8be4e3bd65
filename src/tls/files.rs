//! Files in PEM form (RFC 7468), and whether they have changed.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::Error;

/// A file of all public authorities has a quarter of a megabyte; beyond this it is
/// something else than it should be.
const LARGEST_FILE: u64 = 4 << 20;

/// By what a changed file is told: device, inode, size, time of modification, time of
/// change (which `chmod` sets too). None: it cannot be asked for.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The files that were looked at, as they were before.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    /// Notes how a file is, which is to be read afterwards.
    pub(super) fn note(&mut self, file: &Path) {
        self.0.push((file.to_owned(), stamp(file)));
    }

    /// Whether any of the files is another one now.
    pub(super) fn changed(&self) -> bool {
        self.0.iter().any(|(file, then)| stamp(file) != *then)
    }
}

fn stamp(file: &Path) -> Stamp {
    let of = |m: Metadata| {
        let modified = (m.mtime(), m.mtime_nsec());
        (
            m.dev(),
            m.ino(),
            m.size(),
            modified,
            (m.ctime(), m.ctime_nsec()),
        )
    };
    std::fs::metadata(file).ok().map(of)
}

/// The certificates of a file, at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| bad_pem(file, error))?;
    if found.is_empty() {
        return Err(Error::NoCertificate { file: file.into() });
    }
    Ok(found)
}

/// The first private key of a file.
///
/// # Errors
/// It cannot be read, or holds none, or the key is encrypted.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(file)?;
    // By its label (RFC 7468 §11), or by a header of the form before (RFC 1421 §4.6.1.1).
    let encrypted = [
        &b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ];
    if encrypted
        .iter()
        .any(|mark| memchr::memmem::find(&bytes, mark).is_some())
    {
        return Err(Error::EncryptedKey { file: file.into() });
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => Error::NoKey { file: file.into() },
        error => bad_pem(file, error),
    })
}

fn bad_pem(file: &Path, error: PemError) -> Error {
    let reason = match error {
        PemError::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        PemError::IllegalSectionStart { .. } => "a section has no proper begin".to_owned(),
        PemError::Base64Decode(_) => "a section is not in base64".to_owned(),
        error => error.to_string(),
    };
    let file = file.into();
    Error::BadPem { file, reason }
}

/// Everything in a file. It waits for no writer of a pipe.
fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable {
        file: file.into(),
        source,
    };
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let mut options = File::options();
    let open = options.read(true).custom_flags(flags).open(file);
    let open = open.map_err(unreadable)?;
    let metadata = open.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("no regular file")));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let read = open.take(LARGEST_FILE).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    Ok(bytes)
}
