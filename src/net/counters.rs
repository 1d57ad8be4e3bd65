//! What a server has done, in numbers: counted where it is logged, for both shells.
//!
//! What a session does often it counts in fields of its own
//! ([`Tally`]), which are added up when it ends. What is asked for before that is added when
//! somebody asks. So a command costs no atomic operation, and no sum goes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::Refused;
use pop3_proto::connection::End;
use pop3_proto::sasl::{Mechanism, SASL};
use pop3_proto::session::{EndReason, Tally};
use pop3_proto::Refusal;

/// Kinds of one thing, each counted by itself, and the names by which scripts see them.
macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($kind:ident: $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) enum $name {
            $($kind),*
        }

        impl $name {
            const NAMES: &'static [&'static str] = &[$($text),*];
        }
    };
}

kinds! {
    /// Why a connection was turned away.
    TurnedAway {
        Connections: "connections",
        PerAddress: "per_address",
        Blocked: "blocked",
        Descriptors: "descriptors",
        Channels: "channels",
        Proxy: "proxy",
        Destroyed: "destroyed",
    }
}

kinds! {
    /// What came of a login.
    LoginResult {
        Ok: "ok",
        Refused: "refused",
        InUse: "in_use",
        Blocked: "blocked",
        Failed: "failed",
    }
}

kinds! {
    /// A version of TLS.
    TlsVersion {
        Tls12: "TLSv1.2",
        Tls13: "TLSv1.3",
        Unknown: "unknown",
    }
}

kinds! {
    /// Why a session has ended.
    Ending {
        Quit: "quit",
        UpdateFailed: "update_failed",
        TooManyErrors: "errors",
        TooManyLogins: "failed_logins",
        BodyFailed: "unreadable",
        MadeRoom: "made_room",
        Hook: "hook",
        Closed: "closed",
        Client: "client",
        Broken: "broken",
        Idle: "idle",
        LoginTimeout: "login_timeout",
        WriteTimeout: "write_timeout",
        Tls: "tls",
        Destroyed: "destroyed",
        Exit: "exit",
    }
}

impl From<Refused> for TurnedAway {
    fn from(reason: Refused) -> Self {
        match reason {
            Refused::Connections => Self::Connections,
            Refused::PerAddress => Self::PerAddress,
            Refused::Dead => Self::Destroyed,
            Refused::FailedLogins => Self::Blocked,
            Refused::Descriptors => Self::Descriptors,
            Refused::Channels => Self::Channels,
        }
    }
}

impl From<Option<Refusal>> for LoginResult {
    fn from(refusal: Option<Refusal>) -> Self {
        match refusal {
            None => Self::Ok,
            Some(Refusal::Credentials) => Self::Refused,
            Some(Refusal::InUse) => Self::InUse,
            Some(Refusal::TooManyFailures) => Self::Blocked,
            Some(Refusal::Failed(..)) => Self::Failed,
        }
    }
}

impl TlsVersion {
    fn named(name: &str) -> Self {
        match name {
            "TLSv1.2" => Self::Tls12,
            "TLSv1.3" => Self::Tls13,
            _ => Self::Unknown,
        }
    }
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        match end {
            End::Session(EndReason::Quit) => Self::Quit,
            End::Session(EndReason::UpdateFailed) => Self::UpdateFailed,
            End::Session(EndReason::TooManyErrors) => Self::TooManyErrors,
            End::Session(EndReason::TooManyLogins) => Self::TooManyLogins,
            End::Session(EndReason::BodyFailed) => Self::BodyFailed,
            End::Session(EndReason::MadeRoom) => Self::MadeRoom,
            End::Session(EndReason::ByHook) => Self::Hook,
            End::Session(EndReason::Closed) | End::Closed => Self::Closed,
            End::PeerClosed => Self::Client,
            End::Broken(_) => Self::Broken,
            End::Idle => Self::Idle,
            End::TlsFailed => Self::Tls,
            End::LoginTimeout => Self::LoginTimeout,
            End::WriteTimeout => Self::WriteTimeout,
            End::Killed => Self::Destroyed,
            End::Dropped => Self::Exit,
        }
    }
}

/// Mechanisms of logins.
const MECHANISMS: usize = SASL.len() + 2;

/// Counts by name.
pub type Named = Vec<(&'static str, u64)>;

/// One counter for each kind.
struct Counts<const KINDS: usize>([AtomicU64; KINDS]);

impl<const KINDS: usize> Default for Counts<KINDS> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const KINDS: usize> Counts<KINDS> {
    fn add(&self, kind: usize) {
        add(&self.0[kind]);
    }

    fn named(&self, names: &[&'static str]) -> Named {
        names.iter().copied().zip(self.0.iter().map(get)).collect()
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The counters of one server.
#[derive(Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    turned_away: Counts<{ TurnedAway::NAMES.len() }>,
    logins: [Counts<{ LoginResult::NAMES.len() }>; MECHANISMS],
    handshakes: Counts<{ TlsVersion::NAMES.len() }>,
    handshakes_resumed: AtomicU64,
    handshakes_failed: AtomicU64,
    ended: Counts<{ Ending::NAMES.len() }>,
    stores_failed: AtomicU64,
    messages_unreadable: AtomicU64,
    /// What the sessions that have ended have done together.
    done: Mutex<Tally>,
}

/// Whether a session's [`Tally`] is among those of sessions that have ended.
#[derive(Default)]
pub struct Counted(AtomicBool);

impl Counted {
    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn accepted(&self) {
        add(&self.accepted);
    }

    pub(super) fn turned_away(&self, reason: impl Into<TurnedAway>) {
        self.turned_away.add(reason.into() as usize);
    }

    pub(super) fn login(&self, mechanism: Mechanism, refusal: Option<Refusal>) {
        self.logins[mechanism as usize].add(LoginResult::from(refusal) as usize);
    }

    /// A login whose credentials are right was refused by the hook.
    pub(super) fn login_refused_by_hook(&self, mechanism: Mechanism) {
        self.logins[mechanism as usize].add(LoginResult::Failed as usize);
    }

    pub(super) fn handshake(&self, version: &str, resumed: bool) {
        self.handshakes.add(TlsVersion::named(version) as usize);
        if resumed {
            add(&self.handshakes_resumed);
        }
    }

    pub(super) fn handshake_failed(&self) {
        add(&self.handshakes_failed);
    }

    pub(super) fn store_failed(&self) {
        add(&self.stores_failed);
    }

    pub(super) fn message_unreadable(&self) {
        add(&self.messages_unreadable);
    }

    /// A session has ended that has done so much.
    pub(super) fn ended(&self, tally: Tally, counted: &Counted, end: End) {
        self.ended.add(Ending::from(end) as usize);
        let mut done = self.done();
        *done += tally;
        counted.0.store(true, Ordering::Relaxed);
    }

    /// What the sessions that have ended have done. While the guard lives, no session is
    /// [`Counted`].
    pub(super) fn done(&self) -> MutexGuard<'_, Tally> {
        // A panic cannot leave the sums half changed, but by an overflow.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, where sessions have done so much.
    pub(super) fn read(&self, tally: Tally) -> Stats {
        let mechanisms = [Mechanism::User, Mechanism::Apop].into_iter().chain(SASL);
        let login = |mechanism: Mechanism| {
            let counts = &self.logins[mechanism as usize];
            (mechanism.name(), counts.named(LoginResult::NAMES))
        };
        Stats {
            accepted: get(&self.accepted),
            turned_away: self.turned_away.named(TurnedAway::NAMES),
            ended: self.ended.named(Ending::NAMES),
            logins: mechanisms.map(login).collect(),
            tally,
            handshakes: self.handshakes.named(TlsVersion::NAMES),
            handshakes_resumed: get(&self.handshakes_resumed),
            handshakes_failed: get(&self.handshakes_failed),
            stores_failed: get(&self.stores_failed),
            messages_unreadable: get(&self.messages_unreadable),
        }
    }
}

/// What a server has done since it was made. Kinds that have not come yet are there with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were not, by the reason.
    pub turned_away: Named,
    /// Sessions that have ended, by the reason.
    pub ended: Named,
    /// Logins by mechanism and result.
    pub logins: Vec<(&'static str, Named)>,
    /// What sessions have done, those that go on included.
    pub tally: Tally,
    /// TLS handshakes by version; `unknown` on Tcl channels.
    pub handshakes: Named,
    /// Those of them that have resumed a session; none is known of on Tcl channels.
    pub handshakes_resumed: u64,
    /// TLS handshakes that have failed.
    pub handshakes_failed: u64,
    /// Requests that a built-in store could not do.
    pub stores_failed: u64,
    /// Messages that could not be read to their end.
    pub messages_unreadable: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Each mechanism has a place of its own, in the order in which all are read.
    #[test]
    fn logins_are_counted_where_they_are_read() {
        let counters = Counters::default();
        let all = [Mechanism::User, Mechanism::Apop].into_iter().chain(SASL);
        for (times, mechanism) in all.clone().enumerate() {
            for _ in 0..times {
                counters.login(mechanism, Some(Refusal::InUse));
            }
        }
        let logins = counters.read(Tally::default()).logins;
        assert_eq!(logins.len(), MECHANISMS);
        for (times, (mechanism, counted)) in all.zip(logins).enumerate() {
            let want = ["ok", "refused", "in_use", "blocked", "failed"]
                .map(|result| (result, if result == "in_use" { times as u64 } else { 0 }));
            assert_eq!(counted, (mechanism.name(), want.to_vec()));
        }
    }

    #[test]
    fn names_differ_and_are_plain() {
        let tables = [TurnedAway::NAMES, LoginResult::NAMES, Ending::NAMES];
        for names in tables {
            let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(names.iter().all(plain), "{names:?}");
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        }
    }
}
