//! The header of the PROXY protocol, version 1 or 2 (HAProxy's "The PROXY protocol"): where it
//! ends, and whose the connection is. Works on bytes; [`proxied`](super::proxied) has the
//! sockets.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};

use super::server::place;
use pop3_proto::security::Peer;

/// Bytes of the longest line of version 1, as the protocol says.
const LONGEST_LINE: usize = 107;

/// Bytes of the longest header: with addresses of any kind, and what proxies tell of TLS and
/// certificates.
const LONGEST: usize = 4096;

/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection begins with something else.
    #[error("not a PROXY header")]
    Missing,
    /// Longer than its version allows, or than 4,096 octets.
    #[error("PROXY header too long")]
    TooLong,
    /// Version 1 does not say that.
    #[error("malformed PROXY header: {0}")]
    Text(#[from] v1::BinaryParseError),
    /// Version 2 does not say that.
    #[error("malformed PROXY header: {0}")]
    Binary(#[from] v2::ParseError),
    /// The header speaks of datagrams.
    #[error("malformed PROXY header: not of a stream")]
    NoStream,
    /// The time for it is over.
    #[error("no PROXY header in time")]
    Late,
    /// The connection ended first.
    #[error("closed before the end of the PROXY header")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Whose a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// A client's.
    Client(SocketAddr),
    /// The proxy's own, which looks whether the server is there.
    Proxy,
    /// The proxy does not say.
    Nobody,
}

impl Named {
    /// The address of the client, and where it is.
    pub(super) fn client(self, socket: SocketAddr) -> (SocketAddr, Peer) {
        match self {
            Self::Client(client) => {
                let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                (client, place(client.ip()))
            }
            Self::Proxy => (socket, place(socket.ip())),
            // Behind a proxy on this machine it may be anybody.
            Self::Nobody => (socket, Peer::Remote),
        }
    }
}

/// Where the header ends; none: not yet. Needs no more than 4,096 bytes to say so.
///
/// # Errors
///
/// What has come is no beginning of a header, or that of one too long.
pub fn end(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    let begins = |prefix: &[u8]| {
        let common = bytes.len().min(prefix.len());
        bytes[..common] == prefix[..common]
    };
    if begins(v2::PROTOCOL_PREFIX) {
        let Some([high, low]) = bytes.get(FIXED - 2..FIXED) else {
            return Ok(None);
        };
        let end = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
        return match end {
            end if end > LONGEST => Err(HeaderError::TooLong),
            end => Ok((end <= bytes.len()).then_some(end)),
        };
    }
    if !begins(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => Ok(Some(at + 2)),
        None if line.len() == LONGEST_LINE => Err(HeaderError::TooLong),
        None => Ok(None),
    }
}

/// What a whole header says: `header` goes to its [`end`], and no further.
///
/// # Errors
///
/// The header is malformed, or of datagrams.
pub fn parse(header: &[u8]) -> Result<Named, HeaderError> {
    if header.starts_with(b"PROXY ") {
        return Ok(match v1::Header::try_from(header)?.addresses {
            v1::Addresses::Tcp4(tcp) => Named::Client((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Named::Client((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Unknown => Named::Nobody,
        });
    }
    let header = v2::Header::try_from(header)?;
    if header.command == v2::Command::Local {
        return Ok(Named::Proxy);
    }
    let client: SocketAddr = match header.addresses {
        v2::Addresses::IPv4(ip) => (ip.source_address, ip.source_port).into(),
        v2::Addresses::IPv6(ip) => (ip.source_address, ip.source_port).into(),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => return Ok(Named::Nobody),
    };
    match header.protocol {
        v2::Protocol::Stream => Ok(Named::Client(client)),
        _ => Err(HeaderError::NoStream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// Addresses and ports of version 2, with what follows them.
    fn ipv4(more: &[u8]) -> Vec<u8> {
        [&[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 110][..], more].concat()
    }

    fn client(text: &str) -> Named {
        Named::Client(text.parse().unwrap())
    }

    fn headers() -> Vec<(Vec<u8>, Named)> {
        let mut ipv6 = [0; 36];
        ipv6[..2].copy_from_slice(&[0x20, 0x01]);
        ipv6[15] = 9;
        ipv6[33] = 80;
        let text = |line: &str| line.as_bytes().to_vec();
        vec![
            (
                text("PROXY TCP4 192.0.2.7 10.0.0.1 4660 110\r\n"),
                client("192.0.2.7:4660"),
            ),
            (
                text("PROXY TCP6 2001::9 ::1 80 110\r\n"),
                client("[2001::9]:80"),
            ),
            (text("PROXY UNKNOWN\r\n"), Named::Nobody),
            (text("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Named::Nobody),
            (binary(0x21, 0x11, &ipv4(b"")), client("192.0.2.7:4660")),
            (
                binary(0x21, 0x11, &ipv4(b"\x04\0\x02ab")),
                client("192.0.2.7:4660"),
            ),
            (binary(0x21, 0x21, &ipv6), client("[2001::9]:80")),
            (binary(0x20, 0x00, b""), Named::Proxy),
            (binary(0x20, 0x11, &ipv4(b"")), Named::Proxy),
            (binary(0x21, 0x00, b""), Named::Nobody),
            (binary(0x21, 0x31, &[0; 216]), Named::Nobody),
        ]
    }

    /// Whatever follows is not the header's, and before its end nothing is known.
    #[test]
    fn headers_of_both_versions_end_where_they_end() {
        for (header, want) in headers() {
            for n in 0..header.len() {
                assert_eq!(end(&header[..n]).unwrap(), None, "{n} of {header:?}");
            }
            let more = [&header[..], b"\r\nUSER x\r\n"].concat();
            assert_eq!(end(&more).unwrap(), Some(header.len()));
            assert_eq!(parse(&header).unwrap(), want, "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for bytes in [
            &b"USER x\r\n"[..],
            b"\x16\x03\x01",
            b"PROXY\tTCP4",
            b"proxy TCP4",
            b"\r\n\r\n\0\r\nQUIT\r",
            long.as_bytes(),
            &binary(0x21, 0x11, &[0; LONGEST - FIXED + 1]),
        ] {
            assert!(end(bytes).is_err(), "{bytes:?}");
        }
        for header in [
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 110 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 10.0.0.1 4660 110\r\n".to_vec(),
            b"PROXY TCP4 2001::9 ::1 80 110\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 66000 110\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 4660 110\r\n".to_vec(),
            b"PROXY TCP4 \xff 10.0.0.1 4660 110\r\n".to_vec(),
            binary(0x11, 0x11, &ipv4(b"")),
            binary(0x22, 0x11, &ipv4(b"")),
            binary(0x21, 0x11, &ipv4(b"")[..11]),
            binary(0x21, 0x12, &ipv4(b"")),
            binary(0x21, 0x41, &ipv4(b"")),
        ] {
            assert_eq!(end(&header).unwrap(), Some(header.len()));
            assert!(parse(&header).is_err(), "{header:?}");
        }
    }

    #[test]
    fn where_a_client_is() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (here, there) = (address("127.0.0.1:9"), address("192.0.2.7:9"));
        for (named, socket, want) in [
            (Named::Client(there), here, (there, Peer::Remote)),
            (Named::Client(here), there, (here, Peer::Loopback)),
            (
                Named::Client(address("[::ffff:127.0.0.1]:9")),
                there,
                (here, Peer::Loopback),
            ),
            (Named::Proxy, here, (here, Peer::Loopback)),
            (Named::Proxy, there, (there, Peer::Remote)),
            (Named::Nobody, here, (here, Peer::Remote)),
        ] {
            assert_eq!(named.client(socket), want);
        }
    }

    proptest! {
        /// No bytes upset it, and none keeps it reading for ever.
        #[test]
        fn any_bytes(head in 0..3_usize, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let head = [&b""[..], b"PROXY ", SIGNATURE][head];
            let bytes = [head, &rest].concat();
            if let Ok(Some(end)) = end(&bytes) {
                prop_assert!(end <= bytes.len());
                let _ = parse(&bytes[..end]);
            }
            let padded = [&bytes[..], &[b'x'; LONGEST]].concat();
            prop_assert!(!matches!(end(&padded), Ok(None)));
        }
    }
}
