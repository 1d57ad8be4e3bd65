//! AUTH and STLS: every exchange with its exact bytes (RFC 5034, RFC 2595 §4).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use data_encoding::BASE64;
use dialog::states::{mailbox, NOBODY, SORRY};
use dialog::{config, Fault, Play, GREETING};
use hmac::{Hmac, Mac};
use pop3_proto::limits::{Limits, SASL_LINE};
use pop3_proto::sasl::{Mechanism, Mechanisms, SASL};
use pop3_proto::security::{ChannelBindings, Plaintext, TlsFacts, TlsMode};
use pop3_proto::session::Config;
use pop3_proto::{Attempt, Failure, LoginStep, Proof, Request};
use sha2::{Digest, Sha256};

const WELCOME: &str = "+OK congratulations\r\n";
const NOT_OFFERED: &str = "-ERR this SASL mechanism is not offered\r\n";
const SEND_STLS: &str = "-ERR a password needs TLS here: send STLS first\r\n";
const NO_PASSWORD: &str = "-ERR no password is taken without TLS\r\n";
const BEGIN_TLS: &str = "+OK begin TLS negotiation\r\n";

/// A server with every mechanism.
fn everything(tls: TlsMode) -> Config {
    Config {
        tls,
        ..config(Limits::default())
    }
}

fn play(config: Config) -> Play {
    let mut play = Play::with_config(mailbox(), config, SASL.into_iter().collect());
    play.drive();
    play.take();
    play
}

fn facts() -> TlsFacts {
    TlsFacts {
        version: "TLSv1.3".into(),
        cipher: "TLS13_AES_128_GCM_SHA256".into(),
        certificate: vec!["mrose".into(), "joe".into()],
        bindings: ChannelBindings {
            exporter: Some([9; 32].into()),
            server_end_point: None,
        }
        .into(),
    }
}

/// After STLS.
fn with_tls() -> Play {
    let mut play = play(everything(TlsMode::StartTls));
    assert_eq!(play.reply("STLS"), BEGIN_TLS);
    play.session.handle_tls(facts());
    play.drive();
    play
}

fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64.encode(text.as_ref())
}

#[track_caller]
fn check(make: impl Fn() -> Play, table: &[(&[&str], &str)]) {
    for (lines, want) in table {
        let mut play = make();
        let (last, before) = lines.split_last().unwrap();
        for line in before {
            play.reply(line);
        }
        assert_eq!(&play.reply(last), want, "{lines:?}");
    }
}

#[test]
fn one_message_mechanisms() {
    let plain = base64("\0mrose\0tanstaaf");
    let as_itself = base64("mrose\0mrose\0tanstaaf");
    let as_other = base64("joe\0mrose\0tanstaaf");
    let wrong = base64("\0mrose\0x");
    let (auth_plain, auth_wrong) = (format!("AUTH PLAIN {plain}"), format!("auth plain {wrong}"));
    let empty = "-ERR [AUTH] authentication failed, sorry\r\n";
    check(
        || play(everything(TlsMode::Off)),
        &[
            (&[&auth_plain], WELCOME),
            (&["AUTH PLAIN"], "+ \r\n"),
            (&["AUTH PLAIN", &plain], WELCOME),
            (&["AUTH PLAIN", &as_itself], WELCOME),
            (&["AUTH PLAIN", &as_other], SORRY),
            (&["AUTH PLAIN", ""], SORRY),
            (&["AUTH PLAIN ="], empty),
            (&[&auth_wrong], SORRY),
            (&[&auth_wrong, &auth_plain], WELCOME),
            (&["USER mrose", &auth_plain], WELCOME),
            (&["USER mrose", &auth_wrong, "PASS tanstaaf"], NOBODY),
            (&["AUTH LOGIN"], "+ VXNlcm5hbWU6\r\n"),
            (&["AUTH LOGIN", "bXJvc2U="], "+ UGFzc3dvcmQ6\r\n"),
            (&["AUTH LOGIN bXJvc2U="], "+ UGFzc3dvcmQ6\r\n"),
            (&["AUTH LOGIN", "bXJvc2U=", "dGFuc3RhYWY="], WELCOME),
            (&["AUTH LOGIN", "bXJvc2U=", "eA=="], SORRY),
            (&["AUTH EXTERNAL ="], NOT_OFFERED),
            (&["AUTH SCRAM-SHA-256-PLUS"], NOT_OFFERED),
            (&["AUTH CRAM-MD5"], NOT_OFFERED),
            (
                &[&auth_plain, &auth_plain],
                "-ERR client already authenticated\r\n",
            ),
        ],
    );
}

#[test]
fn exchanges_end_when_the_client_errs() {
    let plain = base64("\0mrose\0tanstaaf");
    let long = "A".repeat(SASL_LINE + 1);
    let fits = "A".repeat(SASL_LINE);
    let cancelled = "-ERR SASL exchange cancelled\r\n";
    let no_base64 = "-ERR the SASL response is not base64\r\n";
    check(
        || play(everything(TlsMode::Off)),
        &[
            (&["AUTH PLAIN", "*"], cancelled),
            (
                &["AUTH PLAIN", "*", "STAT"],
                "-ERR client not authenticated\r\n",
            ),
            (&["AUTH LOGIN", "bXJvc2U=", "*"], cancelled),
            (&["AUTH PLAIN", "x"], no_base64),
            (&["AUTH PLAIN", "AA="], no_base64),
            (&["AUTH PLAIN", " AA=="], no_base64),
            (&["AUTH PLAIN", "QUIT"], SORRY),
            (&["AUTH PLAIN x"], no_base64),
            (&["AUTH PLAIN *"], cancelled),
            (&["AUTH PLAIN", &long], "-ERR SASL response too long\r\n"),
            (&["AUTH PLAIN", &long, "AUTH PLAIN", &plain], WELCOME),
            (&["AUTH PLAIN", &fits], SORRY),
            (&[&format!("AUTH PLAIN {}", "A".repeat(4096))], SORRY),
            (
                &[&format!("NOOP {}", "A".repeat(4096))],
                "-ERR command line too long\r\n",
            ),
        ],
    );
    // Such clients are bad ones.
    let mut play = play(everything(TlsMode::Off));
    for _ in 1..Limits::default().errors {
        play.reply("AUTH NONE");
    }
    let last = play.reply("AUTH NONE");
    assert_eq!(last, "-ERR too many errors, closing the connection\r\n");
}

#[test]
fn failed_exchanges_are_failed_logins() {
    let mut play = play(everything(TlsMode::Off));
    for _ in 0..5 {
        play.reply("AUTH PLAIN =");
    }
    assert_eq!(
        play.session.end_reason().unwrap().to_string(),
        "too many failed logins"
    );
    assert_eq!(play.delays.len(), 5);
}

#[test]
fn failures_of_the_server_are_no_wrong_credentials() {
    let line = format!("AUTH PLAIN {}", base64("\0mrose\0tanstaaf"));
    let rows = [
        (
            Fault::InUse,
            "-ERR [IN-USE] could not aquire lock for maildrop mrose\r\n",
        ),
        (
            Fault::Login(LoginStep::Server, Failure::Temporary),
            "-ERR [SYS/TEMP] service unavailable, please try again later\r\n",
        ),
    ];
    for (fault, want) in rows {
        let mut mailbox = mailbox();
        mailbox.fault = fault;
        let mut play = Play::with_config(
            mailbox,
            everything(TlsMode::Off),
            SASL.into_iter().collect(),
        );
        play.set_up(&[]);
        assert_eq!(play.reply(&line), want);
    }
}

#[test]
fn the_list_of_mechanisms_is_that_of_the_connection() {
    let clear =
        "+OK SASL mechanisms follow\r\nSCRAM-SHA-256\r\nOAUTHBEARER\r\nXOAUTH2\r\nPLAIN\r\n\
                 LOGIN\r\n.\r\n";
    assert_eq!(play(everything(TlsMode::Off)).reply("AUTH"), clear);
    let scram = "+OK SASL mechanisms follow\r\nSCRAM-SHA-256\r\n.\r\n";
    assert_eq!(play(everything(TlsMode::StartTls)).reply("AUTH"), scram);
    let all = "+OK SASL mechanisms follow\r\nEXTERNAL\r\nSCRAM-SHA-256-PLUS\r\nSCRAM-SHA-256\r\n\
               OAUTHBEARER\r\nXOAUTH2\r\nPLAIN\r\nLOGIN\r\n.\r\n";
    assert_eq!(with_tls().reply("AUTH"), all);
    let few = [Mechanism::Plain].into_iter().collect();
    let mut few = Play::with_config(mailbox(), everything(TlsMode::Off), few);
    few.set_up(&[]);
    assert_eq!(
        few.reply("AUTH"),
        "+OK SASL mechanisms follow\r\nPLAIN\r\n.\r\n"
    );
}

#[test]
fn capabilities_are_those_of_the_connection() {
    let capa = |play: &mut Play| {
        let reply = play.reply("CAPA");
        let lines: Vec<&str> = reply.lines().skip(1).collect();
        lines.join(" ")
    };
    let mut before = play(everything(TlsMode::StartTls));
    let want = "TOP UIDL SASL SCRAM-SHA-256 PIPELINING RESP-CODES AUTH-RESP-CODE STLS .";
    assert_eq!(capa(&mut before), want);
    let mut tls = with_tls();
    let want = "TOP UIDL USER SASL EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 \
                PLAIN LOGIN PIPELINING RESP-CODES AUTH-RESP-CODE .";
    assert_eq!(capa(&mut tls), want);
    let mut extended = config(Limits::default());
    extended.capabilities = vec!["EXPIRE NEVER".into(), "LOGIN-DELAY 60".into()];
    let want = "TOP UIDL USER PIPELINING RESP-CODES AUTH-RESP-CODE EXPIRE NEVER LOGIN-DELAY 60 .";
    let mut extended = Play::with_config(mailbox(), extended, Mechanisms::default());
    extended.set_up(&[]);
    assert_eq!(capa(&mut extended), want);
}

#[test]
fn passwords_wait_for_tls() {
    let plain = format!("AUTH PLAIN {}", base64("\0mrose\0tanstaaf"));
    let table: &[(&[&str], &str)] = &[
        (&["USER mrose"], SEND_STLS),
        (&["PASS tanstaaf"], SEND_STLS),
        (&["AUTH PLAIN"], SEND_STLS),
        (&[&plain], SEND_STLS),
        (&["AUTH LOGIN"], SEND_STLS),
        (&["AUTH OAUTHBEARER"], SEND_STLS),
        (&["AUTH SCRAM-SHA-256"], "+ \r\n"),
        (&["AUTH EXTERNAL"], NOT_OFFERED),
        (&["APOP mrose c4c9334bac560ecc979e58001b3e22fb"], WELCOME),
    ];
    check(|| play(everything(TlsMode::StartTls)), table);
    check(
        with_tls,
        &[
            (&[&plain], WELCOME),
            (&["USER mrose", "PASS tanstaaf"], WELCOME),
        ],
    );
    let never = || {
        play(Config {
            plaintext: Plaintext::Never,
            ..everything(TlsMode::Off)
        })
    };
    check(
        never,
        &[
            (&["USER mrose"], NO_PASSWORD),
            (&["AUTH PLAIN"], NO_PASSWORD),
        ],
    );
    let always = || {
        play(Config {
            plaintext: Plaintext::Always,
            ..everything(TlsMode::StartTls)
        })
    };
    check(always, &[(&[&plain], WELCOME)]);
    // Nothing was asked of anybody.
    let mut refused = play(everything(TlsMode::StartTls));
    for (lines, _) in &table[..6] {
        refused.reply(lines[0]);
    }
    assert!(refused.requests.is_empty());
}

#[test]
fn apop_can_be_turned_off() {
    let mut off = config(Limits::default());
    off.apop = false;
    let mut play = Play::with_config(mailbox(), off, SASL.into_iter().collect());
    play.drive();
    assert_eq!(
        play.take(),
        "+OK dbc.mtview.ca.us tcllib/pop3d-1.10.0 ready\r\n"
    );
    assert_eq!(
        play.reply("APOP mrose x"),
        "-ERR unknown command 'APOP'\r\n"
    );
    assert_eq!(play.reply("USER mrose"), "+OK please send PASS command\r\n");
}

/// Whatever is sent behind STLS, in however many pieces, is thrown away.
#[test]
fn nothing_is_carried_over_into_tls() {
    let injected = "STLS\r\nUSER joe\r\nPASS x\r\nCAPA\r\nRETR 1\r\nQUIT\r\n";
    for size in 1..=injected.len() {
        let mut play = play(everything(TlsMode::StartTls));
        assert_eq!(play.reply("AUTH LOGIN"), SEND_STLS);
        for piece in injected.as_bytes().chunks(size) {
            // A shell reads no more once a handshake is wanted.
            if play.session.wants_input() {
                play.session.handle_input(piece);
                play.drive();
            }
        }
        assert_eq!(play.take(), BEGIN_TLS, "in pieces of {size}");
        assert!(play.session.wants_tls() && !play.session.wants_input());
        play.session.handle_input(b"QUIT\r\n");
        play.session.handle_tls(facts());
        play.drive();
        assert_eq!(play.take(), "", "in pieces of {size}");
        assert_eq!(play.reply("STLS"), "-ERR TLS is active already\r\n");
        assert!(play.requests.is_empty() && !play.session.is_over());
    }
}

#[test]
fn the_name_before_tls_is_forgotten() {
    let mut config = everything(TlsMode::StartTls);
    config.plaintext = Plaintext::Always;
    let mut play = play(config);
    assert_eq!(play.reply("USER mrose"), "+OK please send PASS command\r\n");
    assert_eq!(play.reply("STLS"), BEGIN_TLS);
    play.session.handle_tls(facts());
    assert_eq!(play.reply("PASS tanstaaf"), NOBODY);
    assert_eq!(play.session.snapshot().name.len(), 0);
}

#[test]
fn stls_has_its_state() {
    let mut config = everything(TlsMode::StartTls);
    config.plaintext = Plaintext::Always;
    check(
        || play(config.clone()),
        &[(
            &["USER mrose", "PASS tanstaaf", "STLS"],
            "-ERR client already authenticated\r\n",
        )],
    );
    check(
        || play(everything(TlsMode::Off)),
        &[(&["STLS"], "-ERR unknown command 'STLS'\r\n")],
    );
}

#[test]
fn implicit_tls_greets_afterwards() {
    let mut play = Play::with_config(
        mailbox(),
        everything(TlsMode::Implicit),
        SASL.into_iter().collect(),
    );
    play.drive();
    assert_eq!(play.take(), "");
    assert!(play.session.wants_tls());
    play.session.handle_tls(facts());
    play.drive();
    assert_eq!(play.take(), GREETING);
    assert_eq!(play.reply("STLS"), "-ERR unknown command 'STLS'\r\n");
    assert_eq!(play.reply("USER mrose"), "+OK please send PASS command\r\n");
}

#[test]
fn tokens_and_certificates_reach_whoever_checks() {
    let bearer = base64("n,a=mrose,\x01auth=Bearer abc\x01\x01");
    let xoauth = base64("user=mrose\x01auth=Bearer abc\x01\x01");
    let rows = [
        (
            format!("AUTH OAUTHBEARER {bearer}"),
            Mechanism::OauthBearer,
            "mrose",
        ),
        (
            format!("AUTH XOAUTH2 {xoauth}"),
            Mechanism::Xoauth2,
            "mrose",
        ),
        ("AUTH EXTERNAL =".to_owned(), Mechanism::External, "mrose"),
        (
            format!("AUTH EXTERNAL {}", base64("joe")),
            Mechanism::External,
            "joe",
        ),
    ];
    for (line, want, name) in rows {
        let mut play = with_tls();
        play.reply(&line);
        let Some(Request::Login(Attempt {
            user,
            proof,
            mechanism,
            tls,
        })) = play.requests.pop()
        else {
            panic!("no login for {line}");
        };
        assert_eq!((&*user, mechanism), (name.as_bytes(), want));
        assert_eq!(tls.as_deref(), Some(&facts()));
        let is_token = matches!(proof, Proof::Token(_));
        assert_eq!(is_token, want != Mechanism::External);
    }
    assert_eq!(
        with_tls().reply(&format!("AUTH EXTERNAL {}", base64("ann"))),
        SORRY
    );
}

/// A SCRAM client, after RFC 5802 and apart from the code under test.
struct Client {
    gs2: String,
    bare: String,
    password: &'static str,
    binding: Vec<u8>,
}

impl Client {
    fn new(gs2: &str, user: &str, password: &'static str, binding: &[u8]) -> Self {
        Self {
            gs2: gs2.into(),
            bare: format!("n={user},r=rOprNGfwEbeRWgbNEkqO"),
            password,
            binding: [gs2.as_bytes(), binding].concat(),
        }
    }

    fn first(&self) -> String {
        base64(format!("{}{}", self.gs2, self.bare))
    }

    /// The last message, and the signature that the server must answer with.
    fn last(&self, challenge: &str) -> (String, String) {
        let challenge = BASE64.decode(challenge.trim_end().strip_prefix("+ ").unwrap().as_bytes());
        let challenge = String::from_utf8(challenge.unwrap()).unwrap();
        let parts: Vec<&str> = challenge.split(',').collect();
        let (nonce, salt, count) = (&parts[0][2..], &parts[1][2..], &parts[2][2..]);
        assert!(nonce.starts_with("rOprNGfwEbeRWgbNEkqO") && nonce.len() > 40);
        let salt = BASE64.decode(salt.as_bytes()).unwrap();
        let mut salted = [0; 32];
        let count = count.parse().unwrap();
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, count, &mut salted);
        let mac = |key: &[u8], data: &str| {
            let mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
            mac.chain_update(data).finalize().into_bytes()
        };
        let client_key = mac(&salted, "Client Key");
        let unproven = format!("c={},r={nonce}", base64(&self.binding));
        let message = format!("{},{challenge},{unproven}", self.bare);
        let signature = mac(&Sha256::digest(client_key), &message);
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server = mac(&mac(&salted, "Server Key"), &message);
        let last = base64(format!("{unproven},p={}", base64(proof)));
        (
            last,
            format!("+ {}\r\n", base64(format!("v={}", base64(server)))),
        )
    }
}

#[test]
fn scram_proves_both_to_each_other() {
    let rows = [
        ("SCRAM-SHA-256", "n,,", &[][..]),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", &[9; 32][..]),
    ];
    for (mechanism, gs2, binding) in rows {
        let client = Client::new(gs2, "mrose", "tanstaaf", binding);
        let mut play = with_tls();
        assert_eq!(play.reply(&format!("AUTH {mechanism}")), "+ \r\n");
        let challenge = play.reply(&client.first());
        let (last, verifier) = client.last(&challenge);
        assert_eq!(play.reply(&last), verifier);
        assert_eq!(play.reply(""), WELCOME, "{mechanism}");
        assert_eq!(&*play.session.snapshot().name, b"mrose");
    }
}

#[test]
fn scram_refuses_the_rest() {
    let rows = [
        ("SCRAM-SHA-256", Client::new("n,,", "mrose", "wrong", b"")),
        ("SCRAM-SHA-256", Client::new("n,,", "joe", "tanstaaf", b"")),
        // The proof binds another channel: somebody stands between.
        (
            "SCRAM-SHA-256-PLUS",
            Client::new("p=tls-exporter,,", "mrose", "tanstaaf", &[8; 32]),
        ),
    ];
    for (mechanism, client) in rows {
        let mut play = with_tls();
        let challenge = play.reply(&format!("AUTH {mechanism} {}", client.first()));
        assert!(challenge.starts_with("+ "), "{challenge}");
        let (last, _) = client.last(&challenge);
        assert_eq!(play.reply(&last), SORRY, "{mechanism}");
        let asked = play
            .requests
            .iter()
            .any(|request| matches!(request, Request::Login { .. }));
        assert!(!asked);
        assert_eq!(
            play.session.snapshot().name.len(),
            client.bare.find(',').unwrap() - 2
        );
    }
    // Downgrades, and names that act for others.
    let malformed = [
        "y,,n=mrose,r=x",
        "n,a=joe,n=mrose,r=x",
        "p=tls-unique,,n=mrose,r=x",
        "n,",
    ];
    for first in malformed {
        let line = format!("AUTH SCRAM-SHA-256 {}", base64(first));
        assert_eq!(with_tls().reply(&line), SORRY, "{first}");
    }
    // The last message of the server must be taken note of.
    let client = Client::new("n,,", "mrose", "tanstaaf", b"");
    let mut play = with_tls();
    let challenge = play.reply(&format!("AUTH SCRAM-SHA-256 {}", client.first()));
    play.reply(&client.last(&challenge).0);
    assert_eq!(play.reply("STAT"), SORRY);
}

/// A lookup that fails is no wrong password.
#[test]
fn scram_without_keys() {
    let mut play = with_tls();
    let client = Client::new("n,,", "mrose", "tanstaaf", b"");
    let line = format!("AUTH SCRAM-SHA-256 {}\r\n", client.first());
    play.session.handle_input(line.as_bytes());
    assert!(matches!(
        play.session.poll_request(),
        Some(Request::Keys { .. })
    ));
    assert!(!play.session.wants_input() && !play.session.is_stranger());
    play.session
        .handle_reply(pop3_proto::Reply::Failed(Failure::Temporary));
    play.drive();
    let want = "-ERR [SYS/TEMP] service unavailable, please try again later\r\n";
    assert_eq!(play.take(), want);
    assert_eq!(play.reply("NOOP"), "-ERR client not authenticated\r\n");
}

#[test]
fn no_secret_is_printed() {
    let mut play = with_tls();
    play.reply(&format!("AUTH PLAIN {}", base64("\0mrose\0tanstaaf")));
    let shown = format!("{:?} {:?}", play.session, play.requests);
    let spelt = format!("{:?}", b"tanstaaf");
    let bytes = spelt.trim_matches(['[', ']']);
    assert!(
        !shown.contains("tanstaaf") && !shown.contains(bytes),
        "{shown}"
    );
}

#[test]
fn who_makes_room_is_told_nothing_in_plain_once_tls_is_due() {
    let mut starttls = play(everything(TlsMode::StartTls));
    assert_eq!(starttls.reply("STLS"), BEGIN_TLS);
    for mut play in [starttls, play(everything(TlsMode::Implicit))] {
        assert!(play.session.make_room());
        assert!(play.session.is_over());
        assert_eq!(play.session.output(), b"");
    }
}
