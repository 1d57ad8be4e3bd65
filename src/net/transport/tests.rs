//! The transport on real sockets, driven as `net::driver` does: it waits for the socket
//! only after `WouldBlock`.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;
use crate::tls::{ClientCertificates, PemPair, Settings};

#[path = "../../../tests/tls/pki.rs"]
mod pki;

use pki::{connect, settings, Authority, Client, Connected, Version, VERSIONS};

/// When a test has hung.
const LONG: Duration = Duration::from_secs(60);

struct World {
    runtime: Runtime,
    tls: Tls,
    authority: Authority,
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new(directory.path(), "authority");
        let pair = authority.server("a", &["localhost"]);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self {
            runtime: builder.enable_all().build().unwrap(),
            tls: Tls::new(settings(&[&pair])).unwrap(),
            authority,
            _directory: directory,
        }
    }

    fn config(&self, version: Version) -> Arc<ClientConfig> {
        Client::of_version(version).config(&self.authority)
    }

    /// A transport and its client's socket.
    fn pair(&self) -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let _entered = self.runtime.enter();
        (Transport::new(stream).unwrap(), client)
    }

    /// Runs both sides to their end.
    fn run<S, C: Send + 'static>(
        &self,
        server: impl std::future::Future<Output = S>,
        client: impl FnOnce() -> C + Send + 'static,
    ) -> (S, C) {
        let client = thread::spawn(client);
        let served = self.runtime.block_on(async { timeout(LONG, server).await });
        (served.expect("the server hangs"), client.join().unwrap())
    }

    /// Transport and client after the handshake.
    fn established(&self, version: Version) -> (Transport, Connected) {
        let (transport, stream) = self.pair();
        let config = self.config(version);
        transport.start_tls(&self.tls);
        let (facts, client) = self.run(handshake(&transport), move || {
            let mut client = connect(&config, "localhost", stream);
            client.conn.complete_io(&mut client.sock).unwrap();
            client
        });
        facts.unwrap();
        (transport, client)
    }
}

fn is_blocked<T>(done: &io::Result<T>) -> bool {
    matches!(done, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

async fn handshake(transport: &Transport) -> io::Result<Facts> {
    loop {
        let done = transport.handshake();
        if !is_blocked(&done) {
            return done;
        }
        poll_fn(|cx| transport.poll_handshake(cx)).await?;
    }
}

async fn read(transport: &Transport, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let done = transport.read(buffer);
        if !is_blocked(&done) {
            return done;
        }
        poll_fn(|cx| transport.poll_readable(cx)).await?;
    }
}

async fn write_all(transport: &Transport, mut bytes: &[u8], last: bool) -> io::Result<()> {
    while !bytes.is_empty() {
        let done = transport.write(bytes, last);
        match is_blocked(&done) {
            true => poll_fn(|cx| transport.poll_writable(cx)).await?,
            false => bytes = &bytes[done?..],
        }
    }
    Ok(())
}

fn pattern(length: usize) -> Vec<u8> {
    let mix = |n: usize| (n.wrapping_mul(2_654_435_761) >> 11) as u8;
    (0..length).map(mix).collect()
}

/// A socket that takes and gives one byte at a time.
#[derive(Debug)]
struct Trickle(TcpStream);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..1.min(bytes.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_byte_by_byte() {
    let world = World::new();
    for version in VERSIONS {
        let (transport, stream) = world.pair();
        transport.start_tls(&world.tls);
        let config = world.config(version);
        let served = async {
            handshake(&transport).await.unwrap();
            let mut buffer = [0; 100];
            let mut got = Vec::new();
            while got.len() < 300 {
                let n = read(&transport, &mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..n]);
            }
            write_all(&transport, &got, true).await.unwrap();
            transport.shut_writing();
            got
        };
        let (got, back) = world.run(served, move || {
            stream.set_nodelay(true).unwrap();
            let name = "localhost".try_into().unwrap();
            let client = ClientConnection::new(config, name).unwrap();
            let mut client = StreamOwned::new(client, Trickle(stream));
            client.write_all(&pattern(300)).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            back
        });
        assert_eq!(got, pattern(300));
        assert_eq!(back, got);
    }
}

/// Bytes both ways in chunks of any size, with any buffer.
fn exchange(world: &World, version: Version, chunks: [Vec<usize>; 4], length: usize) {
    let [sent, room, written, back_room] = chunks;
    let (transport, mut client) = world.established(version);
    let served = async {
        let (mut got, mut buffer) = (Vec::new(), vec![0; 70_000]);
        let mut rooms = room.iter().cycle();
        while got.len() < length {
            let room = *rooms.next().unwrap();
            let n = read(&transport, &mut buffer[..room]).await.unwrap();
            assert!(n > 0, "the end after {} of {length}", got.len());
            got.extend_from_slice(&buffer[..n]);
        }
        let mut rest = &got[..];
        for size in written.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*size));
            write_all(&transport, now, later.is_empty()).await.unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        transport.shut_writing();
        got
    };
    let (got, back) = world.run(served, move || {
        let data = pattern(length);
        let mut rest = &data[..];
        for size in sent.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*size));
            client.write_all(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let (mut back, mut buffer) = (Vec::new(), vec![0; 70_000]);
        for room in back_room.iter().cycle() {
            match client.read(&mut buffer[..*room]).unwrap() {
                0 => break,
                n => back.extend_from_slice(&buffer[..n]),
            }
        }
        back
    });
    assert!(got == pattern(length), "what the server got differs");
    assert!(back == got, "what the client got back differs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn data_arrive_in_any_chunks(
        sent in prop::collection::vec(1usize..40_000, 1..6),
        room in prop::collection::vec(1usize..70_000, 1..6),
        written in prop::collection::vec(1usize..200_000, 1..6),
        back_room in prop::collection::vec(1usize..70_000, 1..6),
        length in 1usize..600_000,
        is_1_3 in any::<bool>(),
    ) {
        let version = VERSIONS[usize::from(is_1_3)];
        // Tiny chunks of much data take long and show no more.
        let length = length.min(2000 * sent.iter().chain(&written).min().unwrap());
        exchange(&World::new(), version, [sent, room, written, back_room], length);
    }
}

#[test]
fn many_records_in_one_packet_are_all_read() {
    let world = World::new();
    for version in VERSIONS {
        exchange(&world, version, [vec![1], vec![1], vec![1], vec![1]], 3000);
        let (transport, mut client) = world.established(version);
        // 300 records, of which one read of the socket brings many.
        client.conn.set_buffer_limit(None);
        for n in 0..300u16 {
            client.conn.writer().write_all(&n.to_be_bytes()).unwrap();
        }
        let served = async {
            let (mut got, mut buffer) = (Vec::new(), [0; 3]);
            while got.len() < 600 {
                let n = read(&transport, &mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..n]);
                // What is decrypted already counts as readable.
                let inner = transport.session().unwrap().has_input();
                if inner {
                    timeout(LONG, poll_fn(|cx| transport.poll_readable(cx)))
                        .await
                        .unwrap()
                        .unwrap();
                }
            }
            got
        };
        let (got, _client) = world.run(served, move || {
            client.conn.complete_io(&mut client.sock).unwrap();
            client
        });
        let want: Vec<u8> = (0..300u16).flat_map(u16::to_be_bytes).collect();
        assert_eq!(got, want);
    }
}

#[test]
fn a_client_that_stops_reading_costs_a_chunk() {
    let world = World::new();
    let data = pattern(10 << 20);
    for version in VERSIONS {
        let (transport, mut client) = world.established(version);
        let taken = Arc::new(AtomicUsize::new(0));
        let watched = taken.clone();
        let mine = data.clone();
        let served = async {
            let mut rest = &mine[..];
            while !rest.is_empty() {
                let chunk = &rest[..rest.len().min(60 * 1024)];
                let done = transport.write(chunk, chunk.len() == rest.len());
                if is_blocked(&done) {
                    // At most what one call was given is encrypted and waits.
                    let waits = transport.session().unwrap().wants_write();
                    assert!(waits);
                    poll_fn(|cx| transport.poll_writable(cx)).await.unwrap();
                    continue;
                }
                rest = &rest[done.unwrap()..];
                taken.store(mine.len() - rest.len(), Ordering::Relaxed);
            }
            transport.shut_writing();
        };
        let ((), (stopped, got)) = world.run(served, move || {
            let mut got = vec![0; 1 << 20];
            client.read_exact(&mut got).unwrap();
            // It stops when the sockets' buffers are full.
            let mut before = 0;
            while before != watched.load(Ordering::Relaxed) {
                before = watched.load(Ordering::Relaxed);
                thread::sleep(Duration::from_millis(200));
            }
            client.read_to_end(&mut got).unwrap();
            (before, got)
        });
        assert!(stopped < 10 << 20, "all was taken");
        assert!(got == data, "what arrived differs");
    }
}

/// RFC 2595 §4, and the command injection of CVE-2011-0411: what comes in plain text
/// after STLS is no command, nor are bytes of TLS.
#[test]
fn bytes_before_tls_and_of_tls_are_kept_apart() {
    let world = World::new();
    let (transport, stream) = world.pair();
    let config = world.config(VERSIONS[1]);
    let served = async {
        let mut buffer = [0; 6];
        let n = read(&transport, &mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"STLS\r\n");
        write_all(&transport, b"+OK\r\n", false).await.unwrap();
        transport.start_tls(&world.tls);
        let facts = handshake(&transport).await.unwrap();
        let mut buffer = [0; 100];
        let n = read(&transport, &mut buffer).await.unwrap();
        (facts, buffer[..n].to_vec())
    };
    let ((facts, got), _client) = world.run(served, move || {
        let mut stream = stream;
        stream.write_all(b"STLS\r\n").unwrap();
        let mut line = [0; 5];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"+OK\r\n");
        let mut client = connect(&config, "localhost", stream);
        client.write_all(b"CAPA\r\n").unwrap();
        client
    });
    assert_eq!(got, b"CAPA\r\n");
    assert_eq!(facts.version, "TLSv1.3");

    let (transport, mut stream) = world.pair();
    stream.write_all(b"STLS\r\nUSER ann\r\n").unwrap();
    let served = async {
        let mut buffer = [0; 6];
        let n = read(&transport, &mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"STLS\r\n");
        transport.start_tls(&world.tls);
        let early = transport.read(&mut buffer).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::NotConnected);
        assert_eq!(
            transport.write(b"x", false).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        let failed = handshake(&transport).await.unwrap_err();
        assert_eq!(
            transport.read(&mut buffer).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        failed
    };
    let (failed, back) = world.run(served, move || {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    });
    assert_eq!(failed.to_string(), "the client does not speak TLS");
    assert_eq!((back.len(), back[0], back[5]), (7, 21, 2), "{back:x?}");
}

/// The client sends more than is read: the alert must not be taken back.
#[test]
fn an_alert_reaches_a_client_that_sends_on() {
    let world = World::new();
    let (transport, mut stream) = world.pair();
    stream.write_all(&b"USER ann\r\n".repeat(5000)).unwrap();
    transport.start_tls(&world.tls);
    let (failed, ()) = world.run(handshake(&transport), || ());
    failed.unwrap_err();
    drop(transport);
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!((back.len(), back[0]), (7, 21), "{back:x?}");
}

#[test]
fn ends_are_announced_and_truncation_is_an_end() {
    let world = World::new();
    for version in VERSIONS {
        // The client announces its end, or does not.
        for announced in [true, false] {
            let (transport, mut client) = world.established(version);
            let served = async {
                let mut buffer = [0; 10];
                let n = read(&transport, &mut buffer).await.unwrap();
                assert_eq!(&buffer[..n], b"hello");
                let end = [
                    read(&transport, &mut buffer).await,
                    read(&transport, &mut buffer).await,
                ];
                // It may half-close, and is told the rest (RFC 8446 §6.1).
                write_all(&transport, b"bye", false).await.unwrap();
                transport.shut_writing();
                assert!(transport.write(b"more", false).is_err());
                end.map(Result::unwrap)
            };
            let (end, back) = world.run(served, move || {
                client.write_all(b"hello").unwrap();
                if announced {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                }
                client.sock.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                // It would be an error if our end were not announced.
                client.read_to_end(&mut back).unwrap();
                back
            });
            assert_eq!(end, [0, 0]);
            assert_eq!(back, b"bye");
        }
        // Broken off.
        let (transport, client) = world.established(version);
        transport.shut_both();
        let mut client = client;
        assert!(
            client.read(&mut [0]).is_err(),
            "a truncation looks like an end"
        );
    }
}

/// Another thread ends the connection while a write waits.
#[test]
fn a_last_line_comes_after_what_waits() {
    let world = World::new();
    let data = pattern(8 << 20);
    for version in VERSIONS {
        let (transport, mut client) = world.established(version);
        let mut taken = 0;
        loop {
            let chunk = &data[taken..][..CHUNK_OF_TEST];
            match transport.write(chunk, false) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                n => taken += n.unwrap(),
            }
            assert!(taken < data.len() / 2, "the sockets take everything");
        }
        let (mut got, mut part) = (Vec::new(), [0; 50_000]);
        let want = [&data[..taken + CHUNK_OF_TEST], b"-ERR\r\n"].concat();
        // There is room again, for all that waits and the line.
        while got.len() < taken / 2 {
            let n = client.read(&mut part).unwrap();
            got.extend_from_slice(&part[..n]);
        }
        world.runtime.block_on(async {
            poll_fn(|cx| transport.poll_writable(cx)).await.unwrap();
        });
        let rest = &want[taken..];
        assert_eq!(transport.write_last(rest), rest.len());
        assert_eq!(transport.write_last(b"twice"), 0);
        transport.shut_both();
        client.read_to_end(&mut got).unwrap();
        assert!(got == want, "{} octets of {}", got.len(), want.len());
    }
}

const CHUNK_OF_TEST: usize = 60 * 1024;

/// What is counted as written here is not written by a driver that wakes meanwhile.
#[test]
fn a_last_line_counts_as_far_as_it_was_taken() {
    let world = World::new();
    let (transport, mut stream) = world.pair();
    assert_eq!(transport.write_last(b"-ERR sorry\r\n"), 12);
    transport.shut_both();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"-ERR sorry\r\n");
    assert_eq!(transport.write_last(b"-ERR sorry\r\n"), 0);
}

#[test]
fn without_tls_there_is_no_handshake() {
    let world = World::new();
    let (transport, _stream) = world.pair();
    assert_eq!(
        transport.handshake().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

/// Connections without TLS must not grow by it.
#[test]
fn tls_is_elsewhere() {
    let grown = size_of::<Transport>() - size_of::<tokio::net::TcpStream>();
    assert!(grown <= 16, "{grown} bytes");
}
