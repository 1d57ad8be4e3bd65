//! The fallback `mime` package on hostile mail: nothing is refused, nothing
//! panics, and what goes in comes out.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tcl_mime::{Eol, Property, Recipe, Setting, Store, Token};

fn parse(store: &mut Store, bytes: &[u8]) -> Vec<Token> {
    let mut recipe = Recipe::new();
    recipe.add(Setting::Content(bytes.to_vec())).unwrap();
    store.initialize(recipe, |_| Err("no file".into())).unwrap()
}

/// Does to a message whatever a script can do.
fn exercise(bytes: &[u8]) {
    let mut store = Store::new();
    let tokens = parse(&mut store, bytes);
    assert_eq!(store.len(), tokens.len());
    assert_eq!(store.build(&tokens[0], Eol::CrLf).unwrap(), bytes);
    for token in &tokens {
        store.properties(token).unwrap();
        store.header(token).unwrap();
        for name in store.field_names(token).unwrap() {
            assert!(!store.field(token, &name).unwrap().is_empty());
        }
        let leaf = !matches!(store.property(token, "parts"), Ok(Property::Parts(_)));
        assert_eq!(store.body(token).is_ok(), leaf);
        let _ = store.decoded_body(token);
        let part = store.untouched(token).unwrap().expect("untouched");
        assert!(part.len() <= bytes.len());
    }
    for token in &tokens {
        store.set_field(token, "X-Test", "1", "append").unwrap();
    }
    store.build(&tokens[0], Eol::Lf).unwrap();
    assert_eq!(
        store.finalize(&tokens[0], "dynamic").unwrap().len(),
        tokens.len()
    );
    assert!(store.is_empty());
    if tokens.len() < 12 {
        (0..tokens.len()).for_each(|place| change_one(bytes, place));
    }
}

/// A field that one part gets is found in that part of what is built, and nowhere else;
/// all parts are there again, with their bodies.
fn change_one(bytes: &[u8], place: usize) {
    let mut store = Store::new();
    let before = parse(&mut store, bytes);
    store
        .set_field(&before[place], "X-Test", "1", "append")
        .unwrap();
    let built = store.build(&before[0], Eol::Lf).unwrap();
    let after = parse(&mut store, &built);
    let shown = || format!("part {place}: {}", built.escape_ascii());
    for before in &before {
        let within = &before[before.find('-').unwrap_or(before.len())..];
        let after = Token::from(format!("{}{within}", after[0]));
        assert!(store.exists(&after), "{} {after}", shown());
        let fields = [before, &after].map(|token| store.field(token, "X-Test").ok());
        assert_eq!(fields[0], fields[1], "{}", shown());
        // What was decoded is encoded again with the line ends around it.
        let body = |token: &Token| {
            let body = store.body(token).ok()?;
            Some(body.escape_ascii().to_string().replace("\\r\\n", "\\n"))
        };
        let bodies = [before, &after].map(body);
        // Behind a header that was broken off there may now be an empty part.
        let is_same = bodies[0] == bodies[1] || bodies[0].as_deref() == Some("");
        assert!(is_same, "{bodies:?} {}", shown());
    }
}

/// A message that a failing test shows on one line.
#[derive(Clone)]
struct Mail(Vec<u8>);

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Lines of the kinds that decide about the structure of a message.
fn lines() -> impl Strategy<Value = Mail> {
    let line = prop_oneof![
        Just("Content-Type: multipart/mixed; boundary=b"),
        Just("Content-Type: multipart/mixed; boundary=\"b--\""),
        Just("Content-Type: multipart/digest; boundary=c"),
        Just("Content-Type: message/rfc822"),
        Just("Content-Type: text/plain; charset=utf-8"),
        Just("Content-Type: text/plain; charset=\"iso-2022-jp"),
        Just("Content-Transfer-Encoding: base64"),
        Just("Content-Transfer-Encoding: quoted-printable"),
        Just("Subject: x"),
        Just(" folded"),
        Just("--b"),
        Just("--b--"),
        Just("--b----"),
        Just("--c"),
        Just("--c--  "),
        Just("QTogYgoK"),
        Just("=41=\t"),
        Just(""),
        Just(""),
        Just("From x"),
        Just("text"),
    ];
    let end = prop_oneof![4 => Just("\n"), 4 => Just("\r\n"), 1 => Just("\r"), 1 => Just("")];
    proptest::collection::vec((line, end), 0..60).prop_map(|lines| {
        let lines = lines.into_iter();
        Mail(
            lines
                .flat_map(|(line, end)| [line, end].concat().into_bytes())
                .collect(),
        )
    })
}

/// The mail of `tests/mail`, one after the other.
fn mail() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail");
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn damaged() -> impl Strategy<Value = Mail> {
    let cut = (
        any::<prop::sample::Index>(),
        0..40usize,
        proptest::collection::vec(any::<u8>(), 0..6),
    );
    (
        prop::sample::select(mail()),
        proptest::collection::vec(cut, 1..8),
    )
        .prop_map(|(mut mail, cuts)| {
            for (place, length, with) in cuts {
                let start = place.index(mail.len() + 1);
                let end = (start + length).min(mail.len());
                mail.splice(start..end, with);
            }
            Mail(mail)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes(mail in proptest::collection::vec(any::<u8>(), 0..400).prop_map(Mail)) {
        exercise(&mail.0);
    }

    #[test]
    fn structural_lines(mail in lines()) {
        exercise(&mail.0);
    }

    #[test]
    fn damaged_mail(mail in damaged()) {
        exercise(&mail.0);
    }
}

/// An empty part begins behind the text of the line before the delimiter that
/// ends it, and so may those around it.
#[test]
fn empty_parts() {
    const OUTER: &str = "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
    let inner = [
        "",
        "\n",
        "Content-Type: multipart/mixed; boundary=c\n--c\n",
        "Content-Type: multipart/mixed; boundary=c\n\n--c\n--c\n",
        "Content-Type: message/rfc822\n\n",
        "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\n",
        "Content-Type: message/rfc822\n--c\n",
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n",
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\nQTogYgoK\n",
    ];
    for inner in inner {
        for end in ["--b--\n", "--b\n--b--\n", "--b", ""] {
            exercise(format!("{OUTER}{inner}{end}").as_bytes());
        }
    }
}

#[test]
fn real_mail() {
    mail().iter().for_each(|mail| exercise(mail));
}

/// Each would take hours, or the stack, at a cost beyond linear.
#[test]
fn hostile_mail() {
    const HEAD: &str = "Content-Type: multipart/mixed; boundary=";
    let own_boundaries: String = (0..10_000)
        .map(|n| format!("--b\n{HEAD}b{n}\n\n"))
        .collect();
    let nested_multiparts: String = (0..1000)
        .map(|n| format!("{HEAD}b{n}\n\n--b{n}\n"))
        .collect();
    let fields: String = (0..100_000).map(|n| format!("X-{n}: {n}\n")).collect();
    let params: String = (0..100_000).map(|n| format!(";p{n}=1")).collect();
    let comments = "(".repeat(1_000_000);
    let encoded =
        "--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQTogYgo=\n";
    let table = [
        (
            "parts",
            format!("{HEAD}b\n\n{}", "--b\n\nx\n".repeat(10_000)),
            10_001,
        ),
        (
            "own boundaries",
            format!("{HEAD}b\n\n{own_boundaries}"),
            10_001,
        ),
        (
            "nested messages",
            "Content-Type: message/rfc822\n\n".repeat(100_000),
            101,
        ),
        ("nested multiparts", nested_multiparts, 101),
        (
            "encoded messages",
            format!("{HEAD}b\n\n{}", encoded.repeat(5_000)),
            10_001,
        ),
        ("fields", fields, 1),
        ("one field", "X: y\n".repeat(200_000), 1),
        ("params", format!("Content-Type: a/b{params}\n"), 1),
        ("comments", format!("Content-Type: {comments}\n"), 1),
        (
            "quotes",
            format!("Content-Type: a/b; c=\"{}\n", "\\".repeat(1_000_000)),
            1,
        ),
        (
            "folds",
            format!("Subject: x\n{}", " y\n".repeat(300_000)),
            1,
        ),
        (
            "dashes",
            format!("{HEAD}{}\n\n{}", "-".repeat(70), "-".repeat(1_000_000)),
            1,
        ),
        ("blank lines", "\n".repeat(1_000_000), 1),
        (
            "equal signs",
            format!(
                "Content-Transfer-Encoding: quoted-printable\n\n{}",
                "=".repeat(1_000_000)
            ),
            1,
        ),
        ("noughts", "\0".repeat(1_000_000), 1),
    ];
    for (name, message, parts) in table {
        let mut store = Store::new();
        let tokens = parse(&mut store, message.as_bytes());
        assert_eq!(tokens.len(), parts, "{name}");
        exercise(message.as_bytes());
    }
}
