//! The hook: each event, each verdict, in each state, and in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use std::num::NonZeroU64;
use std::time::Duration;

use dialog::bench::Bench;
use dialog::states::*;
use dialog::{config, Mailbox, Play, GOODBYE, GREETING};
use pop3_proto::connection::End;
use pop3_proto::hook::{EventKind, Rejection, Terms, Verdict};
use pop3_proto::limits::{Limits, LONGEST_HOOK_DELAY, SASL_LINE};
use pop3_proto::sasl::{Mechanism, Mechanisms};
use pop3_proto::session::{Config, EndReason};
use pop3_proto::{Failure, Reply, Request};

use EventKind::{Command, Connect, Delete, Login, Retrieve, Update};

const REFUSED: &str = "-ERR [SYS/PERM] no\r\n";
const ONE: &str = "S: 1\r\n\r\nbody\r\n";

fn reject() -> Verdict {
    Verdict::Reject(Rejection::new("no", Some("SYS/PERM")).unwrap())
}

fn reply(bytes: &str) -> Verdict {
    Verdict::Reply(bytes.as_bytes().into())
}

fn terms(cut: Option<u64>, announce: Option<u64>) -> Verdict {
    Verdict::Proceed(Terms {
        cut,
        announce,
        ..Terms::default()
    })
}

fn delay(milliseconds: u64) -> Verdict {
    Verdict::Proceed(Terms {
        delay: Duration::from_millis(milliseconds),
        ..Terms::default()
    })
}

fn throttle(rate: u64, cut: Option<u64>) -> Verdict {
    Verdict::Proceed(Terms {
        throttle: NonZeroU64::new(rate),
        cut,
        ..Terms::default()
    })
}

fn hooked(limits: Limits) -> Config {
    let config = config(limits);
    config.hook.set(EventKind::ALL.into_iter().collect());
    config
}

/// A session of which every event is asked about.
fn play(verdicts: &[(EventKind, Verdict)], mechanisms: Mechanisms) -> Play {
    let mailbox = Mailbox {
        verdicts: verdicts.to_vec(),
        ..mailbox()
    };
    Play::with_config(mailbox, hooked(Limits::default()), mechanisms)
}

/// What a session asked, in the words of the log.
fn asked(play: &Play) -> Vec<String> {
    play.requests.iter().map(Request::to_string).collect()
}

/// Lines of a client, what the hook says of an event, and all that the client gets behind
/// the greeting; whether the session is over then.
#[test]
fn verdicts_by_event_and_state() {
    let login = "+OK please send PASS command\r\n+OK congratulations\r\n";
    let sent = |first: &str| format!("{login}{first}{ONE}.\r\n");
    let named = "+OK please send PASS command\r\n";
    let rows: Vec<(&[&str], EventKind, Verdict, String, bool)> = vec![
        // A command is not executed: in no state, by no verb.
        (&["NOOP"], Command, reject(), REFUSED.into(), false),
        (&["QUIT"], Command, reject(), REFUSED.into(), false),
        (&["XTND"], Command, reject(), REFUSED.into(), false),
        (&[""], Command, reject(), REFUSED.into(), false),
        (
            &["USER mrose", "PASS tanstaaf"],
            Command,
            reject(),
            REFUSED.repeat(2),
            false,
        ),
        (&["QUIT"], Command, Verdict::Close, String::new(), true),
        (
            &["XTND", "NOOP"],
            Command,
            Verdict::Close,
            String::new(),
            true,
        ),
        (
            &["STAT"],
            Command,
            reply("+OK 1 2\r\n"),
            "+OK 1 2\r\n".into(),
            false,
        ),
        (
            &["QUIT", "X"],
            Command,
            reply("bye"),
            "byebye".into(),
            false,
        ),
        (&["NOOP"], Command, reply(""), String::new(), false),
        (
            &["NOOP"],
            Command,
            terms(Some(1), Some(2)),
            NOT_YET.into(),
            false,
        ),
        // A login.
        (OPEN, Login, reject(), format!("{named}{REFUSED}"), false),
        (
            &[
                "USER mrose",
                "PASS tanstaaf",
                "STAT",
                "USER mrose",
                "PASS wrong",
            ],
            Login,
            reject(),
            format!("{named}{REFUSED}{NOT_YET}{named}{SORRY}"),
            false,
        ),
        (OPEN, Login, Verdict::Close, named.into(), true),
        (OPEN, Login, reply("x"), login.into(), false),
        // A message.
        (
            &["USER mrose", "PASS tanstaaf", "RETR 1"],
            Retrieve,
            reject(),
            format!("{login}{REFUSED}"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "TOP 1 0"],
            Retrieve,
            reject(),
            format!("{login}{REFUSED}"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "RETR 9"],
            Retrieve,
            reject(),
            format!("{login}{NO_MESSAGE}"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "RETR 1"],
            Retrieve,
            Verdict::Close,
            login.into(),
            true,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "RETR 1"],
            Retrieve,
            reply("x"),
            sent("+OK 14 octets\r\n"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "RETR 1"],
            Retrieve,
            terms(None, Some(7)),
            sent("+OK 7 octets\r\n"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "TOP 1 9"],
            Retrieve,
            terms(None, Some(7)),
            sent("+OK 7 octets\r\n"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "TOP 1 9"],
            Retrieve,
            terms(None, None),
            sent("+OK \r\n"),
            false,
        ),
        // A deletion mark.
        (
            &["USER mrose", "PASS tanstaaf", "DELE 1", "STAT"],
            Delete,
            reject(),
            format!("{login}{REFUSED}+OK 3 39\r\n"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "DELE 4", "DELE x"],
            Delete,
            reject(),
            format!("{login}{NO_MESSAGE}{NO_MESSAGE}"),
            false,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "DELE 1"],
            Delete,
            Verdict::Close,
            login.into(),
            true,
        ),
        // QUIT.
        (
            &["USER mrose", "PASS tanstaaf", "QUIT", "NOOP"],
            Update,
            reject(),
            format!("{login}{REFUSED}"),
            true,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "QUIT"],
            Update,
            Verdict::Close,
            login.into(),
            true,
        ),
        (
            &["USER mrose", "PASS tanstaaf", "QUIT"],
            Update,
            reply("x"),
            format!("{login}{GOODBYE}"),
            true,
        ),
        (&["QUIT"], Update, reject(), GOODBYE.into(), true),
    ];
    for (lines, kind, verdict, want, is_over) in rows {
        let all: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        for size in 1..=all.len() {
            let mut play = play(&[(kind, verdict.clone())], Mechanisms::default());
            for piece in all.as_bytes().chunks(size) {
                play.feed(piece);
            }
            assert_eq!(
                play.take(),
                format!("{GREETING}{want}"),
                "{lines:?} {kind:?} {verdict:?} by {size}"
            );
            assert_eq!(play.session.is_over(), is_over, "{lines:?} {verdict:?}");
            let reason = play.session.end_reason();
            assert!(matches!(
                reason,
                None | Some(EndReason::ByHook | EndReason::Quit)
            ));
        }
    }
}

#[test]
fn a_connection_may_be_refused_before_its_greeting() {
    let rows = [
        (reject(), REFUSED, true),
        (Verdict::Close, "", true),
        (Verdict::default(), GREETING, false),
        (reply("x"), GREETING, false),
        (delay(9), GREETING, false),
    ];
    for (verdict, want, is_over) in rows {
        let mut play = play(&[(Connect, verdict.clone())], Mechanisms::default());
        assert!(play.session.output().is_empty() && !play.session.wants_input());
        play.drive();
        assert_eq!(
            (play.take(), play.session.is_over()),
            (want.into(), is_over),
            "{verdict:?}"
        );
    }
}

/// A message that is cut after each number of its octets, read and sent in pieces of each
/// size. `x\ny` becomes six octets; the end of the answer is none of them.
#[test]
fn a_message_breaks_off_where_the_hook_says() {
    let whole = "x\r\ny\r\n";
    for cut in 0..9 {
        for piece in 1..10 {
            let mut play = play(&[(Retrieve, terms(Some(cut), None))], Mechanisms::default());
            play.piece = piece;
            play.set_up(OPEN);
            let got = play.reply("RETR 3");
            let (want, is_over) = match cut {
                0..=6 => (format!("+OK 6 octets\r\n{}", &whole[..cut as usize]), true),
                _ => (format!("+OK 6 octets\r\n{whole}.\r\n"), false),
            };
            assert_eq!(got, want, "{cut} by {piece}");
            assert_eq!(play.session.is_over(), is_over, "{cut}");
            let tally = play.session.tally();
            assert_eq!(tally.messages, u64::from(!is_over));
            assert!(tally.octets <= cut.min(6));
        }
    }
    // Nothing of the maildrop changes for it.
    let mut play = play(&[(Retrieve, terms(Some(3), None))], Mechanisms::default());
    play.set_up(MARKED);
    play.reply("RETR 3");
    assert!(!asked(&play)
        .iter()
        .any(|request| request.starts_with("QUIT")));
}

/// A hook that says nothing is not noticed, whatever the pieces.
#[test]
fn a_hook_that_agrees_changes_nothing() {
    let lines = "CAPA\r\nUSER mrose\r\nPASS wrong\r\nUSER mrose\r\nPASS tanstaaf\r\nSTAT\r\nLIST\r\n\
                 UIDL 2\r\nRETR 2\r\nTOP 3 1\r\nDELE 1\r\nDELE 1\r\nFOO\r\nRSET\r\nDELE 3\r\nQUIT\r\n";
    let talk = |config: Config, size: usize| {
        let mut play = Play::with_config(mailbox(), config, Mechanisms::default());
        for piece in lines.as_bytes().chunks(size) {
            play.feed(piece);
        }
        let requests = asked(&play);
        let requests: Vec<_> = requests
            .into_iter()
            .filter(|r| !r.starts_with("hook"))
            .collect();
        (play.take(), requests, play.delays)
    };
    for size in [1, 2, 3, 7, 40, lines.len()] {
        assert_eq!(
            talk(hooked(Limits::default()), size),
            talk(config(Limits::default()), size),
            "{size}"
        );
    }
}

#[test]
fn a_session_has_its_events_in_order() {
    let mut play = play(&[], Mechanisms::default());
    play.feed(
        b"USER mrose\r\nPASS tanstaaf\r\nRETR 1\r\nTOP 2 0\r\nDELE 2\r\nDELE 2\r\nquit\r\nNOOP\r\n",
    );
    assert_eq!(
        asked(&play),
        [
            "hook connect",
            "hook command USER",
            "hook command PASS",
            "login mrose by PASS",
            "hook login",
            "hook command RETR",
            "RETR 1",
            "hook retrieve",
            "hook command TOP",
            "TOP 2 0",
            "hook retrieve",
            "hook command DELE",
            "hook delete",
            "hook command DELE",
            "hook command QUIT",
            "hook update",
            "QUIT, deleting 2",
        ]
    );
}

/// Only what is watched is asked about, from a session's next event on.
#[test]
fn what_is_watched_may_change_in_a_session() {
    let config = config(Limits::default());
    let watched = config.hook.clone();
    let mut play = Play::with_config(mailbox(), config, Mechanisms::default());
    play.set_up(OPEN);
    assert_eq!(asked(&play), ["login mrose by PASS"]);
    watched.set([Delete].into_iter().collect());
    play.reply("DELE 1");
    watched.set([].into_iter().collect());
    play.reply("DELE 2");
    assert_eq!(asked(&play), ["login mrose by PASS", "hook delete"]);
}

/// A login that is refused unlocks the mailbox before the client is told, with nothing
/// deleted; so does QUIT.
#[test]
fn what_is_refused_is_unlocked_first() {
    let mut play = play(
        &[(Login, reject()), (Update, reject())],
        Mechanisms::default(),
    );
    play.set_up(OPEN);
    assert_eq!(asked(&play).last().unwrap(), "QUIT");
    assert!(!play.session.is_authenticated() && play.session.is_stranger());
    assert_eq!(play.session.user(), b"mrose");
    play.mailbox.verdicts.remove(0);
    for line in ["USER mrose", "PASS tanstaaf", "DELE 1"] {
        play.reply(line);
    }
    assert_eq!(play.reply("QUIT"), REFUSED);
    assert_eq!(
        asked(&play)[asked(&play).len() - 2..],
        ["hook update", "QUIT"]
    );
    assert_eq!(play.session.tally().deleted, 0);
    assert_eq!(play.session.end_reason(), Some(EndReason::ByHook));
}

/// Secrets are in no event: neither by PASS, nor APOP, nor AUTH with its responses.
#[test]
fn no_event_holds_a_secret() {
    let plain = "AG1yb3NlAHRhbnN0YWFm";
    let mechanisms: Mechanisms = [Mechanism::Plain, Mechanism::Login].into_iter().collect();
    let mut play = play(&[], mechanisms);
    play.drive();
    for line in [
        "USER mrose",
        "PASS wrong-tanstaaf",
        "APOP mrose tanstaaf0bac560ecc979e58001b3e22",
        "AUTH PLAIN",
        "*",
        "AUTH LOGIN",
        "bXJvc2U=",
        "dGFuc3RhYWY=x",
        &format!("AUTH PLAIN {plain}"),
    ] {
        play.reply(line);
    }
    assert!(play.session.is_authenticated());
    let events: Vec<_> = play
        .requests
        .iter()
        .filter(|r| matches!(r, Request::Hook(_)))
        .collect();
    let commands =
        ["USER", "PASS", "APOP", "AUTH", "AUTH", "AUTH"].map(|v| format!("hook command {v}"));
    let shown: Vec<_> = events.iter().map(|event| event.to_string()).collect();
    assert_eq!(shown[1..7], commands);
    assert_eq!(shown[7..], ["hook login"]);
    // Bytes are printed as numbers, and the arguments may only be names.
    let all = format!("{events:?}");
    let numbers = |text: &str| {
        format!("{:?}", text.as_bytes())
            .trim_matches(['[', ']'])
            .to_owned()
    };
    for secret in ["tanstaaf", plain, "dGFuc3RhYWY"] {
        assert!(
            !all.contains(secret) && !all.contains(&numbers(secret)),
            "{secret}"
        );
    }
    assert!(all.contains(&numbers("mrose")));
}

/// A line over the bound is executed by nobody, so nobody is asked; a long AUTH is.
#[test]
fn no_long_line_evades_the_hook() {
    let mut play = play(
        &[(Command, reject())],
        [Mechanism::Plain].into_iter().collect(),
    );
    play.set_up(&[]);
    let long = "x".repeat(1025);
    assert_eq!(
        play.reply(&format!("RETR {long}")),
        "-ERR command line too long\r\n"
    );
    assert_eq!(play.requests.len(), 1, "connect alone");
    assert_eq!(
        play.reply(&format!("AUTH PLAIN {}", "x".repeat(SASL_LINE - 11))),
        REFUSED
    );
    assert_eq!(play.requests.len(), 2);
}

/// What was not asked, since nobody could be, does not happen.
#[test]
fn an_answer_that_fails_refuses() {
    let config = hooked(Limits::default());
    let mut play = Play::with_config(mailbox(), config, Mechanisms::default());
    for (reply, code) in [
        (Reply::Failed(Failure::Temporary), "SYS/TEMP"),
        (Reply::Failed(Failure::Permanent), "SYS/PERM"),
        (Reply::Updated, "SYS/TEMP"),
    ] {
        play.set_up(&[]);
        play.session.handle_input(b"NOOP\r\n");
        assert!(play.session.poll_request().is_some());
        play.session.handle_reply(reply);
        play.drive();
        let want = format!("-ERR [{code}] service unavailable, please try again later\r\n");
        assert_eq!(play.take(), want);
    }
}

/// The answers of the hook are no errors of the client, and forgive none.
#[test]
fn refusals_do_not_count_as_bad_commands() {
    let limits = Limits {
        errors: 3,
        ..Limits::default()
    };
    let mut play = Play::with_config(mailbox(), hooked(limits), Mechanisms::default());
    play.set_up(&["X", "X"]);
    play.mailbox.verdicts = vec![(Command, reject())];
    for _ in 0..9 {
        assert_eq!(play.reply("NOOP"), REFUSED);
    }
    play.mailbox.verdicts.clear();
    assert_eq!(
        play.reply("X"),
        "-ERR too many errors, closing the connection\r\n"
    );
}

fn bench(verdicts: &[(EventKind, Verdict)], limits: Limits) -> Bench {
    let mut bench = Bench::with_config(&["S: 1\n\nbody\n", &"y".repeat(99_998)], hooked(limits));
    bench.mailbox.verdicts = verdicts.to_vec();
    bench
}

const LOGIN: &str = "USER mrose\r\nPASS tanstaaf\r\n";

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A wait is none of the client's: what is sent meanwhile waits, and the time without a
/// command begins after it.
#[test]
fn a_delay_is_no_idleness() {
    let limits = Limits::default();
    let idle = limits.idle;
    let mut bench = bench(&[], limits);
    bench.say(LOGIN);
    let before = bench.received.len();
    let longer = idle.as_millis() as u64 + 50_000;
    bench.mailbox.verdicts = vec![(Command, delay(longer))];
    bench.say("NOOP\r\n").pass(milliseconds(10));
    bench.mailbox.verdicts.clear();
    bench.say("STAT\r\n").pass(milliseconds(longer - 11));
    assert_eq!(bench.received.len(), before);
    bench.pass(milliseconds(1));
    assert_eq!(bench.text()[before..], *"+OK \r\n+OK 2 100014\r\n");
    bench.pass(idle - milliseconds(1));
    assert_eq!(bench.left, None);
    bench.pass(milliseconds(1));
    assert_eq!(bench.end().1, End::Idle);
}

/// Each event may be put off, and happens then; never for longer than an hour.
#[test]
fn each_event_may_be_put_off() {
    let limits = Limits {
        login_timeout: Duration::ZERO,
        ..Limits::default()
    };
    for (time, want) in [
        (milliseconds(1500), milliseconds(1500)),
        (Duration::MAX, LONGEST_HOOK_DELAY),
    ] {
        let late = Verdict::Proceed(Terms {
            delay: time,
            ..Terms::default()
        });
        for kind in [Command, Login, Retrieve, Delete, Update] {
            let mut bench = bench(&[(kind, late.clone())], limits.clone());
            bench.say(format!("{LOGIN}RETR 1\r\nDELE 1\r\nQUIT\r\n"));
            let commands = if kind == Command { 5 } else { 1 };
            bench.pass(want * commands - milliseconds(1));
            assert_eq!(bench.left, None, "{kind:?}");
            bench.pass(milliseconds(1));
            assert_eq!(bench.end().1, End::Session(EndReason::Quit), "{kind:?}");
            assert!(bench
                .text()
                .contains(&format!("+OK 14 octets\r\n{ONE}.\r\n+OK message 1 deleted")));
        }
    }
}

/// The time to log in goes on.
#[test]
fn a_delay_does_not_prolong_the_login() {
    for kind in [Command, Login] {
        let mut bench = bench(&[(kind, delay(200_000))], Limits::default());
        bench.say(LOGIN).pass(milliseconds(119_999));
        assert_eq!(bench.left, None);
        bench.pass(milliseconds(1));
        assert_eq!(bench.end(), (120_000, End::LoginTimeout), "{kind:?}");
        assert!(!bench.text().contains("congratulations"));
    }
}

/// A client that goes while it waits, for a time or for the hook.
#[test]
fn the_end_of_a_client_ends_the_wait() {
    let broken = std::io::ErrorKind::ConnectionReset;
    let rows = [
        (Command, "NOOP\r\n", true),
        (Command, "QUIT\r\n", false),
        (Delete, "DELE 1\r\n", true),
        (Update, "QUIT\r\n", false),
    ];
    for (kind, line, is_given_up) in rows {
        let mut bench = bench(&[], Limits::default());
        bench.say(LOGIN);
        bench.mailbox.verdicts = vec![(kind, delay(5000))];
        bench.say(line);
        assert!(bench.connection.is_pausing());
        assert_eq!(bench.connection.may_be_given_up(), is_given_up, "{line}");
        if is_given_up {
            bench.connection.handle_broken(broken);
            bench.run();
            assert_eq!(bench.end().1, End::Broken(broken));
        } else {
            bench.pass(milliseconds(5000));
            assert_eq!(bench.end().1, End::Session(EndReason::Quit));
        }
        let asked = bench.requests.last().unwrap();
        assert_eq!(asked.is_carried_out(), !is_given_up);
    }
    let mut bench = bench(&[(Command, reject())], Limits::default());
    bench.withheld = Some(Command);
    bench.say("NOOP\r\nNOOP\r\n");
    assert_eq!(bench.requests.len(), 2, "the second waits for the first");
    bench.connection.handle_broken(broken);
    bench.run();
    bench.answer();
    assert_eq!(bench.end().1, End::Broken(broken));
    assert!(!bench.text().contains("-ERR"));
}

/// Whoever waits for the hook before login makes room when it is needed.
#[test]
fn who_waits_for_the_hook_makes_room_until_a_login_is_decided() {
    for (kind, makes_room) in [(Command, true), (Login, false)] {
        let mut bench = bench(&[], Limits::default());
        bench.withheld = Some(kind);
        bench.say(LOGIN);
        assert_eq!(bench.connection.make_room(), makes_room);
        if makes_room {
            bench.answer();
            assert_eq!(bench.end().1, End::Session(EndReason::MadeRoom));
        }
    }
}

/// So many octets a second, whatever the client could take, and neither an idle time nor a
/// stall of the client for it.
#[test]
fn a_throttled_message_takes_its_time() {
    let limits = Limits {
        idle: milliseconds(4_000),
        ..Limits::default()
    };
    // 100,000 octets, the first line and the end of the answer.
    let octets = 100_000 + "+OK 100000 octets\r\n.\r\n".len() as u64;
    for rate in [1, 10, 9_999, 100_000, 1_000_000_000] {
        let mut bench = bench(&[(Retrieve, throttle(rate, None))], limits.clone());
        bench.say(LOGIN);
        let before = bench.received.len() as u64;
        bench.mailbox.verdicts = vec![(Retrieve, throttle(rate, None))];
        bench.say("RETR 2\r\nNOOP\r\n");
        let seconds = 3.min(octets / rate);
        for second in 0..seconds {
            let sent = bench.received.len() as u64 - before;
            let want = second * rate;
            assert!(
                sent <= want && sent + rate / 20 + 1 >= want,
                "{rate}: {sent} of {want}"
            );
            bench.pass(milliseconds(1000));
        }
        if rate < 9_000 {
            continue;
        }
        // What is left, and not a moment sooner.
        let nanos = octets * 1_000_000_000 / rate;
        let left = Duration::from_nanos(nanos).saturating_sub(Duration::from_secs(seconds));
        bench.pass(left.saturating_sub(milliseconds(60)));
        assert!(!bench.text().ends_with(".\r\n+OK \r\n"), "{rate}");
        bench.pass(milliseconds(120));
        assert!(bench.text().ends_with(".\r\n+OK \r\n"), "{rate}");
        assert_eq!(bench.left, None, "{rate}");
    }
}

#[test]
fn a_throttled_message_may_be_cut() {
    let mut bench = bench(&[(Retrieve, throttle(1000, Some(500)))], Limits::default());
    bench.say(LOGIN);
    let before = bench.received.len();
    bench.say("RETR 2\r\nNOOP\r\n").pass(milliseconds(400));
    assert_eq!(bench.left, None);
    bench.pass(milliseconds(200));
    let first = "+OK 100000 octets\r\n";
    assert_eq!(
        bench.text()[before..],
        format!("{first}{}", "y".repeat(500))
    );
    let (at, end) = bench.end();
    assert_eq!(end, End::Session(EndReason::ByHook));
    assert!((500..=600).contains(&at), "{at}");
}

/// A client that takes nothing of a slow message is dropped as ever; one that takes what it
/// gets is not, however long that is.
#[test]
fn a_slow_message_does_not_hide_a_stall() {
    let limits = Limits {
        idle: milliseconds(2_000),
        ..Limits::default()
    };
    let mut bench = bench(&[(Retrieve, throttle(1000, None))], limits);
    bench
        .say(LOGIN)
        .say("RETR 2\r\n")
        .pass(milliseconds(30_000));
    assert_eq!(bench.left, None);
    bench.takes = 0;
    bench.pass(milliseconds(2_100));
    assert_eq!(bench.end().1, End::WriteTimeout);
}
