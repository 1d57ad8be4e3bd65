//! Deliveries into mailboxes of files, beside sessions and other threads.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod mailbox;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Barrier;

use mailbox::{no, start};
use pop3d::store::delivery::{DeliverError, ExpungeError, FetchError, MessageStore, Uid};
use pop3d::store::{Content, Message, Storage, StoreError, Wait};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailboxes::{Mailboxes, Octets};
use pop3d::stores::mailbox_store::MailboxStore;
use pop3d::stores::maildir::maildir;
use tempfile::TempDir;

const KINDS: [fn() -> Mailboxes; 2] = [dbox, maildir];

/// An empty mailbox `m`.
fn begin(make: fn() -> Mailboxes) -> (TempDir, Mailboxes) {
    let base = tempfile::tempdir().unwrap();
    let boxes = another(make, &base);
    boxes.add("m").unwrap();
    (base, boxes)
}

/// Another store of the same mailboxes, as another process has one.
fn another(make: fn() -> Mailboxes, base: &TempDir) -> Mailboxes {
    let boxes = make();
    boxes.set_base("base", base.path()).unwrap();
    boxes
}

fn bytes(message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    match message.content {
        Content::Data(data) => bytes.extend_from_slice(&data),
        Content::File(mut file, _) => drop(file.read_to_end(&mut bytes).unwrap()),
    }
    bytes
}

fn body(thread: usize, number: usize) -> Vec<u8> {
    format!("{thread} {number}\n")
        .repeat(1 + (thread + number) % 50 * 300)
        .into()
}

/// Eight threads of two stores deliver while sessions come and go: each message that a
/// session sees is whole, and in the end all are there, under different ids.
#[test]
fn many_deliver_at_once() {
    const THREADS: usize = 8;
    const EACH: usize = 25;
    for make in KINDS {
        let (base, first) = begin(make);
        let stores = [first, another(make, &base)];
        let (begun, left) = (Barrier::new(THREADS + 1), AtomicUsize::new(THREADS));
        let deliver = |thread: usize| {
            begun.wait();
            let store = &stores[thread % 2];
            let one = |number| {
                let body = body(thread, number);
                let uid = store.deliver("m", &mut &body[..], None).unwrap();
                assert_eq!(bytes(store.fetch("m", &uid).unwrap()), body);
                (uid, body)
            };
            let all: Vec<_> = (0..EACH).map(one).collect();
            left.fetch_sub(1, Ordering::SeqCst);
            all
        };
        let delivered = std::thread::scope(|scope| {
            let deliver = &deliver;
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || deliver(thread)))
                .collect();
            begun.wait();
            while left.load(Ordering::SeqCst) > 0 {
                let session = stores[0].lock("m", Wait::UNTIL_DONE).unwrap();
                let count = session.count();
                for number in 1..=count {
                    let got = bytes(session.get(no(number), Wait::UNTIL_DONE).unwrap());
                    let line = got.split_inclusive(|byte| *byte == b'\n').next().unwrap();
                    let mut lines = got.split_inclusive(|byte| *byte == b'\n');
                    assert!(lines.all(|other| other == line), "half a message");
                }
                assert_eq!(session.count(), count);
            }
            let joined = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            joined.collect::<Vec<_>>()
        });
        let ids: HashSet<_> = delivered.iter().map(|(uid, _)| uid).collect();
        assert_eq!(ids.len(), THREADS * EACH);
        let session = stores[1].lock("m", Wait::UNTIL_DONE).unwrap();
        let uids = session.uids().unwrap();
        assert_eq!(uids.iter().collect::<HashSet<_>>(), ids);
        for (uid, body) in &delivered {
            let index = uids.iter().position(|known| known == uid).unwrap();
            let message = session.get(no(index as u32 + 1), Wait::UNTIL_DONE).unwrap();
            assert_eq!(&bytes(message), body);
        }
    }
}

/// Of eight deliveries with one id exactly one comes through.
#[test]
fn an_id_is_taken_once() {
    for make in KINDS {
        let (base, first) = begin(make);
        let stores = [first, another(make, &base)];
        for round in 0..20 {
            let uid = Uid::new(&format!("id-{round}")).unwrap();
            let begun = Barrier::new(8);
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let (stores, begun, uid) = (&stores, &begun, &uid);
                let one = move |thread: usize| {
                    begun.wait();
                    let mut source = &b"x"[..];
                    stores[thread % 2].deliver("m", &mut source, Some(uid))
                };
                let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || one(n))).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(won, 1, "{outcomes:?}");
            let lost =
                |outcome: &Result<_, _>| matches!(outcome, Err(DeliverError::UsedUid { .. }));
            assert_eq!(
                outcomes.iter().filter(|o| lost(o)).count(),
                7,
                "{outcomes:?}"
            );
        }
        assert_eq!(stores[0].messages("m").unwrap().len(), 20);
    }
}

/// A source that fails after a while, or has its reader called in a way of its own.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        match self.0 {
            1 => Err(io::ErrorKind::Interrupted.into()),
            2..9 => {
                buffer.fill(b'x');
                Ok(buffer.len())
            }
            _ => Err(io::Error::other("no more")),
        }
    }
}

#[test]
fn nothing_is_left_of_what_fails() {
    for make in KINDS {
        let (base, boxes) = begin(make);
        let failed = boxes.deliver("m", &mut Failing(0), None).unwrap_err();
        assert!(matches!(failed, DeliverError::Source(_)), "{failed}");
        assert_eq!(failed.to_string(), "couldn't read the message: no more");
        let long = "x".repeat(71);
        assert!(Uid::new(&long).is_none());
        let files = |dir: &std::path::Path| -> usize {
            let mut open = vec![dir.to_owned()];
            let mut files = 0;
            while let Some(dir) = open.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    match path.is_dir() {
                        true => open.push(path),
                        false => files += 1,
                    }
                }
            }
            files
        };
        assert_eq!(files(base.path()), 0);
        assert_eq!(boxes.messages("m").unwrap(), []);
    }
}

/// The session's list is fixed, whatever is delivered; expunge waits for its end.
#[test]
fn a_session_keeps_its_list() {
    for make in KINDS {
        let (_base, boxes) = begin(make);
        let uid = boxes.deliver("m", &mut &b"one"[..], None).unwrap();
        let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
        let second = boxes.deliver("m", &mut &b"two"[..], None).unwrap();
        assert_eq!(
            (session.count(), &*session.uids().unwrap()),
            (1, &[uid.clone()][..])
        );
        let refused = boxes
            .expunge("m", std::slice::from_ref(&second))
            .unwrap_err();
        assert!(
            matches!(refused, ExpungeError::Store(StoreError::InUse(_))),
            "{refused}"
        );
        assert_eq!(bytes(boxes.fetch("m", &second).unwrap()), b"two");
        session.delete(&[no(1)]).unwrap();
        session.unlock();
        let gone = boxes.fetch("m", &uid).unwrap_err();
        assert!(matches!(gone, FetchError::Unknown { .. }), "{gone}");
        boxes.expunge("m", &[second]).unwrap();
        assert_eq!(boxes.messages("m").unwrap(), []);
    }
}

/// What a listing that is kept says of octets stays right beside deliveries: the messages
/// that it knows are not counted again, and the new one is counted.
#[test]
fn octets_stay_right() {
    for make in KINDS {
        let (_base, boxes) = begin(make);
        boxes.set_octets(Octets::Wire);
        let mut want = Vec::new();
        for text in ["", "a", "a\n", "a\r\nb", "\n\n", "no end\r"] {
            boxes.deliver("m", &mut text.as_bytes(), None).unwrap();
            let lines = text.replace("\r\n", "\n").replace('\n', "\r\n");
            let ends = lines.is_empty() || lines.ends_with("\r\n");
            want.push(lines.len() as u64 + if ends { 0 } else { 2 });
            let listed = boxes.messages("m").unwrap();
            let octets: Vec<u64> = listed.iter().map(|message| message.octets).collect();
            assert_eq!(octets, want);
            let session = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
            assert_eq!(&*session.sizes().unwrap(), want);
            for (number, want) in (1..).zip(&want) {
                let message = session.get(no(number), Wait::UNTIL_DONE).unwrap();
                assert_eq!(message.octets, *want);
                // An event loop announces the same.
                let started = start(&*session, no(number), &mut [0; 64]);
                assert!(started.is_none_or(|started| started.octets == *want));
            }
        }
    }
}
