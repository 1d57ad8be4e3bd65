//! Whose a connection is, and what is refused to an address: failed logins, `-peraddress`,
//! PROXY headers.

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pop3_proto::limits::Limits;
use pop3_proto::security::TlsMode;
use pop3_proto::session::Config;
use pop3d::net::{AddressList, AddressRules};

use crate::pki;
use crate::support::*;

const SORRY: &str = "-ERR [AUTH] authentication failed, sorry\r\n";
const LATER: &str =
    "-ERR [SYS/TEMP] service unavailable: too many failed logins, please try again later\r\n";

fn list(words: &[&str]) -> AddressList {
    AddressList::parse(words.iter().copied()).unwrap()
}

/// A server that takes all of this machine for proxies.
fn proxied(store: &Same, limits: Limits) -> Bench {
    let bench = Bench::direct(store, limits);
    bench.server.set_address_rules(AddressRules {
        proxies: list(&["127.0.0.0/8"]),
        ..AddressRules::default()
    });
    bench
}

/// A client at this address, behind a proxy.
fn behind(bench: &Bench, address: &str) -> Client {
    let mut client = bench.connect_raw();
    let family = if address.contains(':') { "6" } else { "4" };
    let local = if address.contains(':') {
        "::1"
    } else {
        "10.0.0.1"
    };
    client.send(&format!("PROXY TCP{family} {address} {local} 4711 110\r\n"));
    client
}

fn peers(bench: &Bench) -> Vec<SocketAddr> {
    let ids = bench.server.connections().into_iter();
    ids.filter_map(|id| Some(bench.server.connection(id)?.peer))
        .collect()
}

fn fail(client: &mut Client) -> String {
    client.ask("USER u1");
    client.ask("PASS wrong")
}

/// Whether the log names the client of the headers here.
fn has_heard_of_the_client(bench: &Bench) -> bool {
    let all = bench.heard.all.lock().unwrap();
    all.contains("peer: Some(192.0.2.7:4711)")
}

/// The header may come in any pieces, and with what follows it.
#[test]
fn the_address_in_the_header_is_the_clients() {
    let store = Same::of(&["m"]);
    let bench = proxied(&store, limits());
    let address: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    let header = "PROXY TCP4 192.0.2.7 10.0.0.1 4711 110\r\n";
    for piece in [1, 7, header.len() - 1, header.len()] {
        let mut client = bench.connect_raw();
        for piece in header.as_bytes().chunks(piece) {
            client.reader.get_mut().write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(client.line().starts_with("+OK"));
        client.login("u1");
        assert_eq!(peers(&bench), [address]);
        client.expect("QUIT", "+OK h.example S shutting down");
        bench.assert_clean(&store.ledger);
    }
    let mut client = bench.connect_raw();
    client.send(&format!(
        "{header}USER u1\r\nPASS secret\r\nSTAT\r\nQUIT\r\n"
    ));
    let said = client.rest();
    assert!(said.contains("+OK 1 1\r\n"), "{said}");
    assert!(has_heard_of_the_client(&bench));
}

#[test]
fn without_a_proper_header_a_proxys_connection_is_closed() {
    let store = Same::of(&["m"]);
    let short = Limits {
        login_timeout: Duration::from_millis(300),
        ..limits()
    };
    let bench = proxied(&store, short);
    for (sent, reason) in [
        ("USER u1\r\n", "not a PROXY header"),
        (
            "PROXY TCP4 192.0.2.777 10.0.0.1 4711 110\r\n",
            "malformed PROXY header",
        ),
        ("PROXY TCP4 192.0.2.7", "no PROXY header in time"),
        ("", "no PROXY header in time"),
    ] {
        let begin = Instant::now();
        let mut client = bench.connect_raw();
        client.send(sent);
        client.assert_ended();
        assert!(begin.elapsed() < Duration::from_secs(4), "{sent}");
        let heard = || bench.heard.all.lock().unwrap().to_lowercase();
        eventually(reason, || heard().contains(&reason.to_lowercase()));
    }
    let mut client = bench.connect_raw();
    client.shut_writing();
    client.assert_ended();
    assert_eq!(bench.server.connection_count(), 0);
    // Later it does not count as a login that came too late.
    assert!(bench.heard.ended.lock().unwrap().is_empty());
}

#[test]
fn others_speak_no_proxy() {
    let store = Same::of(&["m"]);
    let bench = Bench::direct(&store, limits());
    bench.server.set_address_rules(AddressRules {
        proxies: list(&["10.0.0.0/8", "127.0.0.2"]),
        ..AddressRules::default()
    });
    let mut client = bench.connect();
    let reply = client.ask("PROXY TCP4 192.0.2.7 10.0.0.1 4711 110");
    assert_eq!(reply, "-ERR unknown command 'PROXY'\r\n");
    assert!(peers(&bench)[0].ip().is_loopback());
}

#[test]
fn connections_and_failures_count_for_the_address_behind_the_proxy() {
    let store = Same::of(&["m"]);
    let bounds = Limits {
        per_address: 2,
        address_failures: 2,
        failed_logins: 0,
        ..limits()
    };
    let bench = proxied(&store, bounds);
    let mut held: Vec<_> = (0..2).map(|_| behind(&bench, "2001:db8::1")).collect();
    for client in &mut held {
        assert!(client.line().starts_with("+OK"));
    }
    // Another address of the same network, and one of the next.
    let full = behind(&bench, "2001:db8::ffff").rest();
    assert!(full.contains("too many connections"), "{full}");
    let mut next = behind(&bench, "2001:db8:0:1::1");
    assert!(next.line().starts_with("+OK"));
    assert_eq!(fail(&mut held[0]), SORRY);
    assert_eq!(fail(&mut held[1]), SORRY);
    assert_eq!(behind(&bench, "2001:db8::2").rest(), LATER);
    let heard = bench.heard.all.lock().unwrap().clone();
    assert!(
        heard.contains("2001:db8::/64 is refused for 600s: 2 failed logins"),
        "{heard}"
    );
    next.login("u1");
}

/// Only who is on this machine by the header may send a password without TLS.
#[test]
fn a_client_behind_a_proxy_on_this_machine_is_remote() {
    let store = Same::of(&["m"]);
    let bench = proxied(&store, limits());
    bench.server.configure(Arc::new(Config {
        tls: TlsMode::StartTls,
        ..Config::new("h.example", "S", limits())
    }));
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (header, takes) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 110\r\n"[..], false),
        (b"PROXY UNKNOWN\r\n", false),
        (b"PROXY TCP4 127.0.0.9 127.0.0.1 4711 110\r\n", true),
        (local, true),
    ] {
        let mut client = bench.connect_raw();
        client.reader.get_mut().write_all(header).unwrap();
        client.line();
        let taken = client.ask("USER u1").starts_with("+OK");
        assert_eq!(taken, takes, "{header:?}");
    }
}

#[test]
fn tls_begins_after_the_header() {
    let directory = tempfile::TempDir::new().unwrap();
    let authority = pki::Authority::new(directory.path(), "ca");
    let pair = authority.server("server", &["h.example"]);
    let store = Same::of(&["m"]);
    let bench = proxied(&store, limits());
    bench
        .server
        .set_tls(Some(pop3d::tls::Tls::new(pki::settings(&[&pair])).unwrap()));
    bench.server.configure(Arc::new(Config {
        tls: TlsMode::Implicit,
        ..Config::new("h.example", "S", limits())
    }));
    let mut stream = TcpStream::connect(("127.0.0.1", bench.port)).unwrap();
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 110\r\n")
        .unwrap();
    let mut tls = pki::connect(&pki::trusting(), "h.example", stream);
    tls.write_all(b"USER u1\r\nPASS secret\r\nQUIT\r\n")
        .unwrap();
    let mut said = String::new();
    BufReader::new(&mut tls).read_to_string(&mut said).unwrap();
    assert!(said.contains("+OK congratulations"), "{said}");
    assert!(has_heard_of_the_client(&bench));
}

/// Connections whose header has not come end with the server.
#[test]
fn destruction_does_not_wait_for_headers() {
    let store = Same::of(&["m"]);
    let bench = proxied(&store, limits());
    let mut waiting: Vec<_> = (0..20).map(|_| bench.connect_raw()).collect();
    waiting[0].send("PROXY ");
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    assert!(bench.server.kill().is_empty());
    waiting.iter_mut().for_each(Client::assert_ended);
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn logins_that_their_client_leaves_count() {
    let store = Same::of(&["m"]);
    let bounds = Limits {
        address_failures: 3,
        ..limits()
    };
    let bench = Bench::direct(&store, bounds);
    store.ledger.gate.shut();
    for n in 0..3 {
        let mut client = bench.connect();
        client.send(&format!("USER u{n}\r\nPASS secret\r\n"));
        eventually("the login is checked", || {
            store.ledger.gate.waiting.load(SeqCst) == n + 1
        });
        // With input left, so that the connection is reset.
        client.send("NOOP\r\n");
        let socket = socket2::SockRef::from(client.reader.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("it has gone", || bench.server.connection_count() == 0);
    }
    store.ledger.gate.open();
    assert_eq!(bench.connect_raw().rest(), LATER);
    let one: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(bench.server.refuses_logins(one));
    bench.assert_clean(&store.ledger);
}
