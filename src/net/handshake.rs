//! The handshake of TLS on a connection, and the certificates that it shows.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::driver::Driver;
use super::runtime;
use crate::tls::{self, Facts, Tls};
use pop3_proto::security::{ChannelBindings, TlsFacts};

/// How often handshakes look whether the files of certificates have changed.
const RECHECK: Duration = Duration::from_secs(60);

/// How long a handshake waits for that look, in which files that have changed are read: many
/// times what a disk takes. If none waited, a client that comes once in a while would be shown
/// a certificate that was replaced long ago.
const PATIENCE: Duration = Duration::from_millis(250);

/// The TLS of a server.
#[derive(Default)]
pub(super) struct Encryption {
    tls: RwLock<Option<Tls>>,
    look: Mutex<Look>,
}

/// The last look at the files of certificates.
#[derive(Default)]
struct Look {
    /// When it began.
    at: Option<Instant>,
    /// Whether it is under way: a disk that hangs must not get one thread after the other.
    under_way: Weak<()>,
}

impl Encryption {
    pub(super) fn set(&self, tls: Option<Tls>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        // One that is under way looks at files that may be others.
        *self.look() = Look {
            at: Some(Instant::now()),
            under_way: Weak::new(),
        };
    }

    pub(super) fn get(&self) -> Option<Tls> {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        // It is changed as a whole.
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What says that the files are being looked at, until it is dropped, if that must be
    /// done again. One of many gets it.
    fn begin_look(&self, now: Instant) -> Option<Arc<()>> {
        let mut look = self.look();
        let is_new = |at: Instant| now.saturating_duration_since(at) < RECHECK;
        if look.at.is_some_and(is_new) || look.under_way.strong_count() > 0 {
            return None;
        }
        let under_way = Arc::new(());
        *look = Look {
            at: Some(now),
            under_way: Arc::downgrade(&under_way),
        };
        Some(under_way)
    }

    /// Has `refresh` called on a thread that may block, if it is time for it, and waits for
    /// its end for a while.
    async fn look_again(&self, now: Instant, refresh: impl FnOnce() + Send + 'static) {
        if let Some(under_way) = self.begin_look(now) {
            let look = move || {
                refresh();
                drop(under_way);
            };
            let looked = runtime::blocking_on(&Handle::current(), look);
            let _over_or_late = timeout(PATIENCE, looked).await;
        }
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
            let (server, files) = (connection.server.clone(), tls.clone());
            let refresh = move || {
                if let Err(error) = refresh(&files) {
                    server.log.certificates_failed(&error);
                }
            };
            encryption.look_again(self.now, refresh).await;
            self.now = Instant::now();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A disk that hangs holds a handshake up for a moment, and keeps one thread.
    #[test]
    fn a_look_that_hangs_is_waited_for_in_vain_once() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let encryption = Encryption::default();
        let (go_on, hangs) = mpsc::channel::<()>();
        let (begun, looks) = mpsc::channel();
        let later = |looks: u32| Instant::now() + looks * RECHECK;
        let look = |at: Instant| {
            let begun = begun.clone();
            runtime.block_on(encryption.look_again(at, move || begun.send(()).unwrap()));
        };
        runtime.block_on(encryption.look_again(later(0), move || {
            let _ended_with_the_sender = hangs.recv();
        }));
        look(later(1));
        assert!(looks.try_recv().is_err(), "a second thread hangs");
        // Other files are looked at all the same.
        encryption.set(None);
        look(later(0));
        assert!(looks.try_recv().is_err(), "they have just been read");
        look(later(2));
        looks.recv().unwrap();
        drop(go_on);
    }
}
