//! The options of TLS: which files, and when they are read.

use super::{ServerObject, State};
use crate::bind::options::Options;
use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::tls::{self, ClientCertificates, PemPair, Settings, Tls};
use pop3_proto::security::TlsMode;
use std::path::PathBuf;

/// The options that name files.
pub(super) const FILES: [&str; 5] = [
    "-certificates",
    "-certfile",
    "-keyfile",
    "-cafile",
    "-require",
];

impl ServerObject {
    /// Reads the files that the options name. What was read before serves on if they cannot
    /// be used.
    pub(super) fn configure_tls(&self) -> Result<(), Error> {
        let Some(settings) = settings(&self.options.borrow())? else {
            // Else a server that offers TLS would go on without, and take passwords so.
            if self.state.get() == State::Up && self.offers_tls() {
                return Err(no_certificate());
            }
            self.engine.set_tls(None);
            return Ok(());
        };
        match self.engine.tls() {
            Some(tls) => {
                tls.configure(settings)?;
                self.engine.set_tls(Some(tls));
            }
            None => self.engine.set_tls(Some(Tls::new(settings)?)),
        }
        Ok(())
    }

    /// Reads the files of certificates again, for new handshakes.
    pub(super) fn reload(&self) -> Result<Value, Error> {
        if let Some(tls) = self.engine.tls() {
            tls.reload()?;
        }
        Ok(Value::text(""))
    }

    /// Whether connections can have the TLS that `-tls` offers.
    pub(super) fn check_tls(&self) -> Result<(), Error> {
        match self.offers_tls() && self.engine.tls().is_none() {
            true => Err(no_certificate()),
            false => Ok(()),
        }
    }

    fn offers_tls(&self) -> bool {
        self.tls_mode() != TlsMode::Off
    }
}

fn no_certificate() -> Error {
    let message = "-tls needs a certificate: set -certfile and -keyfile, or -certificates";
    Error::new(message, &["TLS", "NOCERTIFICATE"])
}

/// What the options say; none without a certificate.
fn settings(options: &Options) -> Result<Option<Settings>, Error> {
    let mut pairs = Vec::new();
    match (options.certfile.is_empty(), options.keyfile.is_empty()) {
        (true, true) => {}
        // One file may hold both.
        (false, true) => pairs.push((options.certfile.clone(), options.certfile.clone())),
        (false, false) => pairs.push((options.certfile.clone(), options.keyfile.clone())),
        (true, false) => {
            let message = "-keyfile needs -certfile, the certificate that it is the key of";
            return Err(Error::new(message, &["TLS", "NOCERTIFICATE"]));
        }
    }
    for pair in options.certificates.to_list().unwrap_or_default() {
        if let Some([certificate, key]) = pair.to_list().as_deref() {
            pairs.push((certificate.clone(), key.clone()));
        }
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let pairs = pairs.into_iter().map(|(certificate, key)| {
        Ok(PemPair {
            certificate: path(&certificate)?,
            key: path(&key)?,
        })
    });
    let clients = match options.cafile.is_empty() {
        true if options.require => {
            let message = "-require needs -cafile, the authorities that sign the certificates";
            return Err(Error::new(message, &["TLS", "NOCERTIFICATE"]));
        }
        true => None,
        false => Some(ClientCertificates {
            authorities: path(&options.cafile)?,
            required: options.require,
        }),
    };
    let pairs = pairs.collect::<Result<_, Error>>()?;
    Ok(Some(Settings { pairs, clients }))
}

fn path(file: &Value) -> Result<PathBuf, Error> {
    file.to_path().ok_or_else(|| {
        let message = format!("\"{}\" is no file name", file.to_text());
        Error::new(message, &["TLS", "FILE"])
    })
}

impl From<tls::Error> for Error {
    fn from(error: tls::Error) -> Self {
        Self::new(error.to_string(), &["TLS", "FILE"]).with_advice(error.advice())
    }
}
