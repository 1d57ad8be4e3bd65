//! TLS on real sockets: certificates, clients' certificates, resumption, reload, and
//! what clients do wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pop3d::tls::{ClientCertificates, ClientNames, Error, Facts, PemPair, Session, Settings, Tls};
use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[path = "tls/pki.rs"]
mod pki;

use pki::{
    asking, certificate, connect, settings, trusting, Authority, Client, Connected, VERSIONS,
};

/// A server on a port of its own, which sends back what comes.
struct Server {
    listener: TcpListener,
    tls: Tls,
}

impl Server {
    fn new(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = Tls::new(settings).unwrap();
        Self { listener, tls }
    }

    fn stream(&self) -> TcpStream {
        TcpStream::connect(self.listener.local_addr().unwrap()).unwrap()
    }

    /// Serves the next connection.
    fn serve(&self) -> JoinHandle<io::Result<Facts>> {
        let (listener, tls) = (self.listener.try_clone().unwrap(), self.tls.clone());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut session = Session::new(&tls);
            let facts = session.handshake(&mut stream)?;
            let mut buffer = [0; 1000];
            loop {
                let n = session.read(&mut stream, &mut buffer)?;
                if n == 0 {
                    session.end(&mut stream);
                    return Ok(facts);
                }
                let mut written = 0;
                while written < n {
                    written += session.write(&mut stream, &buffer[written..n], false)?;
                }
            }
        })
    }

    /// A whole connection of a client: what each side says.
    fn try_visit(&self, config: &Arc<ClientConfig>, name: &str) -> Visit {
        let served = self.serve();
        let mut client = connect(config, name, self.stream());
        let talked = echo(&mut client, b"hello");
        let certificate = client.conn.peer_certificates().map(|all| all[0].to_vec());
        let exporter =
            client
                .conn
                .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None);
        drop(client);
        Visit {
            talked,
            certificate: certificate.unwrap_or_default(),
            exporter: exporter.ok(),
            facts: served.join().unwrap(),
        }
    }

    fn visit(&self, config: &Arc<ClientConfig>, name: &str) -> Visit {
        let visit = self.try_visit(config, name);
        visit.talked.as_ref().unwrap();
        visit
    }
}

struct Visit {
    talked: io::Result<()>,
    certificate: Vec<u8>,
    exporter: Option<[u8; 32]>,
    facts: io::Result<Facts>,
}

/// Has bytes sent back, and says farewell.
fn echo(client: &mut Connected, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back)?;
    assert_eq!(back, bytes);
    Ok(())
}

struct World {
    directory: TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new(directory.path(), "authority");
        Self {
            directory,
            authority,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[test]
fn facts_of_each_version() {
    let world = World::new();
    let pair = world.authority.server("a", &["localhost"]);
    let server = Server::new(settings(&[&pair]));
    for version in VERSIONS {
        let config = Client::of_version(version).config(&world.authority);
        let visit = server.visit(&config, "localhost");
        let facts = visit.facts.unwrap();
        let is_1_3 = version.version == rustls::ProtocolVersion::TLSv1_3;
        let (version, suite) = match is_1_3 {
            true => ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
            false => ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        };
        assert_eq!((facts.version, &*facts.suite), (version, suite));
        assert!(!facts.resumed);
        assert_eq!(facts.server_name.as_deref(), Some("localhost"));
        assert_eq!(facts.client, None);
        assert_eq!(facts.exporter, visit.exporter.filter(|_| is_1_3));
        let digest = Sha256::digest(certificate(&pair));
        assert_eq!(facts.end_point.as_deref(), Some(digest.as_slice()));
    }
}

/// Ed25519 has no hash of its own, so there is no binding to the end point.
#[test]
fn a_certificate_without_a_hash_has_no_end_point() {
    let world = World::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let own = params.self_signed(&key).unwrap();
    let pair = PemPair {
        certificate: world.path().join("e.crt"),
        key: world.path().join("e.key"),
    };
    fs::write(&pair.certificate, own.pem()).unwrap();
    fs::write(&pair.key, key.serialize_pem()).unwrap();
    let server = Server::new(settings(&[&pair]));
    let mut trusted = Authority::new(world.path(), "other");
    trusted.certificate = own.der().clone();
    let config = Client::default().config(&trusted);
    let facts = server.visit(&config, "localhost").facts.unwrap();
    assert_eq!(facts.end_point, None);
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let world = World::new();
    let rows = [
        world
            .authority
            .server("default", &["pop.example.com", "127.0.0.1"]),
        world.authority.server("wild", &["*.example.org"]),
        world
            .authority
            .server("exact", &["mail.example.org", "Second.Example.net"]),
        world
            .authority
            .server("later", &["mail.example.org", "*.example.org"]),
    ];
    let server = Server::new(settings(&rows.each_ref()));
    let table = [
        ("pop.example.com", 0),
        ("mail.example.org", 2),
        ("MAIL.example.ORG", 2),
        ("second.example.net", 2),
        ("other.example.org", 1),
        ("other.Example.Org", 1),
        // A name has one label in the place of the star, neither two nor none.
        ("a.b.example.org", 0),
        ("example.org", 0),
        ("unknown.test", 0),
        // An address is no name.
        ("127.0.0.1", 0),
    ];
    let config = trusting();
    for (name, want) in table {
        let visit = server.visit(&config, name);
        assert_eq!(
            visit.certificate,
            certificate(&rows[want]).to_vec(),
            "{name}"
        );
    }
}

#[test]
fn a_client_gets_a_certificate_that_it_can_check() {
    let world = World::new();
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let rsa = world
        .authority
        .server_with("rsa", &["localhost"], &key.unwrap());
    let ecdsa = world.authority.server("ecdsa", &["localhost"]);
    let server = Server::new(settings(&[&rsa, &ecdsa]));
    let all = Client::default().config(&world.authority);
    let visit = server.visit(&all, "localhost");
    assert_eq!(visit.certificate, certificate(&rsa).to_vec());
    // One that knows no RSA.
    let mut provider = aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms;
    let is_rsa = |scheme: &rustls::SignatureScheme| format!("{scheme:?}").starts_with("RSA");
    let others: Vec<_> = known
        .mapping
        .iter()
        .filter(|row| !is_rsa(&row.0))
        .copied()
        .collect();
    provider.signature_verification_algorithms = rustls::crypto::WebPkiSupportedAlgorithms {
        all: known.all,
        mapping: others.leak(),
    };
    let client = Client {
        provider,
        ..Client::default()
    };
    let visit = server.visit(&client.config(&world.authority), "localhost");
    assert_eq!(visit.certificate, certificate(&ecdsa).to_vec());
}

#[test]
fn certificates_of_clients() {
    let world = World::new();
    let pair = world.authority.server("a", &["localhost"]);
    let (ours, others) = (
        Authority::new(world.path(), "ours"),
        Authority::new(world.path(), "others"),
    );
    let good = ours.client("good", "Ann Example", "ann@example.org", "ann.example.org");
    let forged = others.client(
        "forged",
        "Ann Example",
        "ann@example.org",
        "ann.example.org",
    );
    let names = ClientNames {
        common: Some("Ann Example".into()),
        mail: ["ann@example.org".into()].into(),
        dns: ["ann.example.org".into()].into(),
    };
    // Whether one is required, which is shown, whom it names if the client is served.
    let table = [
        (true, Some(&good), Some(Some(&names))),
        (true, None, None),
        (true, Some(&forged), None),
        (false, Some(&good), Some(Some(&names))),
        (false, None, Some(None)),
        (false, Some(&forged), None),
    ];
    for (required, shown, want) in table {
        let server = Server::new(asking(&[&pair], &ours, required));
        for version in VERSIONS {
            let client = Client {
                certificate: shown.cloned(),
                ..Client::of_version(version)
            };
            let config = client.config(&world.authority);
            // The second is resumed where the first was served.
            for resumed in [false, true] {
                let visit = server.try_visit(&config, "localhost");
                assert_eq!(visit.talked.is_ok(), want.is_some(), "{:?}", visit.talked);
                match want {
                    Some(names) => {
                        let facts = visit.facts.unwrap();
                        assert_eq!(facts.client.as_ref(), names);
                        assert_eq!(facts.resumed, resumed);
                    }
                    None => {
                        let error = visit.facts.unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn sessions_are_resumed_until_either_side_must_prove_itself_otherwise() {
    let world = World::new();
    let pair = world.authority.server("a", &["localhost"]);
    let ours = Authority::new(world.path(), "ours");
    for version in VERSIONS {
        let server = Server::new(settings(&[&pair]));
        let client = || Client {
            certificate: Some(ours.client("good", "Ann", "ann@example.org", "a.example.org")),
            ..Client::of_version(version)
        };
        let config = client().config(&world.authority);
        let resumed = || server.visit(&config, "localhost").facts.unwrap().resumed;
        assert_eq!([resumed(), resumed()], [false, true]);
        server.tls.reload().unwrap();
        assert!(resumed());
        let other = world.authority.server("b", &["localhost"]);
        server.tls.configure(settings(&[&other, &pair])).unwrap();
        // Both must mean the same certificate by `tls-server-end-point` (RFC 5929 §4), and the
        // client has seen the first one only.
        assert_eq!([resumed(), resumed()], [false, true]);
        // Without this rule a client would be served that has shown no certificate.
        server.tls.configure(asking(&[&pair], &ours, true)).unwrap();
        assert_eq!([resumed(), resumed()], [false, true]);
        server.tls.reload().unwrap();
        assert!(resumed());
    }
}

#[test]
fn a_reload_changes_new_handshakes_only() {
    let world = World::new();
    let pair = world.authority.server("a", &["localhost"]);
    let first = certificate(&pair).to_vec();
    let server = Server::new(settings(&[&pair]));
    let config = Client::default().config(&world.authority);
    let served = server.serve();
    let mut open = connect(&config, "localhost", server.stream());
    echo(&mut open, b"before").unwrap();
    assert!(!server.tls.changed());

    world.authority.server("a", &["localhost", "new"]);
    assert!(server.tls.changed());
    let fresh = || Client::default().config(&world.authority);
    assert_eq!(server.visit(&fresh(), "localhost").certificate, first);
    server.tls.reload().unwrap();
    assert!(!server.tls.changed());
    let second = certificate(&pair).to_vec();
    assert_ne!(first, second);
    assert_eq!(server.visit(&fresh(), "localhost").certificate, second);

    // Half of a renewal: the key is that of another certificate.
    let whole = fs::read(&pair.key).unwrap();
    fs::write(&pair.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(server.tls.changed());
    let refused = server.tls.reload().unwrap_err();
    assert!(matches!(refused, Error::KeyDoesNotFit { .. }), "{refused}");
    assert!(!server.tls.changed(), "once is enough to tell of it");
    assert_eq!(server.visit(&fresh(), "localhost").certificate, second);
    fs::write(&pair.key, whole).unwrap();
    assert!(server.tls.changed());
    server.tls.reload().unwrap();
    fs::remove_file(&pair.key).unwrap();
    assert!(server.tls.changed());
    server.tls.configure(settings(&[])).unwrap_err();
    assert_eq!(server.visit(&fresh(), "localhost").certificate, second);

    echo(&mut open, b"after").unwrap();
    drop(open);
    served.join().unwrap().unwrap();
}

#[test]
fn each_fault_of_a_file_is_told() {
    let world = World::new();
    let path = |name: &str| world.path().join(name);
    let good = world.authority.server("good", &["localhost"]);
    world.authority.server("other", &["localhost"]);
    let write = |name: &str, text: &str| {
        fs::write(path(name), text).unwrap();
    };
    let (key, pem) = (
        fs::read_to_string(&good.key).unwrap(),
        fs::read_to_string(&good.certificate).unwrap(),
    );
    write("empty", "");
    write("text", "hello\n");
    write("cut", &pem[..pem.len() / 2]);
    write(
        "not64",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    );
    write(
        "damaged",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    write(
        "badkey",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    write("encrypted", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let header = "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
    write(
        "old",
        &key.replacen("PRIVATE KEY-----\n", header, 1)
            .replace("END P", "END RSA P"),
    );
    write("both", &format!("{key}{pem}"));
    fs::create_dir(path("directory")).unwrap();
    let fifo = Command::new("mkfifo").arg(path("fifo")).status().unwrap();
    assert!(fifo.success());
    let large = fs::File::create(path("large")).unwrap();
    large.set_len(1 << 40).unwrap();

    let message = |certificate: &str, key: &str| {
        let pair = PemPair {
            certificate: path(certificate),
            key: path(key),
        };
        let message = Tls::new(settings(&[&good, &pair])).unwrap_err().to_string();
        message.replace(world.path().to_str().unwrap(), "D")
    };
    let table = [
        (
            "none",
            "good.key",
            "couldn't read \"D/none\": no such file or directory",
        ),
        (
            "good.crt",
            "none",
            "couldn't read \"D/none\": no such file or directory",
        ),
        (
            "directory",
            "good.key",
            "couldn't read \"D/directory\": is a directory",
        ),
        (
            "fifo",
            "good.key",
            "couldn't read \"D/fifo\": no regular file",
        ),
        (
            "large",
            "good.key",
            "couldn't read \"D/large\": file too large",
        ),
        ("empty", "good.key", "\"D/empty\" holds no certificate"),
        ("text", "good.key", "\"D/text\" holds no certificate"),
        (
            "good.key",
            "good.key",
            "\"D/good.key\" holds no certificate",
        ),
        (
            "cut",
            "good.key",
            "\"D/cut\" is no valid PEM file: a section has no end",
        ),
        (
            "not64",
            "good.key",
            "\"D/not64\" is no valid PEM file: a section is not in base64",
        ),
        (
            "damaged",
            "good.key",
            "\"D/damaged\" holds a certificate that cannot be used: it is damaged",
        ),
        ("good.crt", "text", "\"D/text\" holds no private key"),
        (
            "good.crt",
            "good.crt",
            "\"D/good.crt\" holds no private key",
        ),
        (
            "good.crt",
            "encrypted",
            "\"D/encrypted\" holds an encrypted private key, which cannot be used",
        ),
        (
            "good.crt",
            "old",
            "\"D/old\" holds an encrypted private key, which cannot be used",
        ),
        (
            "good.crt",
            "other.key",
            "the private key in \"D/other.key\" does not fit the certificate in \"D/good.crt\"",
        ),
    ];
    for (certificate, key, want) in table {
        assert_eq!(message(certificate, key), want);
    }
    let bad_key = message("good.crt", "badkey");
    assert!(
        bad_key.starts_with("\"D/badkey\" holds a private key that cannot be used: "),
        "{bad_key}"
    );
    // One file for both, the key first.
    let both = PemPair {
        certificate: path("both"),
        key: path("both"),
    };
    Tls::new(settings(&[&both])).unwrap();

    let none = Tls::new(settings(&[])).unwrap_err();
    assert_eq!(none.to_string(), "there is no certificate");
    for (file, want) in [
        (
            "none",
            "couldn't read \"D/none\": no such file or directory",
        ),
        ("text", "\"D/text\" holds no certificate"),
        (
            "damaged",
            "\"D/damaged\" holds a certificate that cannot be used: ",
        ),
    ] {
        let mut settings = asking(&[&good], &world.authority, true);
        settings.clients.as_mut().unwrap().authorities = path(file);
        let message = Tls::new(settings).unwrap_err().to_string();
        let message = message.replace(world.path().to_str().unwrap(), "D");
        assert!(message.starts_with(want), "{message}");
    }
}

#[test]
fn an_expired_certificate_is_shown_all_the_same() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let pair = world.authority.server("a", &["localhost"]);
    fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&pair.key, key.serialize_pem()).unwrap();
    Tls::new(settings(&[&pair])).unwrap();
}

#[test]
fn clients_of_another_protocol_are_refused() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let offering = |alpn: &[&str]| {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = Client {
            alpn,
            ..Client::default()
        }
        .config(&world.authority);
        server.try_visit(&config, "localhost")
    };
    offering(&["pop3"]).talked.unwrap();
    offering(&["h2", "pop3"]).talked.unwrap();
    let refused = offering(&["http/1.1", "imap"]);
    let error = refused.talked.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    refused.facts.unwrap_err();
}

/// What a client gets that sends bytes in the place of a handshake, and ends.
fn answer_to(server: &Server, bytes: &[u8]) -> (Vec<u8>, io::Error) {
    let served = server.serve();
    let mut stream = server.stream();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back);
    (back, served.join().unwrap().unwrap_err())
}

#[test]
fn what_is_no_handshake_gets_an_alert() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let garbage: Vec<u8> = (0..2000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let hello_of_zeros = [&b"\x16\x03\x01\x02\x00"[..], &[0; 512]].concat();
    let rows: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"USER ann\r\nPASS secret\r\n",
        &garbage,
        &hello_of_zeros,
        // A record of application data, and one that is too long.
        b"\x17\x03\x03\x00\x01x",
        b"\x16\x03\x03\xff\xffxxxxx",
    ];
    for bytes in rows {
        let (back, error) = answer_to(&server, bytes);
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        // One fatal alert (RFC 8446 §6).
        let is_fatal = back.len() == 7 && (back[0], back[5]) == (21, 2);
        assert!(is_fatal, "{back:x?}: {error}");
    }
    let (_, error) = answer_to(&server, b"USER ann\r\n");
    assert_eq!(error.to_string(), "the client does not speak TLS");
}

#[test]
fn the_end_within_a_handshake_is_told() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let config = Client::default().config(&world.authority);
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for length in [0, 1, 5, 6, hello.len() - 1, hello.len()] {
        let (_, error) = answer_to(&server, &hello[..length]);
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length}: {error}");
    }
}

/// A client that sends handshake messages without end.
#[test]
fn a_hello_is_not_kept_without_bound() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let served = server.serve();
    let mut stream = server.stream();
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // The first record of a hello of 16 MB, and more of it.
    let record = [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &[0; 16380]].concat();
    let next = [&b"\x16\x03\x01\x40\x00"[..], &[0; 16384]].concat();
    let mut sent = stream.write_all(&record);
    let mut octets = 0;
    while sent.is_ok() && octets < 64 << 20 {
        sent = stream.write_all(&next);
        octets += next.len();
    }
    served.join().unwrap().unwrap_err();
    assert!(octets < 64 << 20, "it was read to its end");
}

/// Runs openssl with input; what it prints, standard error included.
fn openssl(server: &Server, arguments: &[&str], input: &[&[u8]]) -> String {
    let address = server.listener.local_addr().unwrap().to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for part in input {
        // It takes a letter at the begin of what it reads for a command.
        thread::sleep(Duration::from_millis(300));
        let _ = stdin.write_all(part);
    }
    thread::sleep(Duration::from_millis(300));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[&out[..], err].concat()).into_owned()
}

#[test]
fn openssl_is_a_client() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let authority = world.authority.file.to_str().unwrap();
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let served = server.serve();
        let said = openssl(
            &server,
            &[
                version,
                "-CAfile",
                authority,
                "-alpn",
                "pop3",
                "-verify_return_error",
            ],
            &[b"hello\n"],
        );
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("ALPN protocol: pop3"), "{said}");
        assert!(said.matches("\nhello\n").count() == 1, "{said}");
        assert_eq!(served.join().unwrap().unwrap().version, shown);
    }
    // Older versions are refused.
    let served = server.serve();
    let said = openssl(&server, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], &[]);
    assert!(said.contains("SSL alert number"), "{said}");
    served.join().unwrap().unwrap_err();
}

#[test]
fn a_renegotiation_is_refused() {
    let world = World::new();
    let server = Server::new(settings(&[&world.authority.server("a", &["localhost"])]));
    let served = server.serve();
    let said = openssl(&server, &["-tls1_2"], &[b"R\n", b"more\n"]);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    // The client gives up; for us it is the end of input.
    let _ = served.join().unwrap();
}

/// A file system of `tests/tcl/hanging.py`, in which `mail` leads to a directory.
struct Hanging {
    mountpoint: TempDir,
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Hanging {
    /// None where it cannot be mounted: that needs root, /dev/fuse and Python.
    fn mount(target: &Path) -> Option<Self> {
        let mountpoint = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tcl/hanging.py");
        let mut process = Command::new("python3")
            .args([Path::new(script), mountpoint.path(), target])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let says = BufReader::new(process.stdout.take().unwrap());
        let mut hanging = Self {
            mountpoint,
            process,
            says,
        };
        (hanging.line() == "mounted\n").then_some(hanging)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line
    }

    fn hang(&mut self) {
        self.process
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"hang\n")
            .unwrap();
        assert_eq!(self.line(), "hangs\n");
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // The end of its input unmounts it.
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}

/// A disk that hangs while it is asked must not hold up whoever turns to files elsewhere.
#[test]
fn other_files_can_be_named_while_a_disk_hangs() {
    let world = World::new();
    let Some(mut hanging) = Hanging::mount(world.path()) else {
        eprintln!("skipped: no file system that hangs can be mounted here");
        return;
    };
    let pair = world.authority.server("a", &["localhost"]);
    let mail = hanging.mountpoint.path().join("mail");
    let there = |file: &Path| mail.join(file.file_name().unwrap());
    let far = PemPair {
        certificate: there(&pair.certificate),
        key: there(&pair.key),
    };
    let server = Server::new(settings(&[&far]));
    hanging.hang();
    let (tls, (done, changed)) = (server.tls.clone(), mpsc::channel());
    let asks = thread::spawn(move || done.send(tls.changed()));
    let (tls, other) = (server.tls.clone(), settings(&[&pair]));
    assert!(changed.recv_timeout(Duration::from_millis(200)).is_err());
    let (done, configured) = mpsc::channel();
    let configures = thread::spawn(move || done.send(tls.configure(other).is_ok()));
    let soon = configured.recv_timeout(Duration::from_secs(10));
    let config = Client::default().config(&world.authority);
    assert!(server.visit(&config, "localhost").facts.is_ok());
    drop(hanging);
    asks.join().unwrap().unwrap();
    configures.join().unwrap().unwrap();
    assert_eq!(soon, Ok(true));
    assert!(!server.tls.changed());
}
