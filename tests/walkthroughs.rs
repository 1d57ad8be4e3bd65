//! CONTRIBUTING.md names files and items that are there, docs/security.md tests.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    // Blocks are indented, not fenced, so backquotes come in pairs.
    text.split('`').skip(1).step_by(2)
}

#[test]
fn files_that_the_guide_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let is_file = |name: &&str| name.contains('/') && !name.contains(' ') && name.contains('.');
    // What is built is not there before it is.
    let named: Vec<_> = quoted(&guide)
        .filter(is_file)
        .filter(|name| !name.starts_with("build/"))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(root.join(name).exists(), "there is no {name}");
    }
}

/// The steps of the walkthroughs, by what must be found in their files.
#[test]
fn items_that_the_guide_names_are_in_their_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = [
        ("crates/pop3-proto/src/command.rs", "pub enum Login {"),
        ("crates/pop3-proto/src/command.rs", "pub enum Mail {"),
        ("crates/pop3-proto/src/command.rs", "const COMMANDS:"),
        ("crates/pop3-proto/src/reply.rs", "pub enum Line<"),
        ("crates/pop3-proto/src/lib.rs", "pub enum Request {"),
        ("crates/pop3-proto/src/lib.rs", "pub enum Reply {"),
        ("crates/pop3-proto/src/limits.rs", "pub struct Limits {"),
        ("src/store/answer.rs", "fn ask("),
        ("src/bind/callbacks.rs", "fn ask("),
        ("src/bind/options.rs", "const OURS:"),
        ("src/bind/options.rs", "pub struct Options {"),
        ("src/store/users.rs", "pub trait Users"),
        ("src/store/mod.rs", "pub trait Storage"),
        ("src/store/mod.rs", "pub trait Mailbox"),
        ("src/bind/direct.rs", "pub enum OfferedStore {"),
        ("src/bind/world.rs", "impl Command for Native"),
    ];
    let guide = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    for (file, item) in table {
        let code = fs::read_to_string(root.join(file)).unwrap();
        assert!(code.contains(item), "{file} has no {item}");
        assert!(guide.contains(file), "the guide does not name {file}");
    }
}

/// Every file below these directories of the project.
fn files(directories: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = directories.iter().map(|name| root.join(name)).collect();
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

#[test]
fn each_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let promises = page.split("## Promises").nth(1).unwrap();
    let promises = promises.split("## Not promised").next().unwrap();
    let files = files(&["tests", "src", "crates/pop3-proto"]);
    let texts: Vec<String> = files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let rows: Vec<&str> = promises
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert!(rows.len() > 10);
    for row in &rows[1..] {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(shown_by.contains('`'), "no test shows: {row}");
        for name in quoted(shown_by).filter(|name| !name.contains(' ')) {
            let is_file = files.iter().any(|path| path.ends_with(name));
            let stem = name.trim_end_matches(['*', '\u{2026}']);
            let is_room = root.join(name).exists() || name == "clippy";
            let is_test = texts.iter().any(|text| text.contains(stem));
            assert!(is_file || is_room || is_test, "there is no {name}");
        }
    }
}
