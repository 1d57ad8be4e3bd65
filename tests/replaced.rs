//! Mailboxes that go or are replaced while a session has them: only from what is locked
//! is deleted, and what was not deleted is said.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pop3_proto::{Extent, MsgNo, Request};
use pop3d::store::{
    Content, Immediate, Mailbox, Message, StartedMessage, Storage, StoreError, Wait,
};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailboxes::Mailboxes;
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::maildir::maildir;
use tempfile::TempDir;

fn no(n: u32) -> MsgNo {
    MsgNo::new(n).unwrap()
}

/// The start of a message, if an event loop can read it.
fn start(session: &dyn Mailbox, number: MsgNo, buffer: &mut [u8]) -> Option<StartedMessage> {
    let request = Request::Fetch {
        number,
        extent: Extent::Whole,
    };
    match session.try_now(&request, buffer) {
        Immediate::Started(message) => Some(message),
        _ => None,
    }
}

/// A mailbox `m` of the messages `1` and `2` in a session's hands.
struct Case {
    _base: TempDir,
    boxes: Mailboxes,
    dir: PathBuf,
    /// Where in the mailbox messages are.
    place: &'static str,
    session: Arc<dyn Mailbox>,
}

impl Case {
    fn both() -> [Self; 2] {
        [(dbox(), ""), (maildir(), "new")].map(|(boxes, place)| {
            let base = tempfile::tempdir().unwrap();
            boxes.set_base("base", base.path()).unwrap();
            boxes.add("m").unwrap();
            let dir = base.path().join("m");
            for name in ["1", "2"] {
                fs::write(dir.join(place).join(name), "x\n").unwrap();
            }
            let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
            Self {
                _base: base,
                boxes,
                dir,
                place,
                session,
            }
        })
    }

    fn delete(&self) -> String {
        let deleted = self.session.delete(&[no(1), no(2)]);
        deleted.map_or_else(|error| error.to_string(), |()| "deleted".into())
    }

    fn left(&self, dir: &Path) -> usize {
        let entries = fs::read_dir(dir.join(self.place)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| ["1", "2"].iter().any(|n| name == n))
            .count()
    }
}

#[test]
fn a_mailbox_that_has_gone() {
    for case in Case::both() {
        let away = case.dir.with_extension("away");
        fs::rename(&case.dir, &away).unwrap();
        assert_eq!(
            case.delete(),
            "couldn't delete message 1 of \"m\": no such file or directory"
        );
        assert_eq!(case.left(&away), 2);
        // Back again it is the one that is locked.
        fs::rename(&away, &case.dir).unwrap();
        fs::remove_file(case.dir.join(case.place).join("1")).unwrap();
        assert_eq!(case.delete(), "deleted");
        assert_eq!(case.left(&case.dir), 0);
    }
}

#[test]
fn another_mailbox_in_its_place() {
    for case in Case::both() {
        let away = case.dir.with_extension("away");
        fs::rename(&case.dir, &away).unwrap();
        case.boxes.add("m").unwrap();
        for name in ["1", "2"] {
            fs::write(case.dir.join(case.place).join(name), "y\n").unwrap();
        }
        for _ in 0..2 {
            assert_eq!(
                case.delete(),
                "couldn't delete message 1 of \"m\": it is not the mailbox that was locked"
            );
            assert_eq!((case.left(&case.dir), case.left(&away)), (2, 2));
            // Once more with a lock file of its own.
            fs::write(case.dir.join(".pop3d.lock"), "").unwrap();
        }
    }
}

/// Whether or not something was read before: what is read is that of the mailbox that
/// was locked, wherever it is now.
#[test]
fn nothing_is_read_from_another_mailbox() {
    let read = |case: &Case| {
        let mut buffer = [0; 100];
        if let Some(begin) = start(&*case.session, no(1), &mut buffer) {
            return String::from_utf8(buffer[..begin.length].into()).unwrap();
        }
        match case.session.get(no(1), Wait::UNTIL_DONE) {
            Ok(message) => text(message),
            Err(error) => error.to_string(),
        }
    };
    for begun in [false, true] {
        for case in Case::both() {
            if begun {
                assert_eq!(read(&case), "x\n");
            }
            let away = case.dir.with_extension("away");
            fs::rename(&case.dir, &away).unwrap();
            case.boxes.add("m").unwrap();
            fs::write(case.dir.join(case.place).join("1"), "y\n").unwrap();
            assert_eq!(read(&case), "x\n");
            // Nor by a script that is given the path.
            assert!(case.boxes.path_of("m", 1).is_err());
            fs::remove_dir_all(&case.dir).unwrap();
            fs::rename(&away, &case.dir).unwrap();
            assert_eq!(read(&case), "x\n");
            assert!(case.boxes.path_of("m", 1).is_ok());
        }
    }
}

fn text(message: Message) -> String {
    let Content::File(mut file, _) = message.content else {
        panic!("not a file");
    };
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn another_lock_file_in_its_place() {
    for case in Case::both() {
        let lock = case.dir.join(".pop3d.lock");
        fs::remove_file(&lock).unwrap();
        assert_ne!(case.delete(), "deleted");
        // Another process wants to come in.
        let other = if case.place.is_empty() {
            dbox()
        } else {
            maildir()
        };
        other.set_base("base", case.dir.parent().unwrap()).unwrap();
        let refused = || {
            matches!(
                other.lock("m", Wait::UNTIL_DONE).map(drop),
                Err(StoreError::InUse(_))
            )
        };
        // Where the directory is locked too, it does not get in.
        assert!(refused());
        assert!(other.is_locked("m").unwrap());
        fs::write(&lock, "").unwrap();
        assert!(refused());
        assert_ne!(case.delete(), "deleted");
        assert_eq!(case.left(&case.dir), 2);
        case.session.unlock();
        let session = other.lock("m", Wait::UNTIL_DONE).unwrap();
        session.delete(&[no(1), no(2)]).unwrap();
        assert_eq!(case.left(&case.dir), 0);
    }
}

/// A Maildir without its directories: nobody knows where its messages are.
#[test]
fn a_maildir_without_its_places() {
    let [_, case] = Case::both();
    fs::rename(case.dir.join("new"), case.dir.join("away")).unwrap();
    assert_ne!(case.delete(), "deleted");
    fs::rename(case.dir.join("away"), case.dir.join("new")).unwrap();
    // Read meanwhile: still there.
    for name in ["1", "2"] {
        let read = case.dir.join("cur").join(format!("{name}:2,S"));
        fs::rename(case.dir.join("new").join(name), read).unwrap();
    }
    assert_eq!(case.delete(), "deleted");
    assert_eq!(fs::read_dir(case.dir.join("cur")).unwrap().count(), 0);
}
