//! The built-in mailboxes through their public interface, as scripts (by name) and
//! sessions (by handle) use them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod mailbox;

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mailbox::{no, start};
use pop3_proto::Failure;
use pop3d::store::{Content, Message, Storage, StoreError, Wait};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailbox_error::MailboxError;
use pop3d::stores::files::mailboxes::{Links, Mailboxes, Octets};
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::maildir::maildir;
use tempfile::TempDir;

fn write(path: impl AsRef<Path>, content: &str) {
    fs::write(path, content).unwrap();
}

fn read(message: Message) -> String {
    let mut text = String::new();
    match message.content {
        Content::Data(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
        Content::File(mut file, _) => {
            file.read_to_string(&mut text).unwrap();
        }
    }
    text
}

fn text<T>(result: Result<T, MailboxError>) -> String {
    result.map_or_else(|error| error.to_string(), |_| String::from("-"))
}

/// Makes every time stamp below `dir` old enough for listings to be kept.
fn age(dir: &Path) {
    let old = SystemTime::now() - Duration::from_secs(100);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(old).unwrap();
        }
    }
}

/// A dbox with a mailbox `m` of the messages `b` (5 octets) and `a` (3 octets).
fn filled() -> (TempDir, Mailboxes) {
    let dir = tempfile::tempdir().unwrap();
    let boxes = dbox();
    boxes.set_base("here", dir.path()).unwrap();
    boxes.add("m").unwrap();
    write(dir.path().join("m/b"), "B: 1\n");
    write(dir.path().join("m/a"), "A:\n");
    (dir, boxes)
}

#[test]
fn errors_have_the_texts_that_scripts_know() {
    let (dir, boxes) = filled();
    let base = dir.path();
    write(base.join("file"), "");
    boxes.add("free").unwrap();
    boxes.add("taken").unwrap();
    assert!(boxes.lock_kept("taken").unwrap());
    write(base.join("taken/1"), "late");
    let bare = dbox();
    let gone = base.join("gone");
    #[rustfmt::skip]
    let table = [
        (text(bare.set_base("", Path::new(""))), "directory not specified"),
        (text(bare.set_base("D", &gone)), "base: \"D\" does not exist"),
        (text(bare.set_base("D", &base.join("file"))), "base: \"D\" not a directory"),
        (text(bare.add("x")), "base directory not specified"),
        (text(bare.remove("x")), "base directory not specified"),
        (text(bare.rename("x", "y")), "base directory not specified"),
        (text(bare.list()), "base directory not specified"),
        (text(bare.exists("x")), "base directory not specified"),
        (text(bare.is_locked("x")), "base directory not specified"),
        (text(bare.lock_kept("x")), "base directory not specified"),
        (text(bare.unlock("x")), "base directory not specified"),
        (text(bare.stat("x")), "base directory not specified"),
        (text(bare.size("x")), "base directory not specified"),
        (text(bare.delete("x", &[])), "base directory not specified"),
        (text(bare.get("x", 1)), "base directory not specified"),
        (text(boxes.add("m")), "cannot add \"m\", mailbox already in existence"),
        (text(boxes.add("file")), "cannot add \"file\", mailbox already in existence"),
        (text(boxes.remove("no")), "cannot remove \"no\", mailbox does not exist"),
        (text(boxes.remove("taken")), "cannot remove \"taken\", mailbox is locked"),
        (text(boxes.rename("no", "x")), "cannot move \"no\", mailbox does not exist"),
        (text(boxes.rename("taken", "x")), "cannot move \"taken\", mailbox is locked"),
        (text(boxes.rename("free", "m")), "cannot move \"free\", destination \"m\" already exists"),
        (text(boxes.rename("free", "free")), "cannot move \"free\", destination \"free\" already exists"),
        (text(boxes.lock_kept("no")), "\"no\" does not exist"),
        (text(boxes.lock_kept("file")), "\"file\" is not a directory"),
        (text(boxes.stat("no")), "\"no\" does not exist"),
        (text(boxes.stat("m")), "mailbox \"m\" is not locked"),
        (text(boxes.size("file")), "\"file\" is not a directory"),
        (text(boxes.size_of("m", 1)), "id \"1\" out of range"),
        (text(boxes.size_of("taken", 1)), "id \"1\" out of range"),
        (text(boxes.get("taken", 0)), "id \"0\" out of range"),
        (text(boxes.get("taken", -1)), "id \"-1\" out of range"),
        (text(boxes.get("taken", 1 << 40)), "id \"1099511627776\" out of range"),
        (text(boxes.delete("m", &[])), "nothing to delete"),
        (text(boxes.delete("m", &[1])), "id \"1\" out of range"),
        (text(boxes.delete("no", &[])), "\"no\" does not exist"),
        (text(boxes.delete("taken", &[7, 8])), "id \"7\" out of range"),
        (text(boxes.unlock("no")), "-"),
        (text(boxes.unlock("m")), "-"),
    ];
    for (index, (got, want)) in table.iter().enumerate() {
        assert_eq!(got, want, "row {index}");
    }
    // The failed `base` above changed nothing, and neither does this one.
    assert!(boxes.set_base("D", &gone).is_err());
    assert_eq!(boxes.list().unwrap(), ["free", "m", "taken"]);
}

#[test]
fn no_name_leads_out() {
    let (dir, boxes) = filled();
    let inner = dbox();
    inner.set_base("m", &dir.path().join("m")).unwrap();
    let absolute = dir.path().join("m");
    let absolute = absolute.to_str().unwrap();
    for name in [
        "", "/", ".", "./", "./.", "/.", "..", "../m", "./../m", "x/..", "x/./..", "x/../..",
        "a\0b", absolute,
    ] {
        assert_eq!(
            text(inner.add(name)),
            format!("cannot add \"{name}\", not a name within the base directory")
        );
        assert!(!inner.exists(name).unwrap());
        assert!(!inner.is_locked(name).unwrap());
        assert_eq!(
            text(inner.lock_kept(name)),
            format!("\"{name}\" does not exist")
        );
        assert_eq!(
            text(inner.remove(name)),
            format!("cannot remove \"{name}\", mailbox does not exist")
        );
        let storage: &dyn Storage = &inner;
        assert!(matches!(
            storage.lock(name, Wait::UNTIL_DONE),
            Err(StoreError::Missing(..))
        ));
    }
    assert_eq!(
        text(boxes.rename("m", "../m")),
        "cannot move \"m\", destination \"../m\" is not a name within the base directory"
    );
    assert!(boxes.exists("m").unwrap());
}

/// A name with dots that stay inside means the mailbox that it means without them: it has
/// one lock, and one listing.
#[test]
fn dots_in_names_mean_nothing() {
    let (dir, boxes) = filled();
    let names = ["m", "./m", "m/.", "./m/.", "././/m//./", "m/"];
    for name in names {
        assert!(boxes.exists(name).unwrap(), "{name}");
        assert!(boxes.lock_kept(name).unwrap(), "{name}");
        for other in names {
            assert!(!boxes.lock_kept(other).unwrap(), "{name}, then {other}");
            assert!(boxes.is_locked(other).unwrap(), "{name}, then {other}");
            assert_eq!(boxes.stat(other).unwrap(), 2, "{name}, then {other}");
        }
        boxes.unlock(name).unwrap();
        assert!(!boxes.is_locked("m").unwrap());
    }
    boxes.rename("./m", "sub/./n").unwrap_err();
    boxes.add("sub").unwrap();
    boxes.rename("./m", "sub/./n").unwrap();
    assert!(dir.path().join("sub/n/a").exists());
    assert_eq!(
        text(boxes.add("sub/./n")),
        "cannot add \"sub/./n\", mailbox already in existence"
    );
    boxes.remove("./sub/n/.").unwrap();
    assert!(!boxes.exists("sub/n").unwrap());
}

#[test]
fn a_session_by_name() {
    let (dir, boxes) = filled();
    assert_eq!(boxes.size("m").unwrap(), 0);
    assert!(!boxes.is_locked("m").unwrap());
    assert!(boxes.lock_kept("m").unwrap());
    assert!(!boxes.lock_kept("m").unwrap());
    assert!(!boxes.lock_kept("m/").unwrap());
    assert!(boxes.is_locked("m").unwrap());
    write(dir.path().join("m/0"), "late");
    assert_eq!(boxes.stat("m").unwrap(), 2);
    assert_eq!(boxes.size("m").unwrap(), 8);
    assert_eq!(boxes.size_of("m", 1).unwrap(), 3);
    assert_eq!(boxes.size_of("m", 2).unwrap(), 5);
    assert_eq!(read(boxes.get("m", 2).unwrap()), "B: 1\n");
    assert_eq!(boxes.path_of("m", 1).unwrap(), dir.path().join("m/a"));
    assert_eq!(text(boxes.delete("m", &[1, 3])), "id \"3\" out of range");
    assert!(dir.path().join("m/a").exists());
    boxes.delete("m", &[1]).unwrap();
    boxes.delete("m", &[1]).unwrap();
    assert!(!dir.path().join("m/a").exists());
    boxes.unlock("m").unwrap();
    assert_eq!(boxes.size("m").unwrap(), 0);
    assert!(boxes.lock_kept("m").unwrap());
    assert_eq!(boxes.stat("m").unwrap(), 2);
    assert_eq!(boxes.size_of("m", 1).unwrap(), 4);
}

#[test]
fn scripts_and_sessions_see_one_state() {
    let (_dir, boxes) = filled();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert!(boxes.is_locked("m").unwrap());
    assert!(!boxes.lock_kept("m").unwrap());
    assert!(
        matches!(boxes.lock("m", Wait::UNTIL_DONE), Err(StoreError::InUse(name)) if name == "m")
    );
    assert_eq!(boxes.stat("m").unwrap(), session.count());
    assert_eq!(boxes.size("m").unwrap(), session.octets().unwrap());

    boxes.unlock("m").unwrap();
    let gone = |result: Result<(), StoreError>| matches!(result, Err(StoreError::NotLocked(_)));
    assert!(gone(session.octets().map(drop)));
    assert!(gone(session.size(no(1)).map(drop)));
    assert!(gone(session.sizes().map(drop)));
    assert!(gone(session.uid(no(1)).map(drop)));
    assert!(gone(session.uids().map(drop)));
    assert!(gone(session.get(no(1), Wait::UNTIL_DONE).map(drop)));
    assert!(gone(session.delete(&[no(1)])));

    // The old session's end does not touch the new one's lock.
    let newer = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    session.unlock();
    drop(session);
    assert!(boxes.is_locked("m").unwrap());
    assert_eq!(newer.count(), 2);
    newer.unlock();
    assert!(!boxes.is_locked("m").unwrap());

    // A handle that is dropped unlocks; a script's lock stays until it unlocks.
    drop(boxes.lock("m", Wait::UNTIL_DONE).unwrap());
    assert!(boxes.lock_kept("m").unwrap());
    assert!(boxes.is_locked("m").unwrap());
    boxes.unlock_all();
    assert!(!boxes.is_locked("m").unwrap());
}

#[test]
fn only_plain_files_are_messages() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    fs::create_dir(m.join("sub")).unwrap();
    write(m.join(".hidden"), "x");
    symlink("b", m.join("link")).unwrap();
    symlink("nothing", m.join("dangling")).unwrap();
    symlink("sub", m.join("subdir")).unwrap();
    assert!(Command::new("mkfifo")
        .arg(m.join("pipe"))
        .status()
        .unwrap()
        .success());
    write(
        m.join(std::ffi::OsStr::from_bytes(b"\xe9\xff [x]$")),
        "latin",
    );
    for _ in 0..2 {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        let all: Vec<String> = (1..=session.count())
            .map(|n| read(session.get(no(n), Wait::UNTIL_DONE).unwrap()))
            .collect();
        assert_eq!(all, ["A:\n", "B: 1\n", "B: 1\n", "latin"]);
        session.unlock();
        age(&m);
    }
    // What was a message and is a pipe now holds nobody up.
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    fs::rename(m.join("pipe"), m.join("a")).unwrap();
    assert!(matches!(
        session.get(no(1), Wait::UNTIL_DONE),
        Err(StoreError::Message { .. })
    ));
    assert!(matches!(
        session.delete(&[no(1)]),
        Err(StoreError::Message { .. })
    ));
    session.delete(&[no(3)]).unwrap();
    assert!(m.join("b").exists());
    assert!(!m.join("link").exists());
}

#[test]
fn all_deletions_are_tried_and_nothing_else_is_deleted() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    write(m.join("c"), "C\n");
    write(m.join("d"), "D\n");
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    // Another message takes a's name, b has gone, d stays.
    write(m.join("new"), "another\n");
    fs::rename(m.join("new"), m.join("a")).unwrap();
    fs::remove_file(m.join("b")).unwrap();
    let error = session.delete(&[no(1), no(2), no(3)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "couldn't delete message 1 of \"m\": changed since the mailbox was locked"
    );
    assert_eq!(error.failure(), Failure::Temporary);
    assert_eq!(fs::read_to_string(m.join("a")).unwrap(), "another\n");
    assert!(!m.join("c").exists());
    assert!(m.join("d").exists());
    // No number is acted upon when one is wrong.
    assert!(matches!(
        session.delete(&[no(4), no(5)]),
        Err(StoreError::NoMessage(5))
    ));
    assert!(m.join("d").exists());
}

#[test]
fn changes_between_sessions_are_noticed() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    let sizes = || {
        boxes
            .lock("m", Wait::UNTIL_DONE)
            .unwrap()
            .sizes()
            .unwrap()
            .to_vec()
    };
    age(&m);
    assert_eq!(sizes(), [3, 5]);
    assert_eq!(sizes(), [3, 5]);
    // In place: the directory does not change.
    write(m.join("a"), "longer\n");
    assert_eq!(sizes(), [7, 5]);
    write(m.join("c"), "x");
    assert_eq!(sizes(), [7, 5, 1]);
    fs::remove_file(m.join("b")).unwrap();
    assert_eq!(sizes(), [7, 1]);
}

#[test]
fn no_more_is_announced_than_there_is() {
    let (dir, boxes) = filled();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    write(dir.path().join("m/b"), "B\n");
    assert_eq!(session.size(no(2)).unwrap(), 5);
    let message = session.get(no(2), Wait::UNTIL_DONE).unwrap();
    assert_eq!(message.octets, 2);
    assert_eq!(read(message), "B\n");
}

#[test]
fn unique_ids() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    let uids = |name: &str| boxes.lock(name, Wait::UNTIL_DONE).unwrap().uids().unwrap();
    age(&m);
    let first = uids("m");
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], first[1]);
    for uid in first.iter() {
        assert_eq!(uid.len(), 32);
        assert!(uid.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    // Over sessions, by single question, over restarts, moves and chmod.
    assert_eq!(uids("m"), first);
    assert_eq!(
        boxes
            .lock("m", Wait::UNTIL_DONE)
            .unwrap()
            .uid(no(2))
            .unwrap(),
        first[1]
    );
    boxes.rename("m", "n").unwrap();
    assert_eq!(uids("n"), first);
    let again = dbox();
    again.set_base("again", dir.path()).unwrap();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.path().join("n/a"), private).unwrap();
    assert_eq!(
        again.lock("n", Wait::UNTIL_DONE).unwrap().uids().unwrap(),
        first
    );
    assert!(again.lock_kept("n").unwrap());
    assert_eq!(again.uid("n", 1).unwrap(), first[0]);
    assert_eq!(again.uids("n").unwrap(), first);
    again.unlock("n").unwrap();
    // A name used again, for a message of the same size.
    fs::remove_file(dir.path().join("n/a")).unwrap();
    write(dir.path().join("n/a"), "B:\n");
    let later = uids("n");
    assert_ne!(later[0], first[0]);
    assert_eq!(later[1], first[1]);
}

/// What a restore from a backup, a copy with its times, `chmod` or a move of the mailbox
/// leaves keeps its id; what may be another message has another one (RFC 1939 §7).
#[test]
fn unique_ids_survive_a_restore() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let set_time = |time: SystemTime| {
        let file = fs::File::options().append(true).open(m.join("a")).unwrap();
        file.set_modified(time).unwrap();
    };
    let uid = || {
        boxes
            .lock("m", Wait::UNTIL_DONE)
            .unwrap()
            .uid(no(1))
            .unwrap()
    };
    set_time(second + Duration::from_nanos(123_456_789));
    let before = uid();
    let same: [(&str, &dyn Fn()); 4] = [
        ("whole seconds, as tar keeps", &|| set_time(second)),
        ("microseconds", &|| {
            set_time(second + Duration::from_micros(9))
        }),
        ("another inode", &|| {
            fs::rename(m.join("a"), dir.path().join("a")).unwrap();
            write(m.join("a"), "A:\n");
            set_time(second);
        }),
        ("chmod", &|| {
            fs::set_permissions(m.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    for (what, act) in same {
        act();
        assert_eq!(uid(), before, "{what}");
    }
    // The id of 1.10.0, of a file without nanoseconds.
    assert_eq!(&*before, "2356dc0cf6d155585afbe8a06552cfaa");
    let other: [(&str, &dyn Fn()); 3] = [
        ("touch", &|| set_time(second + Duration::from_secs(1))),
        ("another size", &|| {
            write(m.join("a"), "A: \n");
            set_time(second);
        }),
        ("another name", &|| {
            fs::rename(m.join("a"), m.join("A")).unwrap();
            set_time_of(&m.join("A"), second);
        }),
    ];
    for (what, act) in other {
        act();
        assert_ne!(uid(), before, "{what}");
    }
}

fn set_time_of(path: &Path, time: SystemTime) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// A link that is a message leads to whatever the server can read; whoever does not trust
/// the owners of mailboxes refuses links.
#[test]
fn links_are_followed_or_refused() {
    let (dir, boxes) = filled();
    let m = dir.path().join("m");
    write(dir.path().join("secret"), "secret\n");
    symlink("../secret", m.join("link")).unwrap();
    symlink("loop", m.join("loop")).unwrap();
    let listed = || {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        let numbers = 1..=session.count();
        let all: Vec<_> = numbers
            .map(|n| read(session.get(no(n), Wait::UNTIL_DONE).unwrap()))
            .collect();
        all.concat()
    };
    assert_eq!(boxes.links(), Links::Follow);
    assert_eq!(listed(), "A:\nB: 1\nsecret\n");
    boxes.set_links(Links::Refuse);
    assert_eq!(listed(), "A:\nB: 1\n");
    // What becomes a link after the lock is neither read nor deleted as a message.
    for octets in [Octets::File, Octets::Wire] {
        boxes.set_octets(octets);
        write(m.join("b"), "B: 1\n");
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        fs::remove_file(m.join("b")).unwrap();
        symlink("../secret", m.join("b")).unwrap();
        assert!(session.get(no(2), Wait::UNTIL_DONE).is_err());
        assert!(start(&*session, no(2), &mut [0; 100]).is_none());
        assert!(boxes.path_of("m", 2).is_err());
        assert!(session.delete(&[no(2)]).is_err());
        session.unlock();
        fs::remove_file(m.join("b")).unwrap();
    }
    boxes.set_links(Links::Follow);
    boxes.set_octets(Octets::File);
    assert_eq!(listed(), "A:\nsecret\n");
}

/// What the system does not say of a link is not taken for "no message": this one's
/// name is too long for it.
#[test]
fn a_message_that_cannot_be_looked_at_fails_the_login() {
    let (dir, boxes) = filled();
    symlink("x".repeat(300), dir.path().join("m/c")).unwrap();
    let failed = boxes.lock("m", Wait::UNTIL_DONE).map(drop).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "couldn't list \"m\": c: file name too long"
    );
    assert_eq!(failed.failure(), Failure::Temporary);
    assert!(!boxes.is_locked("m").unwrap());
    boxes.set_links(Links::Refuse);
    assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 2);
}

/// What trying again does not mend is permanent (RFC 3206 §4).
#[test]
fn kinds_of_failures() {
    let (dir, boxes) = filled();
    let lock = dir.path().join("m/.pop3d.lock");
    type Row<'a> = (&'a dyn Fn(), &'a str);
    let table: [Row<'_>; 2] = [
        (
            &|| symlink("/dev/null", &lock).unwrap(),
            "couldn't lock \"m\": .pop3d.lock is a link",
        ),
        (
            &|| {
                fs::remove_file(&lock).unwrap();
                fs::create_dir(&lock).unwrap();
            },
            "couldn't lock \"m\": .pop3d.lock is a directory",
        ),
    ];
    for (make, want) in table {
        make();
        let failed = boxes.lock("m", Wait::UNTIL_DONE).map(drop).unwrap_err();
        assert_eq!(failed.to_string(), want);
        assert_eq!(failed.failure(), Failure::Permanent);
    }
    let kinds = [
        (std::io::ErrorKind::PermissionDenied, Failure::Permanent),
        (std::io::ErrorKind::ReadOnlyFilesystem, Failure::Permanent),
        (std::io::ErrorKind::NotFound, Failure::Temporary),
        (std::io::ErrorKind::StorageFull, Failure::Temporary),
        (std::io::ErrorKind::Other, Failure::Temporary),
    ];
    for (kind, want) in kinds {
        let what = String::from("x");
        let source = || std::io::Error::from(kind);
        let message = StoreError::Message {
            what: what.clone(),
            source: source(),
        };
        let all = StoreError::Io {
            what,
            source: source(),
        };
        assert_eq!((message.failure(), all.failure()), (want, want), "{kind}");
    }
}

#[test]
fn mailboxes_come_go_and_move() {
    let (dir, boxes) = filled();
    boxes.add("sub/er").unwrap();
    assert!(boxes.exists("sub/er").unwrap());
    assert!(boxes.lock_kept("sub//er/").unwrap());
    assert_eq!(
        text(boxes.remove("sub")),
        "cannot remove \"sub\", mailbox is locked"
    );
    assert!(boxes.is_locked("sub/er").unwrap());
    boxes.unlock("sub/er").unwrap();
    boxes.rename("m", "sub/m").unwrap();
    assert_eq!(boxes.list().unwrap(), ["sub"]);
    assert!(boxes.lock_kept("sub/m").unwrap());
    assert_eq!(boxes.stat("sub/m").unwrap(), 2);
    boxes.unlock("sub/m").unwrap();
    boxes.remove("sub").unwrap();
    assert!(boxes.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    boxes.add("sub").unwrap();
    assert!(boxes.lock_kept("sub").unwrap());
    assert_eq!(boxes.stat("sub").unwrap(), 0);
}

#[test]
fn a_link_is_another_name_of_the_same_mailbox() {
    let (dir, boxes) = filled();
    symlink("m", dir.path().join("alias")).unwrap();
    assert!(boxes.lock_kept("alias").unwrap());
    assert!(!boxes.lock_kept("m").unwrap());
    assert!(boxes.is_locked("m").unwrap());
    assert_eq!(
        text(boxes.remove("m")),
        "cannot remove \"m\", mailbox is locked"
    );
    boxes.unlock("alias").unwrap();
    boxes.remove("alias").unwrap();
    assert!(boxes.lock_kept("m").unwrap());
    assert_eq!(boxes.stat("m").unwrap(), 2);
}

/// A process that holds the lock of mailbox `dir` once this returns.
fn other_process(dir: &Path) -> Child {
    let mut child = Command::new("flock")
        .args(["-o".as_ref(), dir.join(".pop3d.lock").as_os_str()])
        .args(["sh", "-c", "echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

/// The mailbox `m` is neither removed nor moved.
#[track_caller]
fn refuses_to_go(boxes: &Mailboxes) {
    assert_eq!(
        text(boxes.remove("m")),
        "cannot remove \"m\", mailbox is locked"
    );
    assert_eq!(
        text(boxes.rename("m", "n")),
        "cannot move \"m\", mailbox is locked"
    );
}

#[test]
fn another_process_is_heeded_until_it_dies() {
    let (dir, boxes) = filled();
    let mut child = other_process(&dir.path().join("m"));
    assert!(boxes.is_locked("m").unwrap());
    assert!(!boxes.lock_kept("m").unwrap());
    assert!(matches!(
        boxes.lock("m", Wait::UNTIL_DONE),
        Err(StoreError::InUse(_))
    ));
    refuses_to_go(&boxes);
    assert_eq!(text(boxes.stat("m")), "mailbox \"m\" is not locked");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!boxes.is_locked("m").unwrap());
    assert!(boxes.lock_kept("m").unwrap());
}

/// As within one process: a mailbox does not go while one inside it is locked.
#[test]
fn another_process_is_heeded_inside_a_mailbox() {
    for (boxes, inner) in [(dbox(), "m/sub/er"), (maildir(), "m/.Sub")] {
        let dir = tempfile::tempdir().unwrap();
        boxes.set_base("here", dir.path()).unwrap();
        boxes.add("m").unwrap();
        boxes.add(inner).unwrap();
        let mut child = other_process(&dir.path().join(inner));
        refuses_to_go(&boxes);
        assert!(boxes.exists(inner).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        boxes.rename("m", "n").unwrap();
        // Moving leaves nothing locked behind.
        assert!(boxes.lock_kept(&inner.replace('m', "n")).unwrap());
        boxes.unlock_all();
        boxes.remove("n").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn one_of_many_gets_the_mailbox() {
    let (_dir, boxes) = filled();
    let boxes = Arc::new(boxes);
    let held = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if let Ok(session) = boxes.lock("m", Wait::UNTIL_DONE) {
                        assert_eq!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        session.unlock();
                    }
                }
            });
        }
    });
    assert!(!boxes.is_locked("m").unwrap());
}

#[test]
fn removing_and_locking_at_once() {
    let (_dir, boxes) = filled();
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            for _ in 0..100 {
                let mut tries = 0;
                while let Err(error) = boxes.remove("m") {
                    tries += 1;
                    assert!(tries < 1_000_000, "{error}");
                    std::thread::yield_now();
                }
                assert!(!boxes.exists("m").unwrap());
                boxes.add("m").unwrap();
            }
        });
        while !remover.is_finished() {
            match boxes.lock("m", Wait::UNTIL_DONE) {
                // While it is locked it is not removed.
                Ok(session) => {
                    assert!(boxes.exists("m").unwrap());
                    session.unlock();
                }
                Err(StoreError::InUse(_) | StoreError::Missing(..)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        remover.join().unwrap();
    });
}
