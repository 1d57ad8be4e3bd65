//! A session's requests on their way to users and mailboxes: answered at once where
//! nothing must be waited for, else by other threads.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot::Receiver;

use super::connection::Connection;
use super::driver::{with_scratch, Boxed, Driver};
use super::observer::{Event, Level};
use super::runtime;
use super::wait::{first, Either};
use crate::store::access::{Answer, Now, Runner};
use crate::store::hold::Hold;
use crate::store::jobs::{Outcome, Work};
use crate::store::source::Source;
use crate::text::characters;
use pop3_proto::Request;

impl Driver<'_> {
    /// Has a request answered: at once if that can be, else by another thread.
    pub(super) async fn ask(&mut self, request: Request) {
        let Connection {
            id, server, hold, ..
        } = &*self.connection;
        server.observe(|| Event::Asked {
            connection: *id,
            request: &request,
        });
        let source = with_scratch(|buffer| {
            Some(match server.access.try_now(hold, &request, buffer)? {
                Now::Begin(begin) => begin.hand_to(&mut self.connection.machine(), buffer),
                Now::Answer(answer) => self.settle(answer),
            })
        });
        let source = match source {
            Some(source) => source,
            None => {
                let asked: Boxed<'_, _> = Box::pin(self.ask_elsewhere(request));
                let source = asked.await;
                self.now = Instant::now();
                source
            }
        };
        self.source = source.map(Box::new);
    }

    async fn ask_elsewhere(&self, request: Request) -> Option<Source> {
        // Replies to earlier commands need not wait for this one. What the socket does
        // not take, or says, is met again when they are written.
        let _ = self.write_now();
        let user = self.user_to_tell(&request);
        let login = matches!(request, Request::Login { .. });
        let answer = match login && !self.connection.reserve_session() {
            true => Answer::too_few_descriptors(),
            false => self.perform(request).await?,
        };
        if login && answer.refusal().is_some() {
            self.connection.release_session();
        }
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
        self.settle(answer)
    }

    /// Hands the machine its reply; returns what to send after it.
    fn settle(&self, answer: Answer) -> Option<Source> {
        let connection = self.connection.id;
        if let Some(error) = &answer.trouble {
            let server = &self.connection.server;
            server.observe(|| Event::StoreFailed { connection, error });
        }
        self.connection.machine().handle_reply(answer.reply);
        answer.message.map(|message| Source::new(message.content))
    }

    /// Whose login it is, if anybody wants to know.
    fn user_to_tell(&self, request: &Request) -> Option<Box<str>> {
        let server = &self.connection.server;
        let observed = || [Level::Warning, Level::Notice].map(|l| server.is_observed(l));
        match request {
            Request::Login(attempt) if observed().contains(&true) => {
                Some(characters(&attempt.user).into())
            }
            _ => None,
        }
    }

    /// Asks the stores; none when the connection breaks meanwhile.
    async fn perform(&self, request: Request) -> Option<Answer> {
        let carried_out = request.is_carried_out();
        let runner = BlockingPool(&self.connection);
        let Connection { server, hold, .. } = &*self.connection;
        let answer = server.access.perform(hold, request, &runner);
        if carried_out {
            return Some(answer.await);
        }
        match first(answer, self.connection.transport.broken()).await {
            Either::First(answer) => Some(answer),
            Either::Second(()) => {
                let kind = io::ErrorKind::ConnectionReset;
                self.connection.machine().handle_broken(kind);
                None
            }
        }
    }
}

/// Other threads: the interpreter's, and those for calls that may block.
struct BlockingPool<'a>(&'a Connection);

impl Runner for BlockingPool<'_> {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let Connection { server, id, .. } = self.0;
        server.jobs.submit(server.id, *id, hold.clone(), work)
    }

    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer> {
        runtime::blocking_on(&Handle::current(), work)
    }
}
