//! AUTH with every mechanism, over connections with and without TLS: no password is asked for
//! or taken where it must not be, nobody is let in unproved, and no password comes back.

use std::sync::Arc;

use data_encoding::BASE64;
use pop3_proto::limits::{Limits, SASL_LINE};
use pop3_proto::sasl::scram::ScramKeys;
use pop3_proto::sasl::{Mechanism, SASL};
use pop3_proto::security::{Plaintext, TlsMode};
use pop3_proto::session::{Config, Origin, Session};
use pop3_proto::{Proof, Refusal, Reply, Request};

use super::connection::{facts, plaintext};
use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut config = Config::new("h", "s", Limits::default());
    let choice = input.byte();
    config.tls = [TlsMode::Off, TlsMode::StartTls][usize::from(choice % 2)];
    config.plaintext = plaintext(choice / 2);
    let allowed = config.plaintext == Plaintext::Always
        || (config.plaintext == Plaintext::Auto && config.tls == TlsMode::Off);
    let has_tls = choice & 64 == 64;
    let tls = has_tls.then(|| facts(&mut input));
    let origin = Origin {
        mechanisms: SASL.into_iter().collect(),
        ..Origin::remote("<1.2@h>")
    };
    let mut session = Session::new(Arc::new(config), origin);
    if let Some(tls) = &tls {
        session.handle_tls(tls.clone());
    }
    while !input.is_empty() && !session.is_over() {
        let line = line(&mut input);
        if line.len() > session.input_room() {
            return;
        }
        session.handle_input(&line);
        loop {
            let _ = session.poll_delay();
            session.begin_turn();
            let output = session.output().len();
            assert!(output <= 3 * SASL_LINE);
            session.consume_output(output);
            let Some(request) = session.poll_request() else {
                break;
            };
            let reply = match request {
                Request::Login(attempt) => {
                    let mechanism = attempt.mechanism;
                    assert!(
                        has_tls || allowed || !mechanism.exposes_secret(),
                        "{mechanism:?}"
                    );
                    assert_eq!(attempt.tls.as_deref(), tls.as_ref());
                    match attempt.proof {
                        Proof::Verified => match mechanism {
                            Mechanism::External => {
                                assert!(!tls.as_ref().unwrap().certificate.is_empty());
                            }
                            // Nobody can hit upon the proof.
                            other => panic!("{other:?} without the password"),
                        },
                        Proof::Token(_) => assert!(matches!(
                            mechanism,
                            Mechanism::OauthBearer | Mechanism::Xoauth2
                        )),
                        Proof::Password(_) => assert!(matches!(
                            mechanism,
                            Mechanism::Plain | Mechanism::Login | Mechanism::User
                        )),
                        Proof::Apop { .. } => assert_eq!(mechanism, Mechanism::Apop),
                    }
                    Reply::Refused(Refusal::Credentials)
                }
                Request::Keys { .. } => Reply::Keys {
                    keys: ScramKeys::of(&[9; 32], b"salt", 16),
                    nonce: *b"eighteen-octets---",
                },
                other => panic!("{other:?} before login"),
            };
            session.handle_reply(reply);
        }
        assert!(!session.is_authenticated());
        session.snapshot();
    }
}

/// A line of the client's: a command with a mechanism, or an answer to a question, in base64
/// or not.
fn line(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    let mut line = Vec::new();
    if choice & 1 == 1 {
        let mechanism = SASL[usize::from(choice >> 1 & 7) % SASL.len()];
        line.extend_from_slice(b"AUTH ");
        line.extend_from_slice(mechanism.name().as_bytes());
        line.push(b' ');
    }
    let payload: Vec<u8> = match choice >> 4 & 7 {
        0 => return [&line[..], b"*\r\n"].concat(),
        1 => return [&line[..], b"=\r\n"].concat(),
        2 => return [&line[..], b"\r\n"].concat(),
        // SCRAM's messages, with what comes mixed in.
        3 => [b"n,,n=mrose,r=", input.bytes()].concat(),
        4 => [b"p=tls-exporter,,n=mrose,r=", input.bytes()].concat(),
        5 => {
            let proof = BASE64.encode(input.take(32));
            [
                b"c=biws,r=xeighteen-octets---,p=".as_slice(),
                proof.as_bytes(),
            ]
            .concat()
        }
        _ => input.bytes().to_vec(),
    };
    match choice & 8 {
        8 => line.extend_from_slice(&payload),
        _ => line.extend_from_slice(BASE64.encode(&payload).as_bytes()),
    }
    line.extend_from_slice(b"\r\n");
    line
}
