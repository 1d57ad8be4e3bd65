//! A connection in virtual time: its turns, its time-outs and its ends.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialog::bench::Bench;
use dialog::{Mailbox, GOODBYE, GREETING, ID};
use pop3_proto::connection::{Action, Connection, End, Stall};
use pop3_proto::limits::{Limits, COMMANDS_PER_TURN, LINGER, LINGER_BYTES, OCTETS_PER_TURN};
use pop3_proto::security::{TlsFacts, TlsMode};
use pop3_proto::session::{EndReason, Origin};
use pop3_proto::Request;

const LOGIN: &str = "USER mrose\r\nPASS tanstaaf\r\n";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A step of a client, in the tables.
#[derive(Clone, Copy, Debug)]
enum Do {
    Say(&'static str),
    Wait(u64),
    /// Takes so many bytes more of what is sent.
    Take(usize),
    /// The system bounds stalls.
    System,
    Close,
    Break(ErrorKind),
}

impl Bench {
    fn play(&mut self, steps: &[Do]) {
        for step in steps {
            match *step {
                Do::Say(text) => {
                    self.say(text);
                }
                Do::Wait(milliseconds) => {
                    self.pass(Duration::from_millis(milliseconds));
                }
                Do::Take(n) => {
                    self.takes = n;
                    self.run();
                }
                Do::System => self.stall = Stall::System,
                Do::Close => {
                    self.close();
                }
                Do::Break(kind) => {
                    self.connection.handle_broken(kind);
                    self.run();
                }
            }
        }
    }
}

/// What is done, when it ends (in milliseconds, with the default limits), and why.
#[test]
fn every_end_in_virtual_time() {
    use Do::*;
    let quit = End::Session(EndReason::Quit);
    let table: &[(&[Do], u64, End)] = &[
        // The time to log in counts from the greeting on, whatever is said.
        (&[Wait(200_000)], 120_000, End::LoginTimeout),
        (
            &[Wait(119_999), Say("NOOP\r\n"), Wait(9)],
            120_000,
            End::LoginTimeout,
        ),
        (
            &[Wait(119_999), Say("USER mrose\r\n"), Wait(9)],
            120_000,
            End::LoginTimeout,
        ),
        (
            &[Take(0), Say("CAPA\r\n"), Wait(200_000)],
            120_000,
            End::LoginTimeout,
        ),
        // After the login only commands count, whole ones.
        (
            &[Wait(100_000), Say(LOGIN), Wait(900_000)],
            700_000,
            End::Idle,
        ),
        (
            &[Say(LOGIN), Wait(500_000), Say("NOOP\r\n"), Wait(700_000)],
            1_100_000,
            End::Idle,
        ),
        (
            &[Say(LOGIN), Wait(500_000), Say("NO"), Wait(700_000)],
            600_000,
            End::Idle,
        ),
        (&[Say(LOGIN), Wait(600_000)], 600_000, End::Idle),
        // A client that takes nothing is dropped as one that says nothing.
        (
            &[Say(LOGIN), Take(0), Say("STAT\r\n"), Wait(700_000)],
            600_000,
            End::WriteTimeout,
        ),
        (
            &[
                Say(LOGIN),
                Take(0),
                Say("CAPA\r\n"),
                Wait(500_000),
                Take(9),
                Wait(700_000),
            ],
            1_100_000,
            End::WriteTimeout,
        ),
        (
            &[
                Say(LOGIN),
                System,
                Take(0),
                Say("STAT\r\n"),
                Wait(900_000),
                Break(ErrorKind::TimedOut),
            ],
            900_000,
            End::WriteTimeout,
        ),
        // What waited for a slow client is no idleness of its own.
        (
            &[
                Say(LOGIN),
                Take(0),
                Say("STAT\r\n"),
                Wait(500_000),
                Take(usize::MAX),
                Wait(700_000),
            ],
            1_100_000,
            End::Idle,
        ),
        // The client goes.
        (&[Close], 0, End::PeerClosed),
        (
            &[Say("USER mrose\r\nPA"), Wait(10), Close],
            10,
            End::PeerClosed,
        ),
        (
            &[Say(LOGIN), Say("DELE 1\r\n"), Wait(10), Close],
            10,
            End::PeerClosed,
        ),
        (
            &[Say(LOGIN), Wait(7), Break(ErrorKind::ConnectionReset)],
            7,
            End::Broken(ErrorKind::ConnectionReset),
        ),
        (
            &[Say(LOGIN), Break(ErrorKind::TimedOut)],
            0,
            End::WriteTimeout,
        ),
        // The session ends itself.
        (&[Wait(30), Say("QUIT\r\n")], 30, quit),
        (&[Say(LOGIN), Wait(30), Say("QUIT\r\nSTAT\r\n")], 30, quit),
        (&[Say(LOGIN), Say("QUIT\r\n"), Close], 0, quit),
        (
            &[Say(LOGIN), Take(0), Say("QUIT\r\n"), Wait(700_000)],
            0,
            quit,
        ),
        // Failed logins are answered after 250, 500, 1000, 2000 ms, the fifth after 4000.
        (
            &[
                Say("USER a\r\nPASS b\r\nUSER a\r\nPASS b\r\nUSER a\r\nPASS b\r\n"),
                Say("USER a\r\nPASS b\r\nUSER a\r\nPASS b\r\nNOOP\r\n"),
                Wait(60_000),
            ],
            7_750,
            End::Session(EndReason::TooManyLogins),
        ),
        (
            &[Wait(119_900), Say("USER a\r\nPASS b\r\n"), Wait(9_000)],
            120_000,
            End::LoginTimeout,
        ),
    ];
    for (steps, at, end) in table {
        let mut bench = Bench::new(&["a\n"], Limits::default());
        bench.play(steps);
        let (left, why, _) = bench.left.unwrap_or_else(|| panic!("{steps:?} has no end"));
        assert_eq!((left.as_millis() as u64, why), (*at, *end), "{steps:?}");
        let updates = bench
            .requests
            .iter()
            .any(|r| matches!(r, Request::Update { .. }));
        assert!(!updates || why == quit, "{steps:?} deletes");
    }
}

#[test]
fn without_time_outs_a_client_may_wait_for_ever() {
    let limits = Limits {
        idle: Duration::ZERO,
        login_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let mut bench = Bench::new(&[], limits.clone());
    bench
        .pass(seconds(1_000_000))
        .say(LOGIN)
        .pass(seconds(1_000_000));
    assert_eq!((bench.left, bench.connection.deadline()), (None, None));
    // But ten minutes must do for a client to take something.
    bench.takes = 0;
    bench.say("STAT\r\n").pass(seconds(601));
    assert_eq!(bench.end(), (2_000_600_000, End::WriteTimeout));
    let mut bench = Bench::new(&[], limits);
    bench.takes = 0;
    bench.say("CAPA\r\n").pass(seconds(601));
    assert_eq!(bench.end(), (600_000, End::WriteTimeout));
}

#[test]
fn the_mailbox_is_free_before_the_farewell() {
    let mut bench = Bench::new(&["a\n"], Limits::default());
    bench
        .say(LOGIN)
        .say("DELE 1\r\nQUIT\r\nUSER mrose\r\nPASS tanstaaf\r\n");
    let (_, end, received) = bench.left.unwrap();
    assert_eq!(end, End::Session(EndReason::Quit));
    assert!(!bench.text()[..received].contains("shutting down"));
    assert!(bench.text().ends_with(GOODBYE), "{}", bench.text());
    assert_eq!(bench.text().matches("congratulations").count(), 1);
    assert_eq!(bench.requests.len(), 2, "{:?}", bench.requests);
    assert!(bench.connection.is_over());
}

/// After the farewell: when the socket is half-closed and when it is closed.
#[test]
fn input_after_the_farewell_is_thrown_away_for_a_while() {
    use Do::*;
    let linger = LINGER.as_millis() as u64;
    let table: &[(&[Do], u64)] = &[
        (&[Say("QUIT\r\n"), Close], 0),
        (&[Say("QUIT\r\nNOOP\r\n"), Wait(50), Close], 50),
        (&[Say("QUIT\r\n"), Wait(linger + 9)], linger),
        (
            &[Say("QUIT\r\n"), Wait(1_000), Say("NOOP\r\n"), Wait(linger)],
            linger,
        ),
        (
            &[Say("QUIT\r\n"), Wait(5), Break(ErrorKind::ConnectionReset)],
            5,
        ),
    ];
    for (steps, closed) in table {
        let mut bench = Bench::new(&[], Limits::default());
        bench.play(steps);
        assert_eq!(bench.shut, Some(Duration::ZERO), "{steps:?}");
        assert_eq!(
            bench.over,
            Some(Duration::from_millis(*closed)),
            "{steps:?}"
        );
        assert_eq!(bench.text(), format!("{GREETING}{GOODBYE}"), "{steps:?}");
    }
    let mut bench = Bench::new(&[], Limits::default());
    bench.say("QUIT\r\n").say(vec![b'x'; LINGER_BYTES - 7]);
    assert_eq!(bench.over, None);
    bench.say("1234567");
    assert_eq!(bench.over, Some(Duration::ZERO));
}

#[test]
fn a_farewell_that_is_not_taken_is_given_up() {
    let table = [(Stall::NoRoom, LINGER), (Stall::Deadline, seconds(600))];
    for (stall, time) in table {
        let mut bench = Bench::new(&[], Limits::default());
        bench.takes = 0;
        bench.stall = stall;
        bench.say("QUIT\r\n");
        assert_eq!(bench.end(), (0, End::Session(EndReason::Quit)));
        bench.pass(time - Duration::from_millis(1));
        assert_eq!(bench.over, None, "{stall:?}");
        bench.pass(seconds(1));
        assert_eq!((bench.over, bench.shut), (Some(time), None), "{stall:?}");
    }
}

/// Clients that send ahead, logged in or not: their commands, and what they get, are
/// done in turns.
#[test]
fn a_turn_is_bounded() {
    let many: Vec<String> = (0..40_000).map(|n| format!("message {n}\n")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = "0123456789\n".repeat(200_000);
    let unbounded = Limits {
        errors: 0,
        ..Limits::default()
    };
    let table: &[(&[&str], &str, String)] = &[
        (&[], "", "CAPA\r\n".repeat(5_000)),
        (&[], "", "NOOP\r\n".repeat(5_000)),
        (&[], "", "x\n".repeat(5_000)),
        (&["a\n"], LOGIN, "NOOP\r\nDELE 1\r\nRSET\r\n".repeat(2_000)),
        (&["a\n"], LOGIN, "RETR 1\r\nSTAT\r\n".repeat(2_000)),
        (&many, LOGIN, "LIST\r\nUIDL\r\n".repeat(2)),
        (&[&large], LOGIN, "RETR 1\r\n".repeat(2)),
    ];
    for (messages, before, input) in table {
        let mut bench = Bench::new(messages, unbounded.clone());
        bench.say(before).say(input);
        let lines = input.matches('\n').count() as u64;
        let done = bench.connection.session().tally().commands;
        assert_eq!(done, lines + before.matches('\n').count() as u64);
        let (commands, octets) = bench.longest_turn;
        assert!(
            commands <= u64::from(COMMANDS_PER_TURN),
            "{commands} commands"
        );
        // A write is not cut: what waits is at most the mark and a chunk.
        assert!(octets <= OCTETS_PER_TURN + 128 * 1024, "{octets} octets");
        assert!(bench.yields >= 5, "{} yields", bench.yields);
        assert!(bench.connection.output().is_empty());
    }
}

#[test]
fn who_sends_command_by_command_never_yields() {
    let mut bench = Bench::new(&["a\n"], Limits::default());
    bench.say(LOGIN);
    for _ in 0..10 * COMMANDS_PER_TURN {
        bench.say("RETR 1\r\n");
    }
    assert_eq!(bench.yields, 0);
}

/// A client that always has something to say is never waited for.
#[test]
fn a_busy_stranger_has_no_more_time_to_log_in() {
    let limits = Limits {
        errors: 0,
        ..Limits::default()
    };
    let mut bench = Bench::new(&[], limits);
    bench.pass(seconds(119));
    bench.sent.extend("CAPA\r\n".repeat(10_000).bytes());
    while bench.left.is_none() {
        bench.now += Duration::from_millis(10);
        assert!(bench.elapsed() < seconds(121));
        match bench.connection.next(bench.now) {
            Action::Read(room) => assert!(bench.read(room)),
            Action::Write => assert!(bench.write()),
            Action::Leave(end) => bench.left = Some((bench.elapsed(), end, 0)),
            Action::Yield => {}
            action => panic!("{action:?}"),
        }
    }
    assert_eq!(bench.end(), (120_000, End::LoginTimeout));
}

/// A client that sends a line without end is never waited for either. What it sends has
/// its turns, and is no command.
#[test]
fn an_endless_line_has_turns_and_time_outs() {
    let table = [
        ("", (120_000, End::LoginTimeout)),
        (LOGIN, (600_000, End::Idle)),
    ];
    for (before, want) in table {
        let mut bench = Bench::new(&[], Limits::default());
        bench.say(before);
        let mut read = 0;
        while bench.left.is_none() {
            match bench.connection.next(bench.now) {
                Action::Read(room) => {
                    bench.connection.handle_read(&vec![b'x'; room]);
                    read += room;
                    assert!(read < OCTETS_PER_TURN + room, "{read} octets");
                }
                Action::Yield => {
                    read = 0;
                    bench.now += seconds(1);
                }
                Action::Leave(end) => bench.left = Some((bench.elapsed(), end, 0)),
                action => panic!("{action:?}"),
            }
        }
        assert_eq!(bench.end(), want);
    }
}

/// Who was idle for almost too long, and then sends ahead more than fits into a turn.
#[test]
fn many_commands_at_the_last_moment_are_in_time() {
    let mut bench = Bench::new(&[], Limits::default());
    bench.say(LOGIN).pass(Duration::from_millis(599_999));
    bench.sent.extend("NOOP\r\n".repeat(100).bytes());
    loop {
        match bench.connection.next(bench.now) {
            Action::Read(room) if bench.read(room) => {}
            Action::Read(_) => break,
            Action::Write => assert!(bench.write()),
            Action::Yield => bench.now += seconds(1),
            action => panic!("{action:?}"),
        }
    }
    assert_eq!(bench.connection.session().tally().commands, 102);
}

fn with_tls(tls: TlsMode) -> Bench {
    let mut config = dialog::config(Limits::default());
    config.tls = tls;
    Bench::with_config(&["a\n"], config)
}

/// The handshake comes when all that precedes it is written, and has the time of a login.
#[test]
fn handshakes_have_their_place_and_their_time() {
    for tls in [TlsMode::StartTls, TlsMode::Implicit] {
        let rows: [(&str, Option<ErrorKind>, u64, End); 3] = [
            ("silent", None, 120_000, End::LoginTimeout),
            ("closes", None, 0, End::PeerClosed),
            (
                "breaks",
                Some(ErrorKind::ConnectionReset),
                0,
                End::Broken(ErrorKind::ConnectionReset),
            ),
        ];
        for (what, breaks, at, want) in rows {
            let mut bench = with_tls(tls);
            if tls == TlsMode::StartTls {
                bench.say("STLS\r\n");
                assert!(bench.text().ends_with("+OK begin TLS negotiation\r\n"));
            }
            assert_eq!(bench.handshakes, 1);
            match (what, breaks) {
                ("silent", _) => bench.pass(seconds(1000)),
                ("closes", _) => bench.close(),
                (_, kind) => {
                    bench.connection.handle_broken(kind.unwrap());
                    bench.run();
                    &mut bench
                }
            };
            assert_eq!(bench.end(), (at, want), "{tls:?} {what}");
            assert_eq!(bench.shut, None, "no farewell without TLS");
            assert!(bench.over.is_some());
        }
        let mut bench = with_tls(tls);
        if tls == TlsMode::StartTls {
            bench.say("STLS\r\n");
        }
        bench.connection.handle_tls_failed();
        bench.run();
        assert_eq!(bench.end(), (0, End::TlsFailed));
    }
}

/// A connection that makes room while it shakes hands says nothing: the client would take it
/// for TLS.
#[test]
fn no_line_disturbs_a_handshake() {
    for tls in [TlsMode::StartTls, TlsMode::Implicit] {
        let mut bench = with_tls(tls);
        if tls == TlsMode::StartTls {
            bench.say("STLS\r\n");
        }
        let said = bench.text();
        assert!(bench.connection.make_room());
        bench.run();
        assert_eq!(bench.text(), said, "{tls:?}");
    }
}

/// A client that takes nothing of the reply to STLS is not shaken hands with.
#[test]
fn the_reply_to_stls_goes_first() {
    let mut bench = with_tls(TlsMode::StartTls);
    bench.takes = 0;
    bench.tls = Some(TlsFacts::default());
    bench.say("STLS\r\nUSER joe\r\n");
    assert_eq!(bench.handshakes, 0);
    bench.takes = usize::MAX;
    bench.run();
    assert_eq!(bench.handshakes, 1);
    bench.say(LOGIN).say("QUIT\r\n");
    let want = format!(
        "{GREETING}+OK begin TLS negotiation\r\n+OK please send PASS command\r\n\
         +OK congratulations\r\n{GOODBYE}"
    );
    assert_eq!(bench.text(), want);
}

/// An answer that comes when the client has gone changes nothing.
#[test]
fn a_late_answer_is_ignored() {
    let config = dialog::config(Limits::default());
    let now = Instant::now();
    let mut connection = Connection::new(Arc::new(config), Origin::remote(ID), now);
    let greeting = connection.output().len();
    assert_eq!(connection.next(now), Action::Write);
    connection.handle_written(greeting);
    assert!(matches!(connection.next(now), Action::Read(_)));
    connection.handle_read(LOGIN.as_bytes());
    let Action::Ask(request) = connection.next(now) else {
        panic!("no login is asked");
    };
    connection.handle_broken(ErrorKind::ConnectionReset);
    let end = End::Broken(ErrorKind::ConnectionReset);
    assert_eq!(connection.next(now), Action::Leave(end));
    connection.handle_reply(Mailbox::new(&["a\n"]).answer(&request));
    assert_eq!(connection.next(now), Action::Close);
    assert_eq!(connection.next(now), Action::Close);
    connection.handle_broken(ErrorKind::BrokenPipe);
    assert_eq!(connection.next(now), Action::Close);
}

#[test]
fn what_tls_wraps_bytes_in_counts_for_the_turn() {
    let mut bench = Bench::new(&[], Limits::default());
    let mut records = 0;
    // An endless line, a byte in each record.
    while bench.connection.next(bench.now) != Action::Yield {
        bench.connection.handle_overhead(22);
        bench.connection.handle_read(b"x");
        records += 1;
    }
    assert!(records <= OCTETS_PER_TURN / 23 + 1, "{records} records");
}

/// What a client has sent and how much it takes, what it gets when the connection is closed for
/// its server's owner, and how that ends.
#[test]
fn closed_by_its_owner() {
    let told = End::Session(EndReason::Closed);
    let big = "0123456789\n".repeat(20_000);
    let many = vec!["m"; 2_000];
    let all = usize::MAX;
    let table: &[(&[&str], &str, usize, End, &str)] = &[
        (&["m"], "", all, told, "-ERR bye\r\n"),
        (&["m"], "USER mrose\r\n", all, told, "-ERR bye\r\n"),
        (&["m"], "AUTH PLAIN\r\n", all, told, "-ERR bye\r\n"),
        (
            &["m"],
            "USER mrose\r\nPASS x\r\n",
            all,
            told,
            "-ERR bye\r\n",
        ),
        (&["m"], LOGIN, all, told, "-ERR bye\r\n"),
        (
            &["m"],
            "USER mrose\r\nPASS tanstaaf\r\nRETR 1",
            all,
            told,
            "-ERR bye\r\n",
        ),
        // In the middle of a message, and of a listing.
        (
            &[&big],
            "USER mrose\r\nPASS tanstaaf\r\nRETR 1\r\n",
            200,
            End::Closed,
            "",
        ),
        (
            &many,
            "USER mrose\r\nPASS tanstaaf\r\nUIDL\r\n",
            200,
            End::Closed,
            "",
        ),
        // All of the message is in the output, so the line comes after it.
        (
            &["m"],
            "USER mrose\r\nPASS tanstaaf\r\nRETR 1\r\n",
            150,
            told,
            "-ERR bye\r\n",
        ),
    ];
    for (messages, sent, takes, want, last) in table {
        let limits = Limits {
            output_mark: 1_000,
            login_delay: Duration::from_secs(1),
            ..Limits::default()
        };
        let mut bench = Bench::new(messages, limits);
        bench.takes = *takes;
        bench.say(sent);
        let before = bench.requests.len();
        let end = bench.connection.close("bye");
        assert_eq!(end, *want, "{sent:?}");
        // Once more changes nothing.
        assert_eq!(bench.connection.close("again"), end);
        bench.takes = usize::MAX;
        bench.run();
        assert_eq!(bench.left.unwrap().1, *want, "{sent:?}");
        bench.close();
        assert!(bench.over.is_some(), "{sent:?}");
        let received = String::from_utf8(bench.received.clone()).unwrap();
        assert_eq!(
            received.matches("-ERR bye").count(),
            usize::from(!last.is_empty())
        );
        assert!(received.ends_with(last), "{sent:?}: {received}");
        // Nothing is asked of the mailbox any more: no update.
        assert_eq!(bench.requests.len(), before, "{sent:?}");
    }
}

#[test]
fn closed_before_and_in_the_handshake_of_tls() {
    for (mode, sent) in [(TlsMode::Implicit, ""), (TlsMode::StartTls, "STLS\r\n")] {
        let mut config = dialog::config(Limits::default());
        config.tls = mode;
        let mut bench = Bench::with_config(&["m"], config);
        bench.say(sent);
        let before = bench.received.len();
        assert_eq!(bench.connection.close("bye"), End::Closed);
        bench.run();
        assert!(bench.over.is_some());
        assert_eq!(bench.received.len(), before);
    }
}

#[test]
fn idle_time_is_that_without_a_command() {
    let mut bench = Bench::new(&["m"], Limits::default());
    let idle = |bench: &Bench| bench.connection.idle_for(bench.now).as_secs();
    bench.pass(Duration::from_secs(5)).say("USER");
    bench.pass(Duration::from_secs(5));
    assert_eq!(idle(&bench), 10);
    bench.say(" mrose\r\nPASS tanstaaf\r\n");
    assert_eq!(idle(&bench), 0);
    bench.pass(Duration::from_secs(7));
    assert_eq!(idle(&bench), 7);
    // Before the login the time for it counts, and no other.
    let limits = Limits {
        login_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let mut bench = Bench::new(&["m"], limits);
    bench.pass(Duration::from_secs(86_400)).say("USER");
    bench.say("x".repeat(2 * OCTETS_PER_TURN));
    assert_eq!((bench.left, idle(&bench)), (None, 86_400));
}
