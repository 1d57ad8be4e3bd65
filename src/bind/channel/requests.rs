//! A session's requests on their way to users and mailboxes, and whatever else a session
//! waits for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot::Receiver;

use super::{ChannelSession, Step, CHUNK};
use crate::bind::callbacks;
use crate::bind::server::ServerObject;
use crate::net;
use crate::store::access::{Answer, AnsweredNow, Runner};
use crate::store::hold::Hold;
use crate::store::ids::Client;
use crate::store::jobs::{Job, Outcome, Work};
use crate::store::source::{Fed, Source};
use crate::store::Content;
use pop3_proto::sasl::Mechanism;
use pop3_proto::{Refusal, Request};

/// What a session waits for.
pub(super) enum Awaited {
    /// The stores' answer.
    Answer {
        answer: Pin<Box<dyn Future<Output = Answer>>>,
        /// Whether it answers a login.
        is_login: bool,
        /// See [`Request::decided_login`].
        decided: Option<Mechanism>,
        /// The mechanism, if it answers a login or a step of one.
        mechanism: Option<Mechanism>,
        /// See [`Request::is_carried_out`].
        carried_out: bool,
    },
    /// The next bytes of a message.
    Bytes(Receiver<(Box<Source>, io::Result<Vec<u8>>)>),
}

impl Awaited {
    /// Whether it answers a login.
    pub(super) fn is_login(&self) -> bool {
        matches!(self, Self::Answer { is_login: true, .. })
    }

    /// Whether it is given up when the client goes.
    pub(super) fn may_be_given_up(&self) -> bool {
        match self {
            Self::Answer { carried_out, .. } => !carried_out,
            Self::Bytes(_) => true,
        }
    }
}

impl ChannelSession {
    /// Asks the stores.
    pub(super) fn ask(self: &Rc<Self>, request: Request) -> Step {
        self.server.log().asked(|| self.client(), &request);
        let access = self.server.access().clone();
        let mut buffer = [0; CHUNK];
        let now = access.try_now(&self.hold, &request, &mut buffer);
        if let Some(now) = now {
            let source = match now {
                AnsweredNow::Started(message) => {
                    message.hand_to(&mut self.machine.borrow_mut(), &buffer)
                }
                AnsweredNow::Whole(answer) => self.settle(answer),
            };
            self.keep_source(source);
            return Step::Again;
        }
        // Replies to earlier commands need not wait for this one.
        self.write();
        let is_login = matches!(request, Request::Login(_));
        let mechanism = request.login_mechanism();
        let (client, peer) = (|| self.client(), self.peer.ip());
        if let Some(refused) = self.server.engine.refuse_login(client, peer, &request) {
            self.settle(refused);
            return Step::Again;
        }
        if is_login && !self.reserve_session() {
            self.was_answered(Answer::too_few_descriptors(), is_login, (mechanism, None));
            return Step::Again;
        }
        let decided = request.decided_login();
        let carried_out = request.is_carried_out();
        let (hold, server) = (self.hold.clone(), self.server.clone());
        let client = self.client();
        let runner = LocalRunner { server, client };
        let answer = async move { access.perform(&hold, request, &runner).await };
        self.hear(Awaited::Answer {
            answer: Box::pin(answer),
            is_login,
            decided,
            mechanism,
            carried_out,
        })
    }

    /// Hands over the next bytes of the message, or has them read.
    pub(super) fn feed(self: &Rc<Self>) -> Step {
        let Some(mut source) = self.source.take() else {
            self.machine.borrow_mut().handle_body_end();
            return Step::Again;
        };
        let fed = source.feed(&mut self.machine.borrow_mut(), &mut [0; CHUNK]);
        if let Fed::Waits = fed {
            let read = net::blocking(move || {
                let read = source.read(CHUNK);
                (source, read)
            });
            return self.hear(Awaited::Bytes(read));
        }
        self.was_fed(source, fed);
        Step::Again
    }

    fn was_fed(&self, source: Box<Source>, fed: Fed) {
        match fed {
            Fed::More => *self.source.borrow_mut() = Some(source),
            Fed::Complete | Fed::Waits => {}
            Fed::Failed(error) => self.server.log().read_failed(|| self.client(), &error),
        }
    }

    /// Takes what is awaited, if it has come. Events of the channel wait meanwhile, since
    /// a callback may enter the event loop.
    pub(super) fn hear(self: &Rc<Self>, mut awaited: Awaited) -> Step {
        self.channel.watch(false, false);
        let server = &self.server;
        let sleeper = (server.id, Arc::from(&*self.name));
        let waker = server.world.wakes.waker(sleeper);
        let mut context = Context::from_waker(&waker);
        let has_come = match &mut awaited {
            Awaited::Answer {
                answer,
                is_login,
                decided,
                mechanism,
                ..
            } => match answer.as_mut().poll(&mut context) {
                Poll::Ready(answer) => {
                    self.was_answered(answer, *is_login, (*mechanism, *decided));
                    true
                }
                Poll::Pending => false,
            },
            Awaited::Bytes(bytes) => match Pin::new(bytes).poll(&mut context) {
                Poll::Ready(read) => {
                    self.was_read(read.ok());
                    true
                }
                Poll::Pending => false,
            },
        };
        if !has_come && !self.left.get() {
            *self.awaited.borrow_mut() = Some(awaited);
            return Step::Wait;
        }
        Step::Again
    }

    fn was_answered(
        &self,
        answer: Answer,
        is_login: bool,
        (mechanism, decided): (Option<Mechanism>, Option<Mechanism>),
    ) {
        if self.left.get() {
            // A callback has ended the session.
            return;
        }
        let (client, peer) = (|| self.client(), self.peer.ip());
        let engine = &self.server.engine;
        let refusal = answer.refusal();
        if is_login && refusal.is_some() {
            self.release_session();
        }
        let whose = mechanism.map(|mechanism| (peer, mechanism));
        let told = is_login && refusal.is_some() || refusal == Some(Refusal::TooManyFailures);
        if let Some(whose) = whose.filter(|_| told) {
            engine.login_answered(client, whose, refusal);
        }
        if let Some(mechanism) = decided {
            let whose = (peer, mechanism);
            if !engine.login_decided(client, whose, &answer.reply) {
                self.release_session();
            }
        }
        let source = self.settle(answer);
        // Else the hook decides.
        let is_in = is_login && self.machine.borrow().session().is_authenticated();
        if let Some(whose) = whose.filter(|_| is_in) {
            engine.login_answered(client, whose, None);
        }
        self.keep_source(source);
    }

    /// Keeps what is to be sent, or what waits for the hook.
    fn keep_source(&self, source: Option<Source>) {
        if source.is_some() || !self.machine.borrow().session().keeps_body() {
            *self.source.borrow_mut() = source.map(Box::new);
        }
    }

    /// A login has failed.
    pub(super) fn count_failure(&self, mechanism: Mechanism) {
        let (client, whose) = (|| self.client(), (self.peer.ip(), mechanism));
        let failures = self.server.engine.login_failed(client, whose);
        self.machine.borrow_mut().handle_failure(failures);
    }

    fn was_read(&self, read: Option<(Box<Source>, io::Result<Vec<u8>>)>) {
        let (source, read) = match read {
            Some((source, read)) => (source, read),
            None => {
                let gone = io::Error::other("no thread to read it");
                let nothing = Source::new(Content::Data(Arc::default()));
                (Box::new(nothing), Err(gone))
            }
        };
        let fed = Source::hand_over(&mut self.machine.borrow_mut(), read);
        self.was_fed(source, fed);
    }

    /// Hands the machine its reply; returns what to send after it.
    fn settle(&self, answer: Answer) -> Option<Source> {
        if let Some(error) = &answer.trouble {
            self.server.log().store_failed(|| self.client(), error);
        }
        self.machine.borrow_mut().handle_reply(answer.reply);
        answer.message.map(|message| Source::new(message.content))
    }
}

/// This thread, which is the interpreter's, and those for calls that may block.
struct LocalRunner {
    server: Rc<ServerObject>,
    client: Client,
}

impl Runner for LocalRunner {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let (job, answer) = Job::new(self.server.id, self.client.clone(), hold.clone(), work);
        callbacks::run(&self.server, job);
        answer
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        net::blocking(work)
    }

    fn refuses_check(&self) -> Option<Refusal> {
        let is_refused = self.server.engine.refuses_logins(self.client.peer.ip());
        is_refused.then_some(Refusal::TooManyFailures)
    }
}
