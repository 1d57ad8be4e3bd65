//! How a session's requests reach users and mailboxes: directly, when the
//! built-in stores serve them, or by jobs to the interpreter's thread.
//!
//! One code path for both drivers, the network's and the one on Tcl channels: they differ
//! in the [`Runner`], and in what the futures wake.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot::{error::RecvError, Receiver};

pub use super::answer::Answer;
use super::answer::{ask, lock, lock_at_once, refused, without_mailbox};
use super::hold::{Hold, Lock, View};
use super::jobs::{Outcome, Work};
use super::{scram, Begin, Maildrop, Storage, Users};
use pop3_proto::sasl::{Mechanism, Mechanisms};
use pop3_proto::{Attempt, Extent, Failure, LoginStep, Refusal, Reply, Request, Secret};

/// How users or mailboxes are reached now.
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

/// The two ways of one server. Read afresh for every request, so that a renamed or
/// traced command takes effect at once, in running sessions too.
pub struct Access {
    users: RwLock<Route<dyn Users>>,
    storage: RwLock<Route<dyn Storage>>,
    login_rules: RwLock<LoginRules>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            users: RwLock::new(Route::None),
            storage: RwLock::new(Route::None),
            login_rules: RwLock::default(),
        }
    }
}

/// How a driver gets work done elsewhere.
///
/// An end whose sender was dropped means that nobody could do it (the interpreter
/// or the runtime is ending, the work panicked); the session gets a temporary
/// failure. Where the answer is there at once, it is sent before the end is returned.
pub trait Runner {
    /// Has the interpreter's thread do `work`, as a
    /// [`Job`](super::jobs::Job) with this hold.
    fn script(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome>;

    /// Runs `work` where it may block on files.
    fn blocking(&self, work: Box<dyn FnOnce() -> Answer + Send>) -> Receiver<Answer>;
}

/// What [`Access::try_now`] gives.
pub enum Now {
    /// The whole answer.
    Answer(Answer),
    /// A message whose begin is in the buffer.
    Begin(Begin),
}

/// What is read for TOP at first: most headers are shorter.
const BEGIN_OF_TOP: usize = 4 * 1024;

impl Access {
    /// Changes the way to users.
    pub fn set_users(&self, way: Route<dyn Users>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// Changes the way to mailboxes.
    pub fn set_storage(&self, way: Route<dyn Storage>) {
        *self.storage.write().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// The way to users now.
    pub fn users(&self) -> Route<dyn Users> {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The way to mailboxes now.
    pub fn storage(&self) -> Route<dyn Storage> {
        self.storage
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes who checks logins.
    pub fn set_login_rules(&self, rules: LoginRules) {
        *self
            .login_rules
            .write()
            .unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn login_rules(&self) -> LoginRules {
        *self
            .login_rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
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
            (false, Route::Direct(_) | Route::Script) => {
                &[External, Plain, Login, ScramSha256, ScramSha256Plus]
            }
        };
        rules.mechanisms.and(known.iter().copied().collect())
    }

    fn storage_is_script(&self) -> bool {
        let way = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*way, Route::Script)
    }

    /// Releases a lock that its session no longer needs.
    ///
    /// # Errors
    /// The lock itself when the script must run `unlock` for it: by
    /// [`Work::Release`], or at once on the interpreter's thread.
    pub fn settle(&self, lock: Lock) -> Result<(), Lock> {
        match &lock.maildrop {
            // A built-in store that is wrapped by a script meanwhile: its `unlock`
            // goes to the script, as all its other calls do.
            Some(_) if self.storage_is_script() && lock.is_owed() => Err(lock),
            Some(maildrop) => {
                maildrop.unlock();
                Ok(())
            }
            None => Err(lock),
        }
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
            Request::Keys { user } => return self.keys(hold, user, runner).await,
            request => request,
        };
        match hold.view() {
            None => without_mailbox(request),
            Some(View {
                maildrop: Some(maildrop),
                ..
            }) if !self.storage_is_script() || !maildrop.is_locked() => {
                direct(hold, maildrop, request, runner).await
            }
            Some(view) => by_script(hold, view, request, runner).await,
        }
    }

    /// Answers a request if a built-in store can do so without waiting: in microseconds, as
    /// it is called on an event loop. Of a message the begin is read into `buffer`. None:
    /// [`perform`](Self::perform) is to be asked.
    ///
    /// A hop to another thread costs as much as a small message.
    pub fn try_now(&self, hold: &Arc<Hold>, request: &Request, buffer: &mut [u8]) -> Option<Now> {
        let begin = match request {
            // Logins look for a way of their own; ids of a large mailbox are worth the hop.
            Request::Login(_) | Request::Keys { .. } | Request::Uids => return None,
            Request::Update { delete } if !delete.is_empty() => return None,
            Request::Update { .. } | Request::Size(_) | Request::SizesOf(_) => None,
            Request::Sizes | Request::Uid(_) => None,
            Request::Fetch { number, extent } => Some((number, extent)),
        };
        let maildrop = self.quick_maildrop(hold)?;
        let _busy = hold.begin()?;
        match begin {
            None => Some(Now::Answer(ask(hold, &*maildrop, request))),
            Some((number, extent)) => {
                let most = match extent {
                    Extent::Whole => buffer.len(),
                    Extent::Top(_) => buffer.len().min(BEGIN_OF_TOP),
                };
                let begin = maildrop.begin_cached(*number, &mut buffer[..most]);
                begin.map(Now::Begin)
            }
        }
    }

    /// The mailbox, if it is a built-in store's that answers some things at once.
    fn quick_maildrop(&self, hold: &Hold) -> Option<Arc<dyn Maildrop>> {
        let maildrop = hold.maildrop()?;
        (maildrop.is_in_memory() && !self.storage_is_script()).then_some(maildrop)
    }

    async fn login<R: Runner>(&self, hold: &Arc<Hold>, attempt: Attempt, runner: &R) -> Answer {
        let by_script = match (self.login_rules().by_script, self.users()) {
            (true, _) | (false, Route::Script) => true,
            (false, Route::None | Route::Direct(_)) => false,
        };
        let mailbox = match self.users() {
            _ if by_script && self.storage_is_script() => {
                return opened(runner.script(hold, Work::Login(attempt)).await);
            }
            _ if by_script => match runner.script(hold, Work::Check(attempt)).await {
                Ok(Outcome::Mailbox(mailbox)) => mailbox,
                other => return opened(other),
            },
            Route::Direct(users) => users.verify(&attempt.user, &attempt.proof),
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
            Route::Direct(users) => users.password(&user),
            Route::Script => {
                let work = Work::Lookup { user: user.clone() };
                match runner.script(hold, work).await {
                    Ok(Outcome::Account(account)) => account.map(|account| account.password),
                    other => return opened(other),
                }
            }
        };
        let job = move || {
            let keys = scram::keys(&user, password.as_ref().map(Secret::expose));
            keys.and_then(scram::reply).map(Answer::from)
        };
        let failed = || Answer::failed(Failure::Temporary);
        runner
            .blocking(Box::new(move || job().unwrap_or_else(failed)))
            .await
            .unwrap_or_else(|_| failed())
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
            Route::Direct(storage) => {
                if let Some(answer) = lock_at_once(hold, &*storage, &mailbox) {
                    return answer;
                }
                let hold = hold.clone();
                let job = move || lock(&hold, &*storage, &mailbox);
                runner
                    .blocking(Box::new(job))
                    .await
                    .unwrap_or_else(|_| refused(LoginStep::Server, Failure::Temporary))
            }
        }
    }
}

/// What the interpreter answered to a login.
fn opened(outcome: Result<Outcome, RecvError>) -> Answer {
    match outcome {
        Ok(Outcome::Reply(reply @ (Reply::Opened { .. } | Reply::Refused(_)))) => reply.into(),
        Ok(Outcome::Reply(Reply::Failed(failure))) => refused(LoginStep::Server, failure),
        _ => refused(LoginStep::Server, Failure::Temporary),
    }
}

/// A request to a built-in store.
async fn direct<R: Runner>(
    hold: &Arc<Hold>,
    maildrop: Arc<dyn Maildrop>,
    request: Request,
    runner: &R,
) -> Answer {
    let hold = hold.clone();
    let job = move || match hold.begin() {
        Some(_busy) => ask(&hold, &*maildrop, &request),
        None => Answer::failed(Failure::Temporary),
    };
    runner
        .blocking(Box::new(job))
        .await
        .unwrap_or_else(|_| Answer::failed(Failure::Temporary))
}

/// A request to a script.
async fn by_script<R: Runner>(
    hold: &Arc<Hold>,
    view: View,
    request: Request,
    runner: &R,
) -> Answer {
    let View { mailbox, count, .. } = view;
    let work = Work::Ask {
        mailbox,
        count,
        request,
    };
    match runner.script(hold, work).await {
        Ok(Outcome::Message(message)) => message.into(),
        // Whether the reply fits the request is the session's to see; a message comes with
        // its content only.
        Ok(Outcome::Reply(reply)) if !matches!(reply, Reply::Fetching { .. }) => reply.into(),
        _ => Answer::failed(Failure::Temporary),
    }
}
