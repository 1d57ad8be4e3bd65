//! Where a session stands still for the hook, and what its verdicts lead to.

use super::{EndReason, Phase, Session, Step};
use crate::command::Command;
use crate::connection::End;
use crate::hook::{Detail, Event, EventKind, Rejection, Terms, Verdict};
use crate::limits::LONGEST_HOOK_DELAY;
use crate::sasl::Mechanism;
use crate::{Extent, Failure, MsgNo, Reply, Request};

/// How far a session that stands still is.
#[derive(Debug)]
pub(super) enum Halt {
    /// The verdict must come.
    Asked(Point),
    /// The verdict is to go on, and a wait must pass first.
    Waiting(Point, Terms),
    /// The mailbox must be unlocked, with nothing deleted. The client is told this then.
    Unlocking(Rejection),
}

/// What comes next, if the hook lets it.
#[derive(Debug)]
pub(super) enum Point {
    /// The greeting.
    Connect,
    /// The execution of a command.
    Command(Command),
    /// The end of a login.
    Login(Admitted),
    /// A message that has been opened.
    Retrieve { extent: Extent, octets: u64 },
    /// A deletion mark.
    Delete(MsgNo),
    /// The deletion of what is marked, and the end.
    Update,
}

/// A client whose credentials are right, and its locked mailbox.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) mechanism: Mechanism,
    pub(super) storage: Box<str>,
    pub(super) count: u32,
    pub(super) octets: u64,
}

impl Session {
    /// Whether events of this kind are asked about.
    pub fn is_watched(&self, kind: EventKind) -> bool {
        self.config.hook.contains(kind)
    }

    /// The event of its end.
    pub fn end_event(&self, end: End) -> Event {
        Event {
            tls: self.tls.is_some(),
            detail: Detail::End {
                end,
                tally: *self.tally,
            },
        }
    }

    /// Asks about an event, and stands still before it.
    pub(super) fn consult(&mut self, detail: Detail, at: Point) {
        let tls = self.tls.is_some();
        self.request = Some(Request::Hook(Box::new(Event { tls, detail })));
        self.halt = Some(Box::new(Halt::Asked(at)));
    }

    /// Takes the answer to what a session that stands still has asked.
    pub(super) fn settle_halt(&mut self, halt: Halt, reply: Reply) {
        match halt {
            Halt::Asked(at) => self.decide(at, verdict(reply)),
            Halt::Unlocking(rejection) => self.tell_unlocked(&rejection),
            // Nothing was asked.
            Halt::Waiting(..) => self.halt = Some(Box::new(halt)),
        }
    }

    fn decide(&mut self, at: Point, verdict: Verdict) {
        match (verdict, at) {
            (Verdict::Proceed(terms), at) if terms.delay.is_zero() => self.go_on(at, terms),
            (Verdict::Proceed(terms), at) => {
                self.delay = Some(terms.delay.min(LONGEST_HOOK_DELAY));
                self.halt = Some(Box::new(Halt::Waiting(at, terms)));
            }
            (Verdict::Reject(rejection), at) => self.reject(&at, rejection),
            (Verdict::Close, _) => self.finish(EndReason::ByHook),
            (Verdict::Reply(bytes), Point::Command(_)) => {
                self.output.writer().extend_from_slice(&bytes);
            }
            (Verdict::Reply(_), at) => self.go_on(at, Terms::default()),
        }
    }

    /// The wait that [`poll_delay`](Self::poll_delay) gave is over.
    pub fn handle_delay_end(&mut self) {
        match self.halt.take().map(|halt| *halt) {
            Some(Halt::Waiting(at, terms)) => {
                self.go_on(at, terms);
                self.advance();
            }
            other => self.halt = other.map(Box::new),
        }
    }

    /// It happens.
    fn go_on(&mut self, at: Point, terms: Terms) {
        match at {
            Point::Connect => self.greet(),
            Point::Command(command) => self.execute(command),
            Point::Login(admitted) => self.admit(admitted),
            Point::Retrieve { extent, octets } => self.send(extent, octets, terms),
            Point::Delete(number) => self.mark(number),
            Point::Update => {
                if let Phase::Update(opened) = &self.phase {
                    self.update(opened.maildrop.marked().to_vec());
                }
            }
        }
    }

    /// It does not happen. What the hook answers counts neither as a bad command nor as a
    /// good one.
    fn reject(&mut self, at: &Point, rejection: Rejection) {
        match at {
            Point::Connect => {
                self.write_line(&rejection);
                self.finish(EndReason::ByHook);
            }
            Point::Command(_) | Point::Retrieve { .. } | Point::Delete(_) => {
                self.write_line(&rejection);
            }
            // The mailbox is free when the client is told.
            Point::Login(_) | Point::Update => {
                self.request = Some(Request::Update { delete: Vec::new() });
                self.halt = Some(Box::new(Halt::Unlocking(rejection)));
            }
        }
    }

    /// The mailbox is unlocked, whatever the answer says: a login goes back to
    /// AUTHORIZATION, and QUIT ends the session.
    fn tell_unlocked(&mut self, rejection: &Rejection) {
        self.write_line(rejection);
        match &mut self.phase {
            Phase::Authorization { step, .. } => *step = Step::Nothing,
            Phase::Transaction(_) | Phase::Update(_) => self.finish(EndReason::ByHook),
        }
    }

    fn write_line(&mut self, rejection: &Rejection) {
        let line = rejection.line().as_bytes();
        self.output.writer().extend_from_slice(line);
    }

    /// Whether a message has been opened that waits for the hook.
    pub(super) fn is_halted_at_body(&self) -> bool {
        matches!(
            self.halt.as_deref(),
            Some(Halt::Asked(Point::Retrieve { .. }) | Halt::Waiting(Point::Retrieve { .. }, _))
        )
    }

    /// Whether what it is at is carried out even if the client goes: QUIT has come (RFC 1939
    /// §6).
    pub fn is_quitting(&self) -> bool {
        let quits = matches!(
            self.halt.as_deref(),
            Some(
                Halt::Asked(Point::Command(Command::Quit))
                    | Halt::Waiting(Point::Command(Command::Quit), _)
            )
        );
        self.end.is_none() && (quits || matches!(self.phase, Phase::Update(_)))
    }
}

/// The verdict that an answer brings. A hook that could not be asked refuses.
fn verdict(reply: Reply) -> Verdict {
    let failure = match reply {
        Reply::Hook(verdict) => return verdict,
        Reply::Failed(failure) => failure,
        _ => Failure::Temporary,
    };
    Verdict::Reject(Rejection::unavailable(failure))
}
