//! Mailboxes in memory through their public interface: by name as scripts use them, by
//! handle as sessions do, and both at once.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use pop3_proto::{Extent, MsgNo, Request};
use pop3d::store::delivery::{DeliverError, ExpungeError, FetchError, MessageStore, Uid};
use pop3d::store::{Content, Immediate, Mailbox, Message, Storage, StoreError, Wait};
use pop3d::stores::files::mailbox_error::MailboxError;
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::memory::MemoryBoxes;

fn no(n: u32) -> MsgNo {
    MsgNo::new(n).unwrap()
}

fn text<T>(result: Result<T, MailboxError>) -> String {
    result.map_or_else(|error| error.to_string(), |_| String::from("-"))
}

fn bytes(message: &Message) -> &[u8] {
    match &message.content {
        Content::Data(bytes) => bytes,
        Content::File(..) => panic!("a file in memory"),
    }
}

fn put(boxes: &MemoryBoxes, mailbox: &str, mut bytes: &[u8]) -> Box<str> {
    boxes.deliver(mailbox, &mut bytes, None).unwrap()
}

fn put_as(boxes: &MemoryBoxes, mut bytes: &[u8], uid: &str) -> Result<Box<str>, DeliverError> {
    boxes.deliver("m", &mut bytes, Uid::new(uid).as_ref())
}

fn uids(boxes: &MemoryBoxes) -> Vec<Box<str>> {
    let messages = boxes.messages("m").unwrap();
    messages.into_iter().map(|message| message.uid).collect()
}

/// A store with a mailbox `m` of the messages `one\n`, `two` and `three\r\n`.
fn filled() -> MemoryBoxes {
    let boxes = MemoryBoxes::new();
    boxes.add("m").unwrap();
    for message in ["one\n", "two", "three\r\n"] {
        put(&boxes, "m", message.as_bytes());
    }
    boxes
}

fn lock(boxes: &MemoryBoxes) -> Arc<dyn Mailbox> {
    boxes.lock("m", Wait::No).unwrap()
}

#[test]
fn errors_have_the_texts_that_scripts_know() {
    let boxes = filled();
    boxes.add("taken").unwrap();
    boxes.add("free").unwrap();
    assert!(boxes.lock_kept("taken").unwrap());
    #[rustfmt::skip]
    let table = [
        (text(boxes.add("m")), "cannot add \"m\", mailbox already in existence"),
        (text(boxes.remove("no")), "cannot remove \"no\", mailbox does not exist"),
        (text(boxes.remove("taken")), "cannot remove \"taken\", mailbox is locked"),
        (text(boxes.rename("no", "x")), "cannot move \"no\", mailbox does not exist"),
        (text(boxes.rename("taken", "x")), "cannot move \"taken\", mailbox is locked"),
        (text(boxes.rename("free", "m")), "cannot move \"free\", destination \"m\" already exists"),
        (text(boxes.rename("free", "free")), "cannot move \"free\", destination \"free\" already exists"),
        (text(boxes.lock_kept("no")), "\"no\" does not exist"),
        (text(boxes.stat("no")), "\"no\" does not exist"),
        (text(boxes.stat("m")), "mailbox \"m\" is not locked"),
        (text(boxes.size("no")), "\"no\" does not exist"),
        (text(boxes.uids("no")), "\"no\" does not exist"),
        (text(boxes.size_of("m", 1)), "id \"1\" out of range"),
        (text(boxes.uid("taken", 1)), "id \"1\" out of range"),
        (text(boxes.bytes("m", 1)), "id \"1\" out of range"),
        (text(boxes.get("taken", 0)), "id \"0\" out of range"),
        (text(boxes.get("taken", -1)), "id \"-1\" out of range"),
        (text(boxes.get("taken", 1 << 40)), "id \"1099511627776\" out of range"),
        (text(boxes.delete("m", &[])), "nothing to delete"),
        (text(boxes.delete("m", &[1])), "id \"1\" out of range"),
        (text(boxes.delete("taken", &[7, 8])), "id \"7\" out of range"),
        (text(boxes.unlock("no")), "-"),
        (text(boxes.unlock("m")), "-"),
    ];
    for (row, (got, want)) in table.iter().enumerate() {
        assert_eq!(got, want, "row {row}");
    }
    assert_eq!(boxes.size("m").unwrap(), 0);
    assert!(boxes.uids("m").unwrap().is_empty());
    assert!(!boxes.lock_kept("taken").unwrap());
    assert!(
        matches!(boxes.lock("taken", Wait::No), Err(StoreError::InUse(name)) if name == "taken")
    );
    assert!(matches!(
        boxes.lock("no", Wait::No),
        Err(StoreError::Missing(..))
    ));
}

#[test]
fn every_text_is_a_name() {
    let boxes = MemoryBoxes::new();
    let names = [
        "",
        " ",
        ".",
        "../x",
        "/",
        "a\0b",
        "\u{e4}\u{1F600}",
        "a/b",
        "b",
    ];
    for name in names {
        boxes.add(name).unwrap();
        put(&boxes, name, name.as_bytes());
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(boxes.list().unwrap(), sorted);
    for name in names {
        let uid = boxes.messages(name).unwrap()[0].uid.clone();
        assert_eq!(bytes(&boxes.fetch(name, &uid).unwrap()), name.as_bytes());
        boxes.remove(name).unwrap();
        assert!(!boxes.exists(name).unwrap());
    }
    assert!(boxes.list().unwrap().is_empty());
}

#[test]
fn octets_are_those_sent() {
    let boxes = MemoryBoxes::new();
    boxes.add("m").unwrap();
    let table: [(&[u8], u64); 9] = [
        (b"", 0),
        (b"a", 3),
        (b"a\n", 3),
        (b"a\r\n", 3),
        (b"a\r", 4),
        (b".\n..\n", 7),
        (b"a\0b\xff\n", 6),
        (b"a\rb\r\r\n", 6),
        (b"\n\n\n", 6),
    ];
    for (message, _) in table {
        put(&boxes, "m", message);
    }
    let want: Vec<u64> = table.iter().map(|(_, octets)| *octets).collect();
    let listed = boxes.messages("m").unwrap();
    assert_eq!(
        listed.iter().map(|one| one.octets).collect::<Vec<_>>(),
        want
    );
    let session = lock(&boxes);
    assert_eq!(session.octets().unwrap(), want.iter().sum());
    assert_eq!(*session.sizes().unwrap(), *want);
    for (number, (stored, octets)) in (1..).zip(table) {
        let message = session.get(no(number), Wait::No).unwrap();
        assert_eq!((bytes(&message), message.octets), (stored, octets));
        assert_eq!(session.size(no(number)).unwrap(), octets);
    }
}

/// An event loop is answered at once, but for what is done to each of very many messages.
#[test]
fn event_loops_are_answered_at_once() {
    let boxes = filled();
    let session = lock(&boxes);
    let fetch = |extent| Request::Fetch {
        number: no(1),
        extent,
    };
    let update = |numbers: &[u32]| Request::Update {
        delete: numbers.iter().map(|&n| no(n)).collect(),
    };
    for request in [
        Request::Sizes,
        Request::Size(no(1)),
        Request::SizesOf([no(1), no(3)].into()),
        Request::Uid(no(2)),
        Request::Uids,
        fetch(Extent::Whole),
        fetch(Extent::Top(0)),
        update(&[]),
        update(&[1, 2, 3]),
    ] {
        let answer = session.try_now(&request, &mut []);
        assert!(matches!(answer, Immediate::Ready), "{request:?}");
    }
    drop(session);
    for _ in 0..1100 {
        put(&boxes, "m", b"x");
    }
    let session = lock(&boxes);
    let all: Vec<u32> = (1..=session.count()).collect();
    for request in [Request::Uids, update(&all)] {
        let answer = session.try_now(&request, &mut []);
        assert!(matches!(answer, Immediate::WouldBlock), "{}", all.len());
    }
    assert!(matches!(
        session.try_now(&update(&[1]), &mut []),
        Immediate::Ready
    ));
}

#[test]
fn a_session_sees_what_was_there_when_it_began() {
    let boxes = filled();
    let session = lock(&boxes);
    let late = put(&boxes, "m", b"late");
    assert_eq!((session.count(), session.octets().unwrap()), (3, 17));
    assert_eq!(
        (
            session.sizes().unwrap().len(),
            session.uids().unwrap().len()
        ),
        (3, 3)
    );
    assert!(matches!(
        session.get(no(4), Wait::No),
        Err(StoreError::NoMessage(4))
    ));
    assert!(matches!(session.size(no(4)), Err(StoreError::NoMessage(4))));
    // A wrong number deletes nothing.
    assert!(matches!(
        session.delete(&[no(1), no(4)]),
        Err(StoreError::NoMessage(4))
    ));
    assert_eq!(boxes.messages("m").unwrap().len(), 4);
    session.delete(&[no(3), no(1)]).unwrap();
    session.delete(&[no(1)]).unwrap();
    assert!(matches!(
        session.get(no(1), Wait::No),
        Err(StoreError::NoMessage(1))
    ));
    assert!(matches!(session.uids(), Err(StoreError::NoMessage(1))));
    assert_eq!(bytes(&session.get(no(2), Wait::No).unwrap()), b"two");
    drop(session);
    let session = lock(&boxes);
    assert_eq!(*session.sizes().unwrap(), [5, 6]);
    assert_eq!(session.uid(no(2)).unwrap(), late);
}

#[test]
fn a_lock_ends_once_and_with_its_session() {
    let boxes = filled();
    let first = lock(&boxes);
    let uid = first.uid(no(1)).unwrap();
    let refused = boxes.expunge("m", std::slice::from_ref(&uid));
    assert!(matches!(
        refused,
        Err(ExpungeError::Store(StoreError::InUse(_)))
    ));
    // Unlocked by name, it has ended, even if another session has the mailbox.
    boxes.unlock("m").unwrap();
    let second = lock(&boxes);
    assert!(!first.is_locked() && second.is_locked());
    assert!(matches!(
        first.get(no(1), Wait::No),
        Err(StoreError::NotLocked(_))
    ));
    assert!(matches!(first.sizes(), Err(StoreError::NotLocked(_))));
    assert!(matches!(first.uids(), Err(StoreError::NotLocked(_))));
    assert!(matches!(first.octets(), Err(StoreError::NotLocked(_))));
    assert!(matches!(
        first.delete(&[no(1)]),
        Err(StoreError::NotLocked(_))
    ));
    first.unlock();
    drop(first);
    assert!(second.is_locked() && boxes.is_locked("m").unwrap());
    // What a script sees is no lock of its own.
    drop(boxes.session("m").unwrap());
    assert!(second.is_locked());
    drop(second);
    assert!(!boxes.is_locked("m").unwrap());
    assert!(boxes.lock_kept("m").unwrap() && boxes.is_locked("m").unwrap());
    boxes.unlock("m").unwrap();
    boxes.expunge("m", &[uid]).unwrap();
}

#[test]
fn ids_are_never_used_again() {
    let boxes = filled();
    let mut seen: HashSet<Box<str>> = uids(&boxes).into_iter().collect();
    assert_eq!(seen.len(), 3);
    boxes.expunge("m", &uids(&boxes)).unwrap();
    assert!(seen.insert(put(&boxes, "m", b"x")));
    boxes.remove("m").unwrap();
    boxes.add("m").unwrap();
    let moved = put(&boxes, "m", b"x");
    assert!(seen.insert(moved.clone()));
    // They stay when the mailbox moves.
    boxes.rename("m", "n").unwrap();
    assert_eq!(boxes.messages("n").unwrap()[0].uid, moved);
    boxes.add("m").unwrap();
    assert!(seen.insert(put(&boxes, "m", b"x")));
    // Another store, as after a restart, has others.
    assert!(uids(&filled()).into_iter().all(|uid| seen.insert(uid)));
    assert!(seen.iter().all(|uid| Uid::new(uid).is_some()));
}

#[test]
fn a_script_may_choose_ids() {
    let boxes = filled();
    assert_eq!(&*put_as(&boxes, b"mine", "mine").unwrap(), "mine");
    let again = put_as(&boxes, b"x", "mine");
    assert!(matches!(again, Err(DeliverError::UsedUid { uid, .. }) if &*uid == "mine"));
    assert_eq!(bytes(&boxes.fetch("m", "mine").unwrap()), b"mine");
    boxes.expunge("m", &["mine".into()]).unwrap();
    assert!(matches!(
        boxes.fetch("m", "mine"),
        Err(FetchError::Unknown { .. })
    ));
    // That of the next message is skipped.
    let given = put(&boxes, "m", b"x");
    let (prefix, number) = given.rsplit_once('.').unwrap();
    let number: u64 = number.parse().unwrap();
    let guessed = format!("{prefix}.{}", number + 2);
    put_as(&boxes, b"x", &guessed).unwrap();
    assert_eq!(*put(&boxes, "m", b"x"), format!("{prefix}.{}", number + 3));
    let mut all = uids(&boxes);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), boxes.messages("m").unwrap().len());
}

#[test]
fn all_are_expunged_or_none() {
    let boxes = filled();
    let mut wanted = uids(&boxes);
    wanted.extend([Box::from("x"), "y".into(), "x".into()]);
    match boxes.expunge("m", &wanted) {
        Err(ExpungeError::Unknown { uids, .. }) => assert_eq!(*uids, ["x".into(), "y".into()]),
        other => panic!("{other:?}"),
    }
    assert_eq!(uids(&boxes).len(), 3);
    let (one, three) = (wanted[0].clone(), wanted[2].clone());
    boxes.expunge("m", &[three.clone(), one, three]).unwrap();
    assert_eq!(uids(&boxes), [wanted[1].clone()]);
}

/// Who reads a message reads on, whatever becomes of it.
#[test]
fn a_message_stays_while_it_is_read() {
    let boxes = filled();
    let read = || lock(&boxes).get(no(1), Wait::No).unwrap();
    let (deleted, expunged) = (read(), {
        let uid = uids(&boxes)[0].clone();
        boxes.fetch("m", &uid).unwrap()
    });
    lock(&boxes).delete(&[no(1)]).unwrap();
    let closed = read();
    boxes.expunge("m", &uids(&boxes)).unwrap();
    boxes.close();
    assert_eq!(
        (bytes(&deleted), bytes(&expunged), bytes(&closed)),
        (&b"one\n"[..], &b"one\n"[..], &b"two"[..])
    );
}

/// The end of the store's object, while a session and a delivery are under way.
#[test]
fn an_ended_store_has_nothing_left() {
    let boxes = filled();
    let session = lock(&boxes);
    let message = session.get(no(1), Wait::No).unwrap();
    let Content::Data(data) = &message.content else {
        panic!("a file in memory")
    };
    // The session's and that of the mailbox.
    assert_eq!(Arc::strong_count(data), 2);
    /// Ends the store when it is read.
    struct Source<'a>(&'a MemoryBoxes);
    impl std::io::Read for Source<'_> {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            self.0.close();
            Ok(0)
        }
    }
    let late = boxes.deliver("m", &mut Source(&boxes), None);
    assert!(matches!(late, Err(DeliverError::NoMailbox(_))));
    assert_eq!(Arc::strong_count(data), 1);
    assert!(!session.is_locked());
    assert!(matches!(
        session.get(no(1), Wait::No),
        Err(StoreError::NotLocked(_))
    ));
    assert!(matches!(
        session.delete(&[no(1)]),
        Err(StoreError::NotLocked(_))
    ));
    session.unlock();
    assert!(matches!(
        boxes.lock("m", Wait::No),
        Err(StoreError::Missing(..))
    ));
    assert!(boxes.list().unwrap().is_empty());
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    struct Broken(u8);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => {
                    buffer[0] = b'x';
                    Ok(1)
                }
                _ => Err(std::io::Error::other("gone")),
            }
        }
    }
    let boxes = filled();
    let failed = boxes.deliver("m", &mut Broken(0), None);
    assert!(matches!(failed, Err(DeliverError::Source(error)) if error.to_string() == "gone"));
    assert_eq!(uids(&boxes).len(), 3);
}

/// Sessions that read and delete, beside a script that delivers and one that expunges: no
/// message is lost or seen twice, each is whole, and each list is in order.
#[test]
fn sessions_meet_deliveries_and_expunges() {
    const MESSAGES: usize = 3000;
    let boxes = MemoryBoxes::new();
    boxes.add("m").unwrap();
    let body = |number: usize| format!("{number}\n").repeat(number % 50 + 1);
    let number = |body: &[u8]| -> usize {
        let text = std::str::from_utf8(body).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    };
    let (finished, sessions) = (AtomicBool::new(false), AtomicUsize::new(0));
    let deliver = || {
        for number in 0..MESSAGES {
            put(&boxes, "m", body(number).as_bytes());
            // Sessions and deliveries take turns however few cores there are.
            if number % 100 == 0 {
                let seen = sessions.load(Ordering::Relaxed);
                while sessions.load(Ordering::Relaxed) == seen {
                    thread::yield_now();
                }
            }
        }
        finished.store(true, Ordering::SeqCst);
    };
    let session = || {
        let mut deleted = Vec::new();
        loop {
            let last = finished.load(Ordering::SeqCst);
            let Ok(session) = boxes.lock("m", Wait::No) else {
                thread::yield_now();
                continue;
            };
            let mut before = None;
            let mut marked = Vec::new();
            for at in 1..=session.count() {
                let message = session.get(no(at), Wait::No).unwrap();
                let number = number(bytes(&message));
                assert_eq!(bytes(&message), body(number).as_bytes());
                assert!(before < Some(number), "{before:?} before {number}");
                before = Some(number);
                if number % 3 == 0 {
                    marked.push(no(at));
                    deleted.push(number);
                }
            }
            session.delete(&marked).unwrap();
            drop(session);
            sessions.fetch_add(1, Ordering::Relaxed);
            if last {
                return deleted;
            }
        }
    };
    let expunge = || {
        let mut expunged = Vec::new();
        loop {
            let last = finished.load(Ordering::SeqCst);
            for message in boxes.messages("m").unwrap() {
                // A session may have deleted it meanwhile.
                let Ok(found) = boxes.fetch("m", &message.uid) else {
                    continue;
                };
                let number = number(bytes(&found));
                if number % 3 == 1 && boxes.expunge("m", &[message.uid]).is_ok() {
                    expunged.push(number);
                }
            }
            if last {
                return expunged;
            }
            thread::yield_now();
        }
    };
    let mut seen: Vec<usize> = thread::scope(|scope| {
        let threads = [
            scope.spawn(session),
            scope.spawn(session),
            scope.spawn(expunge),
        ];
        scope.spawn(deliver);
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(!boxes.is_locked("m").unwrap());
    let last = lock(&boxes);
    for at in 1..=last.count() {
        seen.push(number(bytes(&last.get(no(at), Wait::No).unwrap())));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
}

/// The store ends while sessions and deliveries go on in other threads.
#[test]
fn a_store_ends_under_its_users() {
    for _ in 0..50 {
        let boxes = filled();
        let started = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| loop {
                    match boxes.lock("m", Wait::No) {
                        Ok(session) => {
                            started.fetch_add(1, Ordering::Relaxed);
                            match session.get(no(1), Wait::No) {
                                Ok(message) => assert_eq!(bytes(&message), b"one\n"),
                                Err(error) => assert!(matches!(error, StoreError::NotLocked(_))),
                            }
                        }
                        Err(StoreError::InUse(_)) => {}
                        Err(error) => {
                            assert!(matches!(error, StoreError::Missing(..)));
                            return;
                        }
                    }
                });
            }
            scope.spawn(|| while boxes.deliver("m", &mut &b"x"[..], None).is_ok() {});
            while started.load(Ordering::Relaxed) < 10 {
                thread::yield_now();
            }
            boxes.close();
        });
        assert!(boxes.list().unwrap().is_empty());
    }
}

/// To delete one message costs about the same wherever it is and however many there are.
#[test]
fn many_messages_go_one_by_one() {
    const MESSAGES: u32 = 60_000;
    let boxes = MemoryBoxes::new();
    boxes.add("m").unwrap();
    for _ in 0..MESSAGES {
        put(&boxes, "m", b"x");
    }
    let all = uids(&boxes);
    for uid in &all[..30_000] {
        boxes.expunge("m", std::slice::from_ref(uid)).unwrap();
    }
    let session = lock(&boxes);
    assert_eq!(session.count(), MESSAGES - 30_000);
    for number in 1..=session.count() {
        session.delete(&[no(number)]).unwrap();
    }
    drop(session);
    assert_eq!(lock(&boxes).count(), 0);
}
