//! The connections that a listening channel accepts become sessions, or are turned away.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Instant;

use pop3_proto::connection::{Connection as Machine, Stall};
use pop3_proto::security::TlsFacts;

use super::alarm::Alarm;
use super::{with, ChannelSession, Step};
use crate::bind::server::ServerObject;
use crate::descriptors::Reserve;
use crate::ffi::channel::Channel;
use crate::ffi::command::{self, Command, Error};
use crate::ffi::{interp, Interp, Value};
use crate::net::{place, Counted, Permit, Refused};
use crate::store::hold::Hold;
use crate::store::ids::ConnectionId;

/// Channels that Tcl can watch: so many are kept free for those who come next.
const SPARE: i32 = 16;

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

/// Admits a connection; where there is no room, in the place of the one that has waited
/// longest without logging in.
fn admit(server: &ServerObject, peer: IpAddr) -> Result<(Permit, Reserve), Refused> {
    loop {
        let descriptors = Reserve::for_connection().ok_or(Refused::Descriptors);
        let admitted = descriptors.and_then(|d| Ok((server.engine.admit(peer)?, d)));
        match admitted {
            Err(Refused::Connections | Refused::Descriptors) if server.make_room() => {}
            admitted => return admitted,
        }
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
    server.bound_channels(!channel.is_watchable(SPARE));
    let admitted = match channel.is_watchable(0) {
        true => admit(server, peer.ip()),
        false => Err(Refused::Channels),
    };
    let ((permit, descriptors), config) = match (admitted, server.config()) {
        (Ok(permit), Some(config)) => (permit, config),
        (refusal, _) => {
            if let Err(reason) = refusal {
                server.log().connection_refused(peer, reason);
                // Before a TLS channel has shaken hands Tcl would try to write for ever.
                if reason != Refused::Channels
                    && shake_hands(interp, name).is_ok_and(|state| state != Handshake::UnderWay)
                {
                    channel.write(reason.line());
                }
            }
            channel.close();
            return;
        }
    };
    let machine = Machine::new(
        config.clone(),
        server.engine.origin(place(peer.ip())),
        Instant::now(),
    );
    let alarm = Alarm::new(&channel, &config.limits);
    let connection = Rc::new(ChannelSession {
        name: name.to_owned(),
        id: ConnectionId::new(),
        server: server.clone(),
        channel,
        peer,
        machine: RefCell::new(machine),
        source: RefCell::new(None),
        awaited: RefCell::new(None),
        hold: Hold::new(),
        alarm,
        ready: Cell::new(false),
        encrypted: Cell::new(false),
        busy: Cell::new(false),
        postponed: Cell::new(None),
        left: Cell::new(false),
        counted: Counted::default(),
        permit: RefCell::new(Some(permit)),
        descriptors,
    });
    server.add_channel(connection.clone());
    server.log().accepted(|| connection.client(), peer);
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
            Ok(Handshake::UnderWay) => {
                // The greeting waits for it.
                let mut machine = self.machine.borrow_mut();
                machine.handle_write_blocked(Instant::now(), Stall::Deadline);
                return Step::Wait;
            }
            Ok(state) => {
                self.ready.set(true);
                if state == Handshake::Done {
                    self.encrypted.set(true);
                    self.server.log().channel_handshake(true);
                    // Its details are Tcl's `tls` package's.
                    self.machine.borrow_mut().handle_tls(TlsFacts::default());
                }
            }
            Err(failed) => {
                self.server.log().channel_handshake(false);
                self.machine.borrow_mut().handle_broken(failed);
            }
        }
        Step::Again
    }
}

/// Where the handshake of a channel is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handshake {
    /// There is none: no channel of the package tls.
    Plain,
    UnderWay,
    Done,
}

/// Lets a channel of the package tls shake hands first. With a greeting waiting in it Tcl
/// would try to write it again and again while the peer says nothing.
fn shake_hands(interp: &Interp, channel: &str) -> Result<Handshake, ErrorKind> {
    if !command::exists(interp, "::tls::handshake") {
        return Ok(Handshake::Plain);
    }
    let words = ["::tls::handshake", channel].map(Value::text);
    match interp::call(interp, &words) {
        Ok(done) if done.to_bool() == Some(false) => Ok(Handshake::UnderWay),
        Ok(_) => Ok(Handshake::Done),
        Err(raised) if raised.message().contains("not a TLS channel") => Ok(Handshake::Plain),
        Err(_) => Err(ErrorKind::InvalidData),
    }
}
