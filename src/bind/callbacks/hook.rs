//! `-hook`: what is told of the events of sessions, and what comes of its verdicts.

use tokio::sync::oneshot;

use super::call::Target;
use super::complaints::{is_given_up, Asked};
use super::Callbacks;
use crate::bind::verdict;
use crate::ffi::Value;
use crate::text::characters;
use pop3_proto::hook::{Detail, Event, Verdict};
use pop3_proto::session::Tally;
use pop3_proto::{Extent, Failure, Reply};

impl Callbacks<'_> {
    /// What is to come of an event. After an error, or a result that is no verdict, it
    /// happens; what was given up was not decided, and is refused.
    pub(super) async fn hook(&self, event: &Event) -> Reply {
        let Some(target) = self.hook_target() else {
            return Reply::Hook(Verdict::default());
        };
        let name = event.kind().name();
        let connection = self.server.connection_name(self.client.connection);
        let words = [Value::text(name), self.told(event, &connection)];
        let said = match self.call(&self.for_client(None), &target, &words).await {
            Ok(said) => said,
            Err(raised) => {
                let _logged = self.raised_by("hook", &format!("hook {name}"), &raised);
                return match is_given_up(&raised) {
                    true => Reply::Failed(Failure::Temporary),
                    false => Reply::Hook(Verdict::default()),
                };
            }
        };
        Reply::Hook(verdict::of(&said, event).unwrap_or_else(|expected| {
            let _logged = self.wrong(Asked::new("hook", name), Some(&said), &expected);
            Verdict::default()
        }))
    }

    /// Tells of the end of a session, whose connection has had this name; what tells that the
    /// hook is through, if it has yielded.
    pub(super) fn begin_end(
        &self,
        event: &Event,
        connection: &str,
    ) -> Option<oneshot::Receiver<()>> {
        let target = self.hook_target()?;
        let words = [
            Value::text(event.kind().name()),
            self.told(event, connection),
        ];
        self.begin_last(&target, ("hook", "hook end"), &words)
    }

    /// None if `-hook` was taken away meanwhile.
    fn hook_target(&self) -> Option<Target<'static>> {
        let prefix = self.server.hook_prefix();
        (!prefix.is_empty()).then_some(Target {
            prefix,
            method: None,
            counted: "hook",
        })
    }

    /// What `-hook` is told.
    fn told(&self, event: &Event, connection: &str) -> Value {
        let always = [
            ("connection", Value::text(connection)),
            ("peer", Value::text(&self.client.peer.ip().to_string())),
            ("tls", Value::int(event.tls.into())),
            ("user", Value::text(&self.client.user)),
        ];
        Value::dict(always.into_iter().chain(details(&event.detail)))
    }
}

fn details(detail: &Detail) -> Vec<(&'static str, Value)> {
    match detail {
        Detail::Connect => Vec::new(),
        Detail::Command { verb, arguments } => {
            let arguments = arguments.iter().map(|word| characters(word));
            vec![
                ("verb", Value::text(verb)),
                ("arguments", Value::texts(arguments)),
            ]
        }
        Detail::Login {
            mechanism,
            storage,
            count,
            octets,
        } => vec![
            ("mechanism", Value::text(mechanism.name())),
            ("mailbox", Value::text(storage)),
            ("messages", number(u64::from(*count))),
            ("octets", number(*octets)),
        ],
        Detail::Retrieve {
            number: message,
            extent,
            octets,
        } => vec![
            ("number", number(message.get().into())),
            ("octets", number(*octets)),
            (
                "lines",
                match extent {
                    Extent::Whole => Value::text(""),
                    Extent::Top(lines) => number((*lines).into()),
                },
            ),
        ],
        Detail::Delete { number: message } => vec![("number", number(message.get().into()))],
        Detail::Update { delete } => {
            let marked: Vec<_> = delete.iter().map(|n| number(n.get().into())).collect();
            vec![("deletions", Value::list(&marked))]
        }
        Detail::End { end, tally } => {
            let Tally {
                commands,
                messages,
                octets,
                deleted,
                ..
            } = tally;
            vec![
                ("reason", Value::text(&end.to_string())),
                ("commands", number(*commands)),
                ("messages", number(*messages)),
                ("octets", number(*octets)),
                ("deleted", number(*deleted)),
            ]
        }
    }
}

fn number(n: u64) -> Value {
    Value::int(i64::try_from(n).unwrap_or(i64::MAX))
}
