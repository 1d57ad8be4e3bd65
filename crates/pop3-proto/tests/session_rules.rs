//! What a session promises its driver: requests, waits, bounds, and what is shown
//! of it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use std::time::Duration;

use dialog::states::*;
use dialog::{Fault, Mailbox, Play, GOODBYE, GREETING, ID};
use pop3_proto::limits::Limits;
use pop3_proto::session::{EndReason, Session, StateName, Tally};
use pop3_proto::{AddressFailures, Extent, MsgNo, Refusal, Reply, Request, TOO_MANY_FAILURES};

fn numbers(numbers: &[u32]) -> Vec<MsgNo> {
    numbers.iter().copied().filter_map(MsgNo::new).collect()
}

#[test]
fn requests() {
    let update = |marked: &[u32]| Request::Update {
        delete: numbers(marked),
    };
    let fetch = |extent| Request::Fetch {
        number: numbers(&[2])[0],
        extent,
    };
    let table = [
        (OPEN, "STAT", vec![]),
        (OPEN, "NOOP", vec![]),
        (OPEN, "LIST", vec![Request::Sizes]),
        (OPEN, "LIST 2", vec![Request::Size(numbers(&[2])[0])]),
        (OPEN, "LIST 4", vec![]),
        (OPEN, "UIDL", vec![Request::Uids]),
        (OPEN, "UIDL 2", vec![Request::Uid(numbers(&[2])[0])]),
        (OPEN, "RETR 2", vec![fetch(Extent::Whole)]),
        (OPEN, "TOP 2 7", vec![fetch(Extent::Top(7))]),
        (OPEN, "QUIT", vec![update(&[])]),
        (MARKED, "STAT", vec![Request::SizesOf(numbers(&[2, 1]))]),
        (ALL_MARKED, "STAT", vec![]),
        (MARKED, "QUIT", vec![update(&[2, 1])]),
        (RESET, "QUIT", vec![update(&[])]),
        (FRESH, "QUIT", vec![]),
        (NAMED, "QUIT", vec![]),
        (FRESH, "PASS x", vec![]),
    ];
    for (state, line, want) in table {
        let mut play = play(mailbox(), state);
        play.requests.clear();
        play.reply(line);
        assert_eq!(play.requests, want, "{line:?} after {state:?}");
    }
}

/// A client may ask for the totals after each of a hundred thousand marks.
#[test]
fn stat_asks_for_the_size_of_each_mark_once() {
    let mut play = play(mailbox(), MARKED);
    play.requests.clear();
    let totals = play.reply("STAT").to_owned();
    assert_eq!(play.reply("STAT"), totals);
    play.reply("RSET");
    play.reply("DELE 1");
    play.reply("STAT");
    play.reply("DELE 2");
    assert_eq!(play.reply("STAT"), totals);
    let want = [&[2, 1][..], &[1], &[2]].map(|n| Request::SizesOf(numbers(n)));
    assert_eq!(play.requests, want);
}

#[test]
fn replies_of_a_wrong_kind_are_failures() {
    let kinds = || {
        [
            Reply::Updated,
            Reply::Refused(Refusal::InUse),
            Reply::Sizes([].into()),
            Reply::Sizes([1, 2].into()),
            Reply::Uids([].into()),
            Reply::Uids(["a".into(), "b".into()].into()),
        ]
    };
    for (line, want) in [
        ("LIST", "the messages could not be listed"),
        ("LIST 1", "the size of the message could not be determined"),
        ("UIDL", "the unique-ids could not be listed"),
        (
            "UIDL 1",
            "the unique-id of the message could not be determined",
        ),
        ("RETR 1", "the message could not be read"),
        ("TOP 1 0", "the message could not be read"),
    ] {
        for kind in kinds() {
            let mut play = play(mailbox(), OPEN);
            play.session.handle_input(format!("{line}\n").as_bytes());
            assert!(play.session.poll_request().is_some());
            play.session.handle_reply(kind);
            play.drive();
            assert_eq!(play.take(), format!("-ERR [SYS/TEMP] {want}\r\n"), "{line}");
        }
    }
}

#[test]
fn totals_need_the_size_of_each_marked_message() {
    let unreadable = "-ERR [SYS/TEMP] the maildrop could not be counted\r\n";
    let table = [
        (vec![], unreadable),
        (vec![9], unreadable),
        (vec![9, 9], "+OK 1 21\r\n"),
        (vec![9, 9, 9], unreadable),
        // A storage's total need not be the sum of its sizes.
        (vec![40, u64::MAX], "+OK 1 0\r\n"),
    ];
    for (sizes, want) in table {
        let mut play = play(mailbox(), MARKED);
        play.session.handle_input(b"STAT\n");
        assert!(play.session.poll_request().is_some());
        play.session.handle_reply(Reply::Sizes(sizes.into()));
        assert_eq!(String::from_utf8_lossy(play.session.output()), want);
    }
}

#[test]
fn failed_logins_slow_down_and_end() {
    let mut play = Play::new(mailbox(), Limits::default());
    let attempt = "USER mrose\r\nPASS wrong\r\n".repeat(7);
    play.feed(attempt.as_bytes());
    let want =
        "+OK please send PASS command\r\n-ERR [AUTH] authentication failed, sorry\r\n".repeat(5);
    assert_eq!(play.take(), format!("{GREETING}{want}"));
    assert_eq!(
        play.delays,
        [250, 500, 1000, 2000, 4000].map(Duration::from_millis)
    );
    assert_eq!(play.session.end_reason(), Some(EndReason::TooManyLogins));
    assert_eq!(play.requests.len(), 5);
}

#[test]
fn failures_of_the_address_lengthen_the_wait() {
    let milliseconds = |times: &[u64]| -> Vec<_> {
        let times = times.iter().copied();
        times.map(Duration::from_millis).collect()
    };
    let mut play = play(mailbox(), NAMED);
    for (count, is_refused) in [(0, false), (3, false), (1, false), (200, true)] {
        play.address = AddressFailures { count, is_refused };
        play.feed(b"USER mrose\r\nPASS x\r\n");
    }
    assert_eq!(play.delays, milliseconds(&[250, 1000, 1000, 4000]));
    assert_eq!(play.session.end_reason(), Some(EndReason::TooManyLogins));
}

#[test]
fn a_refused_address_is_told_to_come_back_later() {
    let mut play = play(mailbox(), NAMED);
    play.session.handle_input(b"PASS tanstaaf\r\nNOOP\r\n");
    assert!(play.session.poll_request().is_some());
    play.session
        .handle_reply(Reply::Refused(Refusal::TooManyFailures));
    assert_eq!(play.session.output(), TOO_MANY_FAILURES);
    assert_eq!(play.session.end_reason(), Some(EndReason::TooManyLogins));
    assert!(play.delays.is_empty());
}

#[test]
fn a_delay_holds_everything_back() {
    let mut play = play(mailbox(), NAMED);
    play.session.handle_input(b"PASS x\nAPOP a b\nAPOP a b\n");
    assert!(play.session.poll_request().is_some());
    play.session
        .handle_reply(Reply::Refused(Refusal::Credentials));
    // Until the driver has counted it, the client is told nothing.
    assert!(play.session.failed_login().is_some() && !play.session.wants_input());
    assert!(play.session.output().is_empty());
    play.session.handle_failure(AddressFailures::default());
    assert!(play.session.failed_login().is_none());
    assert_eq!(play.session.output(), SORRY.as_bytes());
    assert!(!play.session.wants_input());
    assert_eq!(play.session.poll_request(), None);
    // A driver that writes before it waits is kept waiting all the same.
    play.session.consume_output(SORRY.len());
    assert_eq!(play.session.poll_request(), None);
    assert!(play.session.poll_delay().is_some());
    assert!(play.session.poll_delay().is_none());
    assert!(play.session.poll_request().is_some());
}

#[test]
fn bad_commands_in_a_row_end_the_session() {
    let mut session = play(mailbox(), FRESH);
    for _ in 0..3 {
        for _ in 0..19 {
            assert_eq!(session.reply("XYZ"), "-ERR unknown command 'XYZ'\r\n");
        }
        assert!(session.reply("CAPA").starts_with("+OK "));
    }
    let mut play = play(mailbox(), OPEN);
    for _ in 0..100 {
        assert_eq!(play.reply("RETR 9"), NO_MESSAGE);
    }
    play.feed("USER x\n".repeat(30).as_bytes());
    let mut want = ALREADY.repeat(19);
    want += "-ERR too many errors, closing the connection\r\n";
    assert_eq!(play.take(), want);
    assert_eq!(play.session.end_reason(), Some(EndReason::TooManyErrors));
    assert_eq!(play.requests.len(), 1, "nothing is deleted");
}

#[test]
fn nothing_is_executed_after_quit() {
    for state in [FRESH, NAMED, OPEN, MARKED] {
        let mut play = play(mailbox(), state);
        let asked = play.requests.len();
        play.feed(b"QUIT\r\nUSER mrose\r\nPASS tanstaaf\r\nDELE 1\r\nQUIT\r\n");
        assert_eq!(play.take(), GOODBYE);
        play.session.handle_input(b"NOOP\r\n");
        assert_eq!(play.session.output(), b"");
        assert!(play.session.is_over() && !play.session.wants_input());
        assert_eq!(play.session.end_reason(), Some(EndReason::Quit));
        let update = usize::from(play.session.is_authenticated());
        assert_eq!(play.requests.len() - asked, update);
    }
}

#[test]
fn quit_is_answered_after_the_update() {
    let mut play = play(mailbox(), MARKED);
    play.session.handle_input(b"QUIT\r\n");
    assert!(play.session.poll_request().is_some());
    assert_eq!(play.session.output(), b"");
    assert!(!play.session.is_over() && !play.session.wants_input());
    assert_eq!(play.session.snapshot().state, StateName::Update);
    play.session.handle_reply(Reply::Updated);
    assert_eq!(play.session.output(), GOODBYE.as_bytes());
    assert!(play.session.is_over());
}

#[test]
fn a_message_that_breaks_off_ends_the_session_without_a_dot() {
    let mut mailbox = mailbox();
    mailbox.fault = Fault::Breaking(4);
    let mut play = play(mailbox, OPEN);
    play.piece = 4;
    assert_eq!(play.reply("RETR 1"), "+OK 14 octets\r\nS: 1");
    assert_eq!(play.session.end_reason(), Some(EndReason::BodyFailed));
    assert_eq!(play.session.tally().messages, 0);
}

#[test]
fn snapshots() {
    let table = [
        (FRESH, "auth", "", "", "", vec![], 0, 0),
        (NAMED, "auth", "mrose", "", "user", vec![], 0, 0),
        (REFUSED, "auth", "mrose", "", "", vec![], 0, 0),
        (OPEN, "trans", "mrose", "box", "", vec![], 3, 39),
        (MARKED, "trans", "mrose", "box", "", vec![2, 1], 3, 39),
        (RESET, "trans", "mrose", "box", "", vec![], 3, 39),
    ];
    for (state, name, user, storage, logon, deleted, msg, size) in table {
        let shown = play(mailbox(), state).session.snapshot();
        assert_eq!(&*shown.id, ID);
        assert_eq!(shown.state.to_string(), name);
        assert_eq!(&*shown.name, user.as_bytes());
        assert_eq!((&*shown.storage, shown.logon), (storage, logon));
        assert_eq!(shown.deleted, deleted);
        assert_eq!((shown.msg, shown.size), (msg, size), "{state:?}");
    }
}

#[test]
fn tallies() {
    let mut play = play(mailbox(), OPEN);
    play.set_up(&[
        "RETR 1", "TOP 2 0", "RETR 9", "XYZ", "DELE 1", "DELE 3", "QUIT", "NOOP",
    ]);
    let tally = play.session.tally();
    let counted = tally.by_verb.iter().filter(|(_, count)| *count > 0);
    let by_verb = [
        ("TOP", 1),
        ("USER", 1),
        ("PASS", 1),
        ("RETR", 2),
        ("DELE", 2),
        ("QUIT", 1),
        ("unknown", 1),
    ];
    assert!(counted.eq(by_verb));
    let want = Tally {
        commands: 9,
        by_verb: tally.by_verb,
        messages: 2,
        tops: 1,
        // 14, and "..S: 2" with its line end and the blank line.
        octets: 14 + 10,
        deleted: 2,
    };
    assert_eq!(tally, want);
}

/// As many as the reply announces: a last line without an end gets one.
#[test]
fn the_end_that_a_last_line_lacks_is_counted() {
    for (message, octets) in [
        ("S: 1\n\nab", 12),
        ("S: 1\n\nab\n", 12),
        ("x\r", 4),
        ("", 0),
    ] {
        let mut play = Play::new(Mailbox::new(&[message]), Limits::default());
        play.set_up(OPEN);
        play.set_up(&["RETR 1"]);
        assert_eq!(play.session.tally().octets, octets, "{message:?}");
    }
}

#[test]
fn output_over_its_mark_stops_everything() {
    let limits = Limits {
        output_mark: 100,
        ..Limits::default()
    };
    let mut play = Play::new(Mailbox::new(&["x\n"; 1000]), limits);
    play.set_up(OPEN);
    play.session.handle_input(b"LIST\r\nLIST\r\nNOOP\r\n");
    assert_eq!(play.session.poll_request(), Some(Request::Sizes));
    play.session
        .handle_reply(Reply::Sizes(vec![3; 1000].into()));
    let listing: String = (1..=1000).map(|n| format!("{n} 3\r\n")).collect();
    let listing = format!("+OK 1000 messages\r\n{listing}.\r\n");
    let mut written = 0;
    while written + 100 < listing.len() {
        let output = play.session.output().len();
        assert!((93..110).contains(&output), "{output}");
        assert_eq!(play.session.poll_request(), None);
        assert!(!play.session.wants_input());
        play.session.consume_output(7);
        written += 7;
    }
    // The rest, the second LIST and NOOP.
    play.drive();
    let want = format!("{listing}{listing}+OK \r\n");
    assert_eq!(play.take(), want[written..]);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 400, "{}", size_of::<Session>());
}
