//! Which way a request goes, and what becomes of the lock and of answers that fail.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::hold::Ended;
use super::super::{Account, Content, Message, StoreError};
use super::*;
use pop3_proto::{MsgNo, Proof, Secret};

/// A mailbox with a message of 5 octets, which cannot be deleted.
struct OneMailbox {
    in_memory: bool,
    cached: bool,
    locked: AtomicBool,
    /// What `try_now` was asked to read at most.
    asked_octets: AtomicUsize,
}

impl OneMailbox {
    fn new() -> Arc<Self> {
        Self::with(true, true)
    }

    fn with(in_memory: bool, cached: bool) -> Arc<Self> {
        Arc::new(Self {
            in_memory,
            cached,
            locked: AtomicBool::new(true),
            asked_octets: AtomicUsize::new(0),
        })
    }

    fn checked<T>(&self, value: T) -> Result<T, StoreError> {
        match self.is_locked() {
            true => Ok(value),
            false => Err(StoreError::NotLocked("m".into())),
        }
    }
}

impl Mailbox for OneMailbox {
    fn count(&self) -> u32 {
        1
    }
    fn octets(&self) -> Result<u64, StoreError> {
        self.checked(5)
    }
    fn size(&self, _number: MsgNo) -> Result<u64, StoreError> {
        self.checked(5)
    }
    fn sizes(&self) -> Result<Arc<[u64]>, StoreError> {
        self.checked([5].into())
    }
    fn uid(&self, _number: MsgNo) -> Result<Box<str>, StoreError> {
        self.checked("id".into())
    }
    fn uids(&self) -> Result<Arc<[Box<str>]>, StoreError> {
        self.checked(["id".into()].into())
    }
    fn get(&self, _number: MsgNo) -> Result<Message, StoreError> {
        self.checked(message())
    }
    fn delete(&self, _numbers: &[MsgNo]) -> Result<(), StoreError> {
        Err(StoreError::Message {
            what: "couldn't delete".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        })
    }
    fn unlock(&self) {
        self.locked.store(false, Ordering::Relaxed);
    }
    fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
    fn try_now(&self, request: &Request, buffer: &mut [u8]) -> Immediate {
        match request {
            _ if !self.in_memory => Immediate::WouldBlock,
            Request::Fetch { .. } if self.cached => {
                self.asked_octets.store(buffer.len(), Ordering::Relaxed);
                Immediate::Started(StartedMessage {
                    octets: 5,
                    length: 5,
                    rest: None,
                })
            }
            Request::Fetch { .. } | Request::Uids => Immediate::WouldBlock,
            Request::Login(_) | Request::Keys { .. } => Immediate::WouldBlock,
            Request::Update { delete } if !delete.is_empty() => Immediate::WouldBlock,
            _ => Immediate::Ready,
        }
    }
}

impl Drop for OneMailbox {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// A store with one mailbox.
struct Store {
    mailbox: Arc<OneMailbox>,
    at_once: bool,
    in_use: bool,
}

impl Storage for Store {
    fn lock(&self, mailbox: &str, wait: Wait<'_>) -> Result<Arc<dyn Mailbox>, StoreError> {
        match (wait, self.in_use) {
            (Wait::No, _) if !self.at_once => Err(StoreError::WouldBlock),
            (_, true) => Err(StoreError::InUse(mailbox.into())),
            (_, false) => Ok(self.mailbox.clone()),
        }
    }
}

/// One user, `u` with the password `p`.
struct OneUser;

impl Users for OneUser {
    fn verify(&self, user: &[u8], proof: &Proof) -> Verdict {
        let account = (user == b"u").then(account);
        account.and_then(|account| account.admits(proof)).into()
    }
}

/// Answers at once, or drops what it is given.
#[derive(Default)]
struct Fake {
    /// What the interpreter answers, one after the other; then it is gone.
    script: RefCell<Vec<Outcome>>,
    /// What the interpreter was asked.
    asked: RefCell<Vec<String>>,
    /// Nobody does what may wait for files.
    no_threads: bool,
    /// Runs before what may wait for files.
    before_blocking: Option<Box<dyn Fn()>>,
}

impl Fake {
    fn answering(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        Self {
            script: RefCell::new(outcomes.into_iter().collect()),
            ..Self::default()
        }
    }

    fn asked(&self) -> String {
        self.asked.borrow().join(" | ")
    }
}

impl Runner for Fake {
    fn script(&self, _hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        self.asked.borrow_mut().push(format!("{work:?}"));
        let (sender, receiver) = oneshot::channel();
        let mut script = self.script.borrow_mut();
        if !script.is_empty() {
            sender.send(script.remove(0)).unwrap();
        }
        receiver
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.before_blocking.iter().for_each(|before| before());
        if !self.no_threads {
            assert!(sender.send(work()).is_ok());
        }
        receiver
    }
}

fn account() -> Account {
    Account {
        password: Secret::new(*b"p"),
        storage: "m".into(),
    }
}

fn message() -> Message {
    Message {
        octets: 5,
        content: Content::Data(b"A: 1\n"[..].into()),
    }
}

fn first() -> MsgNo {
    MsgNo::new(1).unwrap()
}

fn login(password: &str) -> Request {
    Request::Login(Attempt {
        user: b"u"[..].into(),
        proof: Proof::Password(Secret::new(password.as_bytes())),
        mechanism: Mechanism::User,
        tls: None,
    })
}

fn fetch(extent: Extent) -> Request {
    let number = first();
    Request::Fetch { number, extent }
}

fn update(delete: &[MsgNo]) -> Request {
    Request::Update {
        delete: delete.into(),
    }
}

fn access(users: Route<dyn Users>, storage: Route<dyn Storage>) -> Access {
    let access = Access::default();
    access.set_users(users);
    access.set_storage(storage);
    access
}

fn store(mailbox: &Arc<OneMailbox>) -> Store {
    Store {
        mailbox: mailbox.clone(),
        at_once: false,
        in_use: false,
    }
}

fn direct(store: Store) -> Route<dyn Storage> {
    Route::Direct(Arc::new(store))
}

/// A session whose mailbox a built-in store has locked.
fn locked(mailbox: &Arc<OneMailbox>) -> Arc<Hold> {
    let hold = Hold::new();
    hold.keep(Lock::direct("m".into(), mailbox.clone()))
        .unwrap();
    hold
}

/// A session whose mailbox a script has locked.
fn locked_by_script() -> Arc<Hold> {
    let hold = Hold::new();
    hold.keep(Lock::by_script("m".into(), 1)).unwrap();
    hold
}

/// The answer, where nothing is waited for.
fn perform(access: &Access, hold: &Arc<Hold>, request: Request, runner: &Fake) -> Answer {
    let answer = pin!(access.perform(hold, request, runner));
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("an answer is waited for"),
    }
}

fn reply(access: &Access, hold: &Arc<Hold>, request: Request, runner: &Fake) -> String {
    format!("{:?}", perform(access, hold, request, runner).reply)
}

#[test]
fn what_can_be_answered_at_once() {
    let (whole, top) = (fetch(Extent::Whole), fetch(Extent::Top(0)));
    #[rustfmt::skip]
    let table = [
        (Request::Size(first()), Some("Sizes([5])")),
        (Request::SizesOf(vec![first()]), Some("Sizes([5])")),
        (Request::Sizes, Some("Sizes([5])")),
        (Request::Uid(first()), Some("Uids([\"id\"])")),
        (update(&[]), Some("Updated")),
        (whole, Some("begin")),
        (top, Some("begin")),
        (Request::Uids, None),
        (update(&[first()]), None),
        (login("p"), None),
    ];
    for (request, want) in table {
        let mailbox = OneMailbox::new();
        let hold = locked(&mailbox);
        let access = access(Route::None, direct(store(&mailbox)));
        let now = access.try_now(&hold, &request, &mut [0; 9000]);
        let got = now.map(|now| match now {
            AnsweredNow::Whole(answer) => format!("{:?}", answer.reply),
            AnsweredNow::Started(_) => "begin".into(),
        });
        assert_eq!(got.as_deref(), want, "{request:?}");
        let updated = want == Some("Updated");
        assert_eq!(mailbox.is_locked(), !updated, "{request:?}");
        // No job is left under way, and the lock has been taken out only with its end.
        let ended = matches!(hold.end(), Ended::Owed(_));
        assert_eq!(ended, !updated, "{request:?}");
    }
}

#[test]
fn what_cannot_be_answered_at_once() {
    let on_disk = OneMailbox::with(false, true);
    let uncached = OneMailbox::with(true, false);
    let kept = OneMailbox::new();
    let ended = locked(&kept);
    let _owed = ended.end();
    #[rustfmt::skip]
    let table = [
        ("no lock", Hold::new(), direct(store(&kept)), Request::Sizes),
        ("a script's lock", locked_by_script(), Route::Script, Request::Sizes),
        ("a store behind a script", locked(&kept), Route::Script, Request::Sizes),
        ("a store that may wait", locked(&on_disk), direct(store(&on_disk)), Request::Sizes),
        ("a message that is not cached", locked(&uncached), direct(store(&uncached)), fetch(Extent::Whole)),
        ("a session that has ended", ended, direct(store(&kept)), Request::Sizes),
    ];
    for (what, hold, storage, request) in table {
        let access = access(Route::None, storage);
        let now = access.try_now(&hold, &request, &mut [0; 100]);
        assert!(now.is_none(), "{what}");
        assert!(!matches!(hold.end(), Ended::UnderWay), "{what}");
    }
}

#[test]
fn a_top_reads_less_at_first() {
    let mailbox = OneMailbox::new();
    let hold = locked(&mailbox);
    let access = access(Route::None, direct(store(&mailbox)));
    for (extent, room, want) in [
        (Extent::Whole, 9000, 9000),
        (Extent::Top(10), 9000, START_OF_TOP),
        (Extent::Top(10), 100, 100),
    ] {
        let now = access.try_now(&hold, &fetch(extent), &mut vec![0; room]);
        assert!(matches!(now, Some(AnsweredNow::Started(_))));
        assert_eq!(mailbox.asked_octets.load(Ordering::Relaxed), want);
    }
}

/// Who unlocks at the end of a session, and whether the mailbox is unlocked at once.
#[test]
fn a_lock_is_settled_by_the_way_to_its_store() {
    for (what, is_script, unlocked_by_name, want_script) in [
        ("a built-in store", false, false, false),
        ("a built-in store, unlocked by name", false, true, false),
        ("a store behind a script", true, false, true),
        (
            "a store behind a script, unlocked by name",
            true,
            true,
            false,
        ),
    ] {
        let mailbox = OneMailbox::new();
        let storage = match is_script {
            true => Route::Script,
            false => direct(store(&mailbox)),
        };
        let access = access(Route::None, storage);
        let lock = Lock::direct("m".into(), mailbox.clone());
        if unlocked_by_name {
            mailbox.unlock();
        }
        let settled = access.settle(lock);
        assert_eq!(settled.is_err(), want_script, "{what}");
        assert_eq!(mailbox.is_locked(), want_script, "{what}");
    }
    // A script's own lock is always the script's, whatever the store is now.
    for storage in [
        Route::Script,
        Route::None,
        direct(store(&OneMailbox::new())),
    ] {
        let lock = Lock::by_script("m".into(), 1);
        assert!(access(Route::None, storage).settle(lock).is_err());
    }
}

#[test]
fn a_session_without_storage_has_an_empty_mailbox() {
    let access = access(Route::None, Route::None);
    #[rustfmt::skip]
    let table = [
        (Request::Sizes, "Sizes([])"),
        (Request::SizesOf(vec![]), "Sizes([])"),
        (Request::Uids, "Uids([])"),
        (update(&[]), "Updated"),
        (fetch(Extent::Whole), "Failed(Temporary)"),
    ];
    for (request, want) in table {
        let runner = Fake::default();
        let got = reply(&access, &Hold::new(), request, &runner);
        assert_eq!((got.as_str(), runner.asked().as_str()), (want, ""));
    }
}

#[test]
fn a_built_in_store_is_asked_without_the_interpreter() {
    let mailbox = OneMailbox::new();
    let access = access(Route::None, direct(store(&mailbox)));
    let hold = locked(&mailbox);
    let runner = Fake::default();
    assert_eq!(
        reply(&access, &hold, Request::Uids, &runner),
        "Uids([\"id\"])"
    );
    let fetched = perform(&access, &hold, fetch(Extent::Whole), &runner);
    assert_eq!(fetched.message.map(|message| message.octets), Some(5));
    // The mailbox is unlocked though the message cannot be deleted.
    let updated = perform(&access, &hold, update(&[first()]), &runner);
    assert!(matches!(updated.reply, Reply::Failed(Failure::Permanent)));
    assert!(updated.trouble.is_some());
    assert!(!mailbox.is_locked());
    assert!(matches!(hold.end(), Ended::Nothing));
    assert_eq!(runner.asked(), "");
}

/// Threads that are not to be had, and a session that ends before one comes to its work.
#[test]
fn a_direct_request_that_nobody_does_fails_for_now() {
    let mailbox = OneMailbox::new();
    let access = access(Route::None, direct(store(&mailbox)));
    let hold = locked(&mailbox);
    let none = Fake {
        no_threads: true,
        ..Fake::default()
    };
    let want = "Failed(Temporary)";
    assert_eq!(reply(&access, &hold, update(&[first()]), &none), want);
    assert!(mailbox.is_locked(), "nothing was done");
    let ending = hold.clone();
    let late = Fake {
        before_blocking: Some(Box::new(move || drop(ending.end()))),
        ..Fake::default()
    };
    assert_eq!(reply(&access, &hold, Request::Sizes, &late), want);
    assert!(matches!(hold.end(), Ended::Nothing));
}

/// A job under way unlocks at its end for a session that has ended, by a panic too.
#[test]
fn a_job_that_panics_unlocks() {
    let mailbox = OneMailbox::new();
    let hold = locked(&mailbox);
    let job = AssertUnwindSafe(|| {
        let _job = hold.begin().unwrap();
        assert!(matches!(hold.end(), Ended::UnderWay));
        panic!("the job fails");
    });
    assert!(catch_unwind(job).is_err());
    assert!(!mailbox.is_locked());
    assert!(matches!(hold.end(), Ended::Nothing));
}

/// A job that hangs keeps its lock, but not the destruction of its server.
#[test]
fn a_wait_for_a_job_is_bounded() {
    let mailbox = OneMailbox::new();
    let hold = locked(&mailbox);
    let job = hold.begin().unwrap();
    assert!(matches!(hold.end(), Ended::UnderWay));
    hold.wait_idle(Instant::now() + Duration::from_millis(10));
    assert!(mailbox.is_locked());
    drop(job);
    assert!(!mailbox.is_locked());
}

#[test]
fn a_script_is_asked_by_one_job() {
    let access = access(Route::None, Route::Script);
    let opened = Reply::Fetching { octets: 5 };
    #[rustfmt::skip]
    let table = [
        (Some(Outcome::Reply(Reply::Sizes([7].into()))), "Sizes([7])"),
        (Some(Outcome::Reply(Reply::Failed(Failure::Permanent))), "Failed(Permanent)"),
        (Some(Outcome::Message(message())), "Fetching { octets: 5 }"),
        // Octets are announced only with what is to be sent.
        (Some(Outcome::Reply(opened)), "Failed(Temporary)"),
        (Some(Outcome::Account(None)), "Failed(Temporary)"),
        (None, "Failed(Temporary)"),
    ];
    for (outcome, want) in table {
        let runner = Fake::answering(outcome);
        let answer = perform(&access, &locked_by_script(), Request::Sizes, &runner);
        assert_eq!(format!("{:?}", answer.reply), want);
        assert_eq!(answer.message.is_some(), want.starts_with("Fetching"));
        let asked = "Ask { mailbox: \"m\", count: 1, request: Sizes }";
        assert_eq!(runner.asked(), asked);
    }
}

/// A store that a script wraps meanwhile is asked by the script, but not for a mailbox
/// that the session has lost: another session may have it.
#[test]
fn a_lost_mailbox_is_not_asked_by_its_name() {
    let mailbox = OneMailbox::new();
    let hold = locked(&mailbox);
    let access = access(Route::None, Route::Script);
    let runner = Fake::answering([Outcome::Reply(Reply::Sizes([7].into()))]);
    assert_eq!(reply(&access, &hold, Request::Sizes, &runner), "Sizes([7])");
    mailbox.unlock();
    let runner = Fake::default();
    let answer = perform(&access, &hold, Request::Sizes, &runner);
    assert!(matches!(answer.trouble, Some(StoreError::NotLocked(_))));
    assert_eq!(runner.asked(), "");
}

#[test]
fn a_login_to_built_in_stores() {
    for at_once in [true, false] {
        for (password, in_use, want) in [
            ("p", false, "Opened { storage: \"m\", count: 1, octets: 5 }"),
            ("wrong", false, "Refused(Credentials)"),
            ("p", true, "Refused(InUse)"),
        ] {
            let mailbox = OneMailbox::new();
            let store = Store {
                at_once,
                in_use,
                ..store(&mailbox)
            };
            let access = access(Route::Direct(Arc::new(OneUser)), direct(store));
            let (hold, runner) = (Hold::new(), Fake::default());
            assert_eq!(reply(&access, &hold, login(password), &runner), want);
            assert_eq!(runner.asked(), "");
            let kept = matches!(hold.end(), Ended::Owed(_));
            assert_eq!(kept, want.starts_with("Opened"), "{password}, {in_use}");
        }
    }
}

/// The lock of a session that has ended is dropped, which unlocks.
#[test]
fn a_login_for_a_session_that_has_ended_keeps_no_lock() {
    for at_once in [true, false] {
        let mailbox = OneMailbox::new();
        let store = Store {
            at_once,
            ..store(&mailbox)
        };
        let access = access(Route::Direct(Arc::new(OneUser)), direct(store));
        let hold = Hold::new();
        let _nothing = hold.end();
        let got = reply(&access, &hold, login("p"), &Fake::default());
        assert_eq!(got, "Refused(Failed(Server, Temporary))");
        assert!(hold.take().is_none());
    }
}

/// What the interpreter is asked at a login, by what is a script.
#[test]
fn a_login_asks_scripts_only_for_their_part() {
    const REFUSED: &str = "Refused(Failed(Server, Temporary))";
    let opened = || {
        Outcome::Reply(Reply::Opened {
            storage: "m".into(),
            count: 2,
            octets: 9,
        })
    };
    let (check, open, all) = ("Check(Attempt", "Open", "Login(Attempt");
    let users = || Route::Direct(Arc::new(OneUser) as Arc<dyn Users>);
    let mailbox = OneMailbox::new();
    let boxes = || direct(store(&mailbox));
    let by_script = "Opened { storage: \"m\", count: 2, octets: 9 }";
    let directly = "Opened { storage: \"m\", count: 1, octets: 5 }";
    let failed = || Outcome::Reply(Reply::Failed(Failure::Permanent));
    let in_use = || Outcome::Reply(Reply::Refused(Refusal::InUse));
    let found = |mailbox: Option<&str>| Outcome::Mailbox(mailbox.map(Box::from));
    type Row<'a> = (
        Route<dyn Users>,
        Route<dyn Storage>,
        Vec<Outcome>,
        &'a str,
        &'a [&'a str],
    );
    #[rustfmt::skip]
    let table: [Row<'_>; 12] = [
        (Route::Script, Route::Script, vec![opened()], by_script, &[all]),
        (Route::Script, Route::Script, vec![in_use()], "Refused(InUse)", &[all]),
        (Route::Script, Route::Script, vec![failed()], "Refused(Failed(Server, Permanent))", &[all]),
        (Route::Script, Route::Script, vec![Outcome::Reply(Reply::Updated)], REFUSED, &[all]),
        (Route::Script, Route::Script, vec![], REFUSED, &[all]),
        (Route::Script, boxes(), vec![found(Some("m"))], directly, &[check]),
        (Route::Script, boxes(), vec![found(None)], "Refused(Credentials)", &[check]),
        (Route::Script, boxes(), vec![], REFUSED, &[check]),
        (Route::Script, Route::None, vec![found(Some("m"))], "Opened { storage: \"m\", count: 0, octets: 0 }", &[check]),
        (users(), Route::Script, vec![opened()], by_script, &[open]),
        (users(), Route::Script, vec![], REFUSED, &[open]),
        (Route::None, Route::Script, vec![opened()], "Refused(Credentials)", &[]),
    ];
    for (row, (users, storage, outcomes, want, asked)) in table.into_iter().enumerate() {
        let runner = Fake::answering(outcomes);
        let got = reply(&access(users, storage), &Hold::new(), login("p"), &runner);
        assert_eq!(got, want, "row {row}");
        let names: Vec<_> = runner.asked.borrow().clone();
        let names: Vec<_> = names.iter().map(|work| work.split(' ').next()).collect();
        let asked: Vec<_> = asked.iter().map(|name| Some(*name)).collect();
        assert_eq!(names, asked, "row {row}");
        assert!(!runner.asked().contains("\"p\""), "a password is shown");
    }
}
