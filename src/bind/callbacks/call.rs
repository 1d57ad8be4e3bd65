//! A callback's call: it is begun as a coroutine and, when it yields, waited for within the
//! server's time-out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Callbacks;
use crate::bind::calls::{Begun, Call};
use crate::bind::escape::shortened;
use crate::bind::message::Fetching;
use crate::bind::options::PREFIX;
use crate::ffi::coroutine::Failure;
use crate::ffi::interp::{self, Raised};
use crate::ffi::Value;

/// A method of a command prefix, or, of `-login` and `-hook`, the prefix itself.
pub(super) struct Target<'a> {
    pub(super) prefix: Value,
    pub(super) method: Option<&'a str>,
    /// As what its calls count.
    pub(super) counted: &'a str,
}

impl Callbacks<'_> {
    pub(super) async fn unlock(&self, mailbox: &str) {
        if let Some(over) = self.begin_unlock(mailbox) {
            // If nothing tells, the interpreter has gone.
            let _ = over.await;
        }
    }

    /// Calls `unlock`; what tells that it is over, if it has yielded.
    pub(super) fn begin_unlock(&self, mailbox: &str) -> Option<oneshot::Receiver<()>> {
        let target = self.storage_method("unlock");
        self.begin_last(&target, ("unlock", "unlock"), &[Value::text(mailbox)])
    }

    /// Calls what comes last in a session, which counts as `counted` and is shown as `what`;
    /// what tells that it is over, if it has yielded. It goes on whatever becomes of its job: a
    /// script must be able to end what it has begun.
    pub(super) fn begin_last(
        &self,
        target: &Target<'_>,
        (counted, what): (&'static str, &'static str),
        words: &[Value],
    ) -> Option<oneshot::Receiver<()>> {
        if interp::is_deleted(&self.server.identity.interp) {
            return None;
        }
        let since = Instant::now();
        let begun = self.begin(&self.for_client(None), target, words);
        if let Begun::Ended(outcome) = begun {
            drop(self.server.callbacks.timed(counted, since));
            let outcome = self.conclude(target, outcome);
            let _logged = outcome.map_err(|raised| self.raised_by(counted, what, &raised));
            return None;
        }
        let (over, waits) = oneshot::channel();
        let (server, client) = (self.server.clone(), self.client.clone());
        let (prefix, has_method) = (target.prefix.clone(), target.method.is_some());
        self.server.world.spawn(None, async move {
            let callbacks = Callbacks {
                server: &server,
                job: None,
                client: &client,
            };
            let method = has_method.then_some(what);
            let target = Target {
                prefix,
                method,
                counted,
            };
            let _timed = server.callbacks.timed(counted, since);
            let said = callbacks.finish(&target, begun).await;
            let _logged = said.map_err(|raised| callbacks.raised_by(counted, what, &raised));
            let _nobody_waits = over.send(());
        });
        Some(waits)
    }

    pub(super) fn users_method<'a>(&self, method: &'a str) -> Target<'a> {
        Target {
            prefix: self.server.auth_prefix(),
            method: Some(method),
            counted: method,
        }
    }

    pub(super) fn storage_method<'a>(&self, method: &'a str) -> Target<'a> {
        Target {
            prefix: self.server.storage_prefix(),
            method: Some(method),
            counted: method,
        }
    }

    /// A callback for the client.
    pub(super) fn for_client(&self, fetching: Option<Fetching>) -> Rc<Call> {
        Rc::new(Call {
            server: self.server.id,
            connection: self.client.connection,
            fetching: RefCell::new(fetching),
        })
    }

    /// Calls a callback, and waits for it if it yields.
    pub(super) async fn call(
        &self,
        call: &Rc<Call>,
        target: &Target<'_>,
        words: &[Value],
    ) -> Result<Value, Raised> {
        let _timed = self.server.callbacks.timed(target.counted, Instant::now());
        let begun = self.begin(call, target, words);
        self.finish(target, begun).await
    }

    fn begin(&self, call: &Rc<Call>, target: &Target<'_>, words: &[Value]) -> Begun {
        let interp = &self.server.identity.interp;
        let failed =
            |words: &[Value]| Begun::Ended(interp::call(interp, words).map_err(Failure::Raised));
        match target.prefix.to_list() {
            // Taken away while the job waited. Without it the method itself would be
            // taken for a command.
            Some(prefix) if prefix.is_empty() => {
                let error = ["::error", "no command prefix is set", "", "POP3D CALLBACK"];
                failed(&error.map(Value::text))
            }
            Some(mut prefix) => {
                prefix.extend(target.method.map(Value::text));
                prefix.extend_from_slice(words);
                self.server.world.calls.begin(call, prefix)
            }
            None => {
                let option = match target.counted {
                    "login" => "-login",
                    "hook" => "-hook",
                    "exists" | "lookup" => "-auth",
                    _ => "-storage",
                };
                let value = shortened(&target.prefix.to_text());
                let message = format!("bad value \"{value}\" for {option}: expected {PREFIX}");
                let raised = Raised::new(&message, &["POP3D", "CALLBACK"]);
                Begun::Ended(Err(Failure::Raised(raised)))
            }
        }
    }

    /// The outcome of a callback that has begun, within the server's time-out if it has
    /// yielded.
    async fn finish(&self, target: &Target<'_>, begun: Begun) -> Result<Value, Raised> {
        let outcome = match begun {
            Begun::Ended(outcome) => outcome,
            Begun::Suspended { mut rest, error } => {
                if let Some(raised) = error {
                    // Of what it has yielded to: it does not hear of it itself.
                    let line = format!("{}: {}", target.shown(), raised.info());
                    self.complain(target.counted, &line, &raised);
                }
                if let Some(milliseconds) = self.server.callback_timeout() {
                    rest.limit(milliseconds);
                }
                rest.await
            }
        };
        self.conclude(target, outcome)
    }

    fn conclude(
        &self,
        target: &Target<'_>,
        outcome: Result<Value, Failure>,
    ) -> Result<Value, Raised> {
        outcome.map_err(|lost| {
            let (what, code) = match lost {
                Failure::Raised(raised) => return raised,
                Failure::Deleted => ("its coroutine was deleted".to_owned(), "DELETED"),
                Failure::TimedOut => {
                    let most = self.server.callback_timeout().unwrap_or(0);
                    (format!("{most} ms were over"), "TIMEOUT")
                }
            };
            let message = format!("\"{}\" did not return before {what}", target.shown());
            Raised::new(&message, &["POP3D", "CALLBACK", code])
        })
    }
}

impl Target<'_> {
    /// As it is called, without arguments and short.
    fn shown(&self) -> String {
        let method = self.method.map(|method| format!(" {method}"));
        let prefix = shortened(&self.prefix.to_text());
        format!("{prefix}{}", method.unwrap_or_default())
    }
}
