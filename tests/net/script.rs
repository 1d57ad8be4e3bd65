//! Stores that are scripts: a plain thread serves the queue as an interpreter does.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use pop3_proto::hook::{Detail, EventKind, Verdict};
use pop3_proto::session::Config;
use pop3_proto::{Failure, Refusal, Reply, Request, Secret};
use pop3d::store::access::Route;
use pop3d::store::jobs::{Job, JobQueue, Outcome, Owed, UnlockNow, Work};
use pop3d::store::{Account, Content, Message, Storage, Users};

use crate::support::*;

const MAIL: &[u8] = b"s: t\n\nbody\n";

/// What the "script" has done.
#[derive(Default)]
struct Script {
    locked: Mutex<HashSet<String>>,
    locks: AtomicUsize,
    unlocks: AtomicUsize,
    deleted: AtomicUsize,
    jobs: Mutex<Vec<String>>,
    gate: Gate,
}

impl Script {
    fn lock(&self, mailbox: &str) -> bool {
        let fresh = self.locked.lock().unwrap().insert(mailbox.into());
        self.locks.fetch_add(usize::from(fresh), SeqCst);
        fresh
    }

    fn unlock(&self, mailbox: &str) {
        assert!(
            self.locked.lock().unwrap().remove(mailbox),
            "not locked: {mailbox}"
        );
        self.unlocks.fetch_add(1, SeqCst);
    }

    fn open(&self, job: &Job, mailbox: &str) -> Outcome {
        if !self.lock(mailbox) {
            return Outcome::Reply(Reply::Refused(Refusal::InUse));
        }
        if let Err(UnlockNow(lock)) = job.keep_lock(mailbox) {
            self.unlock(&lock.mailbox);
        }
        Outcome::Reply(Reply::Opened {
            storage: mailbox.into(),
            count: 2,
            octets: 2 * MAIL.len() as u64,
        })
    }

    /// What a session asks of its mailbox.
    fn answer(&self, job: &Job, count: u32, request: &Request) -> Outcome {
        let size = MAIL.len() as u64;
        Outcome::Reply(match request {
            Request::Sizes => Reply::Sizes((0..count).map(|_| size).collect()),
            Request::Size(_) => Reply::Sizes([size].into()),
            Request::SizesOf(numbers) => Reply::Sizes(numbers.iter().map(|_| size).collect()),
            Request::Uid(number) => Reply::Uids([format!("s{number}").into()].into()),
            Request::Uids => Reply::Uids((1..=count).map(|n| format!("s{n}").into()).collect()),
            Request::Fetch { .. } => {
                return Outcome::Message(Message {
                    octets: size,
                    content: Content::Data(MAIL.into()),
                })
            }
            Request::Update { delete } => {
                self.deleted.fetch_add(delete.len(), SeqCst);
                if let Some(lock) = job.take_lock() {
                    self.unlock(&lock.mailbox);
                }
                Reply::Updated
            }
            Request::Login(_) | Request::Keys { .. } | Request::Hook(_) => {
                panic!("a login is no question to a mailbox")
            }
        })
    }

    /// Runs one job, as the interpreter's thread does.
    fn run(&self, job: Job) {
        let work = match &job.work {
            Work::Ask { request, .. } => format!("{request:?}"),
            work => format!("{work:?}"),
        };
        let name = work.split([' ', '(']).next().unwrap().to_string();
        self.jobs.lock().unwrap().push(name);
        self.gate.pass();
        let lookup = |user: &[u8]| EachUser.lookup(std::str::from_utf8(user).unwrap());
        let outcome = match &job.work {
            Work::Login(attempt) => {
                match lookup(&attempt.user).and_then(|a| a.admits(&attempt.proof)) {
                    Some(storage) => self.open(&job, &storage),
                    None => Outcome::Reply(Reply::Refused(Refusal::Credentials)),
                }
            }
            Work::Check(attempt) => {
                Outcome::Mailbox(lookup(&attempt.user).and_then(|a| a.admits(&attempt.proof)))
            }
            Work::Lookup { user } => Outcome::Account(lookup(user)),
            Work::Open { mailbox } => self.open(&job, mailbox),
            Work::Ask { count, request, .. } => self.answer(&job, *count, request),
            Work::Release(lock, _) => {
                self.unlock(&lock.mailbox);
                Outcome::Reply(Reply::Updated)
            }
            Work::Hook(_) => Outcome::Reply(Reply::Hook(Verdict::default())),
            Work::Ended(..) => Outcome::Reply(Reply::Updated),
        };
        job.answer(outcome);
    }
}

/// A queue and the thread that serves it.
struct Interpreter {
    script: Arc<Script>,
    jobs: Arc<JobQueue>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Interpreter {
    fn start() -> Self {
        let (wake, woken) = channel();
        let wake = Mutex::new(wake);
        let jobs = Arc::new(JobQueue::new(move || {
            // Fails when the interpreter has ended.
            let _ = wake.lock().unwrap().send(());
        }));
        let (script, ends) = (
            Arc::new(Script::default()),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = {
            let (script, jobs, ends) = (script.clone(), jobs.clone(), ends.clone());
            thread::spawn(move || serve(&script, &jobs, &ends, &woken))
        };
        Self {
            script,
            jobs,
            ends,
            thread: Some(thread),
        }
    }

    fn bench(&self) -> Bench {
        Bench::with(Route::Script, Route::Script, limits(), self.jobs.clone())
    }

    fn assert_clean(&self, bench: &Bench) {
        eventually("all are gone", || bench.server.connection_count() == 0);
        eventually("all is unlocked", || {
            self.script.locked.lock().unwrap().is_empty()
        });
        let locks = self.script.locks.load(SeqCst);
        assert_eq!(locks, self.script.unlocks.load(SeqCst));
    }
}

fn serve(script: &Script, jobs: &JobQueue, ends: &AtomicBool, woken: &Receiver<()>) {
    while !ends.load(SeqCst) {
        while let Some(job) = jobs.pop() {
            script.run(job);
        }
        // An error: the queue has gone.
        let _ = woken.recv_timeout(std::time::Duration::from_millis(20));
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
        self.script.gate.open();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking());
    }
}

#[test]
fn one_job_for_a_command() {
    let tcl = Interpreter::start();
    let bench = tcl.bench();
    let mut client = bench.connect();
    client.login("u1");
    client.expect("STAT", "+OK 2 22");
    client.send("LIST\r\nUIDL 2\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n");
    let want = "+OK 2 messages\r\n1 11\r\n2 11\r\n.\r\n\
                +OK 2 s2\r\n\
                +OK 11 octets\r\ns: t\r\n\r\nbody\r\n.\r\n\
                +OK message 1 deleted\r\n\
                +OK h.example S shutting down\r\n";
    assert_eq!(client.rest(), want);
    let jobs = tcl.script.jobs.lock().unwrap().join(" ");
    assert_eq!(jobs, "Login Sizes Uid Fetch Update");
    assert_eq!(tcl.script.deleted.load(SeqCst), 1);
    tcl.assert_clean(&bench);
}

/// Users direct and storage by script, and the other way round.
#[test]
fn mixed_ways() {
    let tcl = Interpreter::start();
    let store = Same::of(&["m"]);
    let bench = tcl.bench();
    bench
        .access
        .set_users(Route::Direct(Arc::new(EachUser) as Arc<dyn Users>));
    let mut client = bench.connect();
    client.login("u1");
    client.expect("STAT", "+OK 2 22");
    client.expect("QUIT", "+OK h.example S shutting down");
    bench.access.set_users(Route::Script);
    bench
        .access
        .set_storage(Route::Direct(Arc::new(store.clone()) as Arc<dyn Storage>));
    let mut client = bench.connect();
    client.login("u1");
    client.expect("STAT", "+OK 1 1");
    client.expect("QUIT", "+OK h.example S shutting down");
    let jobs = tcl.script.jobs.lock().unwrap().join(" ");
    assert_eq!(jobs, "Open Update Check");
    bench.assert_clean(&store.ledger);
    tcl.assert_clean(&bench);
}

/// The storage's command is wrapped while a session has its mailbox: the session's
/// next requests, its unlock among them, go to the wrapper.
#[test]
fn a_direct_storage_becomes_a_script() {
    for quit in [true, false] {
        let tcl = Interpreter::start();
        let store = Same::of(&["m", "n"]);
        let bench = tcl.bench();
        bench
            .access
            .set_storage(Route::Direct(Arc::new(store.clone()) as Arc<dyn Storage>));
        let mut client = bench.connect();
        client.login("u1");
        bench.access.set_storage(Route::Script);
        // What the wrapped store would do.
        assert!(tcl.script.lock("m1"));
        client.expect("LIST 1", "+OK 1 11");
        if quit {
            client.expect("QUIT", "+OK h.example S shutting down");
        }
        drop(client);
        tcl.assert_clean(&bench);
        bench.assert_clean(&store.ledger);
        assert_eq!(tcl.script.unlocks.load(SeqCst), 1);
    }
}

#[test]
fn clients_drop_while_the_interpreter_is_busy() {
    let tcl = Interpreter::start();
    let bench = tcl.bench();
    let mut clients: Vec<_> = (0..40).map(|_| bench.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask(&format!("USER u{number}"));
        if number % 2 == 0 {
            client.expect("PASS secret", "+OK congratulations");
        }
    }
    tcl.script.gate.shut();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(["RETR 1\r\n", "PASS secret\r\n"][number % 2]);
        if number % 4 < 2 {
            let socket = socket2::SockRef::from(client.reader.get_ref());
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    }
    eventually("a job runs", || tcl.script.gate.waiting.load(SeqCst) == 1);
    drop(clients);
    // Ten had no lock yet and are gone; ten more have ended, but stay in the list until
    // the script has unlocked.
    eventually("resets are noticed", || {
        bench.server.connection_count() == 30 && tcl.jobs.len() >= 10
    });
    tcl.script.gate.open();
    tcl.assert_clean(&bench);
    eventually("each end is told", || bench.heard.closed.load(SeqCst) == 40);
}

/// The interpreter goes away: whoever waits gets a temporary failure, later
/// requests too, and sessions can still QUIT.
#[test]
fn the_queue_is_closed() {
    let tcl = Interpreter::start();
    let bench = tcl.bench();
    let (mut one, mut two) = (bench.connect(), bench.connect());
    one.login("u1");
    two.ask("USER u2");
    tcl.script.gate.shut();
    one.send("RETR 1\r\n");
    eventually("a job runs", || tcl.script.gate.waiting.load(SeqCst) == 1);
    two.send("PASS secret\r\n");
    eventually("a job waits", || tcl.jobs.len() == 1);
    tcl.jobs.close();
    assert!(two.line().starts_with("-ERR [SYS/TEMP]"));
    let refused = two.ask("USER u3");
    assert!(refused.starts_with("+OK"), "{refused}");
    assert!(two.ask("PASS secret").starts_with("-ERR [SYS/TEMP]"));
    tcl.script.gate.open();
    assert_eq!(one.line(), "+OK 11 octets\r\n");
    while one.line() != ".\r\n" {}
    assert!(one.ask("STAT").starts_with("+OK"));
    assert!(one.ask("RETR 2").starts_with("-ERR [SYS/TEMP]"));
    assert!(one.ask("QUIT").starts_with("-ERR [SYS/TEMP]"));
    one.assert_ended();
}

/// `destroy` inside of a callback: the job that is being run learns of it.
#[test]
fn killed_inside_a_job() {
    let tcl = Interpreter::start();
    // No thread: this one is the interpreter's.
    let jobs = Arc::new(JobQueue::new(|| ()));
    for command in ["PASS secret", "RETR 1", "QUIT"] {
        let bench = Bench::with(Route::Script, Route::Script, limits(), jobs.clone());
        let (mut one, mut two) = (bench.connect(), bench.connect());
        let script = &tcl.script;
        let next = |what: &str| {
            eventually(what, || !jobs.is_empty());
            jobs.pop().unwrap()
        };
        for (client, user) in [(&mut one, "u1"), (&mut two, "u2")] {
            client.ask(&format!("USER {user}"));
            if command != "PASS secret" {
                client.send("PASS secret\r\n");
                script.run(next("login"));
                assert_eq!(client.line(), "+OK congratulations\r\n");
            }
        }
        for client in [&mut one, &mut two] {
            client.send(&format!("{command}\r\n"));
        }
        eventually("both wait", || jobs.len() == 2);
        let running = next("the first");
        for (client, owed) in bench.server.kill() {
            let Owed::Unlock(lock) = owed else {
                continue;
            };
            // Whose it was can still be said.
            assert!(["u1", "u2"].contains(&&*client.user), "{client:?}");
            script.unlock(&lock.mailbox);
        }
        assert!(jobs.is_empty());
        script.run(running);
        assert!(script.locked.lock().unwrap().is_empty(), "{command}");
        assert_eq!(
            script.locks.load(SeqCst),
            script.unlocks.load(SeqCst),
            "{command}"
        );
        one.assert_ended();
        two.assert_ended();
    }
}

/// Wrong kinds of answers are failures, not more.
#[test]
fn answers_that_do_not_fit() {
    let jobs = Arc::new(JobQueue::new(|| ()));
    let bench = Bench::with(Route::Script, Route::Script, limits(), jobs.clone());
    let mut client = bench.connect();
    client.ask("USER u1");
    client.send("PASS secret\r\n");
    let next = || {
        eventually("a job", || !jobs.is_empty());
        jobs.pop().unwrap()
    };
    let opened = Reply::Opened {
        storage: "m1".into(),
        count: 2,
        octets: 9,
    };
    let login = next();
    login.keep_lock("m").unwrap();
    login.answer(Outcome::Reply(opened));
    assert_eq!(client.line(), "+OK congratulations\r\n");
    let wrong = || {
        [
            Outcome::Account(Some(Account {
                password: Secret::new(*b"x"),
                storage: "m".into(),
            })),
            Outcome::Reply(Reply::Sizes([1].into())),
            Outcome::Reply(Reply::Updated),
            Outcome::Reply(Reply::Failed(Failure::Temporary)),
        ]
    };
    for command in ["LIST", "UIDL", "RETR 1"] {
        for answer in wrong() {
            client.send(&format!("{command}\r\n"));
            next().answer(answer);
            let reply = client.line();
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{command}: {reply}");
        }
        // Dropped without an answer: the callback panicked.
        client.send(&format!("{command}\r\n"));
        drop(next());
        assert!(client.line().starts_with("-ERR [SYS/TEMP]"), "{command}");
    }
    drop(client);
    // First unlocked, then out of the list.
    let release = next();
    assert!(matches!(release.work, Work::Release(..)));
    assert_eq!(bench.server.connection_count(), 1);
    release.answer(Outcome::Reply(Reply::Updated));
    assert_eq!(bench.server.connection_count(), 0);
}

/// While the interpreter is busy and a script's lock waits for it, the client has its
/// farewell and the end of the stream.
#[test]
fn the_end_does_not_wait_for_the_script() {
    let tcl = Interpreter::start();
    let bench = tcl.bench();
    let mut client = bench.connect();
    client.login("u1");
    tcl.script.gate.shut();
    let bad = limits().errors;
    (1..bad).for_each(|_| drop(client.ask("FOO")));
    assert!(client.ask("FOO").starts_with("-ERR"));
    client.assert_ended();
    tcl.script.gate.open();
    tcl.assert_clean(&bench);
}

/// The ends of sessions, of which the hook is to be told, wait for a busy interpreter: no
/// more of them than there may be connections. `kill` gives back those that wait, after the
/// unlock of their session.
#[test]
fn ends_that_wait_are_bounded_and_not_forgotten() {
    let jobs = Arc::new(JobQueue::new(|| ()));
    let limits = pop3_proto::limits::Limits {
        connections: 3,
        ..limits()
    };
    let bench = Bench::with(Route::Script, Route::Script, limits.clone(), jobs.clone());
    let config = Config::new("h.example", "S", limits);
    config.hook.set([EventKind::End].into_iter().collect());
    bench.server.configure(Arc::new(config));
    for _ in 0..3 {
        drop(bench.connect());
    }
    eventually("three ends wait", || jobs.len() == 3);
    assert_eq!(bench.server.connection_count(), 0);
    assert!(bench.connect_raw().line().starts_with("-ERR [SYS/TEMP]"));
    // The interpreter comes to one of them.
    let script = Script::default();
    script.gate.open();
    script.run(jobs.pop().unwrap());
    let mut last = bench.connect();
    last.ask("USER u1");
    last.send("PASS secret\r\n");
    eventually("the login waits", || jobs.len() == 3);
    let owed: Vec<_> = (0..3).map(|_| jobs.pop().unwrap()).collect();
    assert!(matches!(owed[2].work, Work::Login(_)));
    owed.into_iter().for_each(|job| script.run(job));
    assert_eq!(last.line(), "+OK congratulations\r\n");
    drop(bench.connect());
    eventually("an end waits", || jobs.len() == 1);
    let owed: Vec<_> = bench
        .server
        .kill()
        .into_iter()
        .map(|(_, owed)| owed)
        .collect();
    let names: Vec<_> = owed
        .iter()
        .map(|owed| match owed {
            Owed::Unlock(_) => "unlock",
            Owed::End(event) => match &event.detail {
                Detail::End { tally, .. } if tally.commands == 2 => "its end",
                _ => "another end",
            },
        })
        .collect();
    assert_eq!(names, ["unlock", "its end", "another end"]);
}

/// A session that has left, and whose `unlock` still waits for the interpreter: whoever closes it
/// takes that out of the queue, and the connection is in the list until it is done.
#[test]
fn closed_while_its_unlock_waits() {
    let script = Script::default();
    // No thread: this one is the interpreter's.
    let jobs = Arc::new(JobQueue::new(|| ()));
    let bench = Bench::with(Route::Script, Route::Script, limits(), jobs.clone());
    let mut client = bench.connect();
    client.ask("USER u1");
    client.send("PASS secret\r\n");
    eventually("a login is asked", || !jobs.is_empty());
    script.run(jobs.pop().unwrap());
    assert_eq!(client.line(), "+OK congratulations\r\n");
    drop(client);
    eventually("an unlock is asked", || !jobs.is_empty());
    let id = bench.server.connections()[0];
    let owed = bench.server.close_connection(id, "bye").unwrap().unwrap();
    assert!(jobs.is_empty());
    assert_eq!(bench.server.connection_count(), 1);
    assert!(owed.lock.is_owed());
    script.unlock(&owed.lock.mailbox);
    drop(owed);
    assert_eq!(bench.server.connection_count(), 0);
    assert_eq!(bench.heard.the_end(), "closed by client");
    assert!(bench.server.close_connection(id, "bye").is_none());
}

/// While the interpreter works on a session's job, and while one waits: nothing of it is done
/// after the session is closed, and its client does not wait for the interpreter.
#[test]
fn closed_while_a_job_runs_or_waits() {
    let tcl = Interpreter::start();
    let bench = tcl.bench();
    let (mut one, mut two) = (bench.connect(), bench.connect());
    one.login("u1");
    two.ask("USER u2");
    tcl.script.gate.shut();
    one.send("RETR 1\r\n");
    eventually("a job runs", || tcl.script.gate.waiting.load(SeqCst) == 1);
    two.send("PASS secret\r\n");
    eventually("a job waits", || tcl.jobs.len() == 1);
    for (id, owes) in bench.server.connections().into_iter().zip([true, false]) {
        let owed = bench.server.close_connection(id, "bye").unwrap();
        assert_eq!(owed.is_some(), owes);
        if let Some(owed) = owed {
            tcl.script.unlock(&owed.lock.mailbox);
        }
    }
    assert_eq!(bench.server.connection_count(), 0);
    assert_eq!(
        (one.rest(), two.rest()),
        ("-ERR bye\r\n".into(), "-ERR bye\r\n".into())
    );
    tcl.script.gate.open();
    tcl.assert_clean(&bench);
    eventually("the queue is empty", || tcl.jobs.is_empty());
    assert_eq!(tcl.script.jobs.lock().unwrap().join(" "), "Login Fetch");
}
