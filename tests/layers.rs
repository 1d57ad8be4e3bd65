//! The rooms keep their doors: `src/protocol` is pure, `unsafe` stands in
//! `src/ffi` only.

use std::fs;
use std::path::{Path, PathBuf};

/// What no file of the protocol may name: it does no I/O, knows no interpreter,
/// no clock and no chance.
const FORBIDDEN: [&str; 14] = [
    "tokio",
    "tcl::",
    "clib",
    "Tcl_",
    "crate::ffi",
    "crate::bind",
    "crate::net",
    "crate::backend",
    "std::net",
    "std::fs",
    "std::io",
    "Instant",
    "SystemTime",
    "rand::",
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
    found
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
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
fn the_protocol_is_pure() {
    let files = files("src/protocol");
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let code = code(&path);
        for name in FORBIDDEN {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn unsafe_stands_in_ffi_only() {
    for path in files("src") {
        if path.components().any(|part| part.as_os_str() == "ffi") {
            continue;
        }
        let found = has_word(&code(&path), "unsafe");
        assert!(!found, "{} has unsafe", path.display());
    }
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
