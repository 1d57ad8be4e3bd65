//! Names of files in a Maildir: each is a message with an id that clients can take, and no
//! more is announced of it than comes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use pop3_proto::MsgNo;
use pop3d::store::{Storage, Wait};
use pop3d::stores::maildir::maildir;

use super::input::Input;

/// The message has 9 bytes and 12 octets.
const MESSAGE: &[u8] = b"a: b\n\n.c\n";

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let base = tempfile::tempdir().unwrap();
    let mailbox = base.path().join("m");
    for place in ["tmp", "new", "cur"] {
        fs::create_dir_all(mailbox.join(place)).unwrap();
    }
    let mut files = 0;
    while !input.is_empty() && files < 4 {
        let place = ["new", "cur"][usize::from(input.byte() % 2)];
        let name = OsStr::from_bytes(input.bytes());
        files += usize::from(fs::write(mailbox.join(place).join(name), MESSAGE).is_ok());
    }
    let boxes = maildir();
    boxes.set_base("base", base.path()).unwrap();
    let locked = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    let count = locked.count();
    assert!(count as usize <= files);
    let uids = locked.uids().unwrap();
    for (index, uid) in uids.iter().enumerate() {
        assert!((1..=70).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_graphic()));
        assert!(!uids[..index].contains(uid), "{uid} twice");
    }
    let number = |n| MsgNo::new(n).unwrap();
    for n in (1..=count).map(number) {
        assert_eq!(locked.uid(n).unwrap(), uids[n.index()]);
        assert_eq!(locked.get(n, Wait::UNTIL_DONE).unwrap().octets, 12);
        locked.size(n).unwrap();
    }
    locked.octets().unwrap();
    let all: Vec<_> = (1..=count).map(number).collect();
    locked.delete(&all).unwrap();
    drop(locked);
    // Of files with one base name, as a mover that was interrupted leaves them, one is the
    // message; the next is it then.
    assert!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count() as usize <= files - all.len());
}
