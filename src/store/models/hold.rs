//! Whoever ends a session, its mailbox is unlocked exactly once.

use super::super::answer::{ask, lock};
use super::super::jobs::UnlockNow;
use super::*;
use pop3_proto::Request;

/// Work of a built-in store on the session's mailbox, as `access` has it done on a thread
/// that may wait.
fn direct_job(hold: &Arc<Hold>, request: &Request) {
    let Some(maildrop) = hold.maildrop() else {
        return;
    };
    if let Some(_busy) = hold.begin() {
        ask(hold, &*maildrop, request);
    }
}

fn update() -> Request {
    Request::Update {
        delete: vec![first()],
    }
}

/// The interpreter's thread runs QUIT's job, whose `dele` may run `callback`.
fn update_by_script(job: &Job, state: &LockState, callback: impl FnOnce()) {
    if job.is_wanted() {
        callback();
        if job.take_lock().is_some() {
            state.unlock_by_script();
        }
    }
}

/// Two that end the session need no agreement between them, nor with a job.
#[test]
fn two_ends_and_a_job_unlock_once() {
    check(|| {
        let (session, state) = Session::with_mailbox(Route::None);
        let end = |session: Arc<Session>| {
            move || {
                if let Ended::Owed(lock) = session.hold.end() {
                    assert!(session.access.settle(lock).is_ok());
                }
            }
        };
        let one = spawn(end(session.clone()));
        let two = spawn(end(session.clone()));
        direct_job(&session.hold, &Request::Sizes);
        one.join().unwrap();
        two.join().unwrap();
        assert_eq!((state.calls(), state.ends()), (1, 1));
    });
}

/// A job for this request, while the connection breaks and the server is destroyed: which
/// returns when the mailbox is unlocked and no job works on it.
fn killed_beside_a_job(request: fn() -> Request) {
    check(move || {
        let (session, state) = Session::with_mailbox(Route::None);
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        let hold = session.hold.clone();
        let job = spawn(move || direct_job(&hold, &request()));
        assert!(session.kill().is_empty());
        assert!(!state.is_locked(), "destroyed, but locked");
        leave.join().unwrap();
        job.join().unwrap();
        assert_eq!((state.calls(), state.ends()), (1, 1));
    });
}

#[test]
fn a_killed_session_is_idle_and_unlocked() {
    killed_beside_a_job(|| Request::Sizes);
}

/// QUIT's own job.
#[test]
fn an_update_unlocks_once() {
    killed_beside_a_job(update);
}

/// A login locks the mailbox on a thread that may wait, while its session ends.
#[test]
fn a_login_leaves_no_lock_to_a_session_that_has_ended() {
    check(|| {
        let store = Arc::new(Store::default());
        let state = store.0.clone();
        let session = Session::new(Route::Direct(store.clone()));
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        let hold = session.hold.clone();
        let login = spawn(move || drop(lock(&hold, &*store, "m", Wait::UNTIL_DONE)));
        assert!(session.kill().is_empty());
        assert!(!state.is_locked(), "destroyed, but locked");
        leave.join().unwrap();
        login.join().unwrap();
        // Not even locked, if the end came first.
        assert!(state.ends() <= 1 && !state.is_locked());
    });
}

/// A login whose session ends while the script locks: either the job unlocks, or the
/// session's end does.
#[test]
fn a_script_that_locks_for_a_session_that_ends_unlocks_once() {
    for can_be_counted in [true, false] {
        check(move || {
            let session = Session::new(Route::Script);
            let ending = session.clone();
            let leave = spawn(move || ending.leave());
            let (job, mut answer) = session.job(lookup());
            let state = LockState::locked();
            match job.keep_lock("m") {
                Err(UnlockNow(_)) => state.unlock_by_script(),
                Ok(()) if can_be_counted => {}
                Ok(()) => {
                    if job.take_lock().is_some() {
                        state.unlock_by_script();
                    }
                }
            }
            job.answer(Outcome::Reply(Reply::Opened {
                storage: "m".into(),
                count: 1,
                octets: 1,
            }));
            assert!(is_answered(&mut answer));
            leave.join().unwrap();
            session.run_releases(|| state.unlock_by_script());
            assert_eq!(state.calls(), 1);
        });
    }
}

/// The same where the server is destroyed after the job instead of its queue being run.
#[test]
fn a_script_that_locks_for_a_server_that_is_destroyed_unlocks_once() {
    check(|| {
        let session = Session::new(Route::Script);
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        let (job, _answer) = session.job(lookup());
        let state = LockState::locked();
        if let Err(UnlockNow(_)) = job.keep_lock("m") {
            state.unlock_by_script();
        }
        for _lock in session.kill() {
            state.unlock_by_script();
        }
        assert!(!state.is_locked(), "destroyed, but locked");
        leave.join().unwrap();
        assert!(session.jobs.pop().is_none());
        assert_eq!(state.calls(), 1);
    });
}

/// QUIT's job while the connection breaks.
#[test]
fn an_update_by_script_unlocks_once() {
    check(|| {
        let (session, state) = Session::with_script();
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        let (job, _answer) = session.job(lookup());
        update_by_script(&job, &state, || ());
        leave.join().unwrap();
        session.run_releases(|| state.unlock_by_script());
        assert_eq!(state.calls(), 1);
    });
}

/// QUIT's job whose `dele` destroys the server, while the connection breaks.
#[test]
fn an_update_that_destroys_its_server_unlocks_once() {
    check(|| {
        let (session, state) = Session::with_script();
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        let (job, _answer) = session.job(lookup());
        update_by_script(&job, &state, || {
            for _lock in session.kill() {
                state.unlock_by_script();
            }
        });
        leave.join().unwrap();
        session.run_releases(|| state.unlock_by_script());
        assert_eq!(state.calls(), 1);
    });
}

/// Mailbox `m` as scripts name it: its lock now, of whichever session.
#[derive(Clone)]
struct ByName(Arc<Mutex<Arc<LockState>>>);

impl ByName {
    fn new(state: &Arc<LockState>) -> Self {
        Self(Arc::new(Mutex::new(state.clone())))
    }

    fn unlock(&self) {
        let now = self.0.lock().unwrap().clone();
        now.unlock_by_script();
    }

    /// A script unlocks the mailbox, and another session locks it.
    fn change_hands(&self) -> Arc<LockState> {
        self.unlock();
        let other = LockState::locked();
        *self.0.lock().unwrap() = other.clone();
        other
    }
}

/// A built-in store's mailbox behind a script, which unlocks it by name while its session
/// ends: nobody unlocks it for the session that has it now.
#[test]
fn a_mailbox_that_has_changed_hands_is_left_alone() {
    for destroyed in [false, true] {
        check(move || {
            let (session, state) = Session::with_mailbox(Route::Script);
            let name = ByName::new(&state);
            let ending = session.clone();
            let leave = spawn(move || ending.leave());
            // All of this is on the interpreter's thread.
            session.run_releases(|| name.unlock());
            if state.is_locked() {
                let others = name.change_hands();
                if destroyed {
                    let owed = session.kill();
                    owed.iter().for_each(|_| name.unlock());
                }
                leave.join().unwrap();
                session.run_releases(|| name.unlock());
                assert!(others.is_locked(), "another session's lock has ended");
            } else {
                leave.join().unwrap();
            }
            assert_eq!(state.ends(), 1);
            assert!(session.removals.load(Ordering::Relaxed) <= 1);
        });
    }
}

/// A store that becomes a script, or a script's that becomes direct, while a session ends.
#[test]
fn a_store_that_is_wrapped_meanwhile_is_unlocked_once() {
    check(|| {
        let (session, state) = Session::with_mailbox(Route::None);
        let ending = session.clone();
        let leave = spawn(move || ending.leave());
        session.access.set_storage(Route::Script);
        for _lock in session.kill() {
            state.unlock_by_script();
        }
        leave.join().unwrap();
        assert_eq!((state.calls(), state.ends()), (1, 1));
    });
}
