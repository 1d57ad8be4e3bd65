//! The second driver: sessions on Tcl channels, for a `-socket` of the script's own
//! (`tls::socket`, say). Everything happens on the interpreter's thread, from channel
//! events; a script callback is a plain call.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{channel as oneshot, Receiver};

use super::callbacks::{Callbacks, Progress};
use super::server::ServerObject;
use crate::backend::access::{text, Answer, Runner};
use crate::backend::hold::{Ended, Hold};
use crate::backend::script::{ConnectionId, Job, Outcome, Work};
use crate::backend::{Content, Message};
use crate::ffi::channel::{Channel, Read};
use crate::ffi::command;
use crate::ffi::interp::{self, Preserved};
use crate::ffi::notifier::Timer;
use crate::ffi::{Interp, Value};
use crate::net::{ConnectionState, End, Event, Permit};
use crate::protocol::reply;
use crate::protocol::session::{Config, Session};
use crate::protocol::Request;

/// Bytes read from a channel or a message at a time.
const CHUNK: usize = 16 * 1024;

/// Steps of one session before other events of the interpreter have their turn.
const STEPS_PER_EVENT: u32 = 32;

/// A client that takes nothing for so long is given up, as by the network driver.
const WRITE_STALL: Duration = Duration::from_secs(300);

/// A session on a Tcl channel.
pub struct ChannelSession {
    /// How scripts name the connection: the channel's name.
    pub name: String,
    id: ConnectionId,
    server: Rc<ServerObject>,
    channel: Channel,
    peer: SocketAddr,
    since: Instant,
    config: Arc<Config>,
    session: RefCell<Session>,
    /// The rest of the message that is being sent.
    message: RefCell<Option<Source>>,
    hold: Arc<Hold>,
    deadline: Cell<Option<(Instant, End)>>,
    timer: RefCell<Option<Timer>>,
    /// When the timer fires.
    armed: Cell<Option<Instant>>,
    /// Whether bytes may be written: not before a TLS channel has shaken hands.
    ready: Cell<bool>,
    /// A step is under way further up on the stack: a callback has entered the event
    /// loop.
    busy: Cell<bool>,
    /// The reply to a failed login waits.
    delayed: Cell<bool>,
    left: Cell<bool>,
    _permit: Permit,
}

enum Source {
    Data(Arc<[u8]>, usize),
    /// The file, and how much of it is still to be sent.
    File(File, u64),
}

/// What the next step is.
enum Step {
    Again,
    /// Until the channel or the timer has an event.
    Wait,
    Leave(End),
}

/// Takes a connection that the script's listening socket has accepted, or turns it
/// away.
pub fn accept(server: &Rc<ServerObject>, name: &str, host: &str, port: &str) {
    let interp = &server.identity.interp;
    let Some(channel) = Channel::open(interp, name) else {
        return;
    };
    // A channel of the script's own making may have any peer.
    let ip: IpAddr = host.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let peer = SocketAddr::new(ip.to_canonical(), port.parse().unwrap_or(0));
    let (permit, config) = match (server.engine.admit(peer.ip()), server.config()) {
        (Ok(permit), Some(config)) => (permit, config),
        (refusal, _) => {
            if let Err(reason) = refusal {
                server.tell(&Event::Refused { peer, reason });
            }
            channel.write(reply::TOO_MANY_CONNECTIONS);
            channel.close();
            return;
        }
    };
    let session = Session::new(config.clone(), server.engine.time_stamp());
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
        hold: Hold::new(),
        deadline: Cell::new(None),
        timer: RefCell::new(None),
        armed: Cell::new(None),
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

fn with(weak: &Weak<ChannelSession>, f: impl FnOnce(&Rc<ChannelSession>)) {
    if let Some(connection) = weak.upgrade() {
        // A callback may delete the interpreter: not before all is done.
        let _preserved = Preserved::new(&connection.server.identity.interp);
        f(&connection);
    }
}

impl ChannelSession {
    /// What the connection is at.
    pub fn state(&self) -> ConnectionState {
        ConnectionState {
            snapshot: self.session.borrow().snapshot(),
            peer: self.peer,
        }
    }

    /// Does whatever can be done now, within bounds.
    fn advance(self: &Rc<Self>) {
        if self.left.get() || self.delayed.get() || self.busy.replace(true) {
            return;
        }
        let mut steps = 0;
        let step = loop {
            steps += 1;
            match self.step() {
                Step::Again if steps < STEPS_PER_EVENT => {}
                step => break step,
            }
        };
        self.busy.set(false);
        match step {
            _ if self.left.get() => {}
            Step::Leave(end) => {
                self.leave(end);
                self.close();
            }
            // The channel is writable at once: its event comes after others' events.
            Step::Again => self.channel.watch(false, true),
            Step::Wait => self.wait(),
        }
    }

    fn step(self: &Rc<Self>) -> Step {
        if !self.channel.is_open() {
            return Step::Leave(End::PeerClosed);
        }
        if !self.ready.get() {
            return self.shake_hands();
        }
        if self.channel.waiting() > 0 {
            return Step::Wait;
        }
        let delay = self.session.borrow_mut().poll_delay();
        if let Some(delay) = delay {
            self.delay(delay);
            return Step::Wait;
        }
        let request = self.session.borrow_mut().poll_request();
        if let Some(request) = request {
            self.ask(request);
            return if self.left.get() {
                Step::Wait
            } else {
                Step::Again
            };
        }
        if self.message.borrow().is_some() && self.is_hungry() {
            self.feed();
            return Step::Again;
        }
        self.exchange()
    }

    /// Whether the session takes the next bytes of the message, or has all it wants.
    /// It takes none as well while output is at its mark: then that is written first.
    fn is_hungry(&self) -> bool {
        let session = self.session.borrow();
        match session.wants_body() {
            true => session.output().len() < CHUNK,
            false => session.body_done() || session.output().is_empty(),
        }
    }

    /// Lets a channel of the package tls shake hands first. With a greeting waiting in
    /// it Tcl would try to write it again and again while the peer says nothing.
    fn shake_hands(&self) -> Step {
        let interp = &self.server.identity.interp;
        if command::exists(interp, "::tls::handshake") {
            let words = ["::tls::handshake", &self.name].map(Value::text);
            match interp::call(interp, &words) {
                Ok(done) if done.to_bool() == Some(false) => return Step::Wait,
                Ok(_) => {}
                // Other channels have none.
                Err(raised) if raised.message().contains("not a TLS channel") => {}
                Err(_) => return Step::Leave(End::Broken(ErrorKind::InvalidData)),
            }
        }
        self.ready.set(true);
        Step::Again
    }

    /// Writes what there is to write, else reads.
    fn exchange(self: &Rc<Self>) -> Step {
        let end = self.session.borrow().end_reason();
        if let Some(reason) = end {
            // Out of the list before the farewell: a client that comes back at once
            // finds its mailbox free.
            self.leave(End::Session(reason));
        }
        let output = self.session.borrow().output().to_vec();
        if !output.is_empty() {
            self.session.borrow_mut().consume_output(output.len());
            let written = self.channel.write(&output);
            if end.is_some() {
                // Tcl writes the rest of the farewell in the background.
                self.close();
                return Step::Wait;
            }
            return match written {
                true => Step::Again,
                false => Step::Leave(End::Broken(ErrorKind::BrokenPipe)),
            };
        }
        if end.is_some() {
            self.close();
            return Step::Wait;
        }
        let mut buffer = [0; CHUNK];
        let room = self.session.borrow().input_room().min(buffer.len());
        match self.channel.read(&mut buffer[..room]) {
            Read::Bytes(n) => {
                self.session.borrow_mut().handle_input(&buffer[..n]);
                Step::Again
            }
            Read::Blocked => Step::Wait,
            Read::End => Step::Leave(End::PeerClosed),
        }
    }

    /// Asks the stores. Events of the channel wait meanwhile, since a callback may
    /// enter the event loop.
    fn ask(self: &Rc<Self>, request: Request) {
        self.channel.watch(false, false);
        let connection = self.id;
        self.server.tell(&Event::Asked {
            connection,
            request: &request,
        });
        let user = match &request {
            Request::Login { user, .. } => Some(text(user).into_owned()),
            _ => None,
        };
        let runner = AtOnce {
            server: &self.server,
            connection: self.id,
        };
        let perform = self.server.access().perform(&self.hold, request, &runner);
        let Poll::Ready(answer) = pin!(perform).poll(&mut Context::from_waker(Waker::noop()))
        else {
            return self.leave(End::Dropped);
        };
        if let Some(error) = &answer.trouble {
            self.server.tell(&Event::StoreFailed {
                connection: self.id,
                error,
            });
        }
        if let Some(user) = user {
            let ok = !matches!(answer.reply, crate::protocol::Reply::Refused(_));
            let (connection, peer) = (self.id, self.peer);
            self.server.tell(&Event::Login {
                connection,
                peer,
                user: &user,
                ok,
            });
        }
        if self.left.get() {
            return;
        }
        self.session.borrow_mut().handle_reply(answer.reply);
        *self.message.borrow_mut() = answer.message.map(|Message { content, .. }| match content {
            Content::Data(bytes) => Source::Data(bytes, 0),
            Content::File(file, size) => Source::File(file, size),
        });
    }

    /// Gives the session the next bytes of the message.
    fn feed(&self) {
        let mut session = self.session.borrow_mut();
        let mut message = self.message.borrow_mut();
        if !session.wants_body() {
            session.handle_body_end();
            *message = None;
            return;
        }
        let fed = match message.as_mut() {
            Some(Source::Data(bytes, sent)) => {
                let end = bytes.len().min(*sent + CHUNK);
                session.handle_body(&bytes[*sent..end]);
                let fed = end - *sent;
                *sent = end;
                Ok(fed)
            }
            Some(Source::File(_, 0)) => Ok(0),
            Some(Source::File(file, left)) => {
                let mut buffer = [0; CHUNK];
                let wanted = usize::try_from(*left).unwrap_or(CHUNK).min(CHUNK);
                match file.read(&mut buffer[..wanted]) {
                    // It has shrunk: less can be sent than was announced.
                    Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                    read => read.inspect(|&n| {
                        session.handle_body(&buffer[..n]);
                        *left -= n as u64;
                    }),
                }
            }
            None => return,
        };
        match fed {
            Ok(1..) => return,
            Ok(0) => session.handle_body_end(),
            Err(error) => {
                let connection = self.id;
                self.server.tell(&Event::ReadFailed {
                    connection,
                    error: &error,
                });
                session.handle_body_failed();
            }
        }
        *message = None;
    }

    /// Waits for the channel, but not for ever.
    fn wait(self: &Rc<Self>) {
        if self.delayed.get() {
            self.channel.watch(false, false);
            return;
        }
        let writing = self.channel.waiting() > 0;
        self.channel.watch(!writing, writing);
        let limits = &self.config.limits;
        let after = |time: Duration| (!time.is_zero()).then(|| Instant::now() + time);
        let stalled = after(WRITE_STALL).filter(|_| writing);
        let stalled = stalled.map(|at| (at, End::WriteTimeout));
        let silent = if self.session.borrow().is_authenticated() {
            after(limits.idle).map(|at| (at, End::Idle))
        } else {
            let timeout = limits.login_timeout;
            (!timeout.is_zero()).then_some((self.since + timeout, End::LoginTimeout))
        };
        let deadline = stalled.into_iter().chain(silent).min_by_key(|(at, _)| *at);
        self.deadline.set(deadline);
        let sooner = |armed: Instant| deadline.is_some_and(|(at, _)| at < armed);
        if self.armed.get().is_none_or(sooner) {
            self.arm();
        }
    }

    /// Sets the timer for the deadline. Later deadlines do not touch it: it looks
    /// again when it fires.
    fn arm(self: &Rc<Self>) {
        self.armed.set(self.deadline.get().map(|(at, _)| at));
        let left = self
            .deadline
            .get()
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timer = left.map(|left| {
            let weak = Rc::downgrade(self);
            self.after(
                left,
                Box::new(move || with(&weak, ChannelSession::timer_fired)),
            )
        });
        *self.timer.borrow_mut() = timer;
    }

    fn after(&self, time: Duration, call: Box<dyn Fn()>) -> Timer {
        // Rounded up, so that the time has passed when it fires.
        let milliseconds = time.as_millis().saturating_add(1);
        Timer::after(u32::try_from(milliseconds).unwrap_or(u32::MAX), call)
    }

    fn timer_fired(self: &Rc<Self>) {
        let over = self.deadline.get().filter(|(at, _)| *at <= Instant::now());
        match over {
            // RFC 1939 §3: the autologout does not enter the UPDATE state.
            Some((_, end)) if !self.busy.get() => {
                self.leave(end);
                self.close();
            }
            // A callback is under way: what comes after it sets the timer again.
            Some(_) => {
                self.armed.set(None);
                self.timer.take();
            }
            None => self.arm(),
        }
    }

    /// The reply to a failed login waits (limits.rs, `login_delay`).
    fn delay(self: &Rc<Self>, time: Duration) {
        self.delayed.set(true);
        let weak = Rc::downgrade(self);
        let resume = move |connection: &Rc<ChannelSession>| {
            connection.delayed.set(false);
            connection.armed.set(None);
            connection.timer.take();
            connection.advance();
        };
        let timer = self.after(time, Box::new(move || with(&weak, resume)));
        *self.timer.borrow_mut() = Some(timer);
    }

    /// Ends the session for all others: unlocks, takes it out of the list, tells.
    fn leave(&self, end: End) {
        if self.left.replace(true) {
            return;
        }
        // An `unlock` may enter the event loop, where the end of the stream would be an
        // event for ever.
        self.channel.watch(false, false);
        self.unlock();
        self.server.remove_channel(&self.name);
        self.tell_end(end);
        self.server.connection_closed();
    }

    fn unlock(&self) {
        if let Ended::Owed(lock) = self.hold.end() {
            if let Err(lock) = self.server.access().settle(lock) {
                Callbacks::new(&self.server).unlock(&lock.mailbox);
            }
        }
    }

    /// Ends the session from outside, for the destruction of its server.
    pub fn kill(&self) {
        if !self.left.replace(true) {
            self.unlock();
            self.tell_end(End::Killed);
        }
        self.close();
    }

    fn close(&self) {
        self.timer.take();
        self.channel.close();
    }

    fn tell_end(&self, reason: End) {
        let (user, tally) = {
            let session = self.session.borrow();
            (session.snapshot().name, session.tally())
        };
        self.server.tell(&Event::Ended {
            connection: self.id,
            peer: self.peer,
            user: &text(&user),
            tally,
            duration: self.since.elapsed(),
            reason,
        });
    }
}

/// Does everything at once, on the interpreter's thread.
struct AtOnce<'a> {
    server: &'a Rc<ServerObject>,
    connection: ConnectionId,
}

impl Runner for AtOnce<'_> {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let (job, answer) = Job::new(self.server.id, self.connection, hold.clone(), work);
        let mut next = Some((job, Progress::default()));
        while let Some((job, progress)) = next {
            next = Callbacks::new(self.server).run(job, progress);
        }
        answer
    }

    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer> {
        let (done, answer) = oneshot();
        // The receiver is held: it cannot have gone.
        let _ = done.send(work());
        answer
    }
}

/// The command that a listening channel calls for each connection.
pub struct AcceptCommand(pub Weak<ServerObject>);

impl crate::ffi::command::Command for AcceptCommand {
    fn invoke(
        &self,
        _interp: &Interp,
        args: &[Value],
    ) -> Result<Value, crate::ffi::command::Error> {
        let [channel, host, port] = args else {
            return Err(crate::ffi::command::Error::wrong_args(
                "accept channel host port",
            ));
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
