//! What a handshake has settled.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};
use x509_parser::prelude::GeneralName;

use super::certificate::{alternative_names, parse};

/// The label of the channel binding `tls-exporter` (RFC 9266 §2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What a handshake has settled.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// IANA's name of the cipher suite.
    pub suite: Box<str>,
    /// The client has resumed an earlier session.
    pub resumed: bool,
    /// The name of the server that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// Whom the client's certificate names; none if it has shown none. An authority of
    /// ours has signed it.
    pub client: Option<ClientNames>,
    /// The channel binding `tls-exporter`; of TLS 1.3 only, since TLS 1.2 has it only with
    /// an extension (RFC 9266 §3) whose use rustls does not tell.
    pub exporter: Option<[u8; 32]>,
    /// The channel binding `tls-server-end-point` (RFC 5929 §4): the digest of our
    /// certificate, if its signature has a hash.
    pub end_point: Option<Arc<[u8]>>,
}

/// Whom a client's certificate names. Names with control characters are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNames {
    /// The common name of its subject, if it has exactly one.
    pub common: Option<Box<str>>,
    /// Its mail addresses (rfc822Name, RFC 5280 §4.2.1.6).
    pub mail: Box<[Box<str>]>,
    /// Its names of hosts (dNSName).
    pub dns: Box<[Box<str>]>,
}

impl Facts {
    /// Those of a connection whose handshake is over.
    pub(super) fn of(connection: &ServerConnection, end_point: Option<Arc<[u8]>>) -> Self {
        let is_1_3 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let export = || connection.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let certificates = connection.peer_certificates();
        Self {
            version: if is_1_3 { "TLSv1.3" } else { "TLSv1.2" },
            suite: suite(connection),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: connection.server_name().map(Into::into),
            client: certificates
                .and_then(|all| all.first())
                .map(ClientNames::of),
            exporter: is_1_3.then(export).and_then(Result::ok),
            end_point,
        }
    }
}

fn suite(connection: &ServerConnection) -> Box<str> {
    let suite = connection.negotiated_cipher_suite();
    let name = suite
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}").into(),
        None => name.into(),
    }
}

impl ClientNames {
    fn of(der: &CertificateDer<'_>) -> Self {
        let Some(certificate) = parse(der) else {
            return Self::default();
        };
        let printable = |name: &&str| !name.is_empty() && !name.chars().any(char::is_control);
        let mut common = certificate.subject().iter_common_name();
        let common = match (common.next(), common.next()) {
            (Some(name), None) => name.as_str().ok().filter(printable).map(Into::into),
            _ => None,
        };
        let names = alternative_names(&certificate).iter();
        let mail = names.clone().filter_map(|name| match name {
            GeneralName::RFC822Name(name) => Some(*name),
            _ => None,
        });
        let dns = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        Self {
            common,
            mail: mail.filter(printable).map(Into::into).collect(),
            dns: dns.filter(printable).map(Into::into).collect(),
        }
    }
}
