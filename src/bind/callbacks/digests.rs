//! Unique ids of messages whose storage gives none (RFC 1939 §7): digests of their bytes.

use std::collections::HashMap;
use std::io::{self, Read};

use memchr::memmem;
use sha2::{Digest as _, Sha256};

use crate::bind::message::Got;
use crate::ffi::interp::Raised;
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
/// among the equals.
pub fn ids(digests: &[Digest]) -> Vec<Box<str>> {
    let mut seen: HashMap<&Digest, u32> = HashMap::with_capacity(digests.len());
    let id = |digest| {
        let times = seen.entry(digest).or_default();
        *times += 1;
        text(digest, *times)
    };
    digests.iter().map(id).collect()
}

/// The id of the last message.
pub fn last_id(digests: &[Digest]) -> Option<Box<str>> {
    let last = digests.last()?;
    let times = digests.iter().filter(|digest| *digest == last).count();
    Some(text(last, u32::try_from(times).unwrap_or(u32::MAX)))
}

fn text(digest: &Digest, times: u32) -> Box<str> {
    let hex = hex(digest);
    match times {
        1 => hex,
        n => format!("{hex}.{n}").into(),
    }
}

/// Whether an error says that the command has no method `uidl`. Any other is a failure of
/// the method: with digests in the place of its ids clients would fetch all mail again.
pub fn is_unknown_method(raised: &Raised) -> bool {
    let code = raised.error_code();
    let code: Vec<&str> = code.iter().map(String::as_str).collect();
    match *code {
        ["TCL", "LOOKUP", .., name] if name.rsplit("::").next() == Some("uidl") => true,
        ["TCL", "WRONGARGS"] | ["POP3D", "METHOD", ..] => true,
        // Of the system and of other programs.
        ["POSIX" | "CHILDSTATUS" | "CHILDKILLED" | "CHILDSUSP", ..] => false,
        _ => says_unknown(&raised.message()),
    }
}

/// As scripts say it in words of their own: "unknown method", "no such option", "uidl is not
/// supported".
fn says_unknown(message: &str) -> bool {
    const UNKNOWN: [&str; 8] = [
        "unknown",
        "bad",
        "invalid",
        "illegal",
        "unsupported",
        "unrecognized",
        // "unknown or ambiguous", "unable to dispatch"
        "ambiguous",
        "dispatch",
    ];
    const WHAT: [&str; 6] = [
        "method",
        "subcommand",
        "command",
        "option",
        "operation",
        "uidl",
    ];
    let message = message.to_lowercase();
    let words = message.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words: Vec<&str> = words
        .filter(|word| !word.is_empty() && *word != "is")
        .collect();
    let has_uidl = words.contains(&"uidl");
    let is_what = |word: &str| WHAT.contains(&word);
    words.windows(2).any(|pair| match *pair {
        ["uidl", "unsupported"] => true,
        [unknown, what] => UNKNOWN.contains(&unknown) && is_what(what),
        _ => false,
    }) || words.windows(3).any(|three| match *three {
        ["no", "such", "element" | "key"] => has_uidl,
        ["no", "such", what] => is_what(what),
        ["uidl", "not", "supported" | "implemented" | "known" | "available"] => true,
        _ => false,
    })
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
    fn what_scripts_say_of_an_unknown_method() {
        for (message, unknown) in [
            ("unknown method \"uidl\"", true),
            (
                "unknown or ambiguous subcommand \"uidl\": must be get, or size",
                true,
            ),
            ("bad option \"uidl\": must be get or size", true),
            ("no such method", true),
            ("uidl is not implemented", true),
            ("Unsupported operation", true),
            ("unknown command", true),
            ("uidl unsupported", true),
            ("unable to dispatch method 'uidl'", true),
            (
                "can't read \"handlers(uidl)\": no such element in array",
                true,
            ),
            ("unknown host db.example", false),
            ("can't read \"x\": no such element in array", false),
            (
                "couldn't open \"box/uidlist\": no such file or directory",
                false,
            ),
            ("uidl: cannot connect to database", false),
            ("uidl: mailbox is not locked", false),
            ("uidl: unknown database", false),
            ("another method failed", false),
            ("uidl failed", false),
            ("the database is locked", false),
            ("", false),
        ] {
            assert_eq!(says_unknown(message), unknown, "{message}");
        }
    }

    #[test]
    fn equal_messages_are_told_apart() {
        let digests = [1, 2, 1, 1, 2].map(|n| [n; 16]);
        let all = ids(&digests);
        for (n, id) in all.iter().enumerate() {
            assert_eq!(last_id(&digests[..=n]).as_ref(), Some(id));
        }
        let (one, two) = ("01".repeat(16), "02".repeat(16));
        let want = [
            &one,
            &two,
            &format!("{one}.2"),
            &format!("{one}.3"),
            &format!("{two}.2"),
        ];
        assert_eq!(all.iter().map(|id| &**id).collect::<Vec<_>>(), want);
        assert_eq!(last_id(&[]), None);
    }
}
