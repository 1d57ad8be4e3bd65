//! Commands, each in the state it comes in.

use std::mem;
use std::sync::Arc;

use super::halt::Point;
use super::{EndReason, Opened, Phase, Session, Step, Work};
use crate::command::{BadLines, Command, Mail, Number, TopArguments};
use crate::hook::{Detail, EventKind};
use crate::maildrop::NoSuchMessage;
use crate::reply::Line;
use crate::{Extent, MsgNo, Request};

impl Session {
    /// Executes one command: writes its reply, or asks for what the reply needs.
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::Quit => self.quit(),
            Command::Capa => self.capabilities(),
            Command::Unknown(verb) => self.respond(Line::Unknown {
                verb: verb.as_str(),
            }),
            Command::Login(command) => self.authorization(command),
            Command::Mail(command) => self.transaction(command),
        }
    }

    /// QUIT. Before login there is nothing to update (RFC 1939 §4).
    fn quit(&mut self) {
        self.lines.clear();
        let nobody = Phase::Authorization {
            name: Box::default(),
            step: Step::Nothing,
        };
        match mem::replace(&mut self.phase, nobody) {
            Phase::Transaction(opened) => {
                let delete = opened.maildrop.marked().to_vec();
                self.phase = Phase::Update(opened);
                match self.is_watched(EventKind::Update) {
                    true => self.consult(Detail::Update { delete }, Point::Update),
                    false => self.update(delete),
                }
            }
            phase => {
                self.phase = phase;
                self.say_goodbye();
            }
        }
    }

    /// QUIT: deletes and unlocks.
    pub(super) fn update(&mut self, delete: Vec<MsgNo>) {
        if let Phase::Update(opened) = &mut self.phase {
            opened.ask(Request::Update { delete }, &mut self.request);
        }
    }

    /// The last reply of a session that was quit, and its end.
    pub(super) fn say_goodbye(&mut self) {
        let config = Arc::clone(&self.config);
        self.respond(Line::ShuttingDown {
            host: &config.host,
            server: &config.server,
        });
        self.finish(EndReason::Quit);
    }

    /// The commands that belong to TRANSACTION.
    fn transaction(&mut self, command: Mail) {
        let Phase::Transaction(opened) = &mut self.phase else {
            return self.respond(Line::NotAuthenticated);
        };
        let next = opened.transaction(command);
        match next {
            Next::Reply(line) => self.respond(line),
            Next::Ask(request) => opened.ask(request, &mut self.request),
            Next::Mark(number) if self.is_watched(EventKind::Delete) => {
                self.consult(Detail::Delete { number }, Point::Delete(number));
            }
            Next::Mark(number) => self.mark(number),
        }
    }

    /// DELE of a message that is there.
    pub(super) fn mark(&mut self, number: MsgNo) {
        if let Phase::Transaction(opened) = &mut self.phase {
            let marked = opened.maildrop.mark(number);
            self.respond(match marked {
                Ok(()) => Line::Deleted(number),
                Err(NoSuchMessage) => Line::NoSuchMessage,
            });
        }
    }
}

/// What a command in TRANSACTION leads to.
enum Next {
    /// An answer at once.
    Reply(Line<'static>),
    /// A request.
    Ask(Request),
    /// DELE of a message that is there.
    Mark(MsgNo),
}

impl From<NoSuchMessage> for Next {
    fn from(NoSuchMessage: NoSuchMessage) -> Self {
        Self::Reply(Line::NoSuchMessage)
    }
}

impl Opened {
    /// Waits for the answer to a request, which the driver polls.
    fn ask(&mut self, request: Request, open: &mut Option<Request>) {
        self.work = Work::Asked(request.clone());
        *open = Some(request);
    }

    fn transaction(&mut self, command: Mail) -> Next {
        let next = match command {
            Mail::Stat => Ok(self.stat()),
            Mail::List(None) => Ok(Next::Ask(Request::Sizes)),
            Mail::List(Some(number)) => self
                .live(number)
                .map(|number| Next::Ask(Request::Size(number))),
            Mail::Uidl(None) => Ok(Next::Ask(Request::Uids)),
            Mail::Uidl(Some(number)) => self
                .live(number)
                .map(|number| Next::Ask(Request::Uid(number))),
            Mail::Retr(number) => self.live(number).map(|number| fetch(number, Extent::Whole)),
            Mail::Top(arguments) => self.top(arguments),
            Mail::Dele(number) => self.live(number).map(Next::Mark),
            Mail::Rset => {
                self.maildrop.unmark_all();
                let count = self.maildrop.count();
                Ok(Next::Reply(Line::Waiting { count }))
            }
            Mail::Noop => Ok(Next::Reply(Line::Nothing)),
        };
        next.unwrap_or_else(Next::from)
    }

    /// The number of a message that is there and not marked.
    fn live(&self, number: Number) -> Number {
        self.maildrop.live(number?)
    }

    /// RFC 1939 §5: "messages marked as deleted are not counted in either total".
    fn stat(&self) -> Next {
        let unmeasured = self.maildrop.unmeasured();
        if unmeasured.is_empty() || self.maildrop.live_count() == 0 {
            Next::Reply(self.totals())
        } else {
            Next::Ask(Request::SizesOf(unmeasured.to_vec()))
        }
    }

    pub(super) fn totals(&self) -> Line<'static> {
        Line::Totals {
            count: self.maildrop.live_count(),
            octets: self.maildrop.live_octets(),
        }
    }

    /// TOP. Tcllib looks at the number first, if there is one.
    fn top(&self, arguments: TopArguments) -> Result<Next, NoSuchMessage> {
        let number = match arguments.number {
            Some(number) => self.live(number)?,
            None => return Ok(Next::Reply(Line::LinesMissing)),
        };
        Ok(match arguments.lines {
            Ok(lines) => fetch(number, Extent::Top(lines)),
            Err(BadLines::Missing) => Next::Reply(Line::LinesMissing),
            Err(BadLines::NotANumber) => Next::Reply(Line::LinesNegative),
        })
    }
}

fn fetch(number: MsgNo, extent: Extent) -> Next {
    let request = Request::Fetch { number, extent };
    Next::Ask(request)
}
