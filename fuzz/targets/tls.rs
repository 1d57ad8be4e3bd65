//! TLS with records of any kind, before the handshake, during it and after it: a client that
//! keeps the rules gets through, and what it says arrives; nothing else does.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, OnceLock};

use pop3d::tls::{PemPair, Session, Settings, Tls};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::input::Input;

/// The server's end of a connection in memory.
#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    /// So many bytes are taken until the client reads.
    room: usize,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_server.is_empty() {
            true => Err(ErrorKind::WouldBlock.into()),
            false => self.to_server.read(buffer),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room);
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= n;
        self.to_client.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server, and a client that trusts it.
fn ends() -> &'static (Tls, Arc<ClientConfig>) {
    static ENDS: OnceLock<(Tls, Arc<ClientConfig>)> = OnceLock::new();
    ENDS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.path().join("cert"), dir.path().join("key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let pairs = vec![PemPair { certificate, key }];
        let tls = Tls::new(Settings {
            pairs,
            clients: None,
        });
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (tls.unwrap(), Arc::new(client))
    })
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (tls, config) = ends();
    let mut server = Session::new(tls);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    let (mut pipe, mut established, mut honest) = (Pipe::default(), false, true);
    let mut ended = false;
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    // A client that keeps the rules gets through however the bytes come.
    for _ in 0..200 {
        pipe.room = 64 + input.number();
        if honest {
            while client.wants_write() {
                client.write_tls(&mut pipe.to_server).unwrap();
            }
        }
        if ended && !honest {
            // Debug builds of rustls panic when a second alert is due.
            return;
        }
        honest &= ended || !inject(&mut input, &mut pipe);
        if !established {
            match server.handshake(&mut pipe) {
                Ok(_) => established = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return assert!(!honest, "{error}"),
            }
        } else if let Err(error) = go_on(&mut server, &mut pipe, &mut input, &mut heard, &mut ended)
        {
            assert!(!honest || error.kind() == ErrorKind::BrokenPipe, "{error}");
            return;
        }
        if honest {
            let mut reply = &std::mem::take(&mut pipe.to_client)[..];
            while !reply.is_empty() && client.read_tls(&mut reply).is_ok() {
                client.process_new_packets().unwrap();
                let _ = client.reader().read(&mut [0; 4096]);
            }
            if established && input.byte() < 64 {
                let bytes = input.bytes();
                client.writer().write_all(bytes).unwrap();
                said.extend_from_slice(bytes);
            }
        }
        assert!(said.starts_with(&heard), "heard what was not said");
    }
    assert!(established || !honest, "no end of the handshake");
}

/// Sends a record, or any bytes, that the client did not; whether it did.
fn inject(input: &mut Input<'_>, pipe: &mut Pipe) -> bool {
    match input.byte() {
        kind @ 128..=160 => {
            let payload = input.bytes();
            // Types from change_cipher_spec(20) on.
            let head = [20 + kind % 8, 3, input.byte() % 5, 0, payload.len() as u8];
            pipe.to_server.extend(head);
            pipe.to_server.extend(payload);
            true
        }
        161..=180 => {
            let bytes = input.bytes();
            pipe.to_server.extend(bytes);
            !bytes.is_empty()
        }
        // What is under way is cut, or damaged.
        181..=190 if !pipe.to_server.is_empty() => {
            let at = input.number() % pipe.to_server.len();
            pipe.to_server[at] ^= 1 + input.byte() % 255;
            true
        }
        191..=195 if !pipe.to_server.is_empty() => {
            let length = input.number() % pipe.to_server.len();
            pipe.to_server.truncate(length);
            true
        }
        _ => false,
    }
}

/// What a shell does with an established connection.
fn go_on(
    server: &mut Session,
    pipe: &mut Pipe,
    input: &mut Input<'_>,
    heard: &mut Vec<u8>,
    ended: &mut bool,
) -> io::Result<()> {
    let mut buffer = [0; 512];
    let choice = input.byte();
    *ended |= (21..=23).contains(&choice);
    let done = match choice {
        0..=20 => server.write(pipe, &[b'x'; 300], false).map(drop),
        21 => server.write(pipe, b"last", true).map(drop),
        22 => {
            server.write_last(pipe, b"last");
            Ok(())
        }
        23 => {
            server.end(pipe);
            Ok(())
        }
        _ => {
            server.has_input();
            server.read(pipe, &mut buffer).map(|n| {
                heard.extend_from_slice(&buffer[..n]);
            })
        }
    };
    match done {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
        done => done,
    }
}
