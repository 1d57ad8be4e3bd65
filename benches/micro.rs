//! Micro-benchmarks of the protocol: `cargo bench --bench micro`.
//!
//! What a session does for each byte of a message, each command line and each
//! line of a listing, without sockets, files or Tcl.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by it")]
#![allow(
    missing_docs,
    reason = "criterion's macro makes a function without any"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};

use pop3_proto::body::{OctetCounter, Stuffer};
use pop3_proto::command::Command;
use pop3_proto::limits::Limits;
use pop3_proto::session::{Config, Origin, Session};
use pop3_proto::{Reply, Request};

/// What drivers read from a file at a time.
const CHUNK: usize = 64 << 10;

/// About a mebibyte of lines of 72 characters, every `dotted`th begun by a dot.
fn message(end: &str, dotted: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..(1 << 20) / 72 {
        let first = if line % dotted == 0 { '.' } else { 'a' };
        text.extend_from_slice(format!("{first}{:071}{end}", line).as_bytes());
    }
    text
}

fn stuffing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stuffing");
    for (name, end, dotted) in [
        ("lf", "\n", 9),
        ("crlf", "\r\n", 9),
        ("every line dotted, lf", "\n", 1),
        ("every line dotted, crlf", "\r\n", 1),
    ] {
        let text = message(end, dotted);
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut out = Vec::with_capacity(2 * CHUNK);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut stuffer = Stuffer::default();
                for chunk in text.chunks(CHUNK) {
                    out.clear();
                    stuffer.push(black_box(chunk), &mut out);
                }
                stuffer.finish(&mut out);
                out.len()
            });
        });
    }
    let text = message("\n", 9);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("octets counted, lf", |bencher| {
        bencher.iter(|| {
            let mut counter = OctetCounter::new();
            text.chunks(CHUNK)
                .for_each(|chunk| counter.push(black_box(chunk)));
            counter.octets()
        });
    });
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parsing");
    for line in [
        "STAT",
        "RETR 12345",
        "top 100 20",
        "USER somebody@example.com",
        "BOGUS",
    ] {
        group.bench_function(line, |bencher| {
            bencher.iter(|| Command::parse(black_box(line.as_bytes())));
        });
    }
    group.finish();
}

/// A session after a login to a mailbox of so many messages.
fn session(config: &Arc<Config>, count: u32) -> Session {
    let mut session = Session::new(Arc::clone(config), Origin::remote("<1@bench>"));
    session.handle_input(b"USER u\r\nPASS p\r\n");
    assert!(matches!(
        session.poll_request(),
        Some(Request::Login { .. })
    ));
    session.handle_reply(Reply::Opened {
        storage: "u".into(),
        count,
        octets: 1,
    });
    let written = session.output().len();
    session.consume_output(written);
    session
}

/// Plays one listing and returns its length in bytes.
fn list(mut session: Session, command: &[u8], reply: &Reply) -> usize {
    session.handle_input(command);
    let _ = session.poll_request();
    session.handle_reply(reply.clone());
    let mut written = 0;
    while !session.output().is_empty() {
        let count = black_box(session.output()).len();
        written += count;
        session.consume_output(count);
    }
    written
}

fn listing(criterion: &mut Criterion) {
    const COUNT: u32 = 10_000;
    let config = Arc::new(Config::new(
        "bench",
        "tcllib/pop3d-1.10.0",
        Limits::default(),
    ));
    let sizes = Reply::Sizes((0..COUNT).map(|n| 700 + u64::from(n) * 7 % 9000).collect());
    let ids = (0..COUNT).map(|n| format!("1700000000.M{n:06}P1.bench").into_boxed_str());
    let uids = Reply::Uids(ids.collect());
    let mut group = criterion.benchmark_group("listing");
    group.throughput(Throughput::Elements(u64::from(COUNT)));
    for (name, command, reply) in [("LIST", "LIST\r\n", sizes), ("UIDL", "UIDL\r\n", uids)] {
        assert!(list(session(&config, COUNT), command.as_bytes(), &reply) > COUNT as usize * 6);
        group.bench_function(format!("{name} of {COUNT}"), |bencher| {
            bencher.iter_batched(
                || session(&config, COUNT),
                |session| list(session, command.as_bytes(), &reply),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn logins(criterion: &mut Criterion) {
    let config = Arc::new(Config::new(
        "bench",
        "tcllib/pop3d-1.10.0",
        Limits::default(),
    ));
    criterion.bench_function("session of USER PASS STAT QUIT", |bencher| {
        bencher.iter(|| {
            let mut session = session(&config, 10);
            session.handle_input(b"STAT\r\n");
            session.handle_input(b"QUIT\r\n");
            let _ = black_box(session.poll_request());
            session.handle_reply(Reply::Updated);
            session.output().len()
        });
    });
}

criterion_group!(benches, stuffing, parsing, listing, logins);
criterion_main!(benches);
