//! Log records: what happened, counted, built and worded here for both shells.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::counters::{Counted, Counters, TurnedAway};
use super::proxy_header::HeaderError;
use crate::store::ids::{Client, ConnectionId, ServerId};
use crate::store::reason::Reason;
use crate::store::StoreError;
use crate::tls;
use pop3_proto::connection::End;
use pop3_proto::sasl::Mechanism;
use pop3_proto::security::TlsFacts;
use pop3_proto::session::Tally;
use pop3_proto::{LoginStep, Refusal, Request, TOO_MANY_CONNECTIONS, TOO_MANY_FAILURES};

/// How serious a record is. Tcllib's `log` has levels of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work, and somebody should look.
    Error,
    /// Something was refused.
    Warning,
    /// Connections, logins, ends of sessions.
    Notice,
    /// Each request of each session.
    Debug,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// New connections cannot be accepted for now.
    AcceptFailed,
    /// A connection was turned away with an −ERR line.
    ConnectionRefused,
    /// A connection was accepted.
    Accepted,
    /// A session asks users or mailboxes.
    Asked,
    /// A login was accepted.
    LoggedIn,
    /// A login was refused: wrong user or secret.
    LoginRefused,
    /// A login was refused for another reason: the mailbox is in use, or something failed.
    LoginFailed,
    /// The PROXY header of a connection is missing or malformed.
    HeaderFailed,
    /// An address is refused for a while, since too many of its logins have failed.
    AddressRefused,
    /// A built-in store failed; the client was told without detail.
    StoreFailed,
    /// A message could not be read to its end.
    ReadFailed,
    /// A script's callback failed.
    CallbackFailed,
    /// A script's storage has no `uidl`.
    UidlUnknown,
    /// A connection has TLS now.
    Encrypted,
    /// A handshake of TLS failed.
    HandshakeFailed,
    /// Certificates could not be read again; the old ones are still shown.
    CertificatesFailed,
    /// A session has ended: the one record for each.
    Ended,
    /// Records were dropped, as too many waited.
    Dropped,
}

impl Event {
    /// As in Tcllib's pop3d, as far as it has such events.
    pub fn level(self) -> Level {
        match self {
            Self::AcceptFailed | Self::CertificatesFailed => Level::Error,
            Self::StoreFailed | Self::ReadFailed | Self::CallbackFailed => Level::Error,
            // In Tcllib an unknown user is a warning and a wrong secret a notice. Here the
            // two are not told apart, and an attack must not hide.
            Self::ConnectionRefused | Self::LoginRefused => Level::Warning,
            Self::AddressRefused | Self::HeaderFailed | Self::Dropped => Level::Warning,
            Self::Accepted | Self::LoggedIn | Self::LoginFailed => Level::Notice,
            Self::Encrypted | Self::HandshakeFailed => Level::Notice,
            Self::UidlUnknown | Self::Ended => Level::Notice,
            Self::Asked => Level::Debug,
        }
    }
}

/// Something that happened, for people and for programs. Holds no secret.
#[derive(Debug)]
pub struct Record {
    /// How serious it is.
    pub level: Level,
    /// What it is.
    pub event: Event,
    /// The connection that it concerns.
    pub connection: Option<ConnectionId>,
    /// The user's name as the client sent it, so it may hold any character; none while the
    /// client has given no name.
    pub user: Option<String>,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// What else there is to know of it, by name.
    pub fields: Vec<(&'static str, String)>,
    /// What happened, without the connection.
    message: String,
}

impl Record {
    /// A record that concerns no connection.
    fn general(event: Event, message: String) -> Self {
        Self {
            level: event.level(),
            event,
            connection: None,
            user: None,
            peer: None,
            fields: Vec::new(),
            message,
        }
    }

    /// A record of one client's connection.
    fn of(client: Client, event: Event, message: String) -> Self {
        Self {
            connection: Some(client.connection),
            user: Some(client.user).filter(|user| !user.is_empty()),
            peer: Some(client.peer),
            ..Self::general(event, message)
        }
    }

    /// A script's callback failed for a client.
    pub fn callback_failed(client: Client, message: &str) -> Self {
        Self::of(client, Event::CallbackFailed, message.to_owned())
    }

    /// So many records of a server were dropped.
    pub fn dropped(records: usize) -> Self {
        let message = format!("{records} log lines were dropped");
        Self::general(Event::Dropped, message)
    }

    /// The text for people. It may hold characters of a client's or a script's choice.
    pub fn text(&self) -> String {
        match self.connection {
            Some(connection) => format!("conn{connection} {}", self.message),
            None => self.message.clone(),
        }
    }

    /// All that programs may want to know, by name.
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let known = [
            ("connection", self.connection.map(|id| id.to_string())),
            ("user", self.user.clone()),
            ("peer", self.peer.map(|peer| peer.to_string())),
        ];
        let known = known.into_iter();
        let known = known.filter_map(|(name, value)| Some((name, value?)));
        known.chain(self.fields.iter().cloned()).collect()
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server has as many connections as it may have.
    Connections,
    /// This address has as many as it may have.
    PerAddress,
    /// The server is being destroyed.
    Dead,
    /// Too many logins from this address have failed.
    FailedLogins,
    /// The process may not open enough files for one more session.
    Descriptors,
    /// Tcl could not watch one more.
    Channels,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "too many connections",
            Self::PerAddress => "too many connections from this address",
            Self::Dead => "server destroyed",
            Self::FailedLogins => "too many failed logins from this address",
            Self::Descriptors => "too few descriptors",
            Self::Channels => "too many channels for Tcl to watch",
        })
    }
}

impl Refused {
    /// What the client is told in the place of the greeting.
    pub fn line(self) -> &'static [u8] {
        match self {
            Self::FailedLogins => TOO_MANY_FAILURES,
            _ => TOO_MANY_CONNECTIONS,
        }
    }
}

/// Takes what servers have to say. All methods are called on network threads or, for
/// sessions on Tcl channels and within [`Server::kill`](super::Server::kill), on the
/// interpreter's. They must not block, and at most the network side's lock of the one
/// connection is held.
pub trait Observer: Send + Sync {
    /// Whether records of this level are wanted. It is asked before one is built, so it
    /// should cost no more than reading an atomic.
    fn wants(&self, level: Level) -> bool;

    /// Takes a record of a level that is wanted.
    fn record(&self, server: ServerId, record: Record);

    /// A connection has left the server's list, and its lock is released or on its way to
    /// the interpreter: for `destroy defer`. Called once for each connection that did not
    /// end by `kill`, after the record of its end.
    fn closed(&self, server: ServerId, connection: ConnectionId);
}

/// The log of one server: counts each event, and builds a record of it if one is wanted.
pub struct Log {
    server: ServerId,
    observer: Arc<dyn Observer>,
    pub(super) counters: Counters,
}

impl Log {
    /// Hands the records of `server` to `observer`.
    pub(super) fn new(server: ServerId, observer: Arc<dyn Observer>) -> Self {
        Self {
            server,
            observer,
            counters: Counters::default(),
        }
    }

    /// A connection has left the server's list.
    pub(super) fn closed(&self, connection: ConnectionId) {
        self.observer.closed(self.server, connection);
    }

    fn add(&self, event: Event, build: impl FnOnce() -> Record) {
        if self.observer.wants(event.level()) {
            self.observer.record(self.server, build());
        }
    }

    fn add_of(&self, client: impl FnOnce() -> Client, event: Event, message: impl fmt::Display) {
        self.add(event, || Record::of(client(), event, message.to_string()));
    }

    /// New connections cannot be accepted for now.
    pub(super) fn accept_failed(&self, error: &io::Error) {
        let event = Event::AcceptFailed;
        self.add(event, || {
            Record::general(event, format!("accept: {}", Reason(error)))
        });
    }

    /// A connection was turned away.
    pub fn connection_refused(&self, peer: SocketAddr, reason: Refused) {
        self.counters.turned_away(reason);
        let event = Event::ConnectionRefused;
        self.add(event, || Record {
            peer: Some(peer),
            fields: vec![("reason", format!("{reason:?}"))],
            ..Record::general(event, format!("{peer} refused: {reason}"))
        });
    }

    /// A connection of a proxy is closed, since it has no proper header.
    pub(super) fn header_failed(&self, peer: SocketAddr, error: &HeaderError) {
        self.counters.turned_away(TurnedAway::Proxy);
        let event = Event::HeaderFailed;
        self.add(event, || Record {
            peer: Some(peer),
            fields: vec![("reason", error.to_string())],
            ..Record::general(event, format!("{peer} closed: {error}"))
        });
    }

    /// An address is refused for so long, after so many failed logins.
    pub(super) fn address_refused(&self, address: &str, failures: u32, time: Duration) {
        let event = Event::AddressRefused;
        self.add(event, || Record {
            fields: vec![
                ("address", address.to_owned()),
                ("failures", failures.to_string()),
                ("milliseconds", time.as_millis().to_string()),
            ],
            ..Record::general(
                event,
                format!("{address} is refused for {time:?}: {failures} failed logins"),
            )
        });
    }

    /// A connection was accepted.
    pub fn accepted(&self, client: impl FnOnce() -> Client, peer: SocketAddr) {
        self.counters.accepted();
        let message = format_args!("state auth, waiting for logon from {peer}");
        self.add_of(client, Event::Accepted, message);
    }

    /// A handshake of TLS is made, or an earlier session `resumed` by it.
    pub(super) fn encrypted(&self, client: impl FnOnce() -> Client, tls: &TlsFacts, resumed: bool) {
        self.counters.handshake(&tls.version, resumed);
        let event = Event::Encrypted;
        self.add(event, || {
            let names = tls.certificate.join(", ");
            let shown = match &*names {
                "" => String::new(),
                names => format!(", certificate of {}", names.escape_debug()),
            };
            let message = format!("{} {}{shown}", tls.version, tls.cipher);
            Record {
                fields: vec![
                    ("tls", tls.version.to_string()),
                    ("cipher", tls.cipher.to_string()),
                    ("certificate", names),
                ],
                ..Record::of(client(), event, message)
            }
        });
    }

    /// A handshake of TLS failed.
    pub(super) fn handshake_failed(&self, client: impl FnOnce() -> Client, error: &io::Error) {
        self.counters.handshake_failed();
        let message = format!("TLS handshake failed: {}", Reason(error));
        self.add_of(client, Event::HandshakeFailed, message);
    }

    /// The handshake of a Tcl channel is made, or has failed. That it is logged is for the
    /// package that makes it.
    pub fn channel_handshake(&self, made: bool) {
        match made {
            true => self.counters.handshake("", false),
            false => self.counters.handshake_failed(),
        }
    }

    /// Files of certificates have changed, and cannot be used.
    pub(super) fn certificates_failed(&self, error: &tls::Error) {
        let event = Event::CertificatesFailed;
        self.add(event, || Record::general(event, format!("TLS: {error}")));
    }

    /// A session asks users or mailboxes.
    pub fn asked(&self, client: impl FnOnce() -> Client, request: &Request) {
        self.add_of(client, Event::Asked, format_args!("asks {request}"));
    }

    /// A login has been checked; `refusal`: why it failed.
    pub(super) fn login(
        &self,
        client: impl FnOnce() -> Client,
        mechanism: Mechanism,
        refusal: Option<Refusal>,
    ) {
        self.counters.login(mechanism, refusal);
        let event = match refusal {
            None => Event::LoggedIn,
            Some(Refusal::Credentials) => Event::LoginRefused,
            Some(_) => Event::LoginFailed,
        };
        self.login_ended(client, event, refusal.map(why));
    }

    /// The hook has refused a login whose credentials are right.
    pub(super) fn login_refused_by_hook(
        &self,
        client: impl FnOnce() -> Client,
        mechanism: Mechanism,
    ) {
        self.counters.login_refused_by_hook(mechanism);
        self.login_ended(client, Event::LoginFailed, Some("refused by the hook"));
    }

    fn login_ended(
        &self,
        client: impl FnOnce() -> Client,
        event: Event,
        reason: Option<&'static str>,
    ) {
        self.add(event, || {
            let client = client();
            // The client chose the name: nothing in it may break the line.
            let user = client.user.escape_debug();
            let message = match reason {
                None => format!("login {user}"),
                Some(reason) => format!("login refused {user}: {reason}"),
            };
            let ok = ("ok", u8::from(reason.is_none()).to_string());
            let reason = reason.map(|reason| ("reason", reason.to_owned()));
            Record {
                user: Some(client.user.clone()),
                fields: [ok].into_iter().chain(reason).collect(),
                ..Record::of(client, event, message)
            }
        });
    }

    /// A built-in store failed.
    pub fn store_failed(&self, client: impl FnOnce() -> Client, error: &StoreError) {
        self.counters.store_failed();
        match error.advice() {
            Some(advice) => {
                let text = format_args!("storage: {error} ({advice})");
                self.add_of(client, Event::StoreFailed, text);
            }
            None => self.add_of(client, Event::StoreFailed, format_args!("storage: {error}")),
        }
    }

    /// A message could not be read to its end.
    pub fn read_failed(&self, client: impl FnOnce() -> Client, error: &io::Error) {
        self.counters.message_unreadable();
        let message = format!("reading a message: {}", Reason(error));
        self.add_of(client, Event::ReadFailed, message);
    }

    /// A session has ended that has done so much; `session`: its client, and the time since
    /// its connection was accepted.
    pub fn ended(
        &self,
        (tally, counted): (Tally, &Counted),
        session: impl FnOnce() -> (Client, Duration),
        reason: End,
    ) {
        self.counters.ended(tally, counted, reason);
        let event = Event::Ended;
        self.add(event, || {
            let (client, duration) = session();
            let Client { user, peer, .. } = &client;
            let milliseconds = duration.as_millis();
            let Tally {
                commands,
                messages,
                octets,
                deleted,
                ..
            } = tally;
            let message = format!(
                "closed user={} peer={peer} commands={commands} messages={messages} \
                 octets={octets} deleted={deleted} reason=\"{reason}\" \
                 milliseconds={milliseconds}",
                user.escape_debug(),
            );
            Record {
                // Empty for a client that has given none.
                user: Some(user.clone()),
                fields: vec![
                    ("commands", commands.to_string()),
                    ("messages", messages.to_string()),
                    ("octets", octets.to_string()),
                    ("deleted", deleted.to_string()),
                    ("reason", reason.to_string()),
                    ("milliseconds", milliseconds.to_string()),
                ],
                ..Record::of(client, event, message)
            }
        });
    }

    /// A script's storage showed a client's session that it has no `uidl`.
    pub fn uidl_unknown(&self, client: impl FnOnce() -> Client, reason: &str) {
        let message = format!("uidl is unknown ({reason}): unique ids are digests (option -uidl)");
        self.add_of(client, Event::UidlUnknown, message);
    }
}

/// Why a login was refused; the detail of a failure has a record of its own.
fn why(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Credentials => "wrong user or secret",
        Refusal::InUse => "mailbox in use",
        Refusal::TooManyFailures => "too many failed logins from this address",
        Refusal::Failed(LoginStep::Users, _) => "users failed",
        Refusal::Failed(LoginStep::Lock, _) => "lock failed",
        Refusal::Failed(LoginStep::Mailbox, _) => "mailbox failed",
        Refusal::Failed(LoginStep::Server, _) => "not carried out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(user: &str) -> Client {
        Client {
            connection: ConnectionId::from(7),
            user: user.to_owned(),
            peer: SocketAddr::from(([127, 0, 0, 1], 4711)),
        }
    }

    #[test]
    fn a_record_names_its_client() {
        let record = Record::of(client("alice"), Event::StoreFailed, "storage: x".into());
        assert_eq!(record.text(), "conn7 storage: x");
        assert_eq!(record.level, Level::Error);
        let named = [
            ("connection", "7".to_owned()),
            ("user", "alice".to_owned()),
            ("peer", "127.0.0.1:4711".to_owned()),
        ];
        assert_eq!(record.named(), named);
        // Before the client has given a name.
        let record = Record::of(client(""), Event::Accepted, String::new());
        assert_eq!(record.named(), [named[0].clone(), named[2].clone()]);
        assert_eq!(Record::dropped(3).named(), []);
    }
}
