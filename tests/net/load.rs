//! What sessions cost, each measured in a process of its own, and printed.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crate::support::*;

/// Runs one ignored test of this file in a process of its own.
pub fn in_child(name: &str) {
    let me = std::env::current_exe().unwrap();
    let args = [
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    let output = Command::new(me).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{name} is not a test: {text}");
    for line in text.lines() {
        if let Some(at) = line.find("measured: ") {
            println!("{}", &line[at..]);
        }
    }
}

/// Sets how many descriptors this process may have.
pub fn descriptors_limited_to(n: u64) {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(n),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Resident memory of this process in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_large_message_and_a_slow_reader() {
    in_child("load::a_large_message_and_a_slow_reader_inner");
}

/// 100 MB to readers of which one stops half-way while others go on.
#[test]
#[ignore = "measures its process: run by a_large_message_and_a_slow_reader"]
fn a_large_message_and_a_slow_reader_inner() {
    const LINE: &str = "0123456789012345678901234567890123456789\r\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let lines = 100_000_000 / LINE.len();
    (0..lines).for_each(|_| file.write_all(LINE.as_bytes()).unwrap());
    file.flush().unwrap();
    let store = Same {
        messages: vec![Mail::InFile(path)],
        ledger: Arc::default(),
    };
    let bench = Bench::direct(&store, limits());
    // Threads and their buffers are there after the first.
    let mut warm = bench.connect();
    warm.login("warm".replace("warm", "u0").as_str());
    drop(warm);
    let before = resident();
    let mut slow: Vec<_> = (1..=8).map(|_| bench.connect()).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        client.login(&format!("u{}", number + 1));
        client.send("RETR 1\r\n");
        client.line();
    }
    let mut fast = bench.connect();
    fast.login("u100");
    let begin = Instant::now();
    assert_eq!(retrieve(&mut fast), lines * LINE.len());
    let took = begin.elapsed();
    let growth = resident() - before;
    println!("measured: {growth} KiB for nine readers of 100 MB, one of them in {took:?}");
    assert!(growth < 9 * 1024, "{growth} KiB");
    assert_eq!(rest_of_message(&mut slow[0]), lines * LINE.len());
    fast.expect("QUIT", "+OK h.example S shutting down");
    drop(slow);
    bench.assert_clean(&store.ledger);
}

fn retrieve(client: &mut Client) -> usize {
    assert!(client.ask("RETR 1").starts_with("+OK"));
    rest_of_message(client)
}

/// Octets until the final dot.
fn rest_of_message(client: &mut Client) -> usize {
    let (mut octets, mut tail) = (0, Vec::new());
    let mut buffer = vec![0; 65536];
    while !tail.ends_with(b"\r\n.\r\n") {
        let n = client.reader.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended");
        octets += n;
        tail.extend_from_slice(&buffer[n.saturating_sub(5)..n]);
        tail.drain(..tail.len().saturating_sub(5));
    }
    octets - 3
}

#[test]
fn idle_connections() {
    in_child("load::idle_connections_inner");
}

#[test]
#[ignore = "measures its process: run by idle_connections"]
fn idle_connections_inner() {
    const N: usize = 2000;
    let store = Same::of(&["m"; 10]);
    let bench = Bench::direct(&store, limits());
    let mut warm: Vec<_> = (0..50).map(|_| bench.connect()).collect();
    warm.iter_mut()
        .for_each(|c| assert!(c.ask("NOOP").starts_with("-ERR")));
    drop(warm);
    eventually("gone", || bench.server.connection_count() == 0);
    let begin = resident();
    // Without buffers of the client's side, which is in this process too.
    let address = ("127.0.0.1", bench.port);
    let mut clients: Vec<_> = (0..N)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    eventually("all are there", || bench.server.connection_count() == N);
    for client in &mut clients {
        answered(client, "");
    }
    let before_login = resident();
    for (number, client) in clients.iter_mut().enumerate() {
        answered(client, &format!("USER u{number}\r\n"));
        answered(client, "PASS secret\r\n");
    }
    let after_login = resident();
    let each = |kib: i64| kib as f64 / N as f64;
    let (first, second) = (each(before_login - begin), each(after_login - begin));
    println!("measured: {first:.2} KiB per connection before login, {second:.2} KiB after");
    // An unoptimised build has larger futures.
    assert!(first < 3.5, "{first} KiB");
    assert!(second < 6.0, "{second} KiB");
    drop(clients);
    bench.assert_clean(&store.ledger);
}

/// Sends a command and reads a line of reply.
fn answered(client: &mut std::net::TcpStream, command: &str) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(command.as_bytes()).unwrap();
    let mut line = [0; 256];
    let n = client.read(&mut line).unwrap();
    assert!(line[..n].starts_with(b"+OK"), "{command}");
    assert!(line[..n].ends_with(b"\r\n"), "{command}");
}
