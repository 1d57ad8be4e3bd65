//! What protects a connection, and what may be sent on one that nothing protects.

use std::sync::Arc;

/// How a server offers TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all.
    #[default]
    Off,
    /// By the command STLS (RFC 2595 §4).
    StartTls,
    /// From the first byte on (RFC 8314 §3.3, port 995).
    Implicit,
}

/// Whether a client may send its password on a connection without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// Where the server offers no TLS, and from this machine.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// On this machine: nobody listens between it and the server.
    Loopback,
    /// Elsewhere.
    Remote,
}

impl Plaintext {
    /// Whether a password may be sent without TLS to a server with this mode.
    pub(crate) fn allows(self, tls: TlsMode, peer: Peer) -> bool {
        match self {
            Self::Auto => tls == TlsMode::Off || peer == Peer::Loopback,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What a TLS handshake has settled. Nothing of it is secret but the bindings, which are of
/// no use elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The protocol, `TLSv1.3` for instance; empty where it is not known.
    pub version: Box<str>,
    /// The cipher suite's name; empty where it is not known.
    pub cipher: Box<str>,
    /// The names in the client's certificate, if it sent one and that was verified.
    pub certificate: Vec<Box<str>>,
    /// What ties SASL to this connection.
    pub bindings: Arc<ChannelBindings>,
}

/// Channel bindings (RFC 5056): what only the two ends of one TLS connection know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266); none below TLS 1.3, as the RFC demands.
    pub exporter: Option<Box<[u8]>>,
    /// `tls-server-end-point` (RFC 5929 §4): a hash of the server's certificate.
    pub server_end_point: Option<Box<[u8]>>,
}

impl ChannelBindings {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.server_end_point.is_none()
    }

    /// The binding of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.server_end_point.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_send_a_password_without_tls() {
        use Peer::{Loopback, Remote};
        use TlsMode::{Implicit, Off, StartTls};
        let rows = [
            (Plaintext::Auto, Off, Remote, true),
            (Plaintext::Auto, StartTls, Remote, false),
            (Plaintext::Auto, StartTls, Loopback, true),
            (Plaintext::Auto, Implicit, Remote, false),
            (Plaintext::Always, StartTls, Remote, true),
            (Plaintext::Never, Off, Loopback, false),
        ];
        for (policy, tls, peer, want) in rows {
            assert_eq!(
                policy.allows(tls, peer),
                want,
                "{policy:?} {tls:?} {peer:?}"
            );
        }
    }
}
