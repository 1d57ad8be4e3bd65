//! The method `conn`: a server's connections as scripts see them, whichever driver they have.

use std::rc::Rc;
use std::time::SystemTime;

use super::ServerObject;
use crate::bind::callbacks;
use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::net::ConnectionState;
use crate::store::ids::ConnectionId;
use crate::text::characters;
use pop3_proto::is_reply_text;
use pop3_proto::sasl::Mechanism;

impl ServerObject {
    pub(super) fn conn(self: &Rc<Self>, args: &[Value]) -> Result<Value, Error> {
        let Some((method, args)) = args.split_first() else {
            return Err(self.identity.usage("conn option ?arg ...?"));
        };
        match (&*method.to_text(), args) {
            ("list", []) => {
                let mut names: Vec<_> = self.channels.borrow().keys().cloned().collect();
                names.extend(self.engine.connections().into_iter().map(connection_name));
                Ok(Value::texts(names))
            }
            ("list", _) => Err(self.identity.usage("conn list")),
            ("state", [id]) => {
                let state = self.connection_state(&id.to_text())?;
                Ok(Value::dict(self.state_fields(&state)))
            }
            ("state", _) => Err(self.identity.usage("conn state connId")),
            ("info", [id]) => {
                let state = self.connection_state(&id.to_text())?;
                let fields = self.state_fields(&state).into_iter();
                Ok(Value::dict(fields.chain(info_fields(&state))))
            }
            ("current", []) => Ok(Value::text(&self.current_connection().unwrap_or_default())),
            ("current", _) => Err(self.identity.usage("conn current")),
            ("info", _) => Err(self.identity.usage("conn info connId")),
            ("close", [id]) => self.close_connection(&id.to_text(), ""),
            ("close", [id, text]) => self.close_connection(&id.to_text(), &text.to_text()),
            ("close", _) => Err(self.identity.usage("conn close connId ?text?")),
            (method, _) => {
                // Tcllib's list.
                let message = format!("bad option \"{method}\": must be list, or state");
                let error = Error::new(message, &["METHOD", method]);
                Err(error.with_note("there are also close, and info"))
            }
        }
    }

    /// The connection for which the callback runs that asks; none for other servers'.
    fn current_connection(&self) -> Option<String> {
        let call = self.world.calls.current()?;
        if call.server != self.id {
            return None;
        }
        Some(self.connection_name(call.connection))
    }

    /// How scripts name a connection: on a Tcl channel, by the channel's name.
    pub fn connection_name(&self, connection: ConnectionId) -> String {
        let channels = self.channels.borrow();
        let session = channels.values().find(|session| session.id == connection);
        let name = || connection_name(connection);
        session.map_or_else(name, |session| session.name.clone())
    }

    fn connection_state(&self, name: &str) -> Result<ConnectionState, Error> {
        if let Some(session) = self.channel(name) {
            return Ok(session.state());
        }
        let state = connection_id(name).and_then(|id| self.engine.connection(id));
        state.ok_or_else(|| no_connection(name))
    }

    /// Ends one connection. Its mailbox is unlocked when this returns.
    fn close_connection(self: &Rc<Self>, name: &str, text: &str) -> Result<Value, Error> {
        if !is_reply_text(text) {
            let message = format!(
                "bad text \"{text}\": must be at most 505 printable characters of US-ASCII"
            );
            return Err(Error::new(message, &["TEXT", text]));
        }
        if let Some(session) = self.channel(name) {
            session.close_for_script(text);
            return Ok(Value::text(""));
        }
        let closed = connection_id(name).and_then(|id| self.engine.close_connection(id, text));
        let owed = closed.ok_or_else(|| no_connection(name))?;
        if let Some(owed) = owed.filter(|owed| owed.lock.is_owed()) {
            callbacks::unlock(self, &owed.lock.mailbox, owed.client.clone());
        }
        Ok(Value::text(""))
    }

    /// What Tcllib's `conn state` tells.
    fn state_fields(&self, state: &ConnectionState) -> [(&'static str, Value); 11] {
        let ConnectionState { snapshot, peer, .. } = state;
        let deleted: Vec<_> = snapshot
            .deleted
            .iter()
            .map(|n| Value::int((*n).into()))
            .collect();
        let octets = i64::try_from(snapshot.size).unwrap_or(i64::MAX);
        [
            ("id", Value::text(&snapshot.id)),
            ("state", Value::text(&snapshot.state.to_string())),
            ("name", Value::text(&characters(&snapshot.name))),
            ("storage", Value::text(&snapshot.storage)),
            ("logon", Value::text(snapshot.logon)),
            ("deleted", Value::list(&deleted)),
            ("msg", Value::int(snapshot.msg.into())),
            ("size", Value::int(octets)),
            ("remotehost", Value::text(&peer.ip().to_string())),
            ("remoteport", Value::int(peer.port().into())),
            ("server", Value::text(&self.identity.name)),
        ]
    }
}

/// What there is to know besides. Empty: no TLS, no certificate, no login.
fn info_fields(state: &ConnectionState) -> [(&'static str, Value); 11] {
    let tls = state.tls.as_deref();
    let count = |n: u64| Value::int(i64::try_from(n).unwrap_or(i64::MAX));
    let age = state.begun.elapsed();
    let since = (SystemTime::now() - age).duration_since(SystemTime::UNIX_EPOCH);
    let idle = u64::try_from(state.idle.as_millis()).unwrap_or(u64::MAX);
    [
        ("peer", Value::text(&state.peer.to_string())),
        ("tls", Value::text(tls.map_or("", |tls| &tls.version))),
        ("cipher", Value::text(tls.map_or("", |tls| &tls.cipher))),
        (
            "certificate",
            Value::texts(tls.map_or(&[][..], |tls| &tls.certificate)),
        ),
        (
            "mechanism",
            Value::text(state.mechanism.map_or("", Mechanism::name)),
        ),
        ("commands", count(state.tally.commands)),
        ("messages", count(state.tally.messages)),
        ("octets", count(state.tally.octets)),
        ("since", count(since.map_or(0, |since| since.as_secs()))),
        ("seconds", count(age.as_secs())),
        ("idle", count(idle)),
    ]
}

/// The connection of the network driver that has this name.
fn connection_id(name: &str) -> Option<ConnectionId> {
    let id: u64 = name.strip_prefix("conn")?.parse().ok()?;
    Some(ConnectionId::from(id))
}

fn no_connection(name: &str) -> Error {
    let message = format!("connection \"{name}\" does not exist");
    let error = Error::new(message, &["CONNECTION", name]);
    error.with_note("\"conn list\" tells those that there are")
}

/// How scripts name a connection of the network driver.
fn connection_name(id: ConnectionId) -> String {
    format!("conn{id}")
}
