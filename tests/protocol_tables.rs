//! Command × state × reply, with the exact bytes of the documented interface.

mod dialog;

use std::time::Duration;

use dialog::{Fault, Mailbox, Play, GOODBYE, GREETING, ID};
use pop3d::protocol::limits::Limits;
use pop3d::protocol::session::{EndReason, Session, StateName, Tally};
use pop3d::protocol::{Extent, Failure, MsgNo, Refusal, Reply, Request};

/// A state, by the lines that lead there.
type State = &'static [&'static str];

const FRESH: State = &[];
const NAMED: State = &["USER mrose"];
const REFUSED: State = &["USER mrose", "PASS wrong"];
const OPEN: State = &["USER mrose", "PASS tanstaaf"];
const MARKED: State = &["USER mrose", "PASS tanstaaf", "DELE 2", "DELE 1"];
const ALL_MARKED: State = &["USER mrose", "PASS tanstaaf", "DELE 1", "DELE 2", "DELE 3"];
const RESET: State = &["USER mrose", "PASS tanstaaf", "DELE 2", "RSET"];

const NOT_YET: &str = "-ERR client not authenticated\r\n";
const ALREADY: &str = "-ERR client already authenticated\r\n";
const NO_MESSAGE: &str = "-ERR no such message\r\n";
const SORRY: &str = "-ERR authentication failed, sorry\r\n";
const MISSING: &str = "-ERR missing argument: #lines to read\r\n";
const NEGATIVE: &str = "-ERR number of lines has to be greater than or equal to zero.\r\n";
const CAPA: &str =
    "+OK Capability list follows\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\n.\r\n";
const CAPA_LATER: &str = "+OK Capability list follows\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\n\
                          RESP-CODES\r\nIMPLEMENTATION tcllib/pop3d-1.10.0\r\n.\r\n";
const DIGEST: &str = "APOP mrose c4c9334bac560ecc979e58001b3e22fb";

/// Three messages of 14, 19 and 6 octets on the wire.
fn mailbox() -> Mailbox {
    Mailbox::new(&["S: 1\n\nbody\n", ".S: 2\r\n\r\na\r\n.\r\n..\r\n", "x\ny"])
}

fn play(mailbox: Mailbox, state: State) -> Play {
    let mut play = Play::new(mailbox, Limits::default());
    play.set_up(state);
    play
}

#[track_caller]
fn check(state: State, table: &[(&str, &str)]) {
    for (line, want) in table {
        let got = play(mailbox(), state).reply(line);
        assert_eq!(&got, want, "{line:?} after {state:?}");
    }
}

#[test]
fn greeting() {
    let mut play = Play::new(mailbox(), Limits::default());
    play.drive();
    assert_eq!(play.take(), GREETING);
}

#[test]
fn any_state() {
    for state in [FRESH, NAMED, REFUSED, OPEN, MARKED] {
        check(
            state,
            &[
                ("", "-ERR unknown command ''\r\n"),
                ("   ", "-ERR unknown command ''\r\n"),
                ("auth plain", "-ERR unknown command 'AUTH'\r\n"),
                ("STLS", "-ERR unknown command 'STLS'\r\n"),
                ("{a b", "-ERR unknown command '{A'\r\n"),
                ("a\0\u{7f}b", "-ERR unknown command 'A??B'\r\n"),
                ("QUIT", GOODBYE),
                ("quit now", GOODBYE),
            ],
        );
        let long = "x".repeat(1025);
        check(state, &[(&long, "-ERR command line too long\r\n")]);
        let fits = format!("NOOPS {}", "x".repeat(1018));
        check(state, &[(&fits, "-ERR unknown command 'NOOPS'\r\n")]);
    }
}

#[test]
fn before_login() {
    for state in [FRESH, NAMED, REFUSED] {
        for line in [
            "STAT", "LIST", "LIST 1", "LIST x", "RETR 1", "RETR", "RETR x", "TOP 1 0", "TOP",
            "TOP x y", "DELE 1", "DELE", "NOOP", "RSET", "UIDL", "UIDL 1",
        ] {
            check(state, &[(line, NOT_YET)]);
        }
        check(
            state,
            &[
                ("CAPA", CAPA),
                ("USER mrose", "+OK please send PASS command\r\n"),
                ("user {", "+OK please send PASS command\r\n"),
                ("USER", "+OK please send PASS command\r\n"),
            ],
        );
    }
}

#[test]
fn logins() {
    let chosen = "-ERR login mechanism USER/PASS was chosen\r\n";
    let welcome = "+OK congratulations\r\n";
    let upper = DIGEST.to_uppercase().replace("MROSE", "mrose");
    for state in [FRESH, REFUSED] {
        check(
            state,
            &[
                ("PASS tanstaaf", SORRY),
                (DIGEST, welcome),
                (&upper, welcome),
                ("APOP mrose c4c9334bac560ecc979e58001b3e22fc", SORRY),
                ("APOP mrose tanstaaf", SORRY),
                ("APOP mrose", SORRY),
                ("APOP", SORRY),
            ],
        );
    }
    check(
        NAMED,
        &[
            ("PASS tanstaaf", welcome),
            ("pass\ttanstaaf", welcome),
            ("PASS tanstaaf ", SORRY),
            ("PASS  tanstaaf", SORRY),
            ("PASS", SORRY),
            (DIGEST, chosen),
            ("APOP", chosen),
        ],
    );
    check(&["USER mrose", "USER joe"], &[("PASS tanstaaf", SORRY)]);
    check(&["USER joe", "USER mrose"], &[("PASS tanstaaf", welcome)]);
    check(
        &["USER mrose", "APOP mrose x"],
        &[("PASS tanstaaf", welcome)],
    );
}

#[test]
fn names_and_passwords_are_bytes() {
    let mut strange = mailbox();
    strange.user = b"j\xf6\0[exit]{".to_vec();
    strange.password = b" two  words\t\xff".to_vec();
    let mut play = Play::new(strange, Limits::default());
    play.feed(b"USER j\xf6\0[exit]{ \r\nPASS  two  words\t\xff\r\n");
    let want = "+OK please send PASS command\r\n+OK congratulations\r\n";
    assert_eq!(play.take(), format!("{GREETING}{want}"));
}

#[test]
fn after_login() {
    check(
        OPEN,
        &[
            ("CAPA", CAPA_LATER),
            ("USER mrose", ALREADY),
            ("PASS tanstaaf", ALREADY),
            (DIGEST, ALREADY),
            ("STAT", "+OK 3 39\r\n"),
            ("STAT x", "+OK 3 39\r\n"),
            ("LIST", "+OK 3 messages\r\n1 14\r\n2 19\r\n3 6\r\n.\r\n"),
            ("LIST 2", "+OK 2 19\r\n"),
            ("LIST 003 1", "+OK 3 6\r\n"),
            (
                "UIDL",
                "+OK unique-id listing follows\r\n1 uid-1\r\n2 uid-2\r\n3 uid-3\r\n.\r\n",
            ),
            ("UIDL 2", "+OK 2 uid-2\r\n"),
            ("RETR 1", "+OK 14 octets\r\nS: 1\r\n\r\nbody\r\n.\r\n"),
            (
                "RETR 2",
                "+OK 19 octets\r\n..S: 2\r\n\r\na\r\n..\r\n...\r\n.\r\n",
            ),
            ("RETR 3", "+OK 6 octets\r\nx\r\ny\r\n.\r\n"),
            ("TOP 1 0", "+OK \r\nS: 1\r\n\r\n.\r\n"),
            ("TOP 2 2", "+OK \r\n..S: 2\r\n\r\na\r\n..\r\n.\r\n"),
            ("TOP 3 99999999999999999999", "+OK \r\nx\r\ny\r\n.\r\n"),
            ("TOP", MISSING),
            ("TOP 1", MISSING),
            ("TOP 1 -1", NEGATIVE),
            ("TOP 1 x", NEGATIVE),
            ("TOP 4 -1", NO_MESSAGE),
            ("TOP x", NO_MESSAGE),
            ("DELE 3", "+OK message 3 deleted\r\n"),
            ("DELE 003", "+OK message 3 deleted\r\n"),
            ("NOOP", "+OK \r\n"),
            ("RSET", "+OK 3 messages waiting\r\n"),
        ],
    );
}

#[test]
fn numbers_that_name_no_message() {
    for verb in ["LIST", "RETR", "DELE", "UIDL"] {
        for word in [
            "0",
            "4",
            "-1",
            "+1",
            "1.0",
            "0x1",
            "1e0",
            "x",
            "{}",
            "99999999999999999999",
            "\u{b9}",
        ] {
            check(OPEN, &[(&format!("{verb} {word}"), NO_MESSAGE)]);
            check(OPEN, &[(&format!("TOP {word} 1"), NO_MESSAGE)]);
        }
    }
    check(OPEN, &[("RETR", NO_MESSAGE), ("DELE", NO_MESSAGE)]);
}

#[test]
fn marked_messages_are_gone() {
    check(
        MARKED,
        &[
            ("STAT", "+OK 1 6\r\n"),
            ("LIST", "+OK 1 messages\r\n3 6\r\n.\r\n"),
            ("UIDL", "+OK unique-id listing follows\r\n3 uid-3\r\n.\r\n"),
            ("LIST 1", NO_MESSAGE),
            ("LIST 2", NO_MESSAGE),
            ("LIST 3", "+OK 3 6\r\n"),
            ("UIDL 1", NO_MESSAGE),
            ("RETR 2", NO_MESSAGE),
            ("TOP 2 0", NO_MESSAGE),
            ("TOP 2", NO_MESSAGE),
            ("DELE 1", NO_MESSAGE),
            ("RSET", "+OK 3 messages waiting\r\n"),
        ],
    );
    check(
        ALL_MARKED,
        &[
            ("STAT", "+OK 0 0\r\n"),
            ("LIST", "+OK 0 messages\r\n.\r\n"),
            ("UIDL", "+OK unique-id listing follows\r\n.\r\n"),
        ],
    );
    check(
        RESET,
        &[
            ("STAT", "+OK 3 39\r\n"),
            ("RETR 3", "+OK 6 octets\r\nx\r\ny\r\n.\r\n"),
            ("DELE 2", "+OK message 2 deleted\r\n"),
        ],
    );
}

#[test]
fn an_empty_maildrop() {
    let table = [
        ("STAT", "+OK 0 0\r\n"),
        ("LIST", "+OK 0 messages\r\n.\r\n"),
        ("UIDL", "+OK unique-id listing follows\r\n.\r\n"),
        ("RETR 1", NO_MESSAGE),
        ("RSET", "+OK 0 messages waiting\r\n"),
        ("QUIT", GOODBYE),
    ];
    for (line, want) in table {
        assert_eq!(play(Mailbox::new(&[]), OPEN).reply(line), want, "{line}");
    }
}

#[test]
fn faults_of_the_stores() {
    use Failure::{Permanent, Temporary};
    let unreadable = "-ERR [SYS/TEMP] the maildrop could not be read\r\n";
    let table: [(Fault, State, &str, &str); 13] = [
        (
            Fault::InUse,
            NAMED,
            "PASS tanstaaf",
            "-ERR [IN-USE] could not aquire lock for maildrop mrose\r\n",
        ),
        (
            Fault::InUse,
            FRESH,
            DIGEST,
            "-ERR [IN-USE] could not aquire lock for maildrop mrose\r\n",
        ),
        (
            Fault::Login(Temporary),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/TEMP] authentication failed, sorry\r\n",
        ),
        (
            Fault::Login(Permanent),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/PERM] authentication failed, sorry\r\n",
        ),
        (Fault::Reading(Temporary), OPEN, "LIST", unreadable),
        (Fault::Reading(Temporary), OPEN, "LIST 1", unreadable),
        (Fault::Reading(Temporary), OPEN, "UIDL", unreadable),
        (Fault::Reading(Temporary), OPEN, "UIDL 1", unreadable),
        (Fault::Reading(Temporary), OPEN, "RETR 1", unreadable),
        (Fault::Reading(Temporary), OPEN, "TOP 1 1", unreadable),
        (Fault::Reading(Temporary), MARKED, "STAT", unreadable),
        (
            Fault::Reading(Permanent),
            OPEN,
            "RETR 1",
            "-ERR [SYS/PERM] the maildrop could not be read\r\n",
        ),
        (
            Fault::Deleting(Temporary),
            MARKED,
            "QUIT",
            "-ERR [SYS/TEMP] some deleted messages not removed\r\n",
        ),
    ];
    for (fault, state, line, want) in table {
        let mut mailbox = mailbox();
        mailbox.fault = fault;
        let mut play = play(mailbox, state);
        assert_eq!(play.reply(line), want, "{line:?} with {fault:?}");
        // The session goes on, except after QUIT.
        let over = line == "QUIT";
        assert_eq!(play.session.is_over(), over);
        let (next, want) = if play.session.is_authenticated() {
            ("NOOP", "+OK \r\n")
        } else {
            ("NOOP", NOT_YET)
        };
        assert_eq!(play.reply(next), if over { "" } else { want });
    }
}

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
        (OPEN, "LIST 2", vec![Request::SizesOf(numbers(&[2]))]),
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

#[test]
fn replies_of_a_wrong_kind_are_failures() {
    let unreadable = "-ERR [SYS/TEMP] the maildrop could not be read\r\n";
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
    for line in ["LIST", "LIST 1", "UIDL", "UIDL 1", "RETR 1"] {
        for kind in kinds() {
            let mut play = play(mailbox(), OPEN);
            play.session.handle_input(format!("{line}\n").as_bytes());
            assert!(play.session.poll_request().is_some());
            play.session.handle_reply(kind);
            play.drive();
            assert_eq!(play.take(), unreadable, "{line}");
        }
    }
}

#[test]
fn failed_logins_slow_down_and_end() {
    let mut play = Play::new(mailbox(), Limits::default());
    let attempt = "USER mrose\r\nPASS wrong\r\n".repeat(7);
    play.feed(attempt.as_bytes());
    let want = "+OK please send PASS command\r\n-ERR authentication failed, sorry\r\n".repeat(5);
    assert_eq!(play.take(), format!("{GREETING}{want}"));
    assert_eq!(
        play.delays,
        [250, 500, 1000, 2000, 4000].map(Duration::from_millis)
    );
    assert_eq!(play.session.end_reason(), Some(EndReason::TooManyLogins));
    assert_eq!(play.requests.len(), 5);
}

#[test]
fn a_delay_holds_everything_back() {
    let mut play = play(mailbox(), NAMED);
    play.session.handle_input(b"PASS x\nAPOP a b\nAPOP a b\n");
    assert!(play.session.poll_request().is_some());
    play.session
        .handle_reply(Reply::Refused(Refusal::Credentials));
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
        assert_eq!(session.reply("CAPA"), CAPA);
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
    let want = Tally {
        commands: 9,
        messages: 2,
        // 14, and "..S: 2" with its line end and the blank line.
        octets: 14 + 10,
        deleted: 2,
    };
    assert_eq!(play.session.tally(), want);
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
