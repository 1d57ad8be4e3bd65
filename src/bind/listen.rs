//! `up`: opens the listening socket that `-socket` and `-port` describe.

use std::io;
use std::rc::Rc;

use super::channel::AcceptCommand;
use super::options::{bad_value, PREFIX};
use super::server::ServerObject;
use crate::ffi::command::{self, Error, Token};
use crate::ffi::descriptor;
use crate::ffi::interp::{self, Raised};
use crate::ffi::{Interp, Value};
use crate::net::Endpoint;
use pop3_proto::security::TlsMode;

/// How Tcl's error code begins when no channel has a name.
const NO_CHANNEL: [&str; 3] = ["TCL", "LOOKUP", "CHANNEL"];

/// A listening socket.
pub enum Listener {
    /// Of the network side.
    Native,
    /// A channel that the script's command prefix opened, and the command that it
    /// calls for each connection.
    Channel(Value, Token),
}

impl Listener {
    /// Closes it; the port is free when this returns.
    pub fn close(self, server: &ServerObject) {
        match self {
            Self::Native => server.engine.close_listener(),
            Self::Channel(channel, accept) => {
                let interp = &server.identity.interp;
                if !interp::is_deleted(interp) {
                    // The script may have closed it itself.
                    let _ = interp::call(interp, &[Value::text("::close"), channel]);
                }
                accept.delete();
            }
        }
    }
}

/// Opens the socket; returns it with the true port.
///
/// # Errors
/// What Tcl's `socket -server` raises in the same place.
pub fn open(
    server: &Rc<ServerObject>,
    socket: &Value,
    port: &Value,
) -> Result<(Listener, Value), Error> {
    let interp = &server.identity.interp;
    let address = match Native::of(interp, socket) {
        Some(Native::Address(address)) => address,
        Some(Native::Inherited(number)) => return inherit(server, socket, &number),
        None => return open_channel(server, socket, port),
    };
    let number = match port.to_text().parse::<u16>() {
        Ok(number) => number,
        // A service name, a number of another form, or no port at all: Tcl knows,
        // and says so in its own words.
        Err(_) => port_by_tcl(interp, socket, port)?,
    };
    let bound = server
        .engine
        .listen(Endpoint::Address(address.as_deref(), number));
    let bound = bound.map_err(|error| {
        let address = address.as_deref().unwrap_or("any address");
        socket_error(&error, &format!("listening on {address}, port {number}"))
    })?;
    Ok((Listener::Native, Value::int(bound.into())))
}

/// Serves on a copy of a descriptor that the process was started with: `down` leaves the
/// descriptor as it is, for the next `up`.
fn inherit(
    server: &ServerObject,
    socket: &Value,
    number: &str,
) -> Result<(Listener, Value), Error> {
    let listening = number
        .parse()
        .map_err(|_| io::ErrorKind::InvalidInput.into())
        .and_then(descriptor::copy)
        .and_then(|copy| server.engine.listen(Endpoint::Inherited(copy)));
    match listening {
        Ok(port) => Ok((Listener::Native, Value::int(port.into()))),
        Err(_) => {
            let message = format!(
                "cannot serve on descriptor \"{number}\": \
                 expected the number of a TCP socket that listens"
            );
            let socket = socket.to_text();
            Err(Error::new(message, &["OPTION", "-socket", &socket]))
        }
    }
}

/// Refuses the options that a socket of the script's own cannot have.
///
/// # Errors
/// `-tls` or `-proxy` is set.
pub fn check_channel(server: &ServerObject, socket: &Value) -> Result<(), Error> {
    let expected = "expected \"socket\", \"socket -myaddr ADDRESS\" or \"pop3d::inherit NUMBER\"";
    let refused = |what: &str, code: &str| {
        let socket = socket.to_text();
        let message = format!("{what} with -socket \"{socket}\": {expected}");
        Err(Error::new(message, &[code, "SOCKET"]))
    };
    if server.tls_mode() != TlsMode::Off {
        return refused("-tls cannot be offered", "TLS");
    }
    match server.has_proxies() {
        true => refused("-proxy cannot be used", "PROXY"),
        false => Ok(()),
    }
}

/// Evaluates `{*}$prefix -server $callback $port`, as documented.
fn open_channel(
    server: &Rc<ServerObject>,
    socket: &Value,
    port: &Value,
) -> Result<(Listener, Value), Error> {
    let interp = &server.identity.interp;
    check_channel(server, socket)?;
    let Some(mut words) = socket.to_list() else {
        return Err(bad_value("-socket", socket, PREFIX));
    };
    let accept = server.identity.variable("accept");
    let command = Rc::new(AcceptCommand(Rc::downgrade(server)));
    let token = command::create(interp, &accept, command);
    words.extend([Value::text("-server"), Value::texts([accept]), port.clone()]);
    let opened = interp::call(interp, &words).and_then(|channel| {
        let true_port = port_of(interp, &channel)?;
        Ok((channel, true_port.unwrap_or_else(|| port.clone())))
    });
    match opened {
        Ok((channel, true_port)) => Ok((Listener::Channel(channel, token), true_port)),
        Err(raised) => {
            token.delete();
            let called = "-socket is called as: PREFIX -server COMMAND PORT";
            let returned = "and returns a channel that listens";
            Err(raised.with_note(&format!("{called}, {returned}")).into())
        }
    }
}

/// The port of a listening channel; none if it has no address. An error if there is no
/// such channel.
fn port_of(interp: &Interp, channel: &Value) -> Result<Option<Value>, Raised> {
    let words = ["::fconfigure", &channel.to_text(), "-sockname"].map(Value::text);
    match interp::call(interp, &words) {
        Ok(name) => Ok(name.to_list().and_then(|name| name.get(2).cloned())),
        Err(raised)
            if raised
                .error_code()
                .starts_with(&NO_CHANNEL.map(String::from)) =>
        {
            Err(raised)
        }
        Err(_) => Ok(None),
    }
}

/// A `-socket` that the network side serves.
enum Native {
    /// Tcl's own `socket` command, with its `-myaddr`; none: all addresses.
    Address(Option<String>),
    /// `pop3d::inherit NUMBER`: a listening socket that the process was started with.
    Inherited(String),
}

impl Native {
    /// What a prefix means; none for a command of the script's own.
    fn of(interp: &Interp, socket: &Value) -> Option<Self> {
        let words = socket.to_list()?;
        let words: Vec<_> = words.iter().map(Value::to_text).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let address = match words[..] {
            ["socket" | "::socket"] => None,
            ["socket" | "::socket", "-myaddr", address] => Some(address.to_owned()),
            ["pop3d::inherit" | "::pop3d::inherit", number] => {
                return Some(Self::Inherited(number.to_owned()));
            }
            _ => return None,
        };
        is_tcls_own(interp).then_some(Self::Address(address))
    }
}

/// Whether `::socket` is the command that Tcl came with: neither a procedure nor an
/// alias has taken its place.
fn is_tcls_own(interp: &Interp) -> bool {
    let script = "expr {[info procs ::socket] eq {} && [interp alias {} ::socket] eq {} \
                  && [interp alias {} socket] eq {}}";
    let own = interp::eval(interp, script);
    own.is_ok_and(|own| own.to_bool() == Some(true))
}

/// Has Tcl itself open a socket on `port`, only to learn which port that is.
fn port_by_tcl(interp: &Interp, socket: &Value, port: &Value) -> Result<u16, Error> {
    let script = "apply {{socket port} {
        set channel [{*}$socket -server {} $port]
        try { lindex [fconfigure $channel -sockname] 2 } finally { close $channel }
    }}";
    let mut words = Value::text(script).to_list().unwrap_or_default();
    words.extend([socket.clone(), port.clone()]);
    let expected = "expected a port from 0 to 65535, or the name of a service";
    let number = interp::call(interp, &words);
    let number = number.map_err(|raised| {
        let port = port.to_text();
        raised.with_note(&format!("looking for port \"{port}\": {expected}"))
    })?;
    let number = number.to_int().and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| {
        let tried = format!("looking for port \"{}\"", port.to_text());
        socket_error(&io::ErrorKind::InvalidInput.into(), &tried)
    })
}

/// The error that Tcl's `socket` raises for what the system said. Scripts compare its
/// message, so what was tried and what to do stand in its `-errorinfo`.
fn socket_error(error: &io::Error, tried: &str) -> Error {
    let said = error.to_string();
    // Tcl shows what getaddrinfo(3) says, Rust tells whom it has asked.
    let reason = match said.strip_prefix("failed to lookup address information: ") {
        Some(reason) => reason.to_owned(),
        None => crate::store::reason::Reason(error).to_string(),
    };
    let message = format!("couldn't open socket: {reason}");
    let code = error.raw_os_error().map(errno_name);
    let code = code.map_or(vec!["NONE"], |name| vec!["POSIX", name, &reason]);
    let note = match advice(error) {
        Some(advice) => format!("{tried}: {advice}"),
        None => tried.to_owned(),
    };
    Raised::noted(&message, &code, &note).into()
}

/// What to do about a socket that cannot listen.
fn advice(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            Some("a port below 1024 needs root or CAP_NET_BIND_SERVICE; or take another -port")
        }
        Some(libc::EADDRINUSE) => Some("something listens there; end it, or take another -port"),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) | None => {
            Some("expected an address of this machine as -myaddr of -socket")
        }
        Some(libc::EMFILE | libc::ENFILE) => Some("raise the limit of open files"),
        Some(_) => None,
    }
}

/// The names of the errors that binding a socket may meet.
fn errno_name(number: i32) -> &'static str {
    match number {
        libc::EACCES => "EACCES",
        libc::EPERM => "EPERM",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOMEM => "ENOMEM",
        _ => "EIO",
    }
}

/// The name of this host, as greetings show it.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    // It stands in a message-id like word (RFC 1939 §7), whatever it is set to.
    let printable = |c: &char| c.is_ascii_graphic() && !"<>@".contains(*c);
    let name: String = name.chars().filter(printable).collect();
    match name.is_empty() {
        true => "localhost".to_owned(),
        false => name,
    }
}
