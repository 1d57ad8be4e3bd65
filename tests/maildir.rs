//! The Maildir store beside others who deliver, read and rename.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod mailbox;

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use mailbox::{no, start};
use pop3_proto::MsgNo;
use pop3d::store::{Content, Mailbox, Message, StartedMessage, Storage, StoreError, Wait};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailbox_error::MailboxError;
use pop3d::stores::files::mailboxes::{Mailboxes, Octets};
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::maildir::maildir;
use tempfile::TempDir;

/// Whether an event loop cannot lock the mailbox `m`.
fn would_block(boxes: &Mailboxes) -> bool {
    matches!(boxes.lock("m", Wait::No), Err(StoreError::WouldBlock))
}

fn read(message: Message) -> String {
    let Content::File(mut file, _) = message.content else {
        panic!("not a file");
    };
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Until what was written is old enough for its octets to be kept: the time of change
/// of an inode cannot be set back.
fn settle() {
    std::thread::sleep(Duration::from_millis(3100));
}

/// Writes a file whose time stamp is old.
fn write(path: impl AsRef<Path>, content: &str) {
    fs::write(&path, content).unwrap();
    age(path.as_ref(), 100);
}

fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    let old = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(old).unwrap();
}

fn empty() -> (TempDir, PathBuf, Mailboxes) {
    let dir = tempfile::tempdir().unwrap();
    let boxes = maildir();
    boxes.set_base("base", dir.path()).unwrap();
    boxes.add("m").unwrap();
    let m = dir.path().join("m");
    (dir, m, boxes)
}

fn uids(session: &dyn Mailbox) -> Vec<String> {
    session
        .uids()
        .unwrap()
        .iter()
        .map(|uid| uid.to_string())
        .collect()
}

fn sizes(boxes: &Mailboxes) -> Vec<u64> {
    boxes
        .lock("m", Wait::UNTIL_DONE)
        .unwrap()
        .sizes()
        .unwrap()
        .to_vec()
}

#[test]
fn made_private_and_told_apart_from_directories() {
    let (dir, m, boxes) = empty();
    for place in ["", "tmp", "new", "cur"] {
        let mode = fs::metadata(m.join(place)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{place}");
    }
    fs::create_dir(dir.path().join("plain")).unwrap();
    assert_eq!(boxes.list().unwrap(), ["m"]);
    assert!(boxes.exists("m").unwrap());
    assert!(!boxes.exists("plain").unwrap());
    let texts = [
        (
            boxes.lock_kept("plain").map(drop),
            "\"plain\" is not a Maildir",
        ),
        (boxes.size("plain").map(drop), "\"plain\" is not a Maildir"),
        (
            boxes.add("m"),
            "cannot add \"m\", mailbox already in existence",
        ),
        (boxes.stat("m").map(drop), "mailbox \"m\" is not locked"),
    ];
    for (result, want) in texts {
        assert_eq!(result.unwrap_err().to_string(), want);
    }
    assert!(!dir.path().join("plain/.pop3d.lock").exists());
    boxes.remove("m").unwrap();
    assert!(!m.exists());
}

/// A Maildir has its name only when it is whole, so that no interruption leaves a name
/// which is neither there nor free.
#[test]
fn made_whole_or_not_at_all() {
    let (dir, _m, boxes) = empty();
    let base = dir.path();
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| (0..500).for_each(|n| boxes.add(&format!("{n}")).unwrap()));
        while !maker.is_finished() {
            for n in 0..500 {
                let path = base.join(n.to_string());
                assert!(!path.exists() || path.join("cur").exists(), "{n} is half");
            }
        }
        maker.join().unwrap();
    });
    // Nothing is left aside, also where the name was taken at the last moment.
    assert_eq!(fs::read_dir(base).unwrap().count(), 501);
    symlink("nowhere", base.join("dangling")).unwrap();
    let taken = boxes.add("dangling").unwrap_err().to_string();
    assert_eq!(
        taken,
        "cannot add \"dangling\", mailbox already in existence"
    );
    // What an interruption has left aside is no mailbox, and in nobody's way.
    let id = std::process::id();
    fs::create_dir_all(base.join(format!(".pop3d.add.{id}.0/tmp"))).unwrap();
    boxes.add("more").unwrap();
    assert!(boxes.lock_kept("more").unwrap());
    assert_eq!(boxes.list().unwrap().len(), 502);
}

/// Of many who add the same mailbox one has added it.
#[test]
fn added_once() {
    let (_dir, _m, boxes) = empty();
    for round in 0..100 {
        let name = round.to_string();
        let added = std::thread::scope(|scope| {
            let adders = [(); 4].map(|()| scope.spawn(|| boxes.add(&name)));
            adders.map(|adder| adder.join().unwrap())
        });
        assert_eq!(added.iter().filter(|added| added.is_ok()).count(), 1);
        for refused in added.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, MailboxError::AddExisting(_)), "{refused}");
        }
    }
}

#[test]
fn new_and_cur_in_order_of_arrival() {
    let (_dir, m, boxes) = empty();
    write(m.join("cur/3.c.h:2,S"), "three\n");
    write(m.join("new/1.a.h"), "one\r\n");
    write(m.join("cur/2.b.h,S=4,W=5:2,"), "two\n");
    write(m.join("new/4.d.h,S=5"), "four\n");
    write(m.join("new/.5.e.h"), "hidden");
    write(m.join("tmp/0.x.h"), "coming");
    fs::create_dir(m.join("new/9")).unwrap();
    symlink("1.a.h", m.join("new/8")).unwrap();
    assert!(Command::new("mkfifo")
        .arg(m.join("new/7"))
        .status()
        .unwrap()
        .success());
    for _ in 0..3 {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        assert_eq!(
            uids(&*session),
            ["1.a.h", "2.b.h,S=4,W=5", "3.c.h", "4.d.h,S=5"]
        );
        assert_eq!(&*session.uid(no(3)).unwrap(), "3.c.h");
        assert_eq!(session.sizes().unwrap()[..], [5, 5, 7, 6]);
        assert_eq!(session.octets().unwrap(), 23);
        for (n, text) in (1..).zip(["one\r\n", "two\n", "three\n", "four\n"]) {
            let message = session.get(no(n), Wait::UNTIL_DONE).unwrap();
            assert_eq!(message.octets, session.size(no(n)).unwrap());
            assert_eq!(read(message), text);
        }
    }
    assert!(m.join("new/1.a.h").exists());
}

#[test]
fn renamed_by_others_under_way() {
    let (_dir, m, boxes) = empty();
    for name in ["1.a.h", "2.b.h", "3.c.h", "4.d.h"] {
        write(m.join("new").join(name), name);
    }
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    fs::rename(m.join("new/1.a.h"), m.join("cur/1.a.h:2,")).unwrap();
    fs::rename(m.join("new/2.b.h"), m.join("cur/2.b.h:2,FRS")).unwrap();
    fs::remove_file(m.join("new/3.c.h")).unwrap();
    assert_eq!(read(session.get(no(1), Wait::UNTIL_DONE).unwrap()), "1.a.h");
    assert_eq!(read(session.get(no(2), Wait::UNTIL_DONE).unwrap()), "2.b.h");
    fs::rename(m.join("cur/2.b.h:2,FRS"), m.join("cur/2.b.h:2,S")).unwrap();
    assert_eq!(read(session.get(no(2), Wait::UNTIL_DONE).unwrap()), "2.b.h");
    let gone = session.get(no(3), Wait::UNTIL_DONE).unwrap_err();
    assert_eq!(
        gone.to_string(),
        "couldn't read message 3 of \"m\": no such file or directory"
    );
    assert_eq!(read(session.get(no(4), Wait::UNTIL_DONE).unwrap()), "4.d.h");
    assert_eq!(boxes.path_of("m", 2).unwrap(), m.join("cur/2.b.h:2,S"));

    fs::rename(m.join("cur/2.b.h:2,S"), m.join("cur/2.b.h:2,RS")).unwrap();
    session.delete(&[no(2), no(3), no(4)]).unwrap();
    assert_eq!(fs::read_dir(m.join("new")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(m.join("cur")).unwrap().count(), 1);
    session.unlock();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!(uids(&*session), ["1.a.h"]);
}

#[test]
fn a_message_in_two_places_is_one() {
    let (_dir, m, boxes) = empty();
    write(m.join("new/1.a.h"), "same\n");
    fs::hard_link(m.join("new/1.a.h"), m.join("cur/1.a.h:2,S")).unwrap();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!(session.count(), 1);
    assert_eq!(boxes.path_of("m", 1).unwrap(), m.join("cur/1.a.h:2,S"));
}

/// Which no program makes that keeps to the format: then the one in `cur` hides the other,
/// until it is deleted. Neither is lost.
#[test]
fn of_two_messages_of_one_name_one_is_shown() {
    let (_dir, m, boxes) = empty();
    write(m.join("new/1.a.h"), "new\n");
    write(m.join("cur/1.a.h:2,S"), "cur\n");
    for text in ["cur\n", "new\n"] {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        assert_eq!(uids(&*session), ["1.a.h"]);
        assert_eq!(read(session.get(no(1), Wait::UNTIL_DONE).unwrap()), text);
        session.delete(&[no(1)]).unwrap();
        session.unlock();
    }
    assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 0);
}

#[test]
fn names_that_are_no_unique_ids() {
    let (_dir, m, boxes) = empty();
    let long = "9".repeat(200);
    write(m.join("new").join(&long), "long\n");
    write(m.join("new/1 a"), "blank\n");
    let latin = std::ffi::OsStr::from_bytes(b"2.\xe9.h");
    write(m.join("new").join(latin), "latin\n");
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    let all = uids(&*session);
    assert_eq!(all.len(), 3);
    for (n, uid) in (1..).zip(&all) {
        assert_eq!(uid.len(), 32, "{uid}");
        assert_eq!(*session.uid(no(n)).unwrap(), **uid);
    }
    assert_eq!(
        read(session.get(no(2), Wait::UNTIL_DONE).unwrap()),
        "latin\n"
    );
    session.unlock();
    // The same after a restart, and with flags.
    fs::rename(m.join("new/1 a"), m.join("cur/1 a:2,S")).unwrap();
    let again = maildir();
    again.set_base("base", m.parent().unwrap()).unwrap();
    assert_eq!(uids(&*again.lock("m", Wait::UNTIL_DONE).unwrap()), all);
}

#[test]
fn counted_once_and_again_after_a_change() {
    let (dir, m, boxes) = empty();
    write(m.join("new/1.a.h"), "a\nb\n");
    write(m.join("new/2.b.h,S=2"), "c\n");
    settle();
    assert_eq!(sizes(&boxes), [6, 3]);
    let kept = fs::read_to_string(m.join(".pop3d.octets")).unwrap();
    assert_eq!(kept.lines().filter(|line| !line.is_empty()).count(), 2);

    // A new process takes what is kept, and adds nothing to it.
    let fresh = || {
        let boxes = maildir();
        boxes.set_base("base", dir.path()).unwrap();
        boxes
    };
    assert_eq!(sizes(&fresh()), [6, 3]);
    assert_eq!(fs::read_to_string(m.join(".pop3d.octets")).unwrap(), kept);

    // In place, the same size: another time stamp.
    fs::write(m.join("new/1.a.h"), "a\r\n\n").unwrap();
    age(&m.join("new/1.a.h"), 50);
    assert_eq!(sizes(&boxes), [5, 3]);
    assert_eq!(sizes(&fresh()), [5, 3]);
    // Flags do not matter; arrivals are counted, the rest is known.
    fs::rename(m.join("new/1.a.h"), m.join("cur/1.a.h:2,S")).unwrap();
    write(m.join("new/3.c.h"), "");
    assert_eq!(sizes(&boxes), [5, 3, 0]);
    // Damage is no harm.
    fs::write(m.join(".pop3d.octets"), "rubbish\n\u{0}").unwrap();
    assert_eq!(sizes(&fresh()), [5, 3, 0]);
    assert_eq!(sizes(&fresh()), [5, 3, 0]);
    fs::remove_file(m.join(".pop3d.octets")).unwrap();
    fs::create_dir(m.join(".pop3d.octets")).unwrap();
    assert_eq!(sizes(&fresh()), [5, 3, 0]);
}

#[test]
fn never_more_announced_than_sent() {
    let (_dir, m, boxes) = empty();
    // Names that lie, and files that change after the lock.
    write(m.join("cur/1.a.h,S=4,W=5:2,"), "a\nb\nc\n");
    write(m.join("cur/2.b.h,W=900:2,"), "b\n");
    write(m.join("cur/3.c.h,S=2,W=900:2,"), "c\n");
    write(m.join("cur/4.d.h:2,"), "d\nd\n");
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!(session.sizes().unwrap()[..], [5, 900, 3, 6]);
    write(m.join("cur/4.d.h:2,"), "d\n");
    for (n, want) in [(1, 9), (2, 3), (3, 3), (4, 3)] {
        assert_eq!(
            session.get(no(n), Wait::UNTIL_DONE).unwrap().octets,
            want,
            "message {n}"
        );
    }
}

#[test]
fn arrivals_and_departures_are_noticed() {
    let (_dir, m, boxes) = empty();
    for n in 0..50 {
        write(m.join(format!("new/{n:02}.a.h,S=2,W=3")), "x\n");
        assert_eq!(sizes(&boxes).len(), n + 1);
        assert_eq!(sizes(&boxes).len(), n + 1);
    }
    for n in 0..50 {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        assert_eq!(session.count(), 50 - n);
        session.delete(&[no(1)]).unwrap();
        session.unlock();
    }
    assert!(sizes(&boxes).is_empty());
}

#[test]
fn beside_a_delivery_agent_and_a_reader() {
    let (_dir, m, boxes) = empty();
    const MESSAGES: usize = 300;
    std::thread::scope(|scope| {
        let agents = scope.spawn(|| {
            for n in 0..MESSAGES {
                let (tmp, new) = (
                    m.join(format!("tmp/{n:03}")),
                    m.join(format!("new/{n:03}.h")),
                );
                fs::write(&tmp, "mail\n").unwrap();
                fs::rename(&tmp, &new).unwrap();
                if n >= 5 {
                    let old = format!("{:03}.h", n - 5);
                    let (new, cur) = (m.join("new").join(&old), m.join(format!("cur/{old}:2,S")));
                    fs::rename(new, cur).unwrap();
                }
            }
        });
        let mut seen = 0;
        while !agents.is_finished() {
            let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
            // No message is ever missed, shown twice or out of reach.
            assert!(session.count() >= seen);
            seen = session.count();
            let want: Vec<String> = (0..seen).map(|n| format!("{n:03}.h")).collect();
            assert_eq!(uids(&*session), want);
            for number in [1.min(seen), seen / 2, seen]
                .into_iter()
                .filter_map(MsgNo::new)
            {
                assert_eq!(
                    read(session.get(number, Wait::UNTIL_DONE).unwrap()),
                    "mail\n"
                );
            }
        }
        agents.join().unwrap();
    });
    assert_eq!(sizes(&boxes), [6; MESSAGES]);
}

/// A count that nobody waits for any more is given up between two messages; what has been
/// counted is kept, the rest counted by the next session.
#[test]
fn a_count_is_given_up() {
    let (_dir, m, boxes) = empty();
    let wire = dbox();
    wire.set_base("base", m.parent().unwrap()).unwrap();
    wire.set_octets(Octets::Wire);
    let plain = m.with_file_name("plain");
    fs::create_dir(&plain).unwrap();
    for n in 0..10 {
        write(m.join(format!("cur/170000000{n}.M1P1.host")), "a\nb\n");
        write(plain.join(n.to_string()), "a\nb\n");
    }
    settle();
    for (store, mailbox, dir) in [(&boxes, "m", &m), (&wire, "plain", &plain)] {
        let asked = std::cell::Cell::new(0);
        let wanted = || {
            asked.set(asked.get() + 1);
            asked.get() <= 3
        };
        drop(store.lock(mailbox, Wait::While(&wanted)).unwrap());
        let lines = || {
            let known = fs::read_to_string(dir.join(".pop3d.octets")).unwrap();
            known.lines().filter(|line| !line.is_empty()).count()
        };
        assert_eq!(lines(), 3, "{mailbox}");
        let session = store.lock(mailbox, Wait::UNTIL_DONE).unwrap();
        assert_eq!(session.sizes().unwrap()[..], [6; 10], "{mailbox}");
        assert_eq!(lines(), 10, "{mailbox}");
    }
}

#[test]
fn a_dbox_counts_octets_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let boxes = dbox();
    assert_eq!(boxes.octets(), Octets::File);
    boxes.set_base("base", dir.path()).unwrap();
    boxes.add("m").unwrap();
    let m = dir.path().join("m");
    write(m.join("a"), "a\nb\n");
    write(m.join("b"), "b");
    settle();
    assert_eq!(sizes(&boxes), [4, 1]);
    boxes.set_octets(Octets::Wire);
    for _ in 0..3 {
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        assert_eq!(session.sizes().unwrap()[..], [6, 3]);
        assert_eq!(session.octets().unwrap(), 9);
        assert_eq!(session.get(no(1), Wait::UNTIL_DONE).unwrap().octets, 6);
    }
    let kept = fs::read_to_string(m.join(".pop3d.octets")).unwrap();
    assert_eq!(kept.lines().filter(|line| !line.is_empty()).count(), 2);
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    write(m.join("a"), "a\n");
    assert_eq!(session.get(no(1), Wait::UNTIL_DONE).unwrap().octets, 3);
    session.unlock();
    assert_eq!(sizes(&boxes), [3, 3]);
    boxes.set_octets(Octets::File);
    assert_eq!(sizes(&boxes), [2, 1]);
}

#[test]
fn a_maildir_that_is_half_there() {
    let (_dir, m, boxes) = empty();
    write(m.join("new/1"), "x\n");
    fs::remove_dir(m.join("cur")).unwrap();
    // Whether or not it was whole when it was locked before.
    for _ in 0..2 {
        let error = boxes.lock("m", Wait::UNTIL_DONE).map(drop).unwrap_err();
        assert!(matches!(&error, StoreError::Missing(text, _) if text == "\"m\" is not a Maildir"));
        fs::create_dir(m.join("cur")).unwrap();
        drop(boxes.lock("m", Wait::UNTIL_DONE).unwrap());
        fs::remove_dir(m.join("cur")).unwrap();
    }
    let error = boxes.lock_kept("m").unwrap_err();
    assert!(matches!(error, MailboxError::Unusable { .. }));
}

/// A link in the place of `new` or `cur` leads to mail of somebody else: it is not
/// followed, whether it was there before or is put there during a session.
#[test]
fn a_link_in_the_place_of_a_directory() {
    for place in ["new", "cur"] {
        let (dir, m, boxes) = empty();
        boxes.add("victim").unwrap();
        let theirs = dir.path().join("victim").join(place);
        for name in ["1.a.h", "2.b.h,S=2,W=3"] {
            write(m.join(place).join(name), "mine\n");
            write(theirs.join(name), "theirs\n");
        }
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        let away = m.join("away");
        let swap = || {
            fs::rename(m.join(place), &away).unwrap();
            symlink(&theirs, m.join(place)).unwrap();
        };
        swap();
        let mut buffer = [0; 1000];
        for number in [no(1), no(2)] {
            assert!(start(&*session, number, &mut buffer).is_none());
            let failed = session.get(number, Wait::UNTIL_DONE).unwrap_err();
            assert!(matches!(failed, StoreError::Message { .. }), "{failed}");
            assert!(boxes.path_of("m", number.get().into()).is_err());
        }
        assert!(session.delete(&[no(1), no(2)]).is_err());
        session.unlock();
        let want = "\"m\" is not a Maildir, its new or cur is a link";
        let refused = || match boxes.lock("m", Wait::UNTIL_DONE).map(drop) {
            Err(StoreError::Missing(text, _)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(), want);
        assert!(would_block(&boxes));
        assert!(!boxes.exists("m").unwrap());
        assert_eq!(boxes.list().unwrap(), ["victim"]);
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 2);
        // Back in its place it is a mailbox again; also for who never saw it whole.
        fs::remove_file(m.join(place)).unwrap();
        fs::rename(&away, m.join(place)).unwrap();
        assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 2);
        swap();
        let fresh = maildir();
        fresh.set_base("base", dir.path()).unwrap();
        assert!(fresh.lock("m", Wait::UNTIL_DONE).is_err());
    }
}

/// A message that becomes a link during a session is not followed either.
#[test]
fn a_link_in_the_place_of_a_message() {
    let (dir, m, boxes) = empty();
    write(dir.path().join("secret"), "secret\n");
    for name in ["1.a.h", "2.b.h,S=7,W=8"] {
        write(m.join("cur").join(name), "mine..\n");
    }
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    for name in ["1.a.h", "2.b.h,S=7,W=8"] {
        fs::remove_file(m.join("cur").join(name)).unwrap();
        symlink("../../secret", m.join("cur").join(name)).unwrap();
    }
    let mut buffer = [0; 1000];
    for number in [no(1), no(2)] {
        assert!(start(&*session, number, &mut buffer).is_none());
        assert!(session.get(number, Wait::UNTIL_DONE).is_err());
    }
}

/// What is locked without a hop to another thread is known and unchanged: a mailbox that
/// has grown is read where reading may take long.
#[test]
fn locked_at_once_only_while_nothing_has_changed() {
    let (dir, m, boxes) = empty();
    write(m.join("new/1,S=3,W=4"), "a\nb");
    assert!(would_block(&boxes), "never listed");
    drop(boxes.lock("m", Wait::UNTIL_DONE).unwrap());
    if !Cached::on(dir.path()).open {
        settle();
        assert!(would_block(&boxes), "the system cannot tell");
        return;
    }
    // A directory changed within the last seconds may change once more unseen.
    let begin = std::time::Instant::now();
    let known = loop {
        match boxes.lock("m", Wait::No) {
            Ok(locked) => break locked,
            Err(_) => drop(boxes.lock("m", Wait::UNTIL_DONE).unwrap()),
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "never known");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((known.count(), known.octets().unwrap()), (1, 4));
    let busy = boxes.lock("m", Wait::No).map(drop);
    assert!(matches!(busy, Err(StoreError::InUse(_))));
    let busy = boxes.lock("m", Wait::UNTIL_DONE).map(drop);
    assert!(matches!(busy, Err(StoreError::InUse(_))));
    drop(known);
    drop(boxes.lock("m", Wait::No).expect("free again"));
    // Another mailbox in its place, by somebody who does not know of this store.
    let away = m.with_extension("away");
    fs::rename(&m, &away).unwrap();
    assert!(would_block(&boxes), "gone");
    fs::create_dir(&m).unwrap();
    for place in ["tmp", "new", "cur", ".pop3d.lock"] {
        match place.starts_with('.') {
            true => write(m.join(place), ""),
            false => fs::create_dir(m.join(place)).unwrap(),
        }
    }
    assert!(would_block(&boxes), "another");
    assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 0);
    fs::remove_dir_all(&m).unwrap();
    fs::rename(&away, &m).unwrap();
    assert_eq!(boxes.lock("m", Wait::UNTIL_DONE).unwrap().count(), 1);
    write(m.join("new/2"), "one\ntwo\n");
    assert!(would_block(&boxes), "it has grown");
    let grown = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!((grown.count(), grown.octets().unwrap()), (2, 14));
}

/// What the system has only in part in memory is not taken for whole: a read that does
/// not wait ends where the rest would have to be waited for.
#[test]
fn a_part_in_memory_is_not_the_whole() {
    use rustix::fs::{fadvise, Advice};
    let (dir, m, boxes) = empty();
    let can = Cached::on(dir.path());
    let text = "x".repeat(12_286) + "\r\n";
    // Names that lie, of a whole page and of nothing, and one that tells the truth.
    let names = ["1.a,S=4096,W=4096", "2.b,S=0,W=0", "3.c,S=12288,W=12288"];
    for name in names {
        write(m.join("cur").join(name), &text);
    }
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    let mut buffer = vec![0; 60_000];
    for cached in [4096, 0] {
        for (index, name) in names.iter().enumerate() {
            let honest = name.starts_with('3');
            let file = fs::File::open(m.join("cur").join(name)).unwrap();
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            fadvise(&file, 0, None, Advice::Random).unwrap();
            if cached > 0 {
                std::os::unix::fs::FileExt::read_at(&file, &mut vec![0; cached], 0).unwrap();
            }
            let number = no(index as u32 + 1);
            let begin = start_in_the_end(&*session, number, &mut buffer);
            assert!(begin.is_some() || !(honest && can.open), "none of {name}");
            if let Some(begin) = begin {
                let rest = match begin.rest {
                    Some(Content::File(_, size)) => size,
                    _ => 0,
                };
                assert_eq!(begin.length as u64 + rest, 12_288, "{name} of {cached}");
                assert_eq!(begin.octets, 12_288, "{name} of {cached}");
            }
            assert_eq!(
                session.get(number, Wait::UNTIL_DONE).unwrap().octets,
                12_288
            );
        }
    }
}

/// What comes at once and what is left are the message, whatever it is told to be.
#[test]
fn begins_and_rests_of_every_size() {
    const ROOM: usize = 60 * 1024;
    let (dir, m, boxes) = empty();
    let can = Cached::on(dir.path());
    let sizes = [
        0,
        1,
        511,
        512,
        513,
        4095,
        4096,
        4097,
        ROOM - 1,
        ROOM,
        ROOM + 1,
        200_000,
    ];
    let mut texts = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        for (kind, line) in ["lf line\n", "crlf line\r\n"].into_iter().enumerate() {
            let text: String = line.chars().cycle().take(size).collect();
            let octets = wire_octets(text.as_bytes());
            let told = [
                String::new(),
                format!(",S={size},W={octets}"),
                format!(",W={octets}"),
            ];
            for (way, told) in told.into_iter().enumerate() {
                write(
                    m.join(format!("cur/{index:02}{kind}{way}.h{told}:2,")),
                    &text,
                );
                // One that is told whole is nothing if it cannot be read.
                let must = can.open && (can.read || way != 1);
                texts.push((text.clone(), octets, must));
            }
        }
    }
    // What is counted is believed of a file that has been left alone for a while.
    settle();
    let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    assert_eq!(session.count() as usize, texts.len());
    for room in [ROOM, 4096] {
        let mut buffer = vec![0; room];
        for (index, (text, octets, must)) in texts.iter().enumerate() {
            let number = no(index as u32 + 1);
            // None where the system cannot tell what is in memory.
            let Some(begin) = start_in_the_end(&*session, number, &mut buffer) else {
                assert!(!must, "none of message {number} by {room}");
                continue;
            };
            let mut got = buffer[..begin.length].to_vec();
            if let Some(Content::File(file, size)) = begin.rest {
                file.take(size).read_to_end(&mut got).unwrap();
            }
            assert_eq!(begin.octets, *octets, "message {number} by {room}");
            assert!(got == text.as_bytes(), "message {number} by {room}");
        }
    }
}

/// What can be done without waiting for a disk: other file systems, older systems and
/// filters of system calls know less.
#[derive(Debug)]
struct Cached {
    open: bool,
    read: bool,
}

impl Cached {
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn on(dir: &Path) -> Self {
        use rustix::fs::{openat2, Mode, OFlags, ResolveFlags, CWD};
        use rustix::io::{preadv2, ReadWriteFlags};
        const TEXT: &[u8] = b"just written and read";
        let path = dir.join("probe");
        fs::write(&path, TEXT).unwrap();
        assert_eq!(fs::read(&path).unwrap(), TEXT);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = || openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::CACHED);
        let Some(file) = (0..TRIES).find_map(|_| open().ok()) else {
            return Self {
                open: false,
                read: false,
            };
        };
        let mut buffer = [0; 2 * TEXT.len()];
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let read = preadv2(file, &mut parts, 0, ReadWriteFlags::NOWAIT);
        Self {
            open: true,
            read: read == Ok(TEXT.len()),
        }
    }

    #[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
    fn on(_dir: &Path) -> Self {
        Self {
            open: false,
            read: false,
        }
    }
}

/// Somebody who changes directories or mounts may make the system say once that it
/// would have to wait.
const TRIES: usize = 20;

/// [`start`], tried some times.
fn start_in_the_end(
    session: &dyn Mailbox,
    number: MsgNo,
    buffer: &mut [u8],
) -> Option<StartedMessage> {
    (0..TRIES).find_map(|_| start(session, number, buffer))
}

/// Octets as RFC 1939 §11 counts them, byte by byte.
fn wire_octets(text: &[u8]) -> u64 {
    let mut last = b'\n';
    let mut octets = 0;
    for &byte in text {
        octets += 1 + u64::from(byte == b'\n' && last != b'\r');
        last = byte;
    }
    octets + if last == b'\n' { 0 } else { 2 }
}
