//! `.pop3d.octets` with anything in it: sizes stay plausible, and damage is noticed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use pop3d::store::{Storage, Wait};
use pop3d::stores::dbox::dbox;
use pop3d::stores::files::mailboxes::Octets;
use tempfile::TempDir;

use super::input::Input;

/// Name, bytes and octets of each message.
const MESSAGES: [(&str, &str, u64); 2] = [("a b%", "x\ny\n", 6), ("m\u{e9}", "\n", 2)];

/// A mailbox whose octets are kept, and what is in the file for that.
fn mailbox() -> &'static (TempDir, PathBuf, Vec<u8>) {
    static MAILBOX: OnceLock<(TempDir, PathBuf, Vec<u8>)> = OnceLock::new();
    MAILBOX.get_or_init(|| {
        let base = tempfile::tempdir().unwrap();
        let mailbox = base.path().join("m");
        fs::create_dir(&mailbox).unwrap();
        for (name, text, _) in MESSAGES {
            fs::write(mailbox.join(name), text).unwrap();
        }
        // What was just written may change once more unnoticed, and is not kept.
        sleep(Duration::from_millis(3100));
        let file = mailbox.join(".pop3d.octets");
        assert_eq!(sizes(&base), MESSAGES.map(|message| message.2));
        let kept = fs::read(&file).unwrap();
        (base, file, kept)
    })
}

fn sizes(base: &TempDir) -> Vec<u64> {
    let boxes = dbox();
    boxes.set_octets(Octets::Wire);
    boxes.set_base("base", base.path()).unwrap();
    let locked = boxes.lock("m", Wait::UNTIL_DONE).unwrap();
    locked.sizes().unwrap().to_vec()
}

/// Two tests replay this target at once, and a mailbox is one session's at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub fn run(data: &[u8]) {
    let (base, file, kept) = mailbox();
    let _mine = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut input = Input::new(data);
    let mut content = match input.byte() % 2 {
        0 => Vec::new(),
        _ => kept.clone(),
    };
    while !input.is_empty() {
        let at = input.number() % (content.len() + 1);
        let removed = usize::from(input.byte()).min(content.len() - at);
        content.splice(at..at + removed, input.bytes().iter().copied());
    }
    fs::write(file, &content).unwrap();
    for (size, (_, text, octets)) in sizes(base).into_iter().zip(MESSAGES) {
        // A line whose sum was made right is believed: whoever can write it can write
        // messages too.
        let bytes = text.len() as u64;
        assert!(
            size == octets || (bytes..=2 * bytes + 2).contains(&size),
            "{size}"
        );
    }
}
