//! How many connections a server takes, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::addresses::ClientNet;
use super::record::Refused;
use pop3_proto::limits::Limits;

/// Counts a server's connections.
#[derive(Default)]
pub(super) struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: u32,
    of: HashMap<ClientNet, u32>,
}

/// The right to be connected; ends when dropped.
pub struct Permit {
    admission: Arc<Admission>,
    client: ClientNet,
}

impl Admission {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A panic cannot leave the counts half changed.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection from `peer`, if the limits (0: none) allow it.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        limits: &Limits,
    ) -> Result<Permit, Refused> {
        let client = ClientNet::of(peer);
        let mut counts = self.counts();
        if limits.connections != 0 && counts.all >= limits.connections {
            return Err(Refused::Connections);
        }
        let of_client = counts.of.get(&client).copied().unwrap_or(0);
        if limits.per_address != 0 && of_client >= limits.per_address {
            return Err(Refused::PerAddress);
        }
        counts.all += 1;
        counts.of.insert(client, of_client + 1);
        Ok(Permit {
            admission: self.clone(),
            client,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.all -= 1;
        if let Some(n) = counts.of.get_mut(&self.client) {
            *n -= 1;
            if *n == 0 {
                counts.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_permits_come_back() {
        let limits = Limits {
            connections: 3,
            per_address: 2,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let one: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let two: IpAddr = "::1".parse().unwrap();
        let admit = |peer| admission.admit(peer, &limits);
        let a = admit(one).ok().unwrap();
        let _b = admit(mapped).ok().unwrap();
        assert_eq!(admit(one).err(), Some(Refused::PerAddress));
        let c = admit(two).ok().unwrap();
        assert_eq!(admit(two).err(), Some(Refused::Connections));
        drop(c);
        drop(a);
        let _d = admit(one).ok().unwrap();
        assert_eq!(admit(one).err(), Some(Refused::PerAddress));
        assert_eq!(admission.counts().of.len(), 1);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limits = Limits {
            per_address: 2,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let admit = |peer: &str| admission.admit(peer.parse().unwrap(), &limits);
        let _a = admit("2001:db8::1").ok().unwrap();
        let _b = admit("2001:db8::2").ok().unwrap();
        let refused = admit("2001:db8::ffff:ffff:ffff:ffff");
        assert_eq!(refused.err(), Some(Refused::PerAddress));
        assert!(admit("2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn zero_is_no_bound() {
        let limits = Limits {
            connections: 0,
            per_address: 0,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        let held: Vec<_> = (0..100)
            .map(|_| admission.admit(peer, &limits).ok().unwrap())
            .collect();
        assert_eq!(admission.counts().all, 100);
        drop(held);
        assert_eq!(admission.counts().all, 0);
        assert!(admission.counts().of.is_empty());
    }
}
