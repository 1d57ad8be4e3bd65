//! Every way in which a session can end: the lock is released once.

use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use socket2::SockRef;

use crate::load::in_child;
use crate::support::*;
use pop3_proto::connection::End;

/// A dialog, in the order of which clients drop out at every point.
const STEPS: [&str; 9] = [
    "USER uN",
    "PASS secret",
    "STAT",
    "LIST",
    "RETR 1",
    "TOP 2 1",
    "DELE 1",
    "UIDL",
    "QUIT",
];

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Exit {
    /// It closes after it has read all replies.
    Close,
    /// It closes without reading the last.
    Unread,
    /// It resets the connection.
    Reset,
    /// It sends half a command and closes.
    Half,
}

fn play(bench: &Bench, number: usize, steps: usize, exit: Exit) {
    let mut client = bench.connect();
    for (i, step) in STEPS[..steps].iter().enumerate() {
        let command = step.replace('N', &number.to_string());
        client.send(&format!("{command}\r\n"));
        if i + 1 < steps || matches!(exit, Exit::Close) {
            let first = client.line();
            assert!(first.starts_with("+OK"), "{command}: {first}");
            if matches!(command.as_str(), "LIST" | "UIDL" | "RETR 1" | "TOP 2 1") {
                while client.line() != ".\r\n" {}
            }
        }
    }
    match exit {
        Exit::Reset => {
            let socket = SockRef::from(client.reader.get_ref());
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        Exit::Half => client.send("RETR "),
        Exit::Close | Exit::Unread => {}
    }
}

/// Others end sessions while their clients are at any point, and counts are read all the time.
#[test]
fn connections_are_closed_at_every_point() {
    const CLIENTS: usize = 300;
    let big = "x: y\n\n".to_string() + &"0123456789\n".repeat(30_000);
    let store = Same::of(&[&big, &big]);
    let bench = Bench::direct(&store, limits());
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let bench = &bench;
                scope.spawn(move || {
                    let mut client = bench.connect_raw();
                    for step in STEPS {
                        let command = step.replace('N', &number.to_string());
                        // The server may have closed it.
                        let stream = client.reader.get_mut();
                        if std::io::Write::write_all(stream, format!("{command}\r\n").as_bytes())
                            .is_err()
                        {
                            return;
                        }
                        thread::yield_now();
                    }
                    let _ = std::io::copy(&mut client.reader, &mut std::io::sink());
                })
            })
            .collect();
        let (server, over) = (&bench.server, &over);
        scope.spawn(move || {
            while !over.load(SeqCst) {
                for id in server.connections().into_iter().step_by(3) {
                    // The store unlocks without a script.
                    assert!(!matches!(server.close_connection(id, "bye"), Some(Some(_))));
                }
            }
        });
        scope.spawn(move || {
            let mut before = server.stats();
            while !over.load(SeqCst) {
                let now = server.stats();
                assert!(now.tally.commands >= before.tally.commands);
                assert!(now.tally.octets >= before.tally.octets);
                before = now;
            }
        });
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        over.store(true, SeqCst);
    });
    bench.assert_clean(&store.ledger);
    eventually("each end is told once", || {
        bench.heard.ended.lock().unwrap().len() == CLIENTS
    });
    let (ended, stats) = (bench.heard.ended.lock().unwrap(), bench.server.stats());
    let told = |reason: &str| ended.values().filter(|end| *end == reason).count() as u64;
    let counted = |name: &str| stats.ended.iter().find(|(end, _)| *end == name).unwrap().1;
    assert_eq!(stats.accepted, CLIENTS as u64);
    assert_eq!(
        stats.ended.iter().map(|(_, count)| count).sum::<u64>(),
        CLIENTS as u64
    );
    assert_eq!(counted("closed"), told("closed by script"));
    assert_eq!(counted("quit"), told("quit"));
    assert!(counted("closed") > 0);
    let log = bench.heard.all.lock().unwrap();
    let sum = |field: &str| -> u64 {
        let field = format!("(\"{field}\", \"");
        let found = log
            .match_indices(&field)
            .map(|(at, _)| &log[at + field.len()..]);
        found
            .map(|rest| rest.split('"').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(sum("commands"), stats.tally.commands);
    assert_eq!(sum("messages"), stats.tally.messages);
    assert_eq!(sum("octets"), stats.tally.octets);
    assert_eq!(sum("deleted"), stats.tally.deleted);
    let by_verb: u64 = stats.tally.by_verb.iter().map(|(_, count)| count).sum();
    assert_eq!(by_verb, stats.tally.commands);
}

#[test]
fn two_hundred_clients_drop_at_every_point() {
    let big = "x: y\n\n".to_string() + &"0123456789\n".repeat(30_000);
    let store = Same::of(&[&big, &big]);
    let bench = Bench::direct(&store, limits());
    let exits = [Exit::Close, Exit::Unread, Exit::Reset, Exit::Half];
    thread::scope(|scope| {
        for number in 0..200 {
            let bench = &bench;
            let steps = number % (STEPS.len() + 1);
            scope.spawn(move || play(bench, number, steps, exits[number / 10 % 4]));
        }
    });
    bench.assert_clean(&store.ledger);
    eventually("each end is told once", || {
        bench.heard.closed.load(SeqCst) == 200
    });
    assert_eq!(bench.heard.ended.lock().unwrap().len(), 200);
    assert!(store.ledger.locks.load(SeqCst) >= 150);
    // Only those that came as far as QUIT deleted.
    let deleted = store.ledger.deleted.lock().unwrap();
    assert!(deleted.iter().all(|(_, n)| *n == 1));
    assert!(deleted.len() <= 20, "{deleted:?}");
}

/// QUIT has come: the client's going does not stop the deletion.
#[test]
fn quit_is_carried_out_without_the_client() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    client.expect("DELE 1", "+OK message 1 deleted");
    store.ledger.gate.shut();
    client.send("QUIT\r\n");
    eventually("it deletes", || store.ledger.gate.waiting.load(SeqCst) == 1);
    let socket = SockRef::from(client.reader.get_ref());
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    store.ledger.gate.open();
    bench.assert_clean(&store.ledger);
    assert_eq!(store.ledger.deleted.lock().unwrap().len(), 1);
}

/// A reset during a request frees the mailbox when the call under way returns.
#[test]
fn a_reset_ends_a_request() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    store.ledger.gate.shut();
    client.send("RETR 1\r\n");
    eventually("it reads", || store.ledger.gate.waiting.load(SeqCst) == 1);
    let socket = SockRef::from(client.reader.get_ref());
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    eventually("gone", || bench.server.connection_count() == 0);
    let end = bench.heard.the_end();
    assert!(end.starts_with("connection broken: "), "{end}");
    store.ledger.gate.open();
    bench.assert_clean(&store.ledger);
}

#[test]
fn kill_ends_all_and_deletes_nothing() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut clients: Vec<_> = (0..50).map(|_| bench.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate().take(40) {
        client.login(&format!("u{number}"));
        client.expect("DELE 1", "+OK message 1 deleted");
    }
    assert!(bench.server.kill().is_empty());
    // Not eventually: when it returns.
    assert!(store.ledger.locked.lock().unwrap().is_empty());
    assert_eq!(store.ledger.locks.load(SeqCst), 40);
    assert_eq!(store.ledger.unlocks.load(SeqCst), 40);
    assert_eq!(bench.server.connections(), []);
    for client in &mut clients {
        client.assert_ended();
    }
    assert!(store.ledger.deleted.lock().unwrap().is_empty());
    let ended = bench.heard.ended.lock().unwrap();
    assert_eq!(ended.len(), 50);
    assert!(ended.values().all(|end| *end == End::Killed.to_string()));
    assert_eq!(bench.heard.closed.load(SeqCst), 0);
}

/// Requests are under way in a store: kill waits for them, and they release.
#[test]
fn kill_during_requests() {
    for command in ["PASS secret", "RETR 1"] {
        let store = Same::of(&["m"]);
        let bench = Bench::direct(&store, limits());
        let mut clients: Vec<_> = (0..8).map(|_| bench.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.ask(&format!("USER u{number}"));
            if command != "PASS secret" {
                client.expect("PASS secret", "+OK congratulations");
            }
        }
        store.ledger.gate.shut();
        for client in &mut clients {
            client.send(&format!("{command}\r\n"));
        }
        eventually("all are in the store", || {
            store.ledger.gate.waiting.load(SeqCst) == 8
        });
        thread::scope(|scope| {
            let killer = scope.spawn(|| bench.server.kill().len());
            eventually("the list is empty", || bench.server.connection_count() == 0);
            store.ledger.gate.open();
            assert_eq!(killer.join().unwrap(), 0);
        });
        assert!(store.ledger.locked.lock().unwrap().is_empty(), "{command}");
        assert_eq!(store.ledger.locks.load(SeqCst), 8, "{command}");
        assert_eq!(store.ledger.unlocks.load(SeqCst), 8, "{command}");
        for client in &mut clients {
            client.assert_ended();
        }
    }
}

/// A file that cannot be read any more ends the session without the final dot.
#[test]
fn an_unreadable_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Same::of(&["m"]);
    // Opening a directory works, reading it does not.
    store.messages.push(Mail::InFile(dir.path().into()));
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    client.ask("RETR 2");
    assert_eq!(client.rest(), "");
    bench.assert_clean(&store.ledger);
    let told = bench.heard.all.lock().unwrap();
    assert!(told.contains("ReadFailed"), "{told}");
}

/// A file that shrinks while it is sent: the client, which may wait for all octets that
/// were announced, sees the connection end, without the final dot.
#[test]
fn a_file_shrinks() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let mut store = Same::of(&[]);
    store.messages.push(Mail::InFile(file.path().into()));
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    client.expect("RETR 1", "+OK 67108864 octets");
    file.as_file().set_len(1000).unwrap();
    let rest = client.rest();
    assert!(rest.len() < 64 << 20, "{}", rest.len());
    assert!(!rest.ends_with(".\r\n"));
    bench.assert_clean(&store.ledger);
}

/// A store that panics fails one request, and its mailbox is released at the end.
#[test]
fn a_store_panics() {
    let mut store = Same::of(&["m"]);
    store.messages.push(Mail::Panics);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    for _ in 0..3 {
        let reply = client.ask("RETR 2");
        assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        client.expect("STAT", "+OK 2 1");
    }
    drop(client);
    bench.assert_clean(&store.ledger);
}

#[test]
fn no_thread_can_be_started() {
    in_child("ends::no_thread_can_be_started_inner");
}

/// The client is told to try again, and nothing of it happens later.
#[test]
#[ignore = "changes the limits of its process: run by no_thread_can_be_started"]
fn no_thread_can_be_started_inner() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.expect("USER u1", "+OK please send PASS command");
    let before = memory_limited_to_now();
    let reply = client.ask("PASS secret");
    assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
    assert_eq!(store.ledger.locks.load(SeqCst), 0);
    memory_limited_to(before);
    // Files of this one are read on the thread that is to start now.
    let mut other = bench.connect();
    other.login("u2");
    assert_eq!(store.ledger.locks.load(SeqCst), 1);
    other.expect("QUIT", "+OK h.example S shutting down");
    client.login("u1");
    drop(client);
    bench.assert_clean(&store.ledger);
}

/// Leaves no room for a thread's stack; returns the limit before.
fn memory_limited_to_now() -> rustix::process::Rlimit {
    use rustix::process::{getrlimit, Resource, Rlimit};
    let before = getrlimit(Resource::As);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmSize:")).unwrap();
    let size: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    memory_limited_to(Rlimit {
        current: Some(size * 1024 + (512 << 10)),
        maximum: before.maximum,
    });
    before
}

fn memory_limited_to(limit: rustix::process::Rlimit) {
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
}

#[test]
fn the_process_ends() {
    in_child("ends::the_process_ends_inner");
}

/// Sessions, one of them in the middle of a large message, when the runtime stops.
#[test]
#[ignore = "ends the runtime of its process: run by the_process_ends"]
fn the_process_ends_inner() {
    let big = "0123456789\n".repeat(2_000_000);
    let store = Same::of(&[&big]);
    let bench = Bench::direct(&store, limits());
    let mut clients: Vec<_> = (0..4).map(|_| bench.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.login(&format!("u{number}"));
        client.expect("DELE 1", "+OK message 1 deleted");
        client.expect("RSET", "+OK 1 messages waiting");
    }
    clients[0].send("RETR 1\r\n");
    clients[0].line();
    pop3d::net::shutdown();
    // Not eventually: when it returns.
    assert!(store.ledger.locked.lock().unwrap().is_empty());
    assert_eq!(store.ledger.unlocks.load(SeqCst), 4);
    assert_eq!(bench.heard.closed.load(SeqCst), 4);
    let ended = bench.heard.ended.lock().unwrap().clone();
    assert!(ended.values().all(|end| *end == End::Dropped.to_string()));
    assert!(TcpStream::connect(("127.0.0.1", bench.port)).is_err());
    assert!(bench.server.listen(Endpoint::Address(None, 0)).is_err());
    bench.server.close_listener();
    pop3d::net::shutdown();
}
