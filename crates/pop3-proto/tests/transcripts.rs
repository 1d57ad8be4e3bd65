//! Whole dialogs from files, in every chunking. The format is described in
//! tests/transcripts/README.md.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod dialog;

use std::fs;
use std::path::Path;

use dialog::{Fault, Mailbox, Play};
use pop3_proto::limits::Limits;
use pop3_proto::{Failure, LoginStep};

/// One dialog.
struct Transcript {
    mailbox: Mailbox,
    limits: Limits,
    client: Vec<u8>,
    server: Vec<u8>,
    end: String,
}

impl Transcript {
    fn parse(text: &str) -> Self {
        let mut transcript = Self {
            mailbox: Mailbox::new(&[]),
            limits: Limits::default(),
            client: Vec::new(),
            server: Vec::new(),
            end: String::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            transcript.take(word, rest);
        }
        transcript
    }

    fn take(&mut self, word: &str, rest: &str) {
        let mut text = unescape(rest);
        match word {
            "#" => {}
            "message" => self.mailbox.messages.push(text),
            "user" => self.user(rest),
            "limit" => self.limit(rest),
            "fault" => self.mailbox.fault = fault(rest),
            "C:" => {
                self.client.append(&mut text);
                self.client.extend_from_slice(b"\r\n");
            }
            "C>" => self.client.append(&mut text),
            "S:" => {
                self.server.append(&mut text);
                self.server.extend_from_slice(b"\r\n");
            }
            "S>" => self.server.append(&mut text),
            "end" => self.end = rest.into(),
            _ => panic!("unknown line: {word} {rest}"),
        }
    }

    fn user(&mut self, rest: &str) {
        let mut words = rest.split(' ').map(unescape);
        let mut next = || words.next().expect("user NAME PASSWORD STORAGE");
        self.mailbox.user = next();
        self.mailbox.password = next();
        self.mailbox.storage = String::from_utf8(next()).unwrap();
    }

    fn limit(&mut self, rest: &str) {
        let (name, value) = rest.split_once(' ').expect("limit NAME VALUE");
        let value: u32 = value.parse().unwrap();
        match name {
            "line" => self.limits.line = value as usize,
            "output_mark" => self.limits.output_mark = value as usize,
            "errors" => self.limits.errors = value,
            "failed_logins" => self.limits.failed_logins = value,
            _ => panic!("unknown limit: {name}"),
        }
    }

    /// Plays it, input and output in pieces of `size`.
    fn play(&self, size: usize) -> Play {
        let mut play = Play::new(self.mailbox.clone(), self.limits.clone());
        play.piece = size;
        for piece in self.client.chunks(size) {
            play.feed(piece);
        }
        play.drive();
        play
    }
}

fn fault(rest: &str) -> Fault {
    match rest.split_once(' ') {
        None if rest == "in-use" => Fault::InUse,
        None if rest == "login" => Fault::Login(LoginStep::Mailbox, Failure::Temporary),
        None if rest == "reading" => Fault::Reading(Failure::Temporary),
        None if rest == "deleting" => Fault::Deleting(Failure::Temporary),
        Some(("breaking", after)) => Fault::Breaking(after.parse().unwrap()),
        _ => panic!("unknown fault: {rest}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b's') => b' ',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
                digit() * 16 + digit()
            }
            other => panic!("unknown escape {other:?} in {text}"),
        });
    }
    bytes
}

#[test]
fn transcripts_in_every_chunking() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut played = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let transcript = Transcript::parse(&fs::read_to_string(&path).unwrap());
        for size in 1..=transcript.client.len() {
            let mut play = transcript.play(size);
            let shown = format!("{} by {size}", path.display());
            let want = String::from_utf8_lossy(&transcript.server).into_owned();
            assert_eq!(play.take(), want, "{shown}");
            let end = play.session.end_reason();
            let end = end.map_or_else(|| "open".into(), |reason| reason.to_string());
            assert_eq!(end, transcript.end, "{shown}");
        }
        played += 1;
    }
    assert!(played >= 15, "{played} transcripts");
}
