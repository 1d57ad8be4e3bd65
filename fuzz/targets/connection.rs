//! The machine of a connection, driven by the rules of its shells: with any bytes, answers,
//! pieces, times and ends.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3_proto::connection::{Action, Connection, Stall, Wanted};
use pop3_proto::hook::{Detail, EventKind, Rejection, Terms, Verdict};
use pop3_proto::limits::Limits;
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::sasl::SASL;
use pop3_proto::security::{Peer, Plaintext, TlsFacts, TlsMode};
use pop3_proto::session::{Config, Origin};
use pop3_proto::{AddressFailures, Failure, LoginStep, MsgNo, Refusal, Reply, Request};

use super::input::Input;

const COUNT: u32 = 3;

/// More than the longest reply that is not cut into pieces, and a piece of a message.
const BESIDES: usize = 4 * 1024;

/// Lines that mean something; bytes alone seldom do.
const LINES: &[&str] = &[
    "USER mrose\r\n",
    "PASS x\r\n",
    "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\n",
    "AUTH LOGIN\r\n",
    "AUTH SCRAM-SHA-256 biwsbj1tcm9zZSxyPXg=\r\n",
    "AUTH EXTERNAL =\r\n",
    "*\r\n",
    "STLS\r\n",
    "STAT\r\n",
    "LIST\r\n",
    "LIST 2\r\n",
    "UIDL\r\n",
    "UIDL 1\r\n",
    "RETR 1\r\n",
    "RETR 3\r\n",
    "TOP 2 1\r\n",
    "DELE 1\r\n",
    "DELE 3\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "CAPA\r\n",
    "QUIT\r\n",
    "APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n",
    "\r\n",
];

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let start = Instant::now();
    let mark = 1 + input.number() % 2000;
    let config = config(&mut input, mark);
    let refuses_logins = config.hook.contains(EventKind::Login);
    let mut connection = Connection::new(config, origin(&mut input), start);
    let (mut now, mut left, mut largest) = (start, false, 0);
    let (mut logins, mut updates) = (0, 0);
    let most = 2000 + 100 * data.len();
    for step in 0.. {
        assert!(step < most, "no end: {connection:?}");
        now += time(&mut input);
        let action = connection.next(now);
        assert!(connection.output().len() <= mark + largest + BESIDES);
        match action {
            Action::Read(room) => {
                assert!(room > 0);
                read(&mut connection, &mut input, room, &mut now);
            }
            Action::Write => write(&mut connection, &mut input, &mut now),
            Action::Ask(request) => {
                assert!(!left);
                logins += u32::from(request.login_mechanism().is_some());
                updates += u32::from(matches!(request, Request::Update { .. }));
                // A login that the hook refuses unlocks the mailbox.
                assert!(updates <= if refuses_logins { logins } else { 1 });
                let numbers = numbers(&request);
                assert!(numbers.iter().all(|number| number.get() <= COUNT));
                connection.handle_reply(reply(&request, &mut input));
            }
            Action::Feed => {
                let chunk = input.bytes();
                // A message may hold line ends only: each of its bytes becomes two.
                largest = largest.max(3 * chunk.len());
                match (chunk, input.byte()) {
                    (_, 255) => connection.handle_body_failed(),
                    ([], _) => connection.handle_body_end(),
                    (chunk, _) => match connection.handle_body(chunk) {
                        Wanted::More | Wanted::Nothing => {}
                    },
                }
            }
            Action::CountFailure(_) => connection.handle_failure(AddressFailures {
                count: input.byte().into(),
                is_refused: input.byte() == 255,
            }),
            Action::StartTls => match input.byte() {
                0..=200 => connection.handle_tls(facts(&mut input)),
                _ => connection.handle_tls_failed(),
            },
            Action::Pause => wait(&mut connection, &mut input, &mut now),
            Action::Yield => {}
            Action::Leave(_) => assert!(!std::mem::replace(&mut left, true)),
            Action::ShutWrite => assert!(left && connection.output().is_empty()),
            Action::Close => {
                assert!(left);
                return;
            }
        }
    }
}

fn config(input: &mut Input<'_>, mark: usize) -> Arc<Config> {
    let limits = Limits {
        line: 20 + usize::from(input.byte()),
        output_mark: mark,
        pipelined: 100 + usize::from(input.byte()),
        errors: (input.byte() % 4).into(),
        failed_logins: (input.byte() % 4).into(),
        ..Limits::default()
    };
    let mut config = Config::new("h", "s", limits);
    let choice = input.byte();
    config.tls = [TlsMode::Off, TlsMode::StartTls, TlsMode::Implicit][usize::from(choice % 3)];
    config.plaintext = plaintext(choice / 3);
    config.apop = choice < 128;
    // Half of them without a hook.
    let watched = match choice / 9 % 4 {
        2 => vec![EventKind::Command, EventKind::Retrieve],
        3 => EventKind::ALL.into(),
        _ => Vec::new(),
    };
    config.hook.set(watched.into_iter().collect());
    Arc::new(config)
}

pub fn plaintext(choice: u8) -> Plaintext {
    [Plaintext::Auto, Plaintext::Always, Plaintext::Never][usize::from(choice % 3)]
}

fn origin(input: &mut Input<'_>) -> Origin {
    let choice = input.byte();
    Origin {
        peer: [Peer::Loopback, Peer::Remote][usize::from(choice % 2)],
        mechanisms: SASL
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| choice >> bit & 1 == 1)
            .map(|(_, mechanism)| mechanism)
            .collect(),
        ..Origin::remote("<1.2@h>")
    }
}

pub fn facts(input: &mut Input<'_>) -> TlsFacts {
    let choice = input.byte();
    let mut facts = TlsFacts::default();
    if choice & 1 == 1 {
        facts.certificate = vec!["mrose".into(), "mrose@example.org".into()];
    }
    let binding = |bit: u8| (choice >> bit & 1 == 1).then(|| [bit; 32].into());
    facts.bindings = Arc::new(pop3_proto::security::ChannelBindings {
        exporter: binding(1),
        server_end_point: binding(2),
    });
    facts
}

fn time(input: &mut Input<'_>) -> Duration {
    match input.byte() {
        0..=220 => Duration::ZERO,
        n @ 221..=250 => Duration::from_millis(u64::from(n - 220) * 50),
        n => Duration::from_secs(u64::from(n - 250) * 60),
    }
}

/// Waits until the machine's deadline, or somewhat less; a client that never moves is seen
/// by that.
fn wait(connection: &mut Connection, input: &mut Input<'_>, now: &mut Instant) {
    match connection.deadline() {
        Some(at) if input.byte() < 128 => *now = at.max(*now),
        // Nobody can wait for ever.
        None => return connection.handle_broken(ErrorKind::TimedOut),
        _ => *now += time(input),
    }
    connection.handle_timeout(*now);
}

fn read(connection: &mut Connection, input: &mut Input<'_>, room: usize, now: &mut Instant) {
    if input.is_empty() {
        return connection.handle_end_of_input();
    }
    match input.byte() {
        n @ 0..=150 => {
            let line = LINES[usize::from(n) % LINES.len()].as_bytes();
            connection.handle_read(&line[..line.len().min(room)]);
        }
        151..=200 => {
            let bytes = input.bytes();
            connection.handle_read(&bytes[..bytes.len().min(room)]);
        }
        201..=230 => {
            connection.handle_read_blocked();
            wait(connection, input, now);
        }
        231..=240 => connection.handle_end_of_input(),
        241..=250 => {
            let _ = connection.make_room();
        }
        _ => connection.handle_broken(ErrorKind::ConnectionReset),
    }
}

fn write(connection: &mut Connection, input: &mut Input<'_>, now: &mut Instant) {
    let all = connection.output().len();
    match input.byte() {
        0..=150 => connection.handle_written(all),
        151..=220 => connection.handle_written(all.min(input.byte().into())),
        n @ 221..=250 => {
            let stall = [Stall::Deadline, Stall::System, Stall::NoRoom][usize::from(n % 3)];
            connection.handle_write_blocked(*now, stall);
            wait(connection, input, now);
        }
        _ => connection.handle_broken(ErrorKind::BrokenPipe),
    }
}

/// An answer, mostly one that fits.
fn reply(request: &Request, input: &mut Input<'_>) -> Reply {
    let choice = input.byte();
    let failure = [Failure::Temporary, Failure::Permanent][usize::from(choice % 2)];
    match (choice, request) {
        (0..=10, _) => Reply::Failed(failure),
        (11..=15, _) => Reply::Updated,
        (16..=20, _) => Reply::Sizes((0..u64::from(choice) - 14).collect()),
        (21..=25, _) => Reply::Uids(["1".into()].into()),
        (26..=30, _) => Reply::Fetching { octets: u64::MAX },
        (31..=40, Request::Login(_)) => Reply::Refused(Refusal::Credentials),
        (41..=45, Request::Login(_)) => Reply::Refused(Refusal::InUse),
        (46..=50, Request::Login(_)) => {
            Reply::Refused(Refusal::Failed(LoginStep::Mailbox, failure))
        }
        (_, Request::Login(_)) => Reply::Opened {
            storage: "box".into(),
            count: COUNT,
            octets: if choice == 255 { u64::MAX } else { 9 },
        },
        (_, Request::Keys { .. }) => Reply::Keys {
            keys: ScramKeys::of(&[choice; 32], b"salt", 16),
            nonce: [choice; 18],
        },
        (_, Request::Size(_)) => Reply::Sizes([u64::from(choice)].into()),
        (_, Request::SizesOf(numbers)) => Reply::Sizes(vec![u64::MAX; numbers.len()].into()),
        (_, Request::Sizes) => Reply::Sizes((0..COUNT.into()).collect()),
        (_, Request::Uid(_)) => Reply::Uids(["u".into()].into()),
        (_, Request::Uids) => Reply::Uids((0..COUNT).map(|n| n.to_string().into()).collect()),
        (_, Request::Fetch { .. }) => Reply::Fetching { octets: 9 },
        (_, Request::Update { .. }) => Reply::Updated,
        (_, Request::Hook(_)) => Reply::Hook(verdict(choice, input)),
    }
}

/// Any verdict, fit for its event or not.
fn verdict(choice: u8, input: &mut Input<'_>) -> Verdict {
    let rejection = |code| Rejection::new("no", code).map_or(Verdict::Close, Verdict::Reject);
    match choice {
        31..=60 => rejection(None),
        61..=80 => rejection(Some("SYS/TEMP")),
        81..=90 => Verdict::Close,
        91..=120 => Verdict::Reply(input.bytes().into()),
        121..=180 => Verdict::Proceed(Terms {
            delay: time(input),
            cut: (choice & 1 == 0).then(|| u64::from(input.byte())),
            announce: (choice & 2 == 0).then(|| u64::from(input.byte())),
            throttle: NonZeroU64::new(u64::from(input.byte()) * u64::from(choice % 5)),
        }),
        _ => Verdict::default(),
    }
}

/// Every message number that a request names.
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
        Request::Login(_) | Request::Keys { .. } | Request::Sizes | Request::Uids => vec![],
    }
}
