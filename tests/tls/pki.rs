//! Authorities, certificates and clients for tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

// Inside the crate and outside it they have other paths.
use super::{ClientCertificates, PemPair, Settings};

/// An authority, and the directory of its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
    pub file: PathBuf,
    directory: PathBuf,
}

impl Authority {
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = directory.join(format!("{name}.pem"));
        fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
            file,
            directory: directory.to_owned(),
        }
    }

    /// A certificate for DNS names, in files named after `file`.
    pub fn server(&self, file: &str, names: &[&str]) -> PemPair {
        self.server_with(file, names, &KeyPair::generate().unwrap())
    }

    pub fn server_with(&self, file: &str, names: &[&str], key: &KeyPair) -> PemPair {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        self.sign(file, CertificateParams::new(names).unwrap(), key)
    }

    /// A certificate of a client with a common name, a mail address and a DNS name.
    pub fn client(&self, file: &str, common: &str, mail: &str, dns: &str) -> PemPair {
        let mut params = CertificateParams::new([dns.to_owned()]).unwrap();
        let mail = SanType::Rfc822Name(Ia5String::try_from(mail).unwrap());
        params.subject_alt_names.push(mail);
        params.distinguished_name.push(DnType::CommonName, common);
        self.sign(file, params, &KeyPair::generate().unwrap())
    }

    fn sign(&self, file: &str, params: CertificateParams, key: &KeyPair) -> PemPair {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let pair = PemPair {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

pub fn settings(pairs: &[&PemPair]) -> Settings {
    let pairs = pairs.iter().copied().cloned().collect();
    Settings {
        pairs,
        clients: None,
    }
}

pub fn asking(pairs: &[&PemPair], authority: &Authority, required: bool) -> Settings {
    let authorities = authority.file.clone();
    let clients = Some(ClientCertificates {
        authorities,
        required,
    });
    Settings {
        clients,
        ..settings(pairs)
    }
}

pub fn certificate(pair: &PemPair) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&pair.certificate).unwrap()
}

pub type Version = &'static SupportedProtocolVersion;
pub const VERSIONS: [Version; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// How a client is.
pub struct Client {
    pub provider: CryptoProvider,
    pub versions: Vec<Version>,
    pub alpn: Vec<Vec<u8>>,
    pub certificate: Option<PemPair>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            provider: aws_lc_rs::default_provider(),
            versions: VERSIONS.to_vec(),
            alpn: Vec::new(),
            certificate: None,
        }
    }
}

impl Client {
    pub fn of_version(version: Version) -> Self {
        let versions = vec![version];
        Self {
            versions,
            ..Self::default()
        }
    }

    pub fn config(self, authority: &Authority) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate(pair)], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

/// A client that blocks, but not for ever.
pub fn connect(config: &Arc<ClientConfig>, name: &str, stream: TcpStream) -> Connected {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

pub type Connected = StreamOwned<ClientConnection, TcpStream>;

/// A client that takes any certificate.
pub fn trusting() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Trusting(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
