//! RETR never announces more octets than come, whatever names and caches say.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use pop3_proto::body::OctetCounter;
use pop3_proto::{Extent, MsgNo, Request};
use pop3d::store::{Content, Immediate, Mailbox, StartedMessage, Storage, Wait};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailboxes::{Mailboxes, Octets};
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::maildir::maildir;
use tempfile::TempDir;

/// As large as what a connection reads at once.
const ROOM: usize = 60 * 1024;

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

/// Until what was written is old enough for what is counted of it to be believed.
fn settle() {
    sleep(Duration::from_millis(3100));
}

/// Writes a file with a time of change long ago, as `cp -p` and `touch -r` do.
fn write(path: impl AsRef<Path>, content: &[u8]) {
    fs::write(&path, content).unwrap();
    let file = fs::File::options().append(true).open(&path).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(old).unwrap();
}

fn empty(boxes: Mailboxes) -> (TempDir, PathBuf, Mailboxes) {
    let dir = tempfile::tempdir().unwrap();
    boxes.set_base("base", dir.path()).unwrap();
    boxes.add("m").unwrap();
    let m = dir.path().join("m");
    (dir, m, boxes)
}

fn octets(text: &[u8]) -> u64 {
    let mut counter = OctetCounter::new();
    counter.push(text);
    counter.octets()
}

/// What is announced of a message, by both ways to it, and what comes.
fn announced(session: &dyn Mailbox, number: u32) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let message = session.get(no(number), Wait::UNTIL_DONE).unwrap();
    let Content::File(file, size) = message.content else {
        panic!("not a file");
    };
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).unwrap();
    all.push((message.octets, octets(&bytes)));
    let mut buffer = vec![0; ROOM];
    // None where the other way is taken.
    if let Some(begin) = start(session, no(number), &mut buffer) {
        let mut bytes = buffer[..begin.length].to_vec();
        if let Some(Content::File(file, left)) = begin.rest {
            file.take(left).read_to_end(&mut bytes).unwrap();
        }
        all.push((begin.octets, octets(&bytes)));
    }
    all
}

#[track_caller]
fn exact(session: &dyn Mailbox, number: u32) {
    for (announced, came) in announced(session, number) {
        assert_eq!(announced, came, "message {number}");
    }
}

#[track_caller]
fn not_too_many(session: &dyn Mailbox, number: u32) {
    for (announced, came) in announced(session, number) {
        assert!(announced <= came, "message {number}: {announced} of {came}");
    }
}

#[test]
fn names_that_are_wrong_but_not_absurd() {
    let (_dir, m, boxes) = empty(maildir());
    write(m.join("new/1.a,S=20,W=30"), b"S: x\n\nabcdefghijklm\n");
    write(m.join("new/2.b,W=11"), b"a\nb\nc");
    write(m.join("new/3.c,S=512,W=600"), &[b'x'; 512]);
    write(m.join("new/4.d,S=4,W=8"), b"\n\n\r\n");
    // Right, and as large as it may be.
    write(m.join("new/5.e,S=4,W=8"), b"\n\n\n\n");
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!(session.sizes().unwrap()[..], [30, 11, 600, 8, 8]);
    (1..=5).for_each(|n| exact(&*session, n));
}

/// Too large to be counted before it is announced: what its begin shows is heeded, and
/// a right name is believed.
#[test]
fn names_of_large_messages() {
    let (_dir, m, boxes) = empty(maildir());
    let (lf, crlf) = ("some text\n".repeat(50_000), "some text\r\n".repeat(50_000));
    let sizes = |text: &str, octets: u64| format!(",S={},W={octets}", text.len());
    let right = |text: &str| sizes(text, octets(text.as_bytes()));
    write(m.join("new/1.a".to_owned() + &right(&lf)), lf.as_bytes());
    write(
        m.join("new/2.b".to_owned() + &right(&crlf)),
        crlf.as_bytes(),
    );
    let many = 2 * crlf.len() as u64;
    write(
        m.join("new/3.c".to_owned() + &sizes(&crlf, many)),
        crlf.as_bytes(),
    );
    write(m.join(format!("new/4.d,W={many}")), crlf.as_bytes());
    write(m.join(format!("new/5.e,S=3,W={many}")), crlf.as_bytes());
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    exact(&*session, 1);
    exact(&*session, 2);
    (3..=5).for_each(|n| not_too_many(&*session, n));
}

/// Counts outlive neither a rewrite that keeps the size, nor one whose time of change
/// was put back, nor another file that got the inode.
#[test]
fn edits_that_keep_the_size() {
    let large = |byte: &str| byte.repeat(ROOM / byte.len() + 1000).into_bytes();
    let (many, few) = (large("\n\n\n\n"), large("aaa\n"));
    for kind in ["maildir", "dbox"] {
        let (dir, m, boxes) = match kind {
            "dbox" => empty(dbox()),
            _ => empty(maildir()),
        };
        boxes.set_octets(Octets::Wire);
        let place = |name: &str| match kind {
            "dbox" => m.join(name),
            _ => m.join("new").join(name),
        };
        let named = format!("3.c,S={}", many.len());
        let names = ["1.a,S=8", "2.b", &named, "4.d"];
        let fill = |small: &[u8], large: &[u8]| {
            for (name, text) in names.iter().zip([small, small, large, large]) {
                write(place(name), text);
            }
        };
        fill(b"\n\n\n\n\n\n\n\n", &many);
        settle();
        // Both from this object's memory and from the file beside the messages.
        let fresh = match kind {
            "dbox" => dbox(),
            _ => maildir(),
        };
        fresh.set_octets(Octets::Wire);
        fresh.set_base("base", dir.path()).unwrap();
        let all = |boxes: &Mailboxes| {
            let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
            (1..=4).for_each(|n| exact(&*session, n));
            session.sizes().unwrap()
        };
        let before = all(&boxes);
        assert_eq!(
            before[..],
            [16, 16, 2 * many.len() as u64, 2 * many.len() as u64]
        );
        let kept = fs::read_to_string(m.join(".pop3d.octets")).unwrap();
        assert_eq!(kept.lines().filter(|line| line.contains(" v2 ")).count(), 4);
        // Believed: no second count, no second line.
        assert_eq!(all(&fresh), before);
        assert_eq!(fs::read_to_string(m.join(".pop3d.octets")).unwrap(), kept);

        fill(b"aaaaaaa\n", &few);
        all(&boxes);
        all(&fresh);
        fs::remove_file(place("4.d")).unwrap();
        write(place("4.d"), &many);
        all(&boxes);
        all(&fresh);
    }
}

/// The same within one session.
#[test]
fn edits_after_the_lock() {
    let (_dir, m, boxes) = empty(dbox());
    boxes.set_octets(Octets::Wire);
    write(m.join("1"), &[b'\n'; 2 * ROOM]);
    settle();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    exact(&*session, 1);
    write(m.join("1"), &[b'a'; 2 * ROOM]);
    exact(&*session, 1);
}

/// Unique ids and deletions do not look at the time of change of the inode: a message
/// stays the same when its mode or its links change.
#[test]
fn the_same_message_after_chmod_and_link() {
    let (dir, m, boxes) = empty(dbox());
    write(m.join("1"), b"x\n");
    let before = boxes.lock("m", Wait::UNTIL_DONE).unwrap().uids().unwrap();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    fs::hard_link(m.join("1"), dir.path().join("backup")).unwrap();
    session.delete(&[no(1)]).unwrap();
    session.unlock();
    fs::rename(dir.path().join("backup"), m.join("1")).unwrap();
    assert_eq!(
        boxes.lock("m", Wait::UNTIL_DONE).unwrap().uids().unwrap(),
        before
    );
}
