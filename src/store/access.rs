//! How a session's requests reach users and mailboxes: directly, when built-in stores
//! serve them, or by jobs to the interpreter's thread.
//!
//! Both drivers, that of sockets and that of Tcl channels, use this code. They differ in
//! the [`Runner`], and in what the futures wake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot::{error::RecvError, Receiver};

pub use super::answer::Answer;
use super::answer::{ask, lock, refused, without_mailbox};
use super::hold::{Hold, Lock, MailboxView};
use super::jobs::{Outcome, Work};
use super::{
    checks, scram, Immediate, Mailbox, StartedMessage, Storage, StoreError, Users, Verdict, Wait,
};
use crate::text::characters;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::sasl::{Mechanism, Mechanisms};
use pop3_proto::{Attempt, Extent, Failure, LoginStep, Refusal, Reply, Request};

/// How users or mailboxes are reached.
pub enum Route<T: ?Sized> {
    /// Without the interpreter.
    Direct(Arc<T>),
    /// By jobs to the interpreter's thread, which evaluates a command prefix.
    Script,
    /// Not at all: without users every login fails, without storage every
    /// mailbox is empty.
    None,
}

impl<T: ?Sized> Clone for Route<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(store) => Self::Direct(store.clone()),
            Self::Script => Self::Script,
            Self::None => Self::None,
        }
    }
}

/// Who checks logins, and by what they may be proved.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoginRules {
    /// The interpreter's script, instead of the users.
    pub by_script: bool,
    /// The mechanisms of AUTH that are wanted.
    pub mechanisms: Mechanisms,
}

/// The routes of one server to its users and mailboxes. They are read anew for every
/// request, so that a renamed or replaced command takes effect at once, in running sessions
/// too.
pub struct Access {
    users: ArcSwap<Route<dyn Users>>,
    storage: ArcSwap<Route<dyn Storage>>,
    login_rules: ArcSwap<LoginRules>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            users: ArcSwap::from_pointee(Route::None),
            storage: ArcSwap::from_pointee(Route::None),
            login_rules: ArcSwap::default(),
        }
    }
}

/// How a driver gets work done elsewhere.
///
/// Each method returns the receiver of the answer. A dropped sender means that the work
/// could not be done: the interpreter or the runtime is ending, or the work panicked. The
/// session then gets a temporary failure. An answer that is there at once is sent before
/// the receiver is returned.
pub trait Runner {
    /// Has the interpreter's thread do `work`, as a
    /// [`Job`](super::jobs::Job) with this hold.
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome>;

    /// Runs `work` where it may block on files, or keep a core busy.
    fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static)
        -> Receiver<T>;

    /// Why the check of a login that had to wait for its turn, maybe for seconds, need not be
    /// run any more. Asked when its turn has come.
    fn refuses_check(&self) -> Option<Refusal> {
        None
    }
}

/// What [`Access::try_now`] gives.
pub enum AnsweredNow {
    /// The whole answer.
    Whole(Answer),
    /// A message whose first bytes are in the caller's buffer.
    Started(StartedMessage),
}

/// How many bytes of a message are read first for TOP: most headers are shorter.
const START_OF_TOP: usize = 4 * 1024;

impl Access {
    /// Changes the route to users.
    pub fn set_users(&self, route: Route<dyn Users>) {
        self.users.store(Arc::new(route));
    }

    /// Changes the route to mailboxes.
    pub fn set_storage(&self, route: Route<dyn Storage>) {
        self.storage.store(Arc::new(route));
    }

    /// The route to users now.
    pub fn users(&self) -> Route<dyn Users> {
        Route::clone(&self.users.load())
    }

    /// The route to mailboxes now.
    pub fn storage(&self) -> Route<dyn Storage> {
        Route::clone(&self.storage.load())
    }

    /// Changes who checks logins.
    pub fn set_login_rules(&self, rules: LoginRules) {
        self.login_rules.store(Arc::new(rules));
    }

    fn login_rules(&self) -> LoginRules {
        **self.login_rules.load()
    }

    /// The mechanisms of AUTH that are wanted, and that whoever checks logins can check: the
    /// users know passwords, a script that checks logins is told what the client sends.
    pub fn mechanisms(&self) -> Mechanisms {
        use Mechanism::{
            External, Login, OauthBearer, Plain, ScramSha256, ScramSha256Plus, Xoauth2,
        };
        let rules = self.login_rules();
        let known: &[Mechanism] = match (rules.by_script, self.users()) {
            (true, _) => &[External, Plain, Login, OauthBearer, Xoauth2],
            (false, Route::None) => &[],
            // A client that prefers SCRAM does not try another mechanism when that fails.
            (false, Route::Direct(users)) if !users.all_have_scram() => &[External, Plain, Login],
            (false, Route::Direct(_) | Route::Script) => {
                &[External, Plain, Login, ScramSha256, ScramSha256Plus]
            }
        };
        rules.mechanisms.and(known.iter().copied().collect())
    }

    fn storage_is_script(&self) -> bool {
        matches!(**self.storage.load(), Route::Script)
    }

    /// The mailbox to unlock for a lock that its session no longer needs.
    ///
    /// # Errors
    /// The lock itself when the script must run `unlock` for it: by
    /// [`Work::Release`], or at once on the interpreter's thread.
    pub fn to_unlock(&self, lock: Lock) -> Result<Arc<dyn Mailbox>, Lock> {
        match &lock.maildrop {
            // A script has wrapped the built-in store meanwhile: `unlock` goes to the script,
            // as all other calls do.
            Some(_) if self.storage_is_script() && lock.is_owed() => Err(lock),
            Some(mailbox) => Ok(mailbox.clone()),
            None => Err(lock),
        }
    }

    /// Releases a lock that its session no longer needs, on a thread that may block.
    ///
    /// # Errors
    /// Those of [`to_unlock`](Self::to_unlock).
    pub fn settle(&self, lock: Lock) -> Result<(), Lock> {
        self.to_unlock(lock).map(|mailbox| mailbox.unlock())
    }

    /// Answers one request of the session that `hold` belongs to.
    pub async fn perform<R: Runner>(
        &self,
        hold: &Arc<Hold>,
        request: Request,
        runner: &R,
    ) -> Answer {
        let request = match request {
            Request::Login(attempt) => return self.login(hold, attempt, runner).await,
            Request::Keys { user, .. } => return self.keys(hold, user, runner).await,
            Request::Hook(event) => return verdict(runner.script(hold, Work::Hook(event)).await),
            request => request,
        };
        match hold.view() {
            None => without_mailbox(request),
            Some(MailboxView {
                maildrop: Some(maildrop),
                ..
            }) if !self.storage_is_script() || !maildrop.is_locked() => {
                direct(hold, maildrop, request, runner).await
            }
            Some(view) => by_script(hold, view, request, runner).await,
        }
    }

    /// Answers a request if a built-in store can do so within microseconds: an event loop
    /// asks. Of a message the first bytes are read into `buffer`. After `None`
    /// [`perform`](Self::perform) is to be asked.
    ///
    /// A hop to another thread costs as much as a small message.
    pub fn try_now(
        &self,
        hold: &Arc<Hold>,
        request: &Request,
        buffer: &mut [u8],
    ) -> Option<AnsweredNow> {
        let mailbox = hold.maildrop()?;
        if self.storage_is_script() || matches!(request, Request::Hook(_)) {
            return None;
        }
        let most = match request {
            Request::Fetch {
                extent: Extent::Top(_),
                ..
            } => buffer.len().min(START_OF_TOP),
            _ => buffer.len(),
        };
        let _busy = hold.begin()?;
        match mailbox.try_now(request, &mut buffer[..most]) {
            Immediate::WouldBlock => None,
            Immediate::Ready => Some(AnsweredNow::Whole(ask(hold, &*mailbox, request))),
            Immediate::Started(message) => Some(AnsweredNow::Started(message)),
        }
    }

    async fn login<R: Runner>(&self, hold: &Arc<Hold>, attempt: Attempt, runner: &R) -> Answer {
        // Once: the interpreter may change the route meanwhile.
        let users = self.users();
        let by_script = self.login_rules().by_script || matches!(users, Route::Script);
        let mailbox = match users {
            _ if by_script && self.storage_is_script() => {
                return opened(runner.script(hold, Work::Login(attempt)).await);
            }
            _ if by_script => match runner.script(hold, Work::Check(attempt)).await {
                Ok(Outcome::Mailbox(mailbox)) => mailbox,
                other => return opened(other),
            },
            Route::Direct(users) => match users.verify(&attempt.user, &attempt.proof) {
                Verdict::Admitted(mailbox) => Some(mailbox),
                Verdict::Refused => None,
                Verdict::Pending(check) => match checks::run(check, hold, runner).await {
                    Ok(mailbox) => mailbox,
                    Err(not_checked) => return not_checked.into(),
                },
            },
            Route::None | Route::Script => None,
        };
        match mailbox {
            Some(mailbox) => self.open(hold, mailbox, runner).await,
            None => Reply::Refused(Refusal::Credentials).into(),
        }
    }

    /// What SCRAM needs to know of a user.
    async fn keys<R: Runner>(&self, hold: &Arc<Hold>, user: Box<[u8]>, runner: &R) -> Answer {
        let password = match self.users() {
            Route::None => None,
            Route::Direct(users) => {
                return computed(move || users.scram(&user), hold, runner).await;
            }
            Route::Script => {
                let work = Work::Lookup { user: user.clone() };
                match runner.script(hold, work).await {
                    Ok(Outcome::Account(account)) => account.map(|account| account.password),
                    other => return opened(other),
                }
            }
        };
        let keys = move || scram::keys_in_the_clear(&characters(&user), password.as_ref());
        computed(keys, hold, runner).await
    }

    async fn open<R: Runner>(&self, hold: &Arc<Hold>, mailbox: Box<str>, runner: &R) -> Answer {
        match self.storage() {
            Route::None => Reply::Opened {
                storage: mailbox,
                count: 0,
                octets: 0,
            }
            .into(),
            Route::Script => opened(runner.script(hold, Work::Open { mailbox }).await),
            // A callback of this login has ended the session: nobody may find the mailbox locked.
            Route::Direct(_) if hold.is_ended() => refused(LoginStep::Server, Failure::Temporary),
            Route::Direct(storage) => {
                let answer = lock(hold, &*storage, &mailbox, Wait::No);
                if !matches!(answer.trouble, Some(StoreError::WouldBlock)) {
                    return answer;
                }
                let hold = hold.clone();
                let job = move || {
                    let is_wanted = || !hold.is_ended();
                    lock(&hold, &*storage, &mailbox, Wait::While(&is_wanted))
                };
                runner
                    .blocking(job)
                    .await
                    .unwrap_or_else(|_| refused(LoginStep::Server, Failure::Temporary))
            }
        }
    }
}

/// The answer with keys that take milliseconds.
async fn computed<R: Runner>(
    keys: impl FnOnce() -> ScramKeys + Send + 'static,
    hold: &Arc<Hold>,
    runner: &R,
) -> Answer {
    let reply = match checks::keys(keys, hold, runner).await {
        Err(checks::NotChecked::Refused(refusal)) => Some(Reply::Refused(refusal)),
        keys => keys.ok().flatten().and_then(scram::reply),
    };
    reply.map_or_else(|| Answer::failed(Failure::Temporary), Answer::from)
}

/// What the interpreter answered to a login.
fn opened(outcome: Result<Outcome, RecvError>) -> Answer {
    match outcome {
        Ok(Outcome::Reply(reply @ (Reply::Opened { .. } | Reply::Refused(_)))) => reply.into(),
        Ok(Outcome::Reply(Reply::Failed(failure))) => refused(LoginStep::Server, failure),
        _ => refused(LoginStep::Server, Failure::Temporary),
    }
}

/// What the interpreter answered to an event of the hook.
fn verdict(outcome: Result<Outcome, RecvError>) -> Answer {
    match outcome {
        Ok(Outcome::Reply(reply @ (Reply::Hook(_) | Reply::Failed(_)))) => reply.into(),
        _ => Answer::failed(Failure::Temporary),
    }
}

/// A request to a built-in store.
async fn direct<R: Runner>(
    hold: &Arc<Hold>,
    mailbox: Arc<dyn Mailbox>,
    request: Request,
    runner: &R,
) -> Answer {
    let hold = hold.clone();
    let job = move || match hold.begin() {
        Some(_busy) => ask(&hold, &*mailbox, &request),
        None => Answer::failed(Failure::Temporary),
    };
    runner
        .blocking(job)
        .await
        .unwrap_or_else(|_| Answer::failed(Failure::Temporary))
}

/// A request to a script.
async fn by_script<R: Runner>(
    hold: &Arc<Hold>,
    view: MailboxView,
    request: Request,
    runner: &R,
) -> Answer {
    let MailboxView { mailbox, count, .. } = view;
    let work = Work::Ask {
        mailbox,
        count,
        request,
    };
    match runner.script(hold, work).await {
        Ok(Outcome::Message(message)) => message.into(),
        // The session checks whether the reply fits the request. A message must come with
        // its content, as an `Outcome::Message`.
        Ok(Outcome::Reply(reply)) if !matches!(reply, Reply::Fetching { .. }) => reply.into(),
        _ => Answer::failed(Failure::Temporary),
    }
}

#[cfg(test)]
mod tests;
