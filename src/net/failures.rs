//! Failed logins of addresses, over all connections of a server.
//!
//! The table is bounded, and whoever can fail from many addresses must not push an entry out
//! for little. So entries stand in levels by their failures: 1, 2 to 3, 4 to 7, and so on. A
//! level that is full drops its oldest entry. To push out an entry with n failures takes
//! [`ENTRIES`] other addresses with more than n/2 failures each. An address that fails once
//! pushes out only such as have failed once.

use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lru::LruCache;

use super::addresses::ClientNet;
use pop3_proto::limits::Limits;
use pop3_proto::AddressFailures;

/// Entries of a level. All levels together take some 6 MB when they are full.
const ENTRIES: usize = 8192;

/// Levels: in the last are 128 failures and more.
const LEVELS: usize = 8;

/// The failed logins of a server's clients.
pub(super) struct Failures {
    levels: Mutex<[Level; LEVELS]>,
}

/// Random, so that nobody can choose addresses that meet in the table.
type Level = LruCache<ClientNet, Entry, RandomState>;

#[derive(Clone, Copy)]
struct Entry {
    count: u32,
    /// When the first one failed, or the one since which the address is refused.
    since: Instant,
}

impl Entry {
    /// Whether it counts: neither its time nor that of the refusal is over.
    fn is_live(&self, now: Instant, limits: &Limits) -> bool {
        now.saturating_duration_since(self.since) < limits.address_block
    }
}

impl Default for Failures {
    fn default() -> Self {
        let level = |_| LruCache::unbounded_with_hasher(RandomState::new());
        Self {
            levels: Mutex::new(std::array::from_fn(level)),
        }
    }
}

impl Failures {
    fn levels(&self) -> MutexGuard<'_, [Level; LEVELS]> {
        // A panic cannot leave an entry half changed.
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a failed login.
    pub(super) fn add(&self, client: ClientNet, now: Instant, limits: &Limits) -> AddressFailures {
        if !are_counted(limits) {
            return AddressFailures::default();
        }
        let mut levels = self.levels();
        let known = levels.iter_mut().find_map(|level| level.pop(&client));
        let known = known.filter(|entry| entry.is_live(now, limits));
        let mut entry = known.unwrap_or(Entry {
            count: 0,
            since: now,
        });
        entry.count = entry.count.saturating_add(1);
        if entry.count == limits.address_failures {
            entry.since = now;
        }
        let level = &mut levels[level_of(entry.count)];
        level.put(client, entry);
        if level.len() > ENTRIES {
            level.pop_lru();
        }
        AddressFailures {
            count: entry.count,
            is_refused: entry.count >= limits.address_failures,
        }
    }

    /// Whether logins of a client are refused. A refused client that comes again does not
    /// prolong that.
    pub(super) fn refuse(&self, client: ClientNet, now: Instant, limits: &Limits) -> bool {
        if !are_counted(limits) {
            return false;
        }
        let mut levels = self.levels();
        let entry = levels.iter_mut().find_map(|level| level.get(&client));
        entry.is_some_and(|entry| {
            entry.count >= limits.address_failures && entry.is_live(now, limits)
        })
    }

    /// Forgets the failures of a client that has logged in.
    pub(super) fn forgive(&self, client: ClientNet) {
        let _ = self
            .levels()
            .iter_mut()
            .find_map(|level| level.pop(&client));
    }
}

fn are_counted(limits: &Limits) -> bool {
    limits.address_failures != 0 && !limits.address_block.is_zero()
}

/// The level of so many failures, at least one.
fn level_of(count: u32) -> usize {
    (count.max(1).ilog2() as usize).min(LEVELS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    const BLOCK: Duration = Duration::from_secs(600);

    fn limits() -> Limits {
        Limits {
            address_failures: 3,
            address_block: BLOCK,
            ..Limits::default()
        }
    }

    fn client(number: u32) -> ClientNet {
        ClientNet::of(Ipv4Addr::from(number).into())
    }

    fn size(failures: &Failures) -> usize {
        failures.levels().iter().map(LruCache::len).sum()
    }

    #[test]
    fn an_address_is_refused_for_a_while_and_begins_anew() {
        let (failures, limits, begin) = (Failures::default(), limits(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let add = |seconds| failures.add(client(1), at(seconds), &limits);
        let refused = |seconds| failures.refuse(client(1), at(seconds), &limits);
        assert_eq!(add(0).count, 1);
        assert_eq!(add(100).count, 2);
        assert!(!refused(100));
        let third = add(500);
        assert_eq!((third.count, third.is_refused), (3, true));
        assert!(!failures.refuse(client(2), at(500), &limits));
        // A login that was under way, and connections that are refused, prolong nothing.
        assert_eq!(add(900).count, 4);
        assert!(refused(500) && refused(1099));
        assert!(!refused(1100));
        assert_eq!(add(1100).count, 1);
    }

    #[test]
    fn failures_far_apart_do_not_count_together() {
        let (failures, limits, begin) = (Failures::default(), limits(), Instant::now());
        for n in 0..100 {
            let now = begin + BLOCK / 2 * n;
            let counted = failures.add(client(1), now, &limits);
            assert_eq!(counted.count, n % 2 + 1);
            assert!(!failures.refuse(client(1), now, &limits));
        }
        assert_eq!(size(&failures), 1);
    }

    #[test]
    fn a_success_forgives() {
        let (failures, limits, now) = (Failures::default(), limits(), Instant::now());
        failures.add(client(1), now, &limits);
        failures.add(client(1), now, &limits);
        failures.forgive(client(1));
        assert_eq!(size(&failures), 0);
        assert_eq!(failures.add(client(1), now, &limits).count, 1);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let (failures, limits, now) = (Failures::default(), limits(), Instant::now());
        let network = 0x2001_0db8_u128 << 96;
        let of = |host: u128| ClientNet::of(IpAddr::V6(Ipv6Addr::from(network | host)));
        for host in 1..=3 {
            failures.add(of(host), now, &limits);
        }
        assert!(failures.refuse(of(u128::from(u64::MAX)), now, &limits));
        assert!(!failures.refuse(of(1 << 64), now, &limits));
    }

    #[test]
    fn zero_counts_nothing() {
        let (failures, now) = (Failures::default(), Instant::now());
        let no_count = Limits {
            address_failures: 0,
            ..limits()
        };
        let no_time = Limits {
            address_block: Duration::ZERO,
            ..limits()
        };
        for limits in [no_count, no_time] {
            for _ in 0..10 {
                let counted = failures.add(client(1), now, &limits);
                assert_eq!(counted, AddressFailures::default());
            }
            assert!(!failures.refuse(client(1), now, &limits));
            assert_eq!(size(&failures), 0);
        }
    }

    /// A million addresses that fail once: the table stays small, and keeps those that have
    /// failed more often.
    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_clears_it() {
        let (failures, limits, now) = (Failures::default(), limits(), Instant::now());
        for guesser in 1..=2 {
            for _ in 0..=guesser {
                failures.add(client(guesser), now, &limits);
            }
        }
        for n in 0..1_000_000 {
            failures.add(client(1000 + n), now, &limits);
        }
        assert_eq!(size(&failures), ENTRIES + 2);
        assert!(failures.refuse(client(2), now, &limits));
        assert!(failures.add(client(1), now, &limits).is_refused);
        // Nor is it larger when all levels are full.
        let limits = Limits {
            address_failures: 1000,
            ..limits
        };
        for n in 0..2 * ENTRIES as u32 {
            for _ in 0..1 << (n % 9) {
                failures.add(client(5_000_000 + n), now, &limits);
            }
        }
        assert!(size(&failures) <= LEVELS * ENTRIES);
    }

    #[test]
    fn levels_double() {
        let levels = [1, 2, 3, 4, 7, 8, 127, 128, 255, 256, u32::MAX].map(level_of);
        assert_eq!(levels, [0, 1, 1, 2, 2, 3, 6, 7, 7, 7, 7]);
    }
}
