//! The connections that a listening channel accepts become sessions, or are turned away.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::deadlines::Alarm;
use super::{with, ChannelSession, Step};
use crate::backend::hold::Hold;
use crate::backend::script::ConnectionId;
use crate::bind::server::ServerObject;
use crate::ffi::channel::Channel;
use crate::ffi::command::{self, Command, Error};
use crate::ffi::{interp, Interp, Value};
use crate::net::{End, Event, Refused};
use crate::protocol::reply;
use crate::protocol::session::Session;

/// The command that a listening channel calls for each connection.
pub struct AcceptCommand(pub Weak<ServerObject>);

impl Command for AcceptCommand {
    fn invoke(&self, _interp: &Interp, args: &[Value]) -> Result<Value, Error> {
        let [channel, host, port] = args else {
            return Err(Error::wrong_args("accept channel host port"));
        };
        if let Some(server) = self.0.upgrade() {
            accept(
                &server,
                &channel.to_text(),
                &host.to_text(),
                &port.to_text(),
            );
        }
        Ok(Value::text(""))
    }
}

/// Takes a connection that the script's listening socket has accepted, or turns it
/// away.
fn accept(server: &Rc<ServerObject>, name: &str, host: &str, port: &str) {
    let interp = &server.identity.interp;
    let Some(channel) = Channel::open(interp, name) else {
        return;
    };
    // A channel of the script's own making may have any peer.
    let ip: IpAddr = host.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let peer = SocketAddr::new(ip.to_canonical(), port.parse().unwrap_or(0));
    let admitted = match channel.is_watchable() {
        true => server.engine.admit(peer.ip()),
        false => Err(Refused::Descriptors),
    };
    let (permit, config) = match (admitted, server.config()) {
        (Ok(permit), Some(config)) => (permit, config),
        (refusal, _) => {
            if let Err(reason) = refusal {
                server.tell(&Event::Refused { peer, reason });
                // Before a TLS channel has shaken hands Tcl would try to write for ever.
                if reason != Refused::Descriptors && shake_hands(interp, name) == Ok(true) {
                    channel.write(reply::TOO_MANY_CONNECTIONS);
                }
            }
            channel.close();
            return;
        }
    };
    let session = Session::new(config.clone(), server.engine.time_stamp());
    let alarm = Alarm::new(&channel, &config.limits);
    let connection = Rc::new(ChannelSession {
        name: name.to_owned(),
        id: ConnectionId::new(),
        server: server.clone(),
        channel,
        peer,
        since: Instant::now(),
        config,
        session: RefCell::new(session),
        message: RefCell::new(None),
        awaited: RefCell::new(None),
        hold: Hold::new(),
        alarm,
        ready: Cell::new(false),
        busy: Cell::new(false),
        delayed: Cell::new(false),
        left: Cell::new(false),
        _permit: permit,
    });
    server.add_channel(connection.clone());
    server.tell(&Event::Accepted {
        connection: connection.id,
        peer,
    });
    let weak = Rc::downgrade(&connection);
    connection
        .channel
        .set_handler(Rc::new(move || with(&weak, ChannelSession::advance)));
    connection.advance();
}

impl ChannelSession {
    /// Lets the channel shake hands before anything is written to it.
    pub(super) fn shake_hands(&self) -> Step {
        match shake_hands(&self.server.identity.interp, &self.name) {
            Ok(false) => Step::Wait,
            Ok(true) => {
                self.ready.set(true);
                Step::Again
            }
            Err(failed) => Step::Leave(End::Broken(failed)),
        }
    }
}

/// Lets a channel of the package tls shake hands first; whether that is done. With a
/// greeting waiting in it Tcl would try to write it again and again while the peer says
/// nothing.
fn shake_hands(interp: &Interp, channel: &str) -> Result<bool, ErrorKind> {
    if !command::exists(interp, "::tls::handshake") {
        return Ok(true);
    }
    let words = ["::tls::handshake", channel].map(Value::text);
    match interp::call(interp, &words) {
        Ok(done) => Ok(done.to_bool() != Some(false)),
        // Other channels have none.
        Err(raised) if raised.message().contains("not a TLS channel") => Ok(true),
        Err(_) => Err(ErrorKind::InvalidData),
    }
}
