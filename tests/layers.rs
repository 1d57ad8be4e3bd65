//! The rooms keep their order: each knows only those before it. `unsafe` stands in
//! `src/ffi` only, what is of one system in `src/system`. The crates below `crates/` are kept apart by Cargo.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src`, in order; what each may not name besides the rooms after it.
const ROOMS: [(&str, &[&str]); 7] = [
    ("system", &["tcl::", "clib", "Tcl_", "tokio", "pop3_proto"]),
    ("tls", &["tcl::", "clib", "Tcl_", "tokio", "pop3_proto"]),
    ("store", &["tcl::", "clib", "Tcl_"]),
    ("stores", &["tcl::", "clib", "Tcl_", "tokio"]),
    ("net", &["tcl::", "clib", "Tcl_"]),
    ("ffi", &[]),
    ("bind", &["clib::"]),
];

/// What no file of the protocol may name: it does no I/O, and time and chance are
/// arguments. (Other crates it cannot name: see its Cargo.toml.)
const IMPURE: [&str; 7] = [
    "std::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "elapsed()",
    "println!",
];

/// Every Rust file below a directory of the project.
fn files(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no file below {directory}");
    found
}

/// The code of a file, without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| match line.find("//") {
        Some(comment) => &line[..comment],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `text` has `word` not as a part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

#[test]
fn each_room_knows_only_those_before_it() {
    let mut wrong = Vec::new();
    for (at, (room, forbidden)) in ROOMS.iter().enumerate() {
        let later = ROOMS[at + 1..].iter().map(|(room, _)| *room);
        for path in files(&format!("src/{room}")) {
            let code = code(&path);
            for later in later.clone() {
                if has_word(&code, &format!("crate::{later}")) {
                    wrong.push(format!("{} names {later}", path.display()));
                }
            }
            for name in *forbidden {
                if code.contains(name) {
                    wrong.push(format!("{} names {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A room without a row above would be held to nothing.
#[test]
fn every_room_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let rooms = rooms.filter(|path| path.is_dir());
    let mut rooms: Vec<_> = rooms
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    rooms.sort();
    let mut known: Vec<_> = ROOMS.iter().map(|(room, _)| *room).collect();
    known.sort();
    assert_eq!(rooms, known);
}

#[test]
fn the_protocol_is_pure() {
    for path in files("crates/pop3-proto/src") {
        let code = code(&path);
        for name in IMPURE {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn unsafe_stands_in_ffi_only() {
    let others = ["crates", "src"].into_iter().flat_map(files);
    for path in others {
        if path.components().any(|part| part.as_os_str() == "ffi") {
            continue;
        }
        let found = has_word(&code(&path).replace("forbid(unsafe_code)", ""), "unsafe");
        assert!(!found, "{} has unsafe", path.display());
    }
}

/// What only some systems have, so far as this project has met it; and the question which
/// system it is.
const OF_ONE_SYSTEM: [&str; 12] = [
    "target_os",
    "target_vendor",
    "openat2",
    "preadv2",
    "RawDir",
    "OFlags::PATH",
    "fstatfs",
    "renameat_with",
    "acceptfrom_with",
    "set_tcp_user_timeout",
    "SendFlags::MORE",
    "rustix::rand",
];

#[test]
fn what_is_of_one_system_stands_in_its_room() {
    let mut wrong = Vec::new();
    for path in ["crates", "src"].into_iter().flat_map(files) {
        if path.components().any(|part| part.as_os_str() == "system") {
            continue;
        }
        let code = code(&path);
        for name in OF_ONE_SYSTEM.iter().filter(|name| has_word(&code, name)) {
            wrong.push(format!("{} names {name}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_are_found() {
    let table = [
        ("unsafe { x }", true),
        ("pub unsafe fn", true),
        ("unsafe", true),
        ("unsafe_code", false),
        ("an_unsafe", false),
        ("", false),
    ];
    for (text, want) in table {
        assert_eq!(has_word(text, "unsafe"), want, "{text}");
    }
}
