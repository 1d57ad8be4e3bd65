//! Bounds on connections and on time.

use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use pop3d::protocol::limits::Limits;
use pop3d::protocol::session::EndReason;

use crate::support::*;
use pop3d::net::End;

const REFUSAL: &str = "-ERR [SYS/TEMP] too many connections, please try again later\r\n";

#[test]
fn connections_in_all_and_per_address() {
    let store = Same::of(&["m"]);
    let table = [
        Limits {
            connections: 3,
            ..limits()
        },
        Limits {
            per_address: 3,
            ..limits()
        },
    ];
    for limits in table {
        let bench = Bench::direct(&store, limits);
        let mut taken: Vec<_> = (0..3).map(|_| bench.connect()).collect();
        let mut refused = bench.connect_raw();
        assert_eq!(refused.rest(), REFUSAL);
        eventually("it is told", || bench.heard.refused.load(SeqCst) == 1);
        taken.pop();
        eventually("one has gone", || bench.server.connection_count() == 2);
        eventually("there is room", || {
            bench.connect_raw().line().starts_with("+OK")
        });
    }
}

/// How long until the server ends the connection, and why.
fn end_after(limits: Limits, dialog: impl FnOnce(&mut Client)) -> (Duration, End) {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    let mut client = bench.connect();
    dialog(&mut client);
    let begin = Instant::now();
    client.assert_ended();
    let took = begin.elapsed();
    bench.assert_clean(&store.ledger);
    assert!(store.ledger.deleted.lock().unwrap().is_empty());
    (took, bench.heard.the_end())
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn no_login_in_time() {
    let limits = Limits {
        login_timeout: SHORT,
        ..limits()
    };
    let (took, end) = end_after(limits, |client| {
        client.ask("USER u1");
    });
    assert_eq!(end, End::LoginTimeout);
    assert!(took < 10 * SHORT, "{took:?}");
}

/// Nor for a client that always has something to say and reads all the answers.
#[test]
fn no_login_in_time_for_all_the_talk() {
    let limits = Limits {
        login_timeout: SHORT,
        ..limits()
    };
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    let mut client = bench.connect();
    let begin = Instant::now();
    let mut writer = client.reader.get_ref().try_clone().unwrap();
    let talk = std::thread::spawn(move || {
        let lines = "CAPA\r\n".repeat(1000);
        while writer.write_all(lines.as_bytes()).is_ok() {}
    });
    // An end, or a reset with what was still to be read.
    let mut buffer = [0; 4096];
    while matches!(client.reader.read(&mut buffer), Ok(1..)) {}
    assert!(begin.elapsed() < 10 * SHORT, "{:?}", begin.elapsed());
    drop(client);
    talk.join().unwrap();
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::LoginTimeout);
}

/// RFC 1939 §3: the autologout does not delete.
#[test]
fn idle_for_too_long() {
    let limits = Limits {
        idle: SHORT,
        login_timeout: Duration::ZERO,
        ..limits()
    };
    let (took, end) = end_after(limits, |client| {
        client.login("u1");
        client.ask("DELE 1");
    });
    assert_eq!(end, End::Idle);
    assert!(took > SHORT - SHORT / 10 && took < 10 * SHORT, "{took:?}");
}

/// Each command begins the time anew.
#[test]
fn not_idle() {
    let limits = Limits {
        idle: 2 * SHORT,
        ..limits()
    };
    let (_, end) = end_after(limits, |client| {
        client.login("u1");
        let begin = Instant::now();
        while begin.elapsed() < 5 * SHORT {
            client.expect("NOOP", "+OK ");
            std::thread::sleep(SHORT / 10);
        }
    });
    assert_eq!(end, End::Idle);
}

#[test]
fn a_client_that_does_not_read() {
    let big = "0123456789\n".repeat(2_000_000);
    let store = Same::of(&[&big]);
    let bench = Bench::direct(
        &store,
        Limits {
            idle: SHORT,
            ..limits()
        },
    );
    let mut client = bench.connect();
    client.login("u1");
    client.send("RETR 1\r\n");
    assert_eq!(bench.heard.the_end(), End::WriteTimeout);
    bench.assert_clean(&store.ledger);
}

/// The bound on logins, and that the wait before each refusal grows.
#[test]
fn failed_logins() {
    let store = Same::of(&["m"]);
    let step = Duration::from_millis(40);
    let limits = Limits {
        failed_logins: 3,
        login_delay: step,
        ..limits()
    };
    let bench = Bench::direct(&store, limits);
    let mut client = bench.connect();
    let begin = Instant::now();
    for _ in 0..3 {
        client.ask("USER u1");
        client.expect("PASS no", "-ERR authentication failed, sorry");
    }
    assert!(begin.elapsed() >= 7 * step, "{:?}", begin.elapsed());
    client.assert_ended();
    let end = bench.heard.the_end();
    assert_eq!(end, End::Session(EndReason::TooManyLogins));
}
