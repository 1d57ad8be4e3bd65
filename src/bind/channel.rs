//! The second driver: sessions on Tcl channels, for a `-socket` of the script's own
//! (`tls::socket`, say). It runs on the interpreter's thread, from channel events. A
//! script callback is a plain call; what takes many of them goes on in steps
//! ([`jobs`](super::jobs)), and what may wait for files is done by other threads.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::Receiver;

use super::callbacks::{Callbacks, Progress};
use super::server::ServerObject;
use crate::backend::access::{text, Answer, Runner};
use crate::backend::hold::{Ended, Hold};
use crate::backend::message_file::{read_cached, read_waiting};
use crate::backend::script::{ConnectionId, Job, Outcome, Work};
use crate::backend::Content;
use crate::ffi::channel::{Channel, Read};
use crate::ffi::command;
use crate::ffi::interp::{self, Preserved};
use crate::ffi::notifier::Timer;
use crate::ffi::{Interp, Value};
use crate::net::{self, ConnectionState, End, Event, Permit, Refused};
use crate::protocol::reply;
use crate::protocol::session::{Config, Session};
use crate::protocol::{Reply, Request};

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
    /// What must come before anything else is done.
    awaited: RefCell<Option<Awaited>>,
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
    File(Arc<File>, u64),
}

/// What a session waits for.
enum Awaited {
    /// The stores' answer, and whose login it is.
    Answer(Pin<Box<dyn Future<Output = Answer>>>, Option<String>),
    /// The next bytes of a message.
    Bytes(Receiver<io::Result<Vec<u8>>>),
}

/// That it has come.
enum Arrived {
    Answer(Answer, Option<String>),
    Bytes(io::Result<Vec<u8>>),
}

impl Awaited {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Arrived> {
        Poll::Ready(match self {
            Self::Answer(answer, user) => {
                Arrived::Answer(ready!(answer.as_mut().poll(context)), user.take())
            }
            Self::Bytes(bytes) => {
                let bytes = ready!(Pin::new(bytes).poll(context));
                Arrived::Bytes(bytes.unwrap_or_else(|gone| Err(io::Error::other(gone))))
            }
        })
    }
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
    channel.limit_writing(WRITE_STALL);
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
        awaited: RefCell::new(None),
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
    pub fn advance(self: &Rc<Self>) {
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
        if let Some(awaited) = self.awaited.take() {
            return self.hear(awaited);
        }
        let delay = self.session.borrow_mut().poll_delay();
        if let Some(delay) = delay {
            self.delay(delay);
            return Step::Wait;
        }
        let request = self.session.borrow_mut().poll_request();
        if let Some(request) = request {
            return self.ask(request);
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

    fn shake_hands(&self) -> Step {
        match shake_hands(&self.server.identity.interp, &self.name) {
            Ok(false) => Step::Wait,
            Ok(true) => {
                self.ready.set(true);
                Step::Again
            }
            Err(failed) => Step::Leave(End::Broken(failed)),
        }
    }

    /// Writes what there is to write, else reads.
    fn exchange(self: &Rc<Self>) -> Step {
        let end = self.session.borrow().end_reason();
        if let Some(reason) = end {
            // Out of the list before the farewell: a client that comes back at once
            // finds its mailbox free.
            self.leave(End::Session(reason));
        }
        if let Some(written) = self.write() {
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

    /// Writes all output; whether the channel is whole still, or none if there was none.
    fn write(&self) -> Option<bool> {
        let output = self.session.borrow().output().to_vec();
        if output.is_empty() {
            return None;
        }
        self.session.borrow_mut().consume_output(output.len());
        Some(self.channel.write(&output))
    }

    /// Asks the stores.
    fn ask(self: &Rc<Self>, request: Request) -> Step {
        let connection = self.id;
        self.server.tell(&Event::Asked {
            connection,
            request: &request,
        });
        let access = self.server.access().clone();
        let at_once = match &request {
            Request::Fetch { number, .. } => {
                let mut buffer = [0; CHUNK];
                let begin = access.begin_at_once(&self.hold, *number, &mut buffer);
                begin.map(|begin| begin.hand_to(&mut self.session.borrow_mut(), &buffer))
            }
            _ => {
                let answer = access.at_once(&self.hold, &request);
                answer.map(|answer| self.settle(answer))
            }
        };
        if let Some(left) = at_once {
            self.send(left);
            return Step::Again;
        }
        // Replies to earlier commands need not wait for this one.
        if self.write() == Some(false) {
            return Step::Leave(End::Broken(ErrorKind::BrokenPipe));
        }
        let user = match &request {
            Request::Login { user, .. } => Some(text(user).into_owned()),
            _ => None,
        };
        let (hold, server) = (self.hold.clone(), self.server.clone());
        let runner = Nearby { server, connection };
        let answer = async move { access.perform(&hold, request, &runner).await };
        self.hear(Awaited::Answer(Box::pin(answer), user))
    }

    /// Takes what is awaited, if it has come. Events of the channel wait meanwhile, since
    /// a callback may enter the event loop.
    fn hear(self: &Rc<Self>, mut awaited: Awaited) -> Step {
        self.channel.watch(false, false);
        let server = &self.server;
        let waker = server.world.wakes.waker(server.id, &self.name);
        let arrived = awaited.poll(&mut Context::from_waker(&waker));
        if self.left.get() {
            // A callback has ended the session.
            return Step::Wait;
        }
        match arrived {
            Poll::Pending => {
                *self.awaited.borrow_mut() = Some(awaited);
                return Step::Wait;
            }
            Poll::Ready(Arrived::Answer(answer, user)) => {
                if let Some(user) = user {
                    let (connection, peer) = (self.id, self.peer);
                    let ok = matches!(answer.reply, Reply::Opened { .. });
                    self.server.tell(&Event::Login {
                        connection,
                        peer,
                        user: &user,
                        ok,
                    });
                }
                let left = self.settle(answer);
                self.send(left);
            }
            Poll::Ready(Arrived::Bytes(bytes)) => self.was_read(bytes.as_deref()),
        }
        Step::Again
    }

    /// Hands the session its reply; returns what to send after it.
    fn settle(&self, answer: Answer) -> Option<Content> {
        let connection = self.id;
        if let Some(error) = &answer.trouble {
            self.server.tell(&Event::StoreFailed { connection, error });
        }
        self.session.borrow_mut().handle_reply(answer.reply);
        answer.message.map(|message| message.content)
    }

    fn send(&self, content: Option<Content>) {
        *self.message.borrow_mut() = content.map(|content| match content {
            Content::Data(bytes) => Source::Data(bytes, 0),
            Content::File(file, size) => Source::File(Arc::new(file), size),
        });
    }

    /// Gives the session the next bytes of the message, or has them read.
    fn feed(&self) {
        let wanted = self.session.borrow().wants_body();
        match self.message.take().filter(|_| wanted) {
            Some(Source::Data(bytes, sent)) if sent < bytes.len() => {
                let end = bytes.len().min(sent + CHUNK);
                self.session.borrow_mut().handle_body(&bytes[sent..end]);
                *self.message.borrow_mut() = Some(Source::Data(bytes, end));
            }
            Some(Source::File(file, left @ 1..)) => self.read(file, left),
            _ => self.session.borrow_mut().handle_body_end(),
        }
    }

    /// Reads on in the message's file, here if the system has it in memory.
    fn read(&self, file: Arc<File>, left: u64) {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = [0; CHUNK];
        let read = read_cached(&file, &mut buffer[..wanted]);
        let source = file.clone();
        *self.message.borrow_mut() = Some(Source::File(file, left));
        match read {
            Ok(Some(n)) => self.was_read(Ok(&buffer[..n])),
            Ok(None) => {
                let bytes = net::blocking(move || read_waiting(&source, wanted));
                *self.awaited.borrow_mut() = Some(Awaited::Bytes(bytes));
            }
            Err(error) => self.was_read(Err(&error)),
        }
    }

    /// Gives the session what was read.
    fn was_read(&self, read: Result<&[u8], &io::Error>) {
        let Some(Source::File(file, left)) = self.message.take() else {
            return;
        };
        // An end means that it has shrunk: less can be sent than was announced.
        let shrunk = ErrorKind::UnexpectedEof.into();
        match read {
            Ok(bytes) if !bytes.is_empty() => {
                self.session.borrow_mut().handle_body(bytes);
                let left = left - bytes.len() as u64;
                *self.message.borrow_mut() = Some(Source::File(file, left));
            }
            end => {
                self.server.tell(&Event::ReadFailed {
                    connection: self.id,
                    error: end.err().unwrap_or(&shrunk),
                });
                self.session.borrow_mut().handle_body_failed();
            }
        }
    }

    /// Waits for the channel, but not for ever.
    fn wait(self: &Rc<Self>) {
        if self.delayed.get() {
            self.channel.watch(false, false);
            return;
        }
        let writing = self.channel.waiting() > 0;
        let awaits = self.awaited.borrow().is_some();
        self.channel.watch(!writing && !awaits, writing);
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
        // For what is awaited nobody is impatient but the client.
        let deadline = deadline.filter(|_| writing || !awaits);
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
        self.awaited.take();
        self.unlock();
        self.server.remove_channel(&self.name);
        if !matches!(end, End::Session(_)) {
            self.channel.break_off();
        }
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

    /// Waits until no other thread works on its mailbox, but not longer than `until`; after
    /// [`kill`](Self::kill).
    pub fn wait_idle(&self, until: Instant) {
        self.hold.wait_idle(until);
    }

    /// Ends the session from outside, for the destruction of its server.
    pub fn kill(&self) {
        if !self.left.replace(true) {
            self.unlock();
            self.tell_end(End::Killed);
        }
        self.channel.break_off();
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

/// This thread, which is the interpreter's, and those for calls that may block.
struct Nearby {
    server: Rc<ServerObject>,
    connection: ConnectionId,
}

impl Runner for Nearby {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let (job, answer) = Job::new(self.server.id, self.connection, hold.clone(), work);
        if let Some(rest) = Callbacks::new(&self.server).run(job, Progress::default()) {
            let mut unfinished = self.server.world.unfinished.borrow_mut();
            unfinished.push_back(rest);
        }
        answer
    }

    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer> {
        net::blocking(work)
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
