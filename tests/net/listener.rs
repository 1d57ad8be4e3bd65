//! The listening socket.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;

use pop3_proto::connection::End;
use pop3_proto::security::Peer;
use pop3_proto::session::EndReason;

use crate::load::{descriptors_limited_to, in_child};
use crate::support::*;

/// The port is free when `close_listener` returns, and can be taken again at once,
/// by this server or another, while connections live on.
#[test]
fn the_port_is_free_when_it_returns() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut client = bench.connect();
    client.login("u1");
    for _ in 0..50 {
        bench.server.close_listener();
        assert!(TcpStream::connect(("127.0.0.1", bench.port)).is_err());
        drop(TcpListener::bind(("127.0.0.1", bench.port)).unwrap());
        let again = bench
            .server
            .listen(Endpoint::Address(Some("127.0.0.1"), bench.port));
        assert_eq!(again.unwrap(), bench.port);
        bench.connect();
    }
    client.expect("STAT", "+OK 1 1");
    bench.server.close_listener();
    bench.server.close_listener();
    client.expect("QUIT", "+OK h.example S shutting down");
}

#[test]
fn a_port_in_use() {
    let store = Same::of(&["m"]);
    let (one, two) = (
        Bench::direct(&store, limits()),
        Bench::direct(&store, limits()),
    );
    for address in [Some("127.0.0.1"), Some("localhost"), None] {
        let error = two
            .server
            .listen(Endpoint::Address(address, one.port))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{address:?}");
    }
    let error = two
        .server
        .listen(Endpoint::Address(Some("192.0.2.1"), 0))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    one.connect();
}

/// Without an address both protocols are served, and IPv4 clients look like such.
#[test]
fn dual_stack() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let port = bench.server.listen(Endpoint::Address(None, 0)).unwrap();
    for address in ["127.0.0.1", "::1"] {
        let Ok(stream) = TcpStream::connect((address, port)) else {
            assert_eq!(address, "::1", "IPv4 is always there");
            continue;
        };
        let mut client = Client::of(stream);
        assert!(client.line().starts_with("+OK"));
        let id = *bench.server.connections().last().unwrap();
        let state = bench.server.connection(id).unwrap();
        assert_eq!(state.peer, client.reader.get_ref().local_addr().unwrap());
    }
}

#[test]
fn descriptors_are_left_to_scripts() {
    in_child("listener::descriptors_are_left_to_scripts_inner");
}

/// Of the descriptors below 1,024, which select(2) can watch, most stay free.
#[test]
#[ignore = "counts its process's descriptors: run by descriptors_are_left_to_scripts"]
fn descriptors_are_left_to_scripts_inner() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let clients: Vec<_> = (0..600)
        .map(|_| {
            let client = bench.connect().reader.into_inner();
            // The client's own is out of the way.
            rustix::io::fcntl_dupfd_cloexec(client, 3000).unwrap()
        })
        .collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open: Vec<i32> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    assert!(open.len() > 2 * clients.len());
    let low = open.iter().filter(|fd| (256..1024).contains(*fd)).count();
    assert_eq!(low, 0, "{open:?}");
}

#[test]
fn descriptors_are_left_to_scripts_by_a_crowd() {
    in_child("listener::descriptors_are_left_to_scripts_by_a_crowd_inner");
}

/// Also when clients take all that sessions may have, and where that is little.
#[test]
#[ignore = "changes the limits of its process: run by descriptors_are_left_to_scripts_by_a_crowd"]
fn descriptors_are_left_to_scripts_by_a_crowd_inner() {
    let store = Same::of(&["m"]);
    for (limit, theirs) in [(1100, 960..1024), (400, 336..400)] {
        let bench = Bench::direct(&store, limits());
        descriptors_limited_to(limit);
        let mut member = bench.connect();
        member.login("u1");
        // In another process: here they would take descriptors too.
        let me = std::env::current_exe().unwrap();
        let mut crowd = std::process::Command::new(me)
            .args(["--exact", "listener::crowd", "--ignored"])
            .env("CROWD_PORT", bench.port.to_string())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        eventually("the oldest strangers make room", || {
            let ended = bench.heard.ended.lock().unwrap();
            let made = End::Session(EndReason::MadeRoom).to_string();
            ended.values().filter(|end| **end == made).count() > 100
        });
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open: Vec<i32> = open
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        let taken = open.iter().filter(|fd| theirs.contains(*fd)).count();
        // This directory, and a connection that is just about to be closed again.
        assert!(taken <= 2, "{taken} of {limit}: {open:?}");
        assert!(member.ask("STAT").starts_with("+OK 1 "));
        member.expect("QUIT", "+OK h.example S shutting down");
        drop(crowd.stdin.take());
        assert!(crowd.wait().unwrap().success());
        bench.assert_clean(&store.ledger);
    }
}

/// As many connections as can be had, until the other process has seen enough.
#[test]
#[ignore = "is the crowd of descriptors_are_left_to_scripts_by_a_crowd"]
fn crowd() {
    let port: u16 = std::env::var("CROWD_PORT").unwrap().parse().unwrap();
    descriptors_limited_to(3000);
    let _crowd: Vec<_> = (0..1500)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let mut nothing = String::new();
    std::io::stdin().read_line(&mut nothing).unwrap();
}

/// Time stamps of greetings are unique and of the form that APOP needs.
#[test]
fn time_stamps() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    let mut seen = std::collections::HashSet::new();
    let tail = format!("_serv_{}@h.example>", std::process::id());
    for _ in 0..1000 {
        let stamp = bench.server.origin(Peer::Loopback).stamp;
        let digits = stamp
            .strip_prefix('<')
            .unwrap()
            .strip_suffix(&tail)
            .unwrap();
        assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{stamp}");
        assert!(seen.insert(stamp));
    }
}

/// Without descriptors the listener waits, neither spins nor gives up.
#[test]
fn no_descriptors_left() {
    in_child("listener::no_descriptors_left_inner");
}

#[test]
#[ignore = "changes the limits of its process: run by no_descriptors_left"]
fn no_descriptors_left_inner() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    bench.connect();
    descriptors_limited_to(64);
    let mut clients = Vec::new();
    // Client and server share the limit; the kernel's queue takes more clients
    // than the server can.
    eventually("it fails", || {
        // Who looks for a connection that is not there has the last descriptor for a
        // moment: that one is not the end yet.
        while let Ok(stream) = TcpStream::connect(("127.0.0.1", bench.port)) {
            clients.push(Client::of(stream));
        }
        bench.heard.accept_failures.load(SeqCst) > 0
    });
    let failures = bench.heard.accept_failures.load(SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let more = bench.heard.accept_failures.load(SeqCst) - failures;
    assert!(more < 50, "{more} attempts in half a second");
    // Those that go make room for those that wait.
    let late = clients.split_off(clients.len() - 4);
    drop(clients);
    for mut client in late {
        assert!(client.line().starts_with("+OK"));
        client.login("u1");
        client.expect("QUIT", "+OK h.example S shutting down");
    }
}
