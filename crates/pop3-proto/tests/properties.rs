//! What holds for every input: properties of bodies, lines, commands, sessions.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use dialog::{extract, unstuff, Mailbox, Play, ID};
use pop3_proto::body::{Body, OctetCounter};
use pop3_proto::command::{Command, Mail};
use pop3_proto::hook::{Detail, EventKind, Rejection, Terms, Verdict};
use pop3_proto::limits::Limits;
use pop3_proto::line::{Line, LineReader};
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::sasl::SASL;
use pop3_proto::security::{Plaintext, TlsFacts, TlsMode};
use pop3_proto::session::Origin;
use pop3_proto::session::{Config, Session};
use pop3_proto::{AddressFailures, Extent, Failure, MsgNo, Refusal, Reply, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Text in which line ends and dots meet often.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(vec!["\r\n", "\n", "\r", ".", "..", "x", "\n.", "\r\n.", "\r\n\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
        1 => (1..700_usize).prop_map(|n| vec![b'y'; n]),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![Just(Extent::Whole), (0..6_u32).prop_map(Extent::Top)]
}

/// The wire form of a message, fed in chunks of these sizes in turn.
fn wire(message: &[u8], extent: Extent, sizes: &[usize]) -> Vec<u8> {
    let mut body = Body::new(extent);
    let mut out = Vec::new();
    let mut rest = message;
    for size in sizes.iter().cycle() {
        let (chunk, later) = rest.split_at(rest.len().min(*size));
        body.push(chunk, &mut out);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    body.finish(&mut out);
    out
}

/// What a client should hold in the end: every LF made CRLF that is not one, and
/// a line end at the end of the last line.
fn normalised(message: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = message.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let whole = lines.len() - usize::from(!message.ends_with(b"\n") && !message.is_empty());
    let mut text = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        // A CR at the very end has no LF: it is not part of a line end.
        let line = match line {
            [line @ .., b'\r'] if index < whole => line,
            line => line,
        };
        text.extend_from_slice(line);
        text.extend_from_slice(b"\r\n");
    }
    text
}

proptest! {
    #[test]
    fn unstuffing_gives_the_message_back(
        message in message(), extent in extent(), sizes in vec(1..900_usize, 1..9),
    ) {
        let wire = wire(&message, extent, &sizes);
        let (text, rest) = unstuff(&wire).expect("a final dot");
        prop_assert_eq!(rest, b"");
        prop_assert_eq!(text, normalised(extract(&message, extent)));
    }

    #[test]
    fn counted_octets_are_those_sent(message in message(), sizes in vec(1..900_usize, 1..9)) {
        let mut counter = OctetCounter::new();
        let mut rest = &message[..];
        for size in sizes.iter().cycle() {
            let (chunk, later) = rest.split_at(rest.len().min(*size));
            counter.push(chunk);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let wire = wire(&message, Extent::Whole, &[usize::MAX]);
        let (text, _) = unstuff(&wire).expect("a final dot");
        prop_assert_eq!(counter.octets(), text.len() as u64);
    }

    #[test]
    fn chunks_do_not_show(
        message in message(), extent in extent(), sizes in vec(1..900_usize, 1..9),
    ) {
        let whole = wire(&message, extent, &[usize::MAX]);
        prop_assert_eq!(wire(&message, extent, &sizes), whole);
    }

    #[test]
    fn top_is_a_begin_of_the_whole(message in message(), lines in 0..6_u32) {
        let top = wire(&message, Extent::Top(lines), &[usize::MAX]);
        let whole = wire(&message, Extent::Whole, &[usize::MAX]);
        prop_assert!(whole.starts_with(&top[..top.len() - 3]));
    }

    #[test]
    fn lines_do_not_depend_on_pieces(input in message(), bound in 0..40_usize, size in 1..50_usize) {
        let read = |size: usize| {
            let mut reader = LineReader::default();
            let mut lines = Vec::new();
            for piece in input.chunks(size) {
                reader.push(piece);
                while let Some(line) = reader.next_line(bound) {
                    lines.push(match line {
                        Line::Text(text) => Some(text.to_vec()),
                        Line::TooLong => None,
                    });
                }
            }
            lines
        };
        let lines = read(size);
        prop_assert_eq!(&lines, &read(usize::MAX));
        prop_assert_eq!(lines.len(), input.iter().filter(|&&byte| byte == b'\n').count());
        prop_assert!(lines.iter().flatten().all(|line| line.len() <= bound));
    }

    #[test]
    fn any_bytes_are_a_command(line in vec(any::<u8>(), 0..80)) {
        if let Command::Unknown(verb) = Command::parse(&line) {
            let shown = verb.as_str();
            prop_assert!(shown.len() <= 40);
            prop_assert!(shown.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        }
    }
}

/// Lines as clients, people and attackers send them.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "USER mrose",
        "USER joe",
        "PASS tanstaaf",
        "PASS x",
        "AUTH",
        "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm",
        "AUTH PLAIN",
        "AUTH LOGIN bXJvc2U=",
        "AUTH SCRAM-SHA-256 biwsbj1tcm9zZSxyPXg=",
        "AUTH EXTERNAL =",
        "AG1yb3NlAHRhbnN0YWFm",
        "dGFuc3RhYWY=",
        "*",
        "STLS",
        "STAT",
        "LIST",
        "LIST 1",
        "LIST 4",
        "UIDL",
        "UIDL 2",
        "RETR 1",
        "RETR 2",
        "RETR 0",
        "RETR 3",
        "TOP 1 0",
        "TOP 2 1",
        "TOP 2",
        "DELE 1",
        "DELE 2",
        "DELE 3",
        "DELE 9",
        "RSET",
        "NOOP",
        "CAPA",
        "APOP mrose x",
        "APOP mrose c4c9334bac560ecc979e58001b3e22fb",
        "",
        "XTND",
    ]);
    prop_oneof![
        20 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => Just(b"QUIT".to_vec()),
        2 => vec(any::<u8>().prop_filter("no line end", |&byte| byte != b'\n'), 0..70),
    ]
}

/// Whether the answer to this command, if positive, has more than one line.
fn is_long(line: &[u8]) -> bool {
    matches!(
        Command::parse(line),
        Command::Capa
            | Command::Mail(Mail::List(None))
            | Command::Mail(Mail::Uidl(None))
            | Command::Mail(Mail::Retr(_))
            | Command::Mail(Mail::Top(_))
    )
}

/// Takes the replies to `lines` off `written`; how many there were.
fn count_replies(lines: &[Vec<u8>], mut written: &[u8]) -> Option<usize> {
    let mut replies = 0;
    // The greeting is the reply to nothing.
    let nothing = vec![];
    for line in std::iter::once(&nothing).chain(lines) {
        if written.is_empty() {
            break;
        }
        let end = written.windows(2).position(|pair| pair == b"\r\n")? + 2;
        let positive = written.starts_with(b"+OK ");
        if !positive && !written.starts_with(b"-ERR ") {
            return None;
        }
        written = &written[end..];
        if positive && is_long(line) {
            written = unstuff(written)?.1;
        }
        replies += 1;
    }
    written.is_empty().then(|| replies - 1)
}

proptest! {
    #[test]
    fn every_line_gets_exactly_one_reply(
        login in any::<bool>(), lines in vec(line(), 0..40), size in 1..200_usize,
        mark in 1..300_usize, bound in 20..80_usize,
    ) {
        let limits = Limits { line: bound, output_mark: mark, ..Limits::default() };
        let mut play = Play::new(Mailbox::new(&["a\n\n.b\nc\n", "", "x"]), limits);
        play.piece = size;
        let mut all: Vec<Vec<u8>> = Vec::new();
        if login {
            all.extend([b"USER mrose".to_vec(), b"PASS tanstaaf".to_vec()]);
        }
        all.extend(lines);
        let input: Vec<u8> = all.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        for piece in input.chunks(size) {
            play.feed(piece);
        }
        play.drive();
        let quit = all.iter().position(|line| Command::parse(line) == Command::Quit && line.len() <= bound);
        let replies = count_replies(&all, &play.written).expect("well-formed replies");
        prop_assert_eq!(replies as u64, play.session.tally().commands);
        if play.session.is_over() {
            prop_assert!(quit.is_none_or(|at| replies <= at + 1));
        } else {
            prop_assert_eq!(replies, all.len());
        }
        let updates = play.requests.iter().filter(|r| matches!(r, Request::Update { .. })).count();
        prop_assert!(updates <= 1);
        let over_by_quit = play.session.is_over() && play.session.end_reason().unwrap().to_string() == "quit";
        prop_assert_eq!(updates == 1, over_by_quit && play.session.is_authenticated());
    }
}

/// What a driver, sane or not, may do to a session.
#[derive(Clone, Debug)]
enum Action {
    Line(Vec<u8>),
    Garbage(Vec<u8>),
    Reply(u8),
    Body(Vec<u8>),
    BodyEnd,
    BodyFailed,
    PollRequest,
    PollDelay,
    CountFailure,
    Consume(usize),
    Tls,
    Verdict(Verdict),
    DelayEnd,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let terms = (0..2_u64, any::<u8>(), any::<u8>(), any::<u8>());
    prop_oneof![
        4 => Just(Verdict::default()),
        4 => terms.prop_map(|(delay, cut, announce, throttle)| Verdict::Proceed(Terms {
            delay: Duration::from_secs(delay),
            cut: (cut < 128).then_some(cut.into()),
            announce: (announce < 128).then_some(announce.into()),
            throttle: NonZeroU64::new(u64::from(throttle) / 2),
        })),
        2 => Just(Verdict::Reject(Rejection::new("no", Some("SYS/TEMP")).unwrap())),
        1 => Just(Verdict::Close),
        1 => vec(any::<u8>(), 0..50).prop_map(|bytes| Verdict::Reply(bytes.into())),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => line().prop_map(Action::Line),
        1 => vec(any::<u8>(), 0..50).prop_map(Action::Garbage),
        8 => any::<u8>().prop_map(Action::Reply),
        3 => message().prop_map(Action::Body),
        3 => Just(Action::BodyEnd),
        1 => Just(Action::BodyFailed),
        8 => Just(Action::PollRequest),
        2 => Just(Action::PollDelay),
        4 => Just(Action::CountFailure),
        4 => (0..400_usize).prop_map(Action::Consume),
        1 => Just(Action::Tls),
        8 => verdict().prop_map(Action::Verdict),
        2 => Just(Action::DelayEnd),
    ]
}

const COUNT: u32 = 3;

fn reply(kind: u8) -> Reply {
    match kind % 14 {
        0..=4 => Reply::Opened {
            storage: "box".into(),
            count: COUNT,
            octets: 9,
        },
        5 => Reply::Refused(Refusal::Credentials),
        6 => Reply::Refused(Refusal::InUse),
        7 => Reply::Sizes((0..u64::from(kind) % 5).collect()),
        8 => Reply::Uids((0..kind % 5).map(|n| n.to_string().into()).collect()),
        9 => Reply::Fetching { octets: 9 },
        10 => Reply::Updated,
        11 => Reply::Keys {
            keys: ScramKeys::of(&[kind; 32], b"salt", 16),
            nonce: [kind; 18],
        },
        12 => Reply::Refused(Refusal::TooManyFailures),
        _ => Reply::Failed(Failure::Temporary),
    }
}

/// Every message number a request names.
fn numbers(request: &Request) -> Vec<MsgNo> {
    match request {
        Request::SizesOf(numbers) => numbers.clone(),
        Request::Size(number) | Request::Uid(number) | Request::Fetch { number, .. } => {
            vec![*number]
        }
        Request::Update { delete } => delete.clone(),
        Request::Hook(event) => match &event.detail {
            Detail::Retrieve { number, .. } | Detail::Delete { number } => vec![*number],
            Detail::Update { delete } => delete.clone(),
            _ => vec![],
        },
        Request::Login { .. } | Request::Keys { .. } | Request::Sizes | Request::Uids => vec![],
    }
}

proptest! {
    #[test]
    fn no_driver_upsets_a_session(actions in vec(action(), 0..120), hook in any::<bool>()) {
        let limits = Limits { line: 60, output_mark: 200, ..Limits::default() };
        let mut config = Config::new("h", "s", limits);
        config.tls = TlsMode::StartTls;
        config.plaintext = Plaintext::Always;
        if hook {
            config.hook.set(EventKind::ALL.into_iter().collect());
        }
        let mut session = Session::new(Arc::new(config), Origin {
            mechanisms: SASL.into_iter().collect(),
            ..Origin::remote(ID)
        });
        let (mut logins, mut updates) = (0, 0);
        for action in actions {
            let was_over = session.is_over();
            match action {
                Action::Line(line) => session.handle_input(&[&line[..], b"\r\n"].concat()),
                Action::Garbage(bytes) => session.handle_input(&bytes),
                Action::Reply(kind) => session.handle_reply(reply(kind)),
                Action::Verdict(verdict) => session.handle_reply(Reply::Hook(verdict)),
                Action::DelayEnd => session.handle_delay_end(),
                Action::Body(chunk) => session.handle_body(&chunk),
                Action::BodyEnd => session.handle_body_end(),
                Action::BodyFailed => session.handle_body_failed(),
                Action::Tls => session.handle_tls(TlsFacts {
                    certificate: vec!["mrose".into()],
                    ..TlsFacts::default()
                }),
                Action::PollDelay => drop(session.poll_delay()),
                Action::CountFailure => session.handle_failure(AddressFailures::default()),
                Action::Consume(n) => session.consume_output(n.min(session.output().len())),
                Action::PollRequest => if let Some(request) = session.poll_request() {
                    prop_assert!(!was_over, "{:?} after the end", request);
                    prop_assert!(!session.wants_input());
                    let inside = numbers(&request).iter().all(|number| number.get() <= COUNT);
                    prop_assert!(inside, "{:?}", request);
                    updates += usize::from(matches!(request, Request::Update { .. }));
                    logins += usize::from(request.login_mechanism().is_some());
                },
            }
            // A login that the hook refuses unlocks the mailbox.
            let most = if hook { logins } else { 1 };
            prop_assert!(updates <= most);
            prop_assert!(!was_over || session.is_over());
            prop_assert_eq!(session.is_over(), session.end_reason().is_some());
            if session.is_over() {
                prop_assert!(!session.wants_input() && !session.wants_body());
                prop_assert!(session.poll_request().is_none());
            }
            session.snapshot();
        }
    }
}
