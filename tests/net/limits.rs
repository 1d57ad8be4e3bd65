//! Bounds on connections and on time.

use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use pop3_proto::limits::Limits;
use pop3_proto::session::EndReason;

use crate::support::*;
use pop3_proto::connection::End;

const REFUSAL: &str =
    "-ERR [SYS/TEMP] service unavailable: too many connections, please try again later\r\n";

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
        // Strangers would make room.
        for (n, client) in taken.iter_mut().enumerate() {
            client.login(&format!("u{n}"));
        }
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

/// All that comes after the greeting, and how long after the given time the connection
/// has ended, perhaps with a reset.
fn rest_since(begin: Instant, mut client: Client) -> (String, Duration) {
    let mut bytes = Vec::new();
    if let Err(e) = client.reader.read_to_end(&mut bytes) {
        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    }
    (String::from_utf8(bytes).unwrap(), begin.elapsed())
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn no_login_in_time() {
    let limits = Limits {
        login_timeout: SHORT,
        ..limits()
    };
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    // Before the time that the server measures, as in all that follows.
    let begin = Instant::now();
    let mut client = bench.connect();
    client.send("USER u1\r\n");
    let (said, took) = rest_since(begin, client);
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::LoginTimeout.to_string());
    assert!(took > SHORT - SHORT / 10, "{took:?}");
    // Nothing if the command had its turn too late.
    let answers = ["+OK please send PASS command\r\n", ""];
    assert!(answers.contains(&&*said), "{said}");
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
    while matches!(client.reader.read(&mut buffer), Ok(1..)) {
        assert!(begin.elapsed() < PATIENCE, "it goes on");
    }
    assert!(begin.elapsed() < PATIENCE, "nothing, and no end");
    drop(client);
    talk.join().unwrap();
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::LoginTimeout.to_string());
}

/// RFC 1939 §3: the autologout does not delete.
#[test]
fn idle_for_too_long() {
    let limits = Limits {
        idle: SHORT,
        login_timeout: Duration::ZERO,
        ..limits()
    };
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    let mut client = bench.connect();
    client.expect("USER u1", "+OK please send PASS command");
    let begin = Instant::now();
    // At once: nobody is too late for the second.
    client.send("PASS secret\r\nDELE 1\r\n");
    let (said, took) = rest_since(begin, client);
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::Idle.to_string());
    assert!(took > SHORT - SHORT / 10, "{took:?}");
    assert_eq!(said, "+OK congratulations\r\n+OK message 1 deleted\r\n");
    assert!(store.ledger.deleted.lock().unwrap().is_empty());
}

/// Each command begins the time anew.
#[test]
fn not_idle() {
    let idle = 10 * SHORT;
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, Limits { idle, ..limits() });
    let mut client = bench.connect();
    client.login("u1");
    let begin = Instant::now();
    while begin.elapsed() < idle + SHORT {
        client.expect("NOOP", "+OK ");
        // Far below the time allowed: this thread may be late.
        std::thread::sleep(SHORT / 10);
    }
    client.assert_ended();
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::Idle.to_string());
}

/// Nor is a session not idle that says something which is no command.
#[test]
fn bytes_are_no_commands() {
    let idle = 4 * SHORT;
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, Limits { idle, ..limits() });
    let mut client = bench.connect();
    client.login("u1");
    let begin = Instant::now();
    let writer = client.reader.get_mut();
    while writer.write_all(b"N").is_ok() && begin.elapsed() < PATIENCE {
        std::thread::sleep(SHORT / 10);
    }
    assert!(begin.elapsed() < PATIENCE, "it goes on");
    bench.assert_clean(&store.ledger);
    assert_eq!(bench.heard.the_end(), End::Idle.to_string());
}

/// The wait after a failed login is part of the time to log in.
#[test]
fn no_login_in_time_while_it_waits() {
    let limits = Limits {
        login_timeout: SHORT,
        login_delay: PATIENCE,
        login_delay_max: PATIENCE,
        ..limits()
    };
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    let begin = Instant::now();
    let mut client = bench.connect();
    client.send("USER u1\r\nPASS wrong\r\n");
    let (_, took) = rest_since(begin, client);
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(bench.heard.the_end(), End::LoginTimeout.to_string());
}

/// Whoever has read the farewell may begin the next session.
#[test]
fn one_at_a_time_is_never_two() {
    let limits = Limits {
        per_address: 1,
        ..limits()
    };
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits);
    let mut last = None;
    for _ in 0..300 {
        let mut client = bench.connect();
        drop(last);
        client.login("u1");
        client.expect("QUIT", "+OK h.example S shutting down");
        last = Some(client);
    }
}

/// A client that does not take its farewell is one of those that the server has.
#[test]
fn a_farewell_that_waits_counts() {
    use socket2::{Domain, Socket, Type};
    // More than the system takes, of which the session reads all at once.
    const AHEAD: usize = 8000;
    let limits = Limits {
        connections: 3,
        pipelined: 1 << 20,
        output_mark: 1 << 23,
        ..limits()
    };
    let store = Same::of(&["m"; 100]);
    let bench = Bench::direct(&store, limits);
    let address: std::net::SocketAddr = ([127, 0, 0, 1], bench.port).into();
    let mut clients = Vec::new();
    for taken in 0..3 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // So that the system takes little of the answers.
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut client = Client::of(socket.into());
        assert!(client.line().starts_with("+OK"));
        client.login(&format!("u{taken}"));
        client.send(&("LIST\r\n".repeat(AHEAD) + "QUIT\r\n"));
        clients.push(client);
        eventually("it has ended", || bench.server.connection_count() == 0);
        assert_eq!(bench.heard.closed.load(SeqCst), taken + 1);
    }
    for _ in 0..10 {
        assert_eq!(bench.connect_raw().rest(), REFUSAL);
    }
    drop(clients);
    eventually("there is room", || {
        bench.connect_raw().line().starts_with("+OK")
    });
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
    client.expect("USER u1", "+OK please send PASS command");
    // At once, or it might be idle before it asks.
    client.send("PASS secret\r\nRETR 1\r\n");
    assert_eq!(bench.heard.the_end(), End::WriteTimeout.to_string());
    bench.assert_clean(&store.ledger);
}

/// But one that reads slowly gets all: less than the system tells of at a time. Other systems
/// than Linux do not watch that for us (`system::bound_stalls`).
#[cfg(not(feature = "portable"))]
#[test]
fn a_client_that_reads_slowly() {
    let idle = 3 * SHORT;
    let big = "0123456789\n".repeat(2_000_000);
    let store = Same::of(&[&big]);
    let bench = Bench::direct(&store, Limits { idle, ..limits() });
    let mut client = bench.connect();
    client.expect("USER u1", "+OK please send PASS command");
    client.send("PASS secret\r\nRETR 1\r\n");
    let begin = Instant::now();
    let mut bytes = vec![0; 60_000];
    while begin.elapsed() < 4 * idle {
        client.reader.read_exact(&mut bytes).unwrap();
        std::thread::sleep(SHORT / 4);
    }
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n.\r\n") {
        let n = client.reader.read(&mut bytes).unwrap();
        assert!(n > 0, "the message was cut off");
        rest.extend_from_slice(&bytes[..n]);
    }
    client.expect("QUIT", "+OK h.example S shutting down");
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
        client.expect("PASS no", "-ERR [AUTH] authentication failed, sorry");
    }
    assert!(begin.elapsed() >= 7 * step, "{:?}", begin.elapsed());
    client.assert_ended();
    let end = bench.heard.the_end();
    assert_eq!(end, End::Session(EndReason::TooManyLogins).to_string());
}

/// When the server is full: who has waited longest without logging in makes room.
#[test]
fn the_oldest_stranger_makes_room() {
    let store = Same::of(&["m"]);
    let limits = Limits {
        connections: 4,
        ..limits()
    };
    let bench = Bench::direct(&store, limits);
    let mut member = bench.connect();
    member.login("u1");
    let mut strangers: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for round in 0..5 {
        let mut newcomer = bench.connect();
        let mut oldest = strangers.remove(0);
        assert_eq!(oldest.rest(), REFUSAL, "round {round}");
        assert_eq!(newcomer.ask("NOOP"), "-ERR client not authenticated\r\n");
        strangers.push(newcomer);
    }
    assert_eq!(
        bench.heard.the_end(),
        End::Session(EndReason::MadeRoom).to_string(),
        "told as what it is"
    );
    member.expect("NOOP", "+OK ");
    for (n, stranger) in strangers.iter_mut().enumerate() {
        stranger.login(&format!("u{}", n + 2));
    }
    // All of them are logged in now.
    let mut refused = bench.connect_raw();
    assert_eq!(refused.rest(), REFUSAL);
    for stranger in &mut strangers {
        stranger.expect("QUIT", "+OK h.example S shutting down");
    }
    bench.connect().login("u2");
    member.expect("QUIT", "+OK h.example S shutting down");
}
