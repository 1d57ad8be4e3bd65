//! The handshake of TLS on a connection, and the certificates that it shows.

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::driver::Driver;
use super::runtime;
use crate::tls::{self, Facts, Tls};
use pop3_proto::security::{ChannelBindings, TlsFacts};

/// How often handshakes look whether the files of certificates have changed.
const RECHECK: Duration = Duration::from_secs(60);

/// The TLS of a server.
#[derive(Default)]
pub(super) struct Encryption {
    tls: RwLock<Option<Tls>>,
    /// When the files were looked at last.
    checked: Mutex<Option<Instant>>,
}

impl Encryption {
    pub(super) fn set(&self, tls: Option<Tls>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        self.note_checked();
    }

    pub(super) fn get(&self) -> Option<Tls> {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note_checked(&self) {
        *self.checked() = Some(Instant::now());
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files must be looked at again. Says so to one of many.
    fn is_due(&self, now: Instant) -> bool {
        let mut checked = self.checked();
        let is_due = checked.is_none_or(|at| now.saturating_duration_since(at) >= RECHECK);
        if is_due {
            *checked = Some(now);
        }
        is_due
    }
}

/// Reads the files again if they have changed. New handshakes get the old ones where the new
/// cannot be used.
fn refresh(tls: &Tls) -> Result<(), tls::Error> {
    match tls.changed() {
        true => tls.reload(),
        false => Ok(()),
    }
}

impl Driver<'_> {
    /// Goes on with the handshake, or waits until that can be.
    pub(super) async fn shake_hands(&mut self) {
        let connection = self.connection.clone();
        let encryption = &connection.server.encryption;
        let Some(tls) = encryption.get() else {
            return connection.machine().handle_tls_failed();
        };
        if !connection.transport.has_tls() {
            if encryption.is_due(self.now) {
                let tls = tls.clone();
                let refreshed = runtime::blocking_on(&Handle::current(), move || refresh(&tls));
                if let Ok(Err(error)) = refreshed.await {
                    connection.server.log.certificates_failed(&error);
                }
                self.now = Instant::now();
            }
            connection.transport.start_tls(&tls);
        }
        match connection.transport.handshake() {
            Ok(facts) => {
                let resumed = facts.resumed;
                let facts = told(facts);
                let log = &connection.server.log;
                log.encrypted(|| connection.client(), &facts, resumed);
                connection.machine().handle_tls(facts);
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => self.wait_for_handshake().await,
                ErrorKind::Interrupted => {}
                ErrorKind::UnexpectedEof => connection.machine().handle_end_of_input(),
                ErrorKind::InvalidData => {
                    connection
                        .server
                        .log
                        .handshake_failed(|| connection.client(), &error);
                    connection.machine().handle_tls_failed();
                }
                kind => connection.machine().handle_broken(kind),
            },
        }
    }
}

/// What the session is told of a handshake.
fn told(facts: Facts) -> TlsFacts {
    let Facts {
        version,
        suite,
        client,
        exporter,
        end_point,
        ..
    } = facts;
    let client = client.unwrap_or_default();
    let mut certificate: Vec<Box<str>> = Vec::new();
    for name in client
        .common
        .into_iter()
        .chain(client.mail)
        .chain(client.dns)
    {
        if !certificate.contains(&name) {
            certificate.push(name);
        }
    }
    TlsFacts {
        version: version.into(),
        cipher: suite,
        certificate,
        bindings: ChannelBindings {
            exporter: exporter.map(Box::from),
            server_end_point: end_point.as_deref().map(Box::from),
        }
        .into(),
    }
}
