//! `conn list` and `conn state`: a server's connections as scripts see them, whichever
//! driver they have.

use super::ServerObject;
use crate::ffi::command::Error;
use crate::ffi::Value;
use crate::net::ConnectionState;
use crate::store::ids::ConnectionId;
use crate::text::characters;

impl ServerObject {
    pub(super) fn conn(&self, args: &[Value]) -> Result<Value, Error> {
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
            ("state", [id]) => self.conn_state(&id.to_text()),
            ("state", _) => Err(self.identity.usage("conn state connId")),
            (method, _) => {
                let message = format!("bad option \"{method}\": must be list, or state");
                Err(Error::new(message, &["METHOD", method]))
            }
        }
    }

    fn conn_state(&self, name: &str) -> Result<Value, Error> {
        if let Some(session) = self.channel(name) {
            return Ok(self.state_dict(&session.state()));
        }
        let id = name.strip_prefix("conn").and_then(|id| id.parse().ok());
        let state = id.and_then(|id: u64| self.engine.connection(ConnectionId::from(id)));
        let state = state.ok_or_else(|| {
            let message = format!("connection \"{name}\" does not exist");
            Error::new(message, &["CONNECTION", name])
        })?;
        Ok(self.state_dict(&state))
    }

    fn state_dict(&self, ConnectionState { snapshot, peer }: &ConnectionState) -> Value {
        let deleted: Vec<_> = snapshot
            .deleted
            .iter()
            .map(|n| Value::int((*n).into()))
            .collect();
        let octets = i64::try_from(snapshot.size).unwrap_or(i64::MAX);
        Value::dict([
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
        ])
    }
}

/// How scripts name a connection of the network driver.
fn connection_name(id: ConnectionId) -> String {
    format!("conn{id}")
}
