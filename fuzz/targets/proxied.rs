//! The header of the PROXY protocol: where it ends does not depend on the pieces that it comes
//! in, and the address is the one that the header holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pop3d::net::proxy_header::{end, parse, Named};

/// No header is longer.
const LONGEST: usize = 4096;

pub fn run(data: &[u8]) {
    let whole = end(data);
    for n in (0..data.len()).rev().take(300) {
        match (end(&data[..n]), &whole) {
            // Fewer bytes say the same, or nothing yet.
            (Ok(Some(less)), Ok(Some(all))) => assert!(less == *all && less <= n),
            (Ok(None), Ok(Some(all))) => assert!(n < *all),
            (Ok(None), _) => assert!(n < LONGEST),
            (Err(_), Err(_)) => {}
            (less, all) => panic!("{less:?} of {n} bytes, then {all:?}"),
        }
    }
    let Ok(Some(end)) = whole else {
        return;
    };
    assert!(end <= data.len().min(LONGEST));
    let header = &data[..end];
    if let Ok(Named::Client(client)) = parse(header) {
        let held = match header.strip_prefix(b"PROXY ") {
            Some(line) => text(line),
            None => binary(header),
        };
        assert_eq!(held, Some(client), "{header:?}");
    }
}

/// The client of a line of version 1: the second and the fourth of five words.
fn text(line: &[u8]) -> Option<SocketAddr> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let words: Vec<_> = line.split(' ').collect();
    let [protocol, source, _, port, _] = words[..] else {
        return None;
    };
    let address: IpAddr = source.parse().ok()?;
    let is_of_protocol = match address {
        IpAddr::V4(_) => protocol == "TCP4",
        IpAddr::V6(_) => protocol == "TCP6",
    };
    is_of_protocol.then_some(SocketAddr::new(address, port.parse().ok()?))
}

/// The client of a header of version 2: PROXY, a stream, and the first address and port.
fn binary(header: &[u8]) -> Option<SocketAddr> {
    let (address, ports): (IpAddr, _) = match header.get(12..14)? {
        [0x21, 0x11] => {
            let bytes: [u8; 4] = header.get(16..20)?.try_into().ok()?;
            (Ipv4Addr::from(bytes).into(), 24)
        }
        [0x21, 0x21] => {
            let bytes: [u8; 16] = header.get(16..32)?.try_into().ok()?;
            (Ipv6Addr::from(bytes).into(), 48)
        }
        _ => return None,
    };
    let port = header.get(ports..ports + 2)?.try_into().ok()?;
    Some(SocketAddr::new(address, u16::from_be_bytes(port)))
}
