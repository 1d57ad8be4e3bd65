//! Both halves do what is asked of them: the other one by `--features portable`.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::FileType;

use super::*;

/// What is made for a path: nothing, a file with a text, or a directory with a file of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Nothing,
    File(&'static str),
    EmptyDir,
    Dir(&'static str),
    Link(&'static str),
}

impl Thing {
    fn make(self, at: &Path) {
        match self {
            Self::Nothing => {}
            Self::File(text) => fs::write(at, text).unwrap(),
            Self::EmptyDir => fs::create_dir(at).unwrap(),
            Self::Dir(text) => {
                fs::create_dir(at).unwrap();
                fs::write(at.join("inside"), text).unwrap();
            }
            Self::Link(to) => symlink(to, at).unwrap(),
        }
    }

    fn is_at(self, at: &Path) -> bool {
        let inside = || fs::read_to_string(at.join("inside"));
        match self {
            Self::Nothing => at.symlink_metadata().is_err(),
            Self::File(text) => fs::read_to_string(at).is_ok_and(|found| found == text),
            Self::EmptyDir => fs::read_dir(at).unwrap().next().is_none(),
            Self::Dir(text) => inside().is_ok_and(|found| found == text),
            Self::Link(to) => fs::read_link(at).is_ok_and(|found| found == Path::new(to)),
        }
    }
}

/// Both ways, whichever this system has.
#[test]
fn renaming_replaces_nothing() {
    use Thing::*;
    let ways: [fn(&Path, &Path) -> io::Result<()>; 2] = [rename_new, rename_to_taken_name];
    let moves = [File("a"), Dir("a"), EmptyDir, Link("nowhere")];
    let stay = [File("b"), Dir("b"), EmptyDir, Link("nowhere else")];
    for way in ways {
        for from in moves {
            let dir = tempfile::tempdir().unwrap();
            let (old, new) = (dir.path().join("old"), dir.path().join("new"));
            from.make(&old);
            way(&old, &new).unwrap();
            assert!(from.is_at(&new) && Nothing.is_at(&old), "{from:?}");
        }
        for (from, to) in moves.into_iter().flat_map(|from| stay.map(|to| (from, to))) {
            let dir = tempfile::tempdir().unwrap();
            let (old, new) = (dir.path().join("old"), dir.path().join("new"));
            from.make(&old);
            to.make(&new);
            let error = way(&old, &new).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{from:?} to {to:?}");
            assert!(from.is_at(&old) && to.is_at(&new), "{from:?} to {to:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        assert_eq!(way(&old, &new).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(Nothing.is_at(&new));
    }
}

/// The same for files by their directories.
#[test]
fn renaming_files_replaces_nothing() {
    let ways: [fn(Place<'_>, Place<'_>) -> io::Result<()>; 2] = [rename_file_new, rename_by_link];
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let open = fs::File::open(dir.path()).unwrap();
        let at = |name| (open.as_fd(), name);
        Thing::File("a").make(&dir.path().join("old"));
        Thing::File("b").make(&dir.path().join("taken"));
        let error = way(at("old"), at("taken")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(Thing::File("a").is_at(&dir.path().join("old")));
        assert!(Thing::File("b").is_at(&dir.path().join("taken")));
        way(at("old"), at("new")).unwrap();
        assert!(Thing::Nothing.is_at(&dir.path().join("old")));
        assert!(Thing::File("a").is_at(&dir.path().join("new")));
        let error = way(at("old"), at("newer")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn entries_are_all_told_each_time() {
    let dir = tempfile::tempdir().unwrap();
    // More than one system call gives.
    let mut want: Vec<String> = (0..3000)
        .map(|n| format!("a rather long name, {n:0100}"))
        .collect();
    for name in &want {
        fs::write(dir.path().join(name), "").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    want.extend([".".into(), "..".into(), "sub".into()]);
    want.sort();
    let open = fs::File::open(dir.path()).unwrap();
    for _ in 0..2 {
        let mut got = Vec::new();
        entries(open.as_fd(), |name, kind| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let is_dir = [".", "..", "sub"].contains(&name.as_str());
            assert!(
                kind == FileType::Unknown || (kind == FileType::Directory) == is_dir,
                "{name}: {kind:?}"
            );
            got.push(name);
        })
        .unwrap();
        got.sort();
        assert!(got == want, "{} entries", got.len());
    }
}
