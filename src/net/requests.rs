//! A session's requests on their way to users and mailboxes: answered at once where
//! nothing must be waited for, else by other threads.

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::oneshot::Receiver;

use super::connection::Connection;
use super::driver::{with_scratch, Boxed, Driver};
use super::observer::{End, Event, Level};
use super::runtime;
use super::wait::{first, Either};
use crate::backend::access::{text, Answer, Runner};
use crate::backend::hold::Hold;
use crate::backend::script::{Outcome, Work};
use crate::backend::Content;
use crate::protocol::{Extent, MsgNo, Request};

/// What is read for TOP at first: most headers are shorter.
const BEGIN_OF_TOP: usize = 4 * 1024;

impl Driver<'_> {
    /// Has a request answered: at once if that can be, else by another thread.
    pub(super) async fn ask(&mut self, request: Request) -> Result<(), End> {
        let Connection {
            id, server, hold, ..
        } = &*self.connection;
        server.observe(|| Event::Asked {
            connection: *id,
            request: &request,
        });
        let to_send = match request {
            Request::Fetch { number, extent } => self.begin_at_once(number, extent),
            _ => {
                let answer = server.access.at_once(hold, &request);
                answer.map(|answer| self.settle(answer))
            }
        };
        let to_send = match to_send {
            Some(to_send) => to_send,
            None => {
                let asked: Boxed<'_, _> = Box::pin(self.ask_elsewhere(request));
                asked.await?
            }
        };
        match to_send {
            Some(content) => {
                let sent: Boxed<'_, _> = Box::pin(self.send(content));
                sent.await
            }
            None => Ok(()),
        }
    }

    /// Hands the session a message, or its begin, if that can be had without waiting;
    /// returns what is left to send.
    fn begin_at_once(&self, number: MsgNo, extent: Extent) -> Option<Option<Content>> {
        let Connection { server, hold, .. } = &*self.connection;
        with_scratch(|buffer| {
            let room = match extent {
                Extent::Whole => buffer,
                Extent::Top(_) => &mut buffer[..BEGIN_OF_TOP],
            };
            let begin = server.access.begin_at_once(hold, number, room)?;
            Some(begin.hand_to(&mut self.connection.session(), room))
        })
    }

    async fn ask_elsewhere(&self, request: Request) -> Result<Option<Content>, End> {
        // Replies to earlier commands need not wait for this one.
        self.write_now()?;
        let user = self.user_to_tell(&request);
        let answer = self.perform(request).await?;
        if let Some(user) = user {
            let refused = answer.refusal();
            let Connection {
                id, peer, server, ..
            } = &*self.connection;
            server.observe(|| Event::Login {
                connection: *id,
                peer: *peer,
                user: &user,
                refused,
            });
        }
        Ok(self.settle(answer))
    }

    /// Hands the session its reply; returns what to send after it.
    fn settle(&self, answer: Answer) -> Option<Content> {
        let connection = self.connection.id;
        if let Some(error) = &answer.trouble {
            let server = &self.connection.server;
            server.observe(|| Event::StoreFailed { connection, error });
        }
        self.connection.session().handle_reply(answer.reply);
        answer.message.map(|message| message.content)
    }

    /// Whose login it is, if anybody wants to know.
    fn user_to_tell(&self, request: &Request) -> Option<Box<str>> {
        let server = &self.connection.server;
        let observed = || [Level::Warning, Level::Notice].map(|l| server.is_observed(l));
        match request {
            Request::Login { user, .. } if observed().contains(&true) => Some(text(user).into()),
            _ => None,
        }
    }

    /// Asks the stores, and gives up when the connection breaks meanwhile; but
    /// not at QUIT: RFC 1939 §6, once UPDATE is entered it is carried out.
    async fn perform(&self, request: Request) -> Result<Answer, End> {
        let carried_out = matches!(request, Request::Update { .. });
        let runner = Elsewhere(&self.connection);
        let Connection { server, hold, .. } = &*self.connection;
        let answer = server.access.perform(hold, request, &runner);
        if carried_out {
            return Ok(answer.await);
        }
        // The end of input alone is no reason: what was asked may still be read.
        match first(answer, self.connection.stream.ready(Interest::ERROR)).await {
            Either::First(answer) => Ok(answer),
            Either::Second(_) => Err(End::Broken(io::ErrorKind::ConnectionReset)),
        }
    }
}

/// Other threads: the interpreter's, and those for calls that may block.
struct Elsewhere<'a>(&'a Connection);

impl Runner for Elsewhere<'_> {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let Connection { server, id, .. } = self.0;
        server.jobs.submit(server.id, *id, hold.clone(), work)
    }

    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer> {
        runtime::blocking_on(&Handle::current(), work)
    }
}
