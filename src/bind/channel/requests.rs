//! A session's requests on their way to users and mailboxes, and whatever else a session
//! waits for.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use tokio::sync::oneshot::Receiver;

use super::{ChannelSession, Step, CHUNK};
use crate::backend::access::{text, Answer, Runner};
use crate::backend::hold::Hold;
use crate::backend::script::{ConnectionId, Job, Outcome, Work};
use crate::backend::Content;
use crate::bind::callbacks::{self, Progress};
use crate::bind::server::ServerObject;
use crate::net::{self, End, Event};
use crate::protocol::Request;

/// What a session waits for.
pub(super) enum Awaited {
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

impl ChannelSession {
    /// Asks the stores.
    pub(super) fn ask(self: &Rc<Self>, request: Request) -> Step {
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
    pub(super) fn hear(self: &Rc<Self>, mut awaited: Awaited) -> Step {
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
                    let refused = answer.refusal();
                    self.server.tell(&Event::Login {
                        connection,
                        peer,
                        user: &user,
                        refused,
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
}

/// This thread, which is the interpreter's, and those for calls that may block.
struct Nearby {
    server: Rc<ServerObject>,
    connection: ConnectionId,
}

impl Runner for Nearby {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let (job, answer) = Job::new(self.server.id, self.connection, hold.clone(), work);
        if let Some(rest) = callbacks::run(&self.server, job, Progress::default()) {
            let mut unfinished = self.server.world.unfinished.borrow_mut();
            unfinished.push_back(rest);
        }
        answer
    }

    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer> {
        net::blocking(work)
    }
}
