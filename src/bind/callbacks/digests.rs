//! Unique ids of messages whose storage gives none (RFC 1939 §7): digests of their bytes.

use std::collections::HashMap;
use std::io::{self, Read};

use memchr::memmem;
use sha2::{Digest as _, Sha256};

use crate::bind::message::Got;
use crate::store::jobs::Digest;
use crate::store::Content;
use crate::stores::dbox::hex;

/// The digest of a message.
///
/// What `mime` makes up for a token that is built, boundaries and Content-IDs, is left
/// out: a storage that builds its token at each `get` has others each time.
///
/// # Errors
/// When its file cannot be read.
pub fn digest(got: Got) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    match got.message.content {
        Content::Data(bytes) if got.built => lasting(&bytes, |part| hash.update(part)),
        Content::Data(bytes) => hash.update(&bytes),
        Content::File(file, size) => {
            io::copy(&mut file.take(size), &mut hash)?;
        }
    }
    let mut digest = Digest::default();
    let length = digest.len();
    digest.copy_from_slice(&hash.finalize()[..length]);
    Ok(digest)
}

/// Gives each part of a message built by `mime` that the next building repeats.
fn lasting<'a>(message: &'a [u8], mut give: impl FnMut(&'a [u8])) {
    /// RFC 2045 §6.7: no encoded body has it.
    const BOUNDARY: &[u8] = b"----- =_";
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if is_content_id(line) {
            continue;
        }
        match memmem::find(line, BOUNDARY) {
            Some(at) => {
                let (before, boundary) = line.split_at(at);
                let digest = &boundary[BOUNDARY.len()..];
                let end = digest.iter().position(|&byte| !is_base64(byte));
                give(before);
                give(&digest[end.unwrap_or(digest.len())..]);
            }
            None => give(line),
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

/// Whether it is a Content-ID as `mime` makes them: `<PID.SECONDS.COUNT@HOST>`.
fn is_content_id(line: &[u8]) -> bool {
    let Some(id) = line.strip_prefix(b"Content-ID: <") else {
        return false;
    };
    let mut halves = id.splitn(2, |&byte| byte == b'@');
    let numbers = halves.next().unwrap_or_default();
    halves.next().is_some()
        && numbers.split(|&byte| byte == b'.').count() == 3
        && numbers.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

/// The ids of all messages: equal ones have equal digests, and get their ordinal number
/// among the equals. One that could not be read has an id by its number, which no digest
/// looks like.
pub fn ids(digests: &[Option<Digest>]) -> Vec<Box<str>> {
    let mut seen: HashMap<&Digest, u32> = HashMap::with_capacity(digests.len());
    let id = |(index, digest)| match digest {
        Some(digest) => {
            let times = seen.entry(digest).or_default();
            *times += 1;
            text(digest, *times)
        }
        None => unreadable(index + 1),
    };
    let digests = digests.iter().map(Option::as_ref);
    digests.enumerate().map(id).collect()
}

/// The id of the last message.
pub fn last_id(digests: &[Option<Digest>]) -> Option<Box<str>> {
    let Some(last) = digests.last()? else {
        return Some(unreadable(digests.len()));
    };
    let same = |digest: &&Option<Digest>| digest.as_ref() == Some(last);
    let times = digests.iter().filter(same).count();
    Some(text(last, u32::try_from(times).unwrap_or(u32::MAX)))
}

fn unreadable(number: usize) -> Box<str> {
    format!("unreadable.{number}").into()
}

fn text(digest: &Digest, times: u32) -> Box<str> {
    let hex = hex(digest);
    match times {
        1 => hex,
        n => format!("{hex}.{n}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mime_makes_up_is_left_out() {
        let kept = |message: &str| {
            let mut all = Vec::new();
            lasting(message.as_bytes(), |part| all.extend_from_slice(part));
            String::from_utf8(all).unwrap()
        };
        for (message, want) in [
            ("Subject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody"),
            (
                "boundary=\"----- =_bm90IGE+/z==\"\r\n\r\n",
                "boundary=\"\"\r\n\r\n",
            ),
            ("\r\n------- =_YQ==--\r\nend", "\r\n----\r\nend"),
            ("A: 1\nContent-ID: <1.22.3@a.example>\r\nB: 2", "A: 1\nB: 2"),
            (
                "Content-ID: <mine@a.example>\r\n",
                "Content-ID: <mine@a.example>\r\n",
            ),
            ("Content-ID: <1.2@a>\r\n", "Content-ID: <1.2@a>\r\n"),
            ("Content-ID: <1.2.3\r\n", "Content-ID: <1.2.3\r\n"),
            ("----- =_", ""),
        ] {
            assert_eq!(kept(message), want, "{message:?}");
        }
    }

    #[test]
    fn equal_messages_are_told_apart() {
        let digests = [1, 2, 1, 0, 1, 2, 0].map(|n| (n > 0).then_some([n; 16]));
        let all = ids(&digests);
        for (n, id) in all.iter().enumerate() {
            assert_eq!(last_id(&digests[..=n]).as_ref(), Some(id));
        }
        let (one, two) = ("01".repeat(16), "02".repeat(16));
        let want = [
            &*one,
            &two,
            &format!("{one}.2"),
            "unreadable.4",
            &format!("{one}.3"),
            &format!("{two}.2"),
            "unreadable.7",
        ];
        assert_eq!(all.iter().map(|id| &**id).collect::<Vec<_>>(), want);
        assert_eq!(last_id(&[]), None);
    }
}
