//! Addresses of clients: what counts as one, and lists of them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// The bits of an IPv6 address that stand for one client: whoever has one address of a /64
/// has all of them (RFC 6177 §2).
const CLIENT_BITS: u32 = 64;

/// What counts as one client: an IPv4 address, or the network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNet(IpAddr);

impl ClientNet {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> (128 - CLIENT_BITS) << (128 - CLIENT_BITS);
                Ipv6Addr::from(network).into()
            }
            address => address,
        })
    }
}

impl fmt::Display for ClientNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/{CLIENT_BITS}"),
        }
    }
}

/// A list of addresses and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList(Vec<IpNet>);

impl AddressList {
    /// The list of these addresses, and networks like `10.0.0.0/8`.
    ///
    /// # Errors
    /// The first word that is neither.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let parse = |word: &'a str| network(word).ok_or(word);
        words
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it has the address, by itself or in a network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its addresses and networks, as words.
    pub fn words(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|network| match network {
            network if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string()
            }
            network => network.to_string(),
        })
    }
}

/// IPv4-mapped addresses are those of IPv4, as those of clients are.
fn network(word: &str) -> Option<IpNet> {
    let network = match word.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => word.parse().ok()?,
    };
    let mapped = match network {
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, bits)) => Ipv4Net::new(address, bits).ok().map(IpNet::V4),
        None => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_counts_as_one_client() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "::ffff:0.0.0.1", false),
        ] {
            let [a, b] = [one, other].map(|text| ClientNet::of(address(text)));
            assert_eq!(a == b, same, "{one} {other}");
        }
        let shown = |text| ClientNet::of(address(text)).to_string();
        assert_eq!(shown("192.0.2.1"), "192.0.2.1");
        assert_eq!(shown("2001:db8::1:2"), "2001:db8::/64");
    }

    #[test]
    fn a_list_of_addresses_and_networks() {
        let words = [
            "192.0.2.7",
            "10.0.0.0/8",
            "::1",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
        ];
        let list = AddressList::parse(words).unwrap();
        for (text, want) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("::1", true),
            ("::2", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("198.51.100.9", true),
        ] {
            assert_eq!(list.contains(address(text)), want, "{text}");
        }
        let shown: Vec<_> = list.words().collect();
        assert_eq!(shown[..4], words[..4]);
        assert_eq!(shown[4], "198.51.100.0/24");
    }

    #[test]
    fn what_is_no_address() {
        for word in [
            "",
            "localhost",
            "10.0.0.0/33",
            "::/129",
            "10.0.0",
            "10.0.0.0/",
            "1.2.3.4:5",
            "/8",
        ] {
            assert_eq!(AddressList::parse(["::1", word]), Err(word));
        }
    }
}
