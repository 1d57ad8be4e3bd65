//! Answers to requests.

use std::mem;

use super::halt::{Admitted, Point};
use super::{EndReason, Opened, Phase, Session, Step, Work};
use crate::body::Body;
use crate::hook::{Detail, EventKind, Terms};
use crate::limits::Limits;
use crate::listing::{Column, Listing};
use crate::maildrop::Maildrop;
use crate::reply::Line;
use crate::sasl::Mechanism;
use crate::{
    AddressFailures, Extent, Failure, LoginStep, MsgNo, Refusal, Reply, Request, TOO_MANY_FAILURES,
};

impl Session {
    /// Goes on with the command whose request is answered.
    pub(super) fn settle(&mut self, reply: Reply) {
        match &mut self.phase {
            Phase::Authorization { step, .. } => {
                if !step.is_checking() {
                    return;
                }
                match (mem::replace(step, Step::Nothing), reply) {
                    (Step::Keys(mechanism, challenge), Reply::Keys { keys, nonce }) => {
                        self.settle_keys((mechanism, challenge), keys, nonce);
                    }
                    (Step::Checking(mechanism), reply) => self.settle_login(mechanism, reply),
                    (Step::Keys(mechanism, _), reply) => self.settle_login(mechanism, reply),
                    _ => {}
                }
            }
            Phase::Transaction(opened) | Phase::Update(opened) => {
                if let Work::Asked(request) = mem::replace(&mut opened.work, Work::Idle) {
                    self.settle_request(request, reply);
                }
            }
        }
    }

    fn settle_login(&mut self, mechanism: Mechanism, reply: Reply) {
        match reply {
            Reply::Opened {
                storage,
                count,
                octets,
            } => self.settle_opened(Admitted {
                mechanism,
                storage,
                count,
                octets,
            }),
            Reply::Refused(Refusal::Credentials) => self.login_failed(mechanism),
            Reply::Refused(Refusal::InUse) => {
                let name: Box<[u8]> = self.user().into();
                self.respond(Line::InUse { name: &name });
            }
            Reply::Refused(Refusal::TooManyFailures) => {
                self.output.writer().extend_from_slice(TOO_MANY_FAILURES);
                self.finish(EndReason::TooManyLogins);
            }
            Reply::Refused(Refusal::Failed(step, failure)) => {
                self.respond(Line::LoginImpossible(step, failure));
            }
            Reply::Failed(failure) => {
                self.respond(Line::LoginImpossible(LoginStep::Server, failure));
            }
            _ => {
                let failure = Failure::Temporary;
                self.respond(Line::LoginImpossible(LoginStep::Server, failure));
            }
        }
    }

    /// The mailbox is locked: lets the client in, if the hook does.
    fn settle_opened(&mut self, admitted: Admitted) {
        if !self.is_watched(EventKind::Login) {
            return self.admit(admitted);
        }
        if let Phase::Authorization { step, .. } = &mut self.phase {
            *step = Step::Checking(admitted.mechanism);
        }
        let event = Detail::Login {
            mechanism: admitted.mechanism,
            storage: admitted.storage.clone(),
            count: admitted.count,
            octets: admitted.octets,
        };
        self.consult(event, Point::Login(admitted));
    }

    /// Lets a client in.
    pub(super) fn admit(&mut self, admitted: Admitted) {
        let Phase::Authorization { name, .. } = &mut self.phase else {
            return;
        };
        self.phase = Phase::Transaction(Box::new(Opened {
            name: mem::take(name),
            mechanism: admitted.mechanism,
            storage: admitted.storage,
            maildrop: Maildrop::new(admitted.count, admitted.octets),
            work: Work::Idle,
        }));
        self.respond(Line::Welcome);
    }

    pub(super) fn login_failed(&mut self, mechanism: Mechanism) {
        self.refuse(mechanism, Line::LoginFailed);
    }

    /// Has the driver count a failed login, which this line answers then.
    pub(super) fn refuse(&mut self, mechanism: Mechanism, line: Line<'static>) {
        if let Phase::Authorization { step, .. } = &mut self.phase {
            *step = Step::Failed(mechanism, line);
        }
    }

    /// Answers a failed login: slows down guessing, and ends the session at the bound.
    pub(super) fn tell_failure(&mut self, address: AddressFailures) {
        let Phase::Authorization { step, .. } = &mut self.phase else {
            return;
        };
        let Step::Failed(_, line) = mem::replace(step, Step::Nothing) else {
            return;
        };
        self.failed_logins += 1;
        let limits = &self.config.limits;
        // A client that comes back waits on where it has stopped.
        let delay = limits.delay_after(self.failed_logins.max(address.count));
        self.delay = (!delay.is_zero()).then_some(delay);
        let last = Limits::reached(self.failed_logins, limits.failed_logins);
        line.write(self.output.writer());
        if last || address.is_refused {
            self.finish(EndReason::TooManyLogins);
        }
    }

    fn settle_request(&mut self, request: Request, reply: Reply) {
        match (request, reply) {
            (Request::Update { .. }, reply) => self.settle_update(&reply),
            (Request::Fetch { number, extent }, Reply::Fetching { octets }) => {
                self.settle_fetched(number, extent, octets);
            }
            (Request::SizesOf(_), Reply::Sizes(sizes)) => self.settle_totals(&sizes),
            (Request::Size(number), Reply::Sizes(sizes)) if sizes.len() == 1 => {
                let octets = sizes[0];
                self.respond(Line::Size { number, octets });
            }
            (Request::Uid(number), Reply::Uids(uids)) if uids.len() == 1 => {
                let uid = &uids[0];
                self.respond(Line::UniqueId { number, uid });
            }
            (Request::Sizes, Reply::Sizes(sizes)) => self.list(Column::Sizes(sizes)),
            (Request::Uids, Reply::Uids(uids)) => self.list(Column::Uids(uids)),
            (request, Reply::Failed(failure)) => self.respond(failed(&request, failure)),
            (request, _) => self.respond(failed(&request, Failure::Temporary)),
        }
    }

    /// The message is open: sends it, if the hook lets it.
    fn settle_fetched(&mut self, number: MsgNo, extent: Extent, octets: u64) {
        if !self.is_watched(EventKind::Retrieve) {
            return self.send(extent, octets, Terms::default());
        }
        let event = Detail::Retrieve {
            number,
            extent,
            octets,
        };
        self.consult(event, Point::Retrieve { extent, octets });
    }

    /// Begins the answer to RETR or TOP.
    pub(super) fn send(&mut self, extent: Extent, octets: u64, terms: Terms) {
        let line = match terms.announce {
            // By itself TOP announces nothing.
            Some(octets) => Line::Message {
                extent: Extent::Whole,
                octets,
            },
            None => Line::Message { extent, octets },
        };
        self.respond(line);
        self.throttle = terms.throttle;
        let (body, cut) = (Body::new(extent), terms.cut);
        self.work_on(Work::Body { body, cut });
        if cut == Some(0) {
            self.finish(EndReason::ByHook);
        }
    }

    /// STAT: what is left when the marked messages are taken off.
    fn settle_totals(&mut self, sizes: &[u64]) {
        let Phase::Transaction(opened) = &mut self.phase else {
            return;
        };
        let line = match opened.maildrop.measure(sizes) {
            true => opened.totals(),
            false => Line::TotalsFailed(Failure::Temporary),
        };
        self.respond(line);
    }

    /// Begins the answer to LIST or UIDL.
    fn list(&mut self, column: Column) {
        let Phase::Transaction(opened) = &self.phase else {
            return;
        };
        let count = opened.maildrop.live_count();
        let (request, first) = match column {
            Column::Sizes(_) => (Request::Sizes, Line::Messages { count }),
            Column::Uids(_) => (Request::Uids, Line::UniqueIds),
        };
        match Listing::new(column, &opened.maildrop) {
            Some(listing) => {
                self.respond(first);
                self.work_on(Work::Listing(listing));
            }
            None => self.respond(failed(&request, Failure::Temporary)),
        }
    }

    /// RFC 1939 §6: whatever comes of the deletions, the session ends.
    fn settle_update(&mut self, reply: &Reply) {
        let failure = match reply {
            Reply::Updated => None,
            Reply::Failed(failure) => Some(*failure),
            _ => Some(Failure::Temporary),
        };
        match failure {
            None => {
                if let Phase::Update(opened) = &self.phase {
                    self.tally.deleted = opened.maildrop.marked().len() as u64;
                }
                self.say_goodbye();
            }
            Some(failure) => {
                self.respond(Line::NotRemoved(failure));
                self.finish(EndReason::UpdateFailed);
            }
        }
    }

    fn work_on(&mut self, work: Work) {
        if let Phase::Transaction(opened) = &mut self.phase {
            opened.work = work;
        }
    }
}

/// The reply when the answer to a request is a failure.
fn failed(request: &Request, failure: Failure) -> Line<'static> {
    match request {
        Request::SizesOf(_) => Line::TotalsFailed(failure),
        Request::Size(_) => Line::SizeFailed(failure),
        Request::Sizes => Line::SizesFailed(failure),
        Request::Uid(_) => Line::UidFailed(failure),
        Request::Uids => Line::UidsFailed(failure),
        Request::Fetch { .. } => Line::MessageFailed(failure),
        Request::Update { .. } => Line::NotRemoved(failure),
        Request::Login { .. } | Request::Keys { .. } | Request::Hook(_) => {
            Line::LoginImpossible(LoginStep::Server, failure)
        }
    }
}
