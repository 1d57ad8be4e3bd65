//! Command × state × reply, with the exact bytes of the documented interface.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use dialog::states::*;
use dialog::{Fault, Mailbox, Play, GOODBYE, GREETING};
use pop3_proto::limits::Limits;
use pop3_proto::{Failure, LoginStep};

const MISSING: &str = "-ERR missing argument: #lines to read\r\n";
const NEGATIVE: &str = "-ERR number of lines has to be greater than or equal to zero.\r\n";
const CAPA: &str =
    "+OK Capability list follows\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n.\r\n";
const CAPA_LATER: &str = "+OK Capability list follows\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\n\
                          RESP-CODES\r\nAUTH-RESP-CODE\r\nIMPLEMENTATION tcllib/pop3d-1.10.0\r\n.\r\n";
const DIGEST: &str = "APOP mrose c4c9334bac560ecc979e58001b3e22fb";

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
                ("PASS tanstaaf", NOBODY),
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
    let table: [(Fault, State, &str, &str); 17] = [
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
            Fault::Login(LoginStep::Users, Temporary),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/TEMP] service unavailable: the user could not be looked up\r\n",
        ),
        (
            Fault::Login(LoginStep::Lock, Temporary),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/TEMP] service unavailable: the maildrop could not be locked\r\n",
        ),
        (
            Fault::Login(LoginStep::Mailbox, Temporary),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/TEMP] service unavailable: the maildrop could not be opened\r\n",
        ),
        (
            Fault::Login(LoginStep::Mailbox, Permanent),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/PERM] service unavailable: the maildrop could not be opened\r\n",
        ),
        (
            Fault::Login(LoginStep::Mailbox, Permanent),
            FRESH,
            DIGEST,
            "-ERR [SYS/PERM] service unavailable: the maildrop could not be opened\r\n",
        ),
        (
            Fault::Login(LoginStep::Server, Temporary),
            NAMED,
            "PASS tanstaaf",
            "-ERR [SYS/TEMP] service unavailable, please try again later\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "LIST",
            "-ERR [SYS/TEMP] the messages could not be listed\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "LIST 1",
            "-ERR [SYS/TEMP] the size of the message could not be determined\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "UIDL",
            "-ERR [SYS/TEMP] the unique-ids could not be listed\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "UIDL 1",
            "-ERR [SYS/TEMP] the unique-id of the message could not be determined\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "RETR 1",
            "-ERR [SYS/TEMP] the message could not be read\r\n",
        ),
        (
            Fault::Reading(Temporary),
            OPEN,
            "TOP 1 1",
            "-ERR [SYS/TEMP] the message could not be read\r\n",
        ),
        (
            Fault::Reading(Temporary),
            MARKED,
            "STAT",
            "-ERR [SYS/TEMP] the maildrop could not be counted\r\n",
        ),
        (
            Fault::Reading(Permanent),
            OPEN,
            "RETR 1",
            "-ERR [SYS/PERM] the message could not be read\r\n",
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
