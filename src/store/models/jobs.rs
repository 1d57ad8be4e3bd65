//! Every job is answered or its session learns that it will not be; every lock that waits
//! in the queue comes out once; the interpreter's thread sleeps through nothing.

use super::super::jobs::WORTH_CLEARING;
use super::*;

struct Fixture {
    jobs: Arc<JobQueue>,
    alarm: Arc<Alarm>,
    server: ServerId,
}

impl Fixture {
    fn new() -> Self {
        let alarm = Arc::new(Alarm::default());
        let rings = alarm.clone();
        Self {
            jobs: Arc::new(JobQueue::new(move || rings.ring())),
            alarm,
            server: ServerId::new(),
        }
    }

    /// Submits a job on this thread.
    fn submit(&self, hold: &Arc<Hold>, work: Work) -> Receiver<Outcome> {
        self.jobs.submit(self.server, client(), hold.clone(), work)
    }

    /// Submits jobs of one server on another thread, one after the other.
    fn spawn<const N: usize>(
        &self,
        server: ServerId,
        work: [(Arc<Hold>, Work); N],
    ) -> JoinHandle<[Receiver<Outcome>; N]> {
        let jobs = self.jobs.clone();
        thread::spawn(move || work.map(|(hold, work)| jobs.submit(server, client(), hold, work)))
    }

    /// The interpreter's thread: pops until there is nothing, and sleeps until the next
    /// alert, until it has run `count` jobs.
    fn serve(&self, count: u32, state: &LockState) {
        let mut done = 0;
        while done < count {
            self.alarm.sleep();
            while let Some(job) = self.jobs.pop() {
                run(job, state);
                done += 1;
            }
        }
    }
}

fn ended() -> Arc<Hold> {
    let hold = Hold::new();
    assert!(matches!(hold.end(), Ended::Nothing));
    hold
}

/// The `unlock` of a mailbox behind a script, and what tells of it.
fn release() -> (Work, Arc<LockState>, Arc<AtomicU32>) {
    let (state, maildrop) = OneMailbox::new();
    let runs = Arc::new(AtomicU32::new(0));
    let counts = runs.clone();
    let afterwards = Afterwards::new(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    let lock = Lock::direct("m".into(), maildrop);
    (Work::Release(lock, Some(afterwards)), state, runs)
}

/// What the interpreter's thread does for a job.
fn run(job: Job, state: &LockState) {
    if let Work::Release(..) = job.work {
        state.unlock_by_script();
    }
    job.answer(Outcome::Account(None));
}

#[test]
fn no_alert_is_lost() {
    check(|| {
        let fixture = Fixture::new();
        let (work, state, runs) = release();
        let one = fixture.spawn(fixture.server, [(Hold::new(), lookup())]);
        let two = fixture.spawn(fixture.server, [(ended(), work)]);
        fixture.serve(2, &state);
        assert!(one.join().unwrap().iter_mut().all(is_answered));
        assert!(two.join().unwrap().iter_mut().all(is_answered));
        assert_eq!((state.calls(), state.ends()), (1, 1));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

/// An interpreter's thread that stops popping earlier looks at the queue before it sleeps.
#[test]
fn no_alert_is_lost_where_popping_stops_early() {
    check(|| {
        let fixture = Fixture::new();
        let work = [(); 2].map(|()| (Hold::new(), lookup()));
        let submitted = fixture.spawn(fixture.server, work);
        let mut done = 0;
        while done < 2 {
            if fixture.jobs.is_empty() {
                fixture.alarm.sleep();
            }
            if let Some(job) = fixture.jobs.pop() {
                job.answer(Outcome::Account(None));
                done += 1;
            }
        }
        assert!(submitted.join().unwrap().iter_mut().all(is_answered));
    });
}

/// The queue is full of what nobody wants, and cleared of it while the interpreter's thread
/// pops.
#[test]
fn clearing_drops_only_what_nobody_wants() {
    check(|| {
        let fixture = Fixture::new();
        let gone = Hold::new();
        let mut unwanted = [(); WORTH_CLEARING].map(|()| fixture.submit(&gone, lookup()));
        assert!(matches!(gone.end(), Ended::Nothing));
        let (work, state, runs) = release();
        let work = [(gone, work), (Hold::new(), lookup())];
        let submitted = fixture.spawn(fixture.server, work);
        fixture.serve(2, &state);
        assert!(submitted.join().unwrap().iter_mut().all(is_answered));
        assert!(!unwanted.iter_mut().any(is_answered));
        assert_eq!((state.calls(), state.ends()), (1, 1));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

/// A session ends while the queue is looked through for what nobody wants.
#[test]
fn clearing_while_a_session_ends_loses_no_other_job() {
    check(|| {
        let fixture = Fixture::new();
        let (stays, goes) = (Hold::new(), Hold::new());
        let mut ending = fixture.submit(&goes, lookup());
        let mut queued = fixture.submit(&stays, lookup());
        let leave = spawn(move || assert!(matches!(goes.end(), Ended::Nothing)));
        let submitted = fixture.spawn(fixture.server, [(stays, lookup())]);
        // Without a sleep: the alert is another model's.
        while let Some(job) = fixture.jobs.pop() {
            job.answer(Outcome::Account(None));
        }
        leave.join().unwrap();
        let [mut last] = submitted.join().unwrap();
        while let Some(job) = fixture.jobs.pop() {
            job.answer(Outcome::Account(None));
        }
        // Whether it was run depends on when its session ended.
        is_answered(&mut ending);
        assert!(is_answered(&mut queued));
        assert!(is_answered(&mut last));
    });
}

/// A server is destroyed: the locks that wait come out, by that or by what pops later.
#[test]
fn forgetting_a_server_gives_its_locks_once() {
    check(|| {
        let fixture = Fixture::new();
        let (work, state, runs) = release();
        let gone = ended();
        let own = [(gone.clone(), work), (gone, lookup())];
        let own = fixture.spawn(fixture.server, own);
        let other = fixture.spawn(ServerId::new(), [(Hold::new(), lookup())]);
        for _lock in fixture.jobs.forget(fixture.server) {
            state.unlock_by_script();
        }
        let ([_, mut own], [mut other]) = (own.join().unwrap(), other.join().unwrap());
        while let Some(job) = fixture.jobs.pop() {
            run(job, &state);
        }
        assert!(!is_answered(&mut own), "nobody wants it");
        assert!(is_answered(&mut other), "another server's job is dropped");
        assert_eq!((state.calls(), state.ends()), (1, 1));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

/// The interpreter is deleted: dropping a lock unlocks, and what follows the unlock runs.
#[test]
fn closing_leaves_neither_a_job_nor_a_lock() {
    check(|| {
        let fixture = Fixture::new();
        let (work, state, runs) = release();
        let release = fixture.spawn(fixture.server, [(ended(), work)]);
        let lookup = fixture.spawn(fixture.server, [(Hold::new(), lookup())]);
        if let Some(job) = fixture.jobs.pop() {
            run(job, &state);
        }
        fixture.jobs.close();
        let ([mut release], [mut lookup]) = (release.join().unwrap(), lookup.join().unwrap());
        is_answered(&mut release);
        is_answered(&mut lookup);
        assert!(fixture.jobs.is_empty());
        assert_eq!(state.ends(), 1);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}
