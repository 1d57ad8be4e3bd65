//! The fallback `mime` package on whole messages: the mail in `tests/mail`, each
//! with what is expected of it (checked against Tcllib by `mime-compare.tcl`).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tcl_mime::{Eol, Property, Recipe, Setting, Store};

fn parse(store: &mut Store, bytes: &[u8]) -> String {
    let mut recipe = Recipe::new();
    recipe.add(Setting::Content(bytes.to_vec())).unwrap();
    let made = store.initialize(recipe, |_| Err("no file".into())).unwrap();
    made[0].to_string()
}

/// A string with everything but printable ASCII as `\xHH` or `\uHHHH`.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for char in text.chars() {
        match char {
            '\\' => printable.push_str("\\\\"),
            ' '..='~' => printable.push(char),
            '\0'..='\u{ff}' => write!(printable, "\\x{:02x}", u32::from(char)).unwrap(),
            _ => write!(printable, "\\u{:04x}", u32::from(char)).unwrap(),
        }
    }
    printable
}

/// The same description as that of `mime-compare.tcl`.
fn describe(store: &Store, token: &str, path: &str, out: &mut String) {
    let text = |name| match store.property(token, name).unwrap() {
        Property::Text(text) => text,
        other => panic!("{other:?}"),
    };
    let Property::Size(size) = store.property(token, "size").unwrap() else {
        panic!("size of {token}");
    };
    writeln!(out, "part {path} {}", text("content")).unwrap();
    writeln!(out, "  encoding {}", text("encoding")).unwrap();
    writeln!(out, "  size {size}").unwrap();
    writeln!(
        out,
        "  properties {}",
        store.property_names(token).unwrap().join(" ")
    )
    .unwrap();
    let Property::Params(mut params) = store.property(token, "params").unwrap() else {
        panic!("params of {token}");
    };
    params.sort();
    for (name, value) in params {
        writeln!(out, "  param {}={}", printable(&name), printable(&value)).unwrap();
    }
    for name in store.field_names(token).unwrap() {
        for value in store.field(token, &name).unwrap() {
            writeln!(out, "  field {}: {}", printable(&name), printable(&value)).unwrap();
        }
    }
    match store.property(token, "parts") {
        Ok(Property::Parts(parts)) => {
            for (number, part) in parts.iter().enumerate() {
                describe(store, part, &format!("{path}-{}", number + 1), out);
            }
        }
        _ => {
            let body = store.body(token).unwrap();
            let body: String = body.iter().map(|&byte| char::from(byte)).collect();
            writeln!(out, "  body {}", printable(&body)).unwrap();
            let text = match store.decoded_body(token) {
                Ok(text) => printable(&text),
                Err(error) => format!("! {error}"),
            };
            writeln!(out, "  text {text}").unwrap();
        }
    }
}

fn messages() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail");
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "eml"));
    paths.sort();
    assert!(paths.len() > 30, "the mail is missing");
    paths
}

#[test]
fn every_message_is_understood() {
    let mut wrong = Vec::new();
    for path in messages() {
        let mut store = Store::new();
        let token = parse(&mut store, &fs::read(&path).unwrap());
        let mut got = String::new();
        describe(&store, &token, "1", &mut got);
        let want = fs::read_to_string(path.with_extension("want")).unwrap_or_default();
        let want = want.split_once('\n').map_or("", |(_, want)| want);
        if got != want {
            wrong.push(format!("{}:\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn untouched_messages_build_to_their_own_bytes() {
    for path in messages() {
        let bytes = fs::read(&path).unwrap();
        let mut store = Store::new();
        let token = parse(&mut store, &bytes);
        for eol in [Eol::Lf, Eol::CrLf] {
            assert_eq!(
                store.build(&token, eol).unwrap(),
                bytes,
                "{}",
                path.display()
            );
        }
        let shared = store
            .untouched(&token)
            .unwrap()
            .expect("nothing was changed");
        assert_eq!(&*shared, bytes, "{}", path.display());
    }
}

/// Every rewritten message, parsed again, has the same parts and bodies.
#[test]
fn changed_messages_keep_their_bodies() {
    for path in messages() {
        let mut store = Store::new();
        let token = parse(&mut store, &fs::read(&path).unwrap());
        let parts = tree(&store, &token);
        for part in &parts {
            store.set_field(part, "X-Test", "1", "write").unwrap();
        }
        let built = store.build(&token, Eol::CrLf).unwrap();
        let again = parse(&mut store, &built);
        let bodies = |store: &Store, tokens: &[String]| -> Vec<_> {
            tokens.iter().map(|token| store.body(token)).collect()
        };
        let parts_again = tree(&store, &again);
        assert_eq!(
            bodies(&store, &parts_again),
            bodies(&store, &parts),
            "{}",
            path.display()
        );
        for part in parts_again {
            assert_eq!(store.field(&part, "x-test").unwrap(), ["1"]);
        }
    }
}

/// A part and those in it, in document order.
fn tree(store: &Store, token: &str) -> Vec<String> {
    let mut tokens = vec![token.to_owned()];
    if let Ok(Property::Parts(parts)) = store.property(token, "parts") {
        tokens.extend(parts.iter().flat_map(|part| tree(store, part)));
    }
    tokens
}

const NESTED: &str = "Subject: s\nContent-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n\n--b\nContent-Type: message/rfc822\n\nA: 1\nB: 2\nA: 3\n\ntwo\n--b--\nepi\n";

#[test]
fn a_changed_header_is_written_anew_and_nothing_else() {
    let table = [
        // The token's ending; the change; the piece replaced, and by what.
        ("", ("Subject", "t", "write"), "Subject: s\nContent-Type: multipart/mixed; boundary=b\n", "MIME-Version: 1.0\nSubject: t\nContent-Type: multipart/mixed;\n              boundary=\"b\"\n"),
        ("-1", ("X-New", "\u{e9}", "append"), "--b\n\none", "--b\nMIME-Version: 1.0\nX-New: \u{e9}\nContent-Type: text/plain;\n              charset=\"us-ascii\"\n\none"),
        ("-2-1", ("a", "", "delete"), "A: 1\nB: 2\nA: 3\n", "MIME-Version: 1.0\nB: 2\nContent-Type: text/plain;\n              charset=\"us-ascii\"\n"),
        ("-2-1", ("a", "4", "append"), "A: 1\nB: 2\nA: 3\n", "MIME-Version: 1.0\nA: 1\nA: 3\nA: 4\nB: 2\nContent-Type: text/plain;\n              charset=\"us-ascii\"\n"),
        ("-2-1", ("b", "4", "write"), "A: 1\nB: 2\nA: 3\n", "MIME-Version: 1.0\nA: 1\nA: 3\nB: 4\nContent-Type: text/plain;\n              charset=\"us-ascii\"\n"),
    ];
    for eol in ["\n", "\r\n"] {
        for (ending, (key, value, mode), old, new) in table {
            let message = NESTED.replace('\n', eol);
            let want = NESTED.replace(old, new).replace('\n', eol);
            let want: Vec<u8> = want
                .chars()
                .map(|char| u8::try_from(char).unwrap())
                .collect();
            let mut store = Store::new();
            let token = parse(&mut store, message.as_bytes());
            store
                .set_field(&format!("{token}{ending}"), key, value, mode)
                .unwrap();
            assert_eq!(
                store.build(&token, Eol::CrLf).unwrap(),
                want,
                "{ending} {key} {mode}"
            );
            assert!(store.untouched(&token).unwrap().is_none());
        }
    }
}

#[test]
fn a_changed_message_inside_an_encoding_is_encoded_again() {
    let mut store = Store::new();
    let token = parse(
        &mut store,
        b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQTogYgoKYwo=\n",
    );
    let child = format!("{token}-1");
    assert_eq!(store.body(&child).unwrap(), b"c\n");
    assert_eq!(store.set_field(&child, "A", "", "delete").unwrap(), ["b"]);
    let built = store.build(&token, Eol::Lf).unwrap();
    let again = parse(&mut store, &built);
    let inner = store.build(&format!("{again}-1"), Eol::Lf).unwrap();
    assert_eq!(
        String::from_utf8(inner).unwrap(),
        "MIME-Version: 1.0\nContent-Type: text/plain;\n              charset=\"us-ascii\"\n\nc\n"
    );
}

#[test]
fn fields_are_set_and_read() {
    let mut store = Store::new();
    let token = parse(&mut store, b"Content-Type: text/html\n\n");
    // Key, value, mode; the values before or the error; the names after.
    let table = [
        ("X-New", "a", "write", "[]", "X-New"),
        ("x-new", "b", "append", "[\"a\"]", "X-New"),
        ("X-NEW", "c", "write", "[\"a\", \"b\"]", "X-New"),
        ("Y", "1", "append", "[]", "X-New Y"),
        ("x-new", "", "delete", "[\"c\"]", "Y"),
        ("x-new", "", "delete", "key x-new not in header", "Y"),
        ("Y", "2", "prepend", "unknown value for -mode prepend", "Y"),
        (
            "Content-Type",
            "text/plain",
            "write",
            "key Content-Type may not be set",
            "Y",
        ),
        ("content-type", "text/html", "append", "[]", "Y"),
        (
            "content-type",
            "",
            "delete",
            "key content-type not in header",
            "Y",
        ),
        (
            "MIME-Version",
            "2.0",
            "write",
            "key MIME-Version may not be set",
            "Y",
        ),
        (
            "Content-Transfer-Encoding",
            "8bit",
            "write",
            "key Content-Transfer-Encoding may not be set",
            "Y",
        ),
        (
            "Content-MD5",
            "x",
            "write",
            "key Content-MD5 not in header",
            "Y",
        ),
    ];
    for (key, value, mode, want, names) in table {
        let got = match store.set_field(&token, key, value, mode) {
            Ok(before) => format!("{before:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "{key} {value} {mode}");
        assert_eq!(store.field_names(&token).unwrap().join(" "), names);
    }
    assert_eq!(
        store.field(&token, "content-transfer-encoding").unwrap(),
        [""; 0]
    );
    assert_eq!(store.field(&token, "Content-type").unwrap(), ["text/html"]);
    assert_eq!(store.field(&token, "MIME-version").unwrap(), ["1.0"]);
}
