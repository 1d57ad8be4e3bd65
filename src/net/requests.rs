//! A session's requests on their way to users and mailboxes: answered at once where
//! nothing must be waited for, else by other threads.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot::Receiver;

use super::connection::Connection;
use super::driver::{with_scratch, Boxed, Driver};
use super::runtime;
use super::wait::{first, Either};
use crate::store::access::{Answer, AnsweredNow, Runner};
use crate::store::hold::Hold;
use crate::store::jobs::{Outcome, Work};
use crate::store::source::Source;
use pop3_proto::sasl::Mechanism;
use pop3_proto::{Failure, LoginStep, Refusal, Request};

impl Driver<'_> {
    /// Has a request answered: at once if that can be, else by another thread.
    pub(super) async fn ask(&mut self, request: Request) {
        let Connection { server, hold, .. } = &*self.connection;
        server.log.asked(|| self.connection.client(), &request);
        let source = with_scratch(|buffer| {
            Some(match server.access.try_now(hold, &request, buffer)? {
                AnsweredNow::Started(message) => {
                    message.hand_to(&mut self.connection.machine(), buffer)
                }
                AnsweredNow::Whole(answer) => self.settle(answer),
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
        if source.is_some() || !self.connection.machine().session().keeps_body() {
            self.source = source.map(Box::new);
        }
    }

    async fn ask_elsewhere(&self, request: Request) -> Option<Source> {
        // Replies to earlier commands need not wait for this one. What the socket does
        // not take, or says, is met again when they are written.
        let _ = self.write_now();
        let is_login = matches!(request, Request::Login(_));
        let decided = request.decided_login();
        let mechanism = request.login_mechanism();
        let connection = &*self.connection;
        let peer = connection.peer.ip();
        let client = || connection.client();
        if let Some(refused) = connection.server.refuse_login(client, peer, &request) {
            return self.settle(refused);
        }
        let answer = match is_login && !connection.reserve_session() {
            true => Answer::too_few_descriptors(),
            false => self.perform(request).await?,
        };
        let refusal = answer.refusal();
        if is_login && refusal.is_some() {
            connection.release_session();
        }
        let whose = mechanism.map(|mechanism| (peer, mechanism));
        let told = is_login && refusal.is_some() || refusal == Some(Refusal::TooManyFailures);
        if let Some(whose) = whose.filter(|_| told) {
            connection.server.login_answered(client, whose, refusal);
        }
        if let Some(mechanism) = decided {
            let whose = (peer, mechanism);
            if !connection
                .server
                .login_decided(client, whose, &answer.reply)
            {
                connection.release_session();
            }
        }
        let source = self.settle(answer);
        // Else the hook decides.
        let is_in = is_login && connection.machine().session().is_authenticated();
        if let Some(whose) = whose.filter(|_| is_in) {
            connection.server.login_answered(client, whose, None);
        }
        source
    }

    /// A login has failed.
    pub(super) fn count_failure(&self, mechanism: Mechanism) {
        let connection = &*self.connection;
        let client = || connection.client();
        let whose = (connection.peer.ip(), mechanism);
        let failures = connection.server.login_failed(client, whose);
        connection.machine().handle_failure(failures);
    }

    /// Hands the machine its reply; returns what to send after it.
    fn settle(&self, answer: Answer) -> Option<Source> {
        if let Some(error) = &answer.trouble {
            let log = &self.connection.server.log;
            log.store_failed(|| self.connection.client(), error);
        }
        self.connection.machine().handle_reply(answer.reply);
        answer.message.map(|message| Source::new(message.content))
    }

    /// Asks the stores; none when the connection breaks meanwhile, or others end it.
    async fn perform(&self, request: Request) -> Option<Answer> {
        let carried_out = request.is_carried_out();
        let is_login = matches!(request, Request::Login(_));
        let runner = BlockingPool(&self.connection);
        let Connection { server, hold, .. } = &*self.connection;
        let answer = server.access.perform(hold, request, &runner);
        if carried_out {
            return Some(answer.await);
        }
        let ended = self.connection.ended_outside.come();
        let answered = first(answer, self.connection.transport.broken());
        match first(ended, answered).await {
            Either::First(()) => {
                // Whoever ends it does not make a guesser of its client.
                let kind = io::ErrorKind::ConnectionAborted;
                self.connection.machine().handle_broken(kind);
                return None;
            }
            Either::Second(Either::First(answer)) if !self.connection.machine().is_over() => {
                return Some(answer);
            }
            Either::Second(Either::First(_)) => {}
            Either::Second(Either::Second(())) => {
                let kind = io::ErrorKind::ConnectionReset;
                self.connection.machine().handle_broken(kind);
            }
        }
        if is_login {
            // It may have cost as much as one that was answered.
            server.count_failure(self.connection.peer.ip());
        }
        None
    }
}

/// Other threads: the interpreter's, and those for calls that may block.
struct BlockingPool<'a>(&'a Connection);

impl Runner for BlockingPool<'_> {
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        let Connection { server, .. } = self.0;
        let client = self.0.client();
        server.jobs.submit(server.id, client, hold.clone(), work)
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        runtime::blocking_on(&Handle::current(), work)
    }

    fn refuses_check(&self) -> Option<Refusal> {
        let connection = self.0;
        if connection.transport.is_at_end() && !connection.machine().session().has_input() {
            // The client has gone, and has not sent ahead what is still to be answered.
            connection.machine().handle_end_of_input();
            return Some(Refusal::Failed(LoginStep::Server, Failure::Temporary));
        }
        let is_refused = connection.server.refuses_logins(connection.peer.ip());
        is_refused.then_some(Refusal::TooManyFailures)
    }
}
