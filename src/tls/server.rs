//! What the handshakes of one server share: certificates, authorities, tickets.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::crypto::{aws_lc_rs, CryptoProvider};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{choose, Certificate};
use super::error::Error;
use super::files::{self, Stamps};

/// The name of POP3 in ALPN (RFC 7301; IANA's registry). A client may offer none, but one
/// that offers others only is another protocol's, and is refused.
const ALPN: &[u8] = b"pop3";

/// Sessions that are kept for clients of TLS 1.2 without tickets; the oldest make room.
const SESSIONS: usize = 256;

/// A certificate and its key, each in a file in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemPair {
    /// The certificate, and after it those that lead to its authority.
    pub certificate: PathBuf,
    /// The key, without a passphrase. It may be the same file.
    pub key: PathBuf,
}

/// How clients prove who they are, before any login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The file, in PEM form, of the authorities that sign them.
    pub authorities: PathBuf,
    /// A client without a certificate is refused. Whatever this says, a certificate that
    /// no authority has signed is.
    pub required: bool,
}

/// What a server's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one. A client gets the first of those whose certificate has the name that
    /// it asks for, or the first of all.
    pub pairs: Vec<PemPair>,
    /// None: clients are asked for no certificate.
    pub clients: Option<ClientCertificates>,
}

/// The TLS of one server. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What new handshakes get. Locked for a moment only.
    current: RwLock<Arc<Current>>,
    /// Not locked while files are read: their disk may hang, and whoever names other files
    /// then must not wait for it.
    source: Mutex<Source>,
}

/// Where what is current comes from.
#[derive(Debug)]
struct Source {
    settings: Arc<Settings>,
    /// The files as they were when they were read last, successfully or not.
    stamps: Stamps,
    /// How often they were begun to be read.
    begun: u64,
    /// Which of these times `stamps` is from: the latest of those that have come to an end.
    ended: u64,
}

/// What new handshakes get.
#[derive(Debug)]
struct Current {
    /// Each with the configuration that shows it.
    certificates: Vec<(Certificate, Arc<ServerConfig>)>,
    resumption: Resumption,
}

/// What lets clients resume sessions. In one that is resumed nobody shows a certificate again,
/// so this ends where clients must prove themselves otherwise than before, and where the
/// server does: `tls-server-end-point` is that of the certificate which the client has seen.
#[derive(Clone, Debug)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    proofs: Proofs,
}

/// How both sides prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proofs {
    /// The server's certificates.
    server: Vec<CertificateDer<'static>>,
    clients: Option<Proof>,
}

/// How clients prove who they are: the authorities, and whether they must.
type Proof = (Vec<CertificateDer<'static>>, bool);

impl Tls {
    /// Reads the files. It may wait for a disk.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let mut stamps = Stamps::default();
        let current = Current::load(&settings, &mut stamps, None)?;
        Ok(Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(current)),
            source: Mutex::new(Source {
                settings: Arc::new(settings),
                stamps,
                begun: 0,
                ended: 0,
            }),
        })))
    }

    /// Replaces the settings for new handshakes. It may wait for a disk.
    ///
    /// # Errors
    /// What cannot be used, and why; then everything is as before.
    pub fn configure(&self, settings: Settings) -> Result<(), Error> {
        let (number, _) = self.begin();
        let mut stamps = Stamps::default();
        let current = self.load(&settings, &mut stamps)?;
        let mut source = self.source();
        source.settings = Arc::new(settings);
        source.stamps = stamps;
        source.ended = source.ended.max(number);
        self.set_current(current);
        Ok(())
    }

    /// Reads the files again, for new handshakes. It may wait for a disk.
    ///
    /// # Errors
    /// What cannot be used, and why; then new handshakes get what they got before, and
    /// [`changed`](Self::changed) is false until the files change again.
    pub fn reload(&self) -> Result<(), Error> {
        let (number, settings) = self.begin();
        let mut stamps = Stamps::default();
        let current = self.load(&settings, &mut stamps);
        let mut source = self.source();
        // Other files may have been named meanwhile, and the same ones read later but sooner.
        if Arc::ptr_eq(&source.settings, &settings) && number > source.ended {
            source.stamps = stamps;
            source.ended = number;
            self.set_current(current?);
            return Ok(());
        }
        current.map(drop)
    }

    /// Whether files have changed since they were read last. It may wait for a disk.
    pub fn changed(&self) -> bool {
        let stamps = self.source().stamps.clone();
        stamps.changed()
    }

    /// Begins to read the files: the number of this time, and which files.
    fn begin(&self) -> (u64, Arc<Settings>) {
        let mut source = self.source();
        source.begun += 1;
        (source.begun, source.settings.clone())
    }

    fn load(&self, settings: &Settings, stamps: &mut Stamps) -> Result<Current, Error> {
        let before = self.current();
        Current::load(settings, stamps, Some(&before.resumption))
    }

    fn set_current(&self, current: Current) {
        let place = self.0.current.write();
        *place.unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        // It is changed as a whole.
        self.0.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Current> {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a new handshake gets: its configuration, and the channel binding
    /// `tls-server-end-point`.
    pub(super) fn answer(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, Option<Arc<[u8]>>) {
        let current = self.current();
        let all = &current.certificates;
        let at = choose(all.iter().map(|(certificate, _)| certificate), hello);
        let (certificate, config) = &all[at];
        (config.clone(), certificate.end_point.clone())
    }
}

impl Settings {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self
            .pairs
            .iter()
            .flat_map(|pair| [&pair.certificate, &pair.key]);
        pairs.chain(self.clients.as_ref().map(|clients| &clients.authorities))
    }
}

impl Current {
    fn load(
        settings: &Settings,
        stamps: &mut Stamps,
        before: Option<&Resumption>,
    ) -> Result<Self, Error> {
        settings.files().for_each(|file| stamps.note(file));
        if settings.pairs.is_empty() {
            return Err(Error::NoPair);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (verifier, proof) = match &settings.clients {
            Some(clients) => {
                let (verifier, authorities) = verifier(clients, &provider)?;
                (verifier, Some((authorities, clients.required)))
            }
            None => (WebPkiClientVerifier::no_client_auth(), None),
        };
        let load = |pair: &PemPair| Certificate::load(pair, &provider);
        let certificates: Result<Vec<_>, Error> = settings.pairs.iter().map(load).collect();
        let certificates = certificates?;
        let own = certificates.iter().filter_map(|c| c.key.cert.first());
        let proofs = Proofs {
            server: own.cloned().collect(),
            clients: proof,
        };
        let resumption = match before {
            Some(before) if before.proofs == proofs => before.clone(),
            _ => Resumption::new(proofs)?,
        };
        let configured = |certificate: Certificate| {
            let key = SingleCertAndKey::from(certificate.key.clone());
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .with_client_cert_verifier(verifier.clone())
                .with_cert_resolver(Arc::new(key));
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.ticketer = resumption.tickets.clone();
            config.session_storage = resumption.sessions.clone();
            Ok((certificate, Arc::new(config)))
        };
        let certificates = certificates.into_iter().map(configured);
        Ok(Self {
            certificates: certificates.collect::<Result<_, Error>>()?,
            resumption,
        })
    }
}

impl Resumption {
    fn new(proofs: Proofs) -> Result<Self, Error> {
        Ok(Self {
            tickets: aws_lc_rs::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            proofs,
        })
    }
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// What checks the certificates of clients, and the authorities that it trusts.
fn verifier(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<(Verifier, Vec<CertificateDer<'static>>), Error> {
    let file = &clients.authorities;
    let bad = |reason: String| Error::BadCertificate {
        file: file.clone(),
        reason,
    };
    let authorities = files::certificates(file)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        let added = roots.add(authority.clone());
        added.map_err(|error| bad(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let builder = match clients.required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    let verifier = builder.build().map_err(|error| bad(error.to_string()))?;
    Ok((verifier, authorities))
}
