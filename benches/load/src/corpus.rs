//! The mail: deterministic messages in the shapes that the benchmark serves,
//! and the bytes that a correct POP3 server sends for each of them.

use memchr::memchr;
use twox_hash::XxHash3_64;

/// How a message is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Plain text of at least so many bytes, every ninth line with a leading dot.
    Text(usize),
    /// Plain text in which every line begins with a dot: the worst case of stuffing.
    Dots(usize),
    /// A multipart message of about so many bytes: a text and a base64 attachment.
    Mime(usize),
}

/// Which line ends the stored file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Unix files: the server must add each CR.
    Lf,
    /// Files that are in wire form already, but for the dots.
    CrLf,
    /// LF in messages with an even number, CRLF in the others.
    Mixed,
}

/// What a server must send for one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Octets of the message with CRLF line ends, before stuffing: what LIST announces.
    pub octets: u64,
    /// Bytes and digest of RETR's reply after the status line, terminator included.
    pub whole: Expected,
    /// The same for `TOP n 0`.
    pub top: Expected,
}

/// A reply's bytes, known in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Length in bytes.
    pub len: u64,
    /// XXH3-64 of the bytes.
    pub digest: u64,
}

impl Expected {
    /// What `bytes` would have to be received as.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len() as u64,
            digest: XxHash3_64::oneshot(bytes),
        }
    }
}

/// SplitMix64: small, and the same on every machine and toolchain.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

const WORDS: [&str; 32] = [
    "the",
    "message",
    "of",
    "and",
    "server",
    "to",
    "a",
    "mailbox",
    "in",
    "that",
    "is",
    "reply",
    "for",
    "line",
    "with",
    "octets",
    "as",
    "terminator",
    "on",
    "session",
    "be",
    "listing",
    "by",
    "unique",
    "this",
    "status",
    "are",
    "client",
    "or",
    "transaction",
    "at",
    "greeting",
];

/// The stored bytes of message `index` (from 0) of a mailbox of this kind.
pub fn stored(shape: Shape, ends: Ends, index: usize) -> Vec<u8> {
    let mut random = Random(0xD0C5_0000 + index as u64);
    let mut text = header(shape, index, &mut random);
    match shape {
        Shape::Text(size) => lines(&mut text, size, 9, &mut random),
        Shape::Dots(size) => lines(&mut text, size, 1, &mut random),
        Shape::Mime(size) => multipart(&mut text, size, &mut random),
    }
    let crlf = match ends {
        Ends::Lf => false,
        Ends::CrLf => true,
        Ends::Mixed => index % 2 == 1,
    };
    if crlf {
        with_crlf(&text)
    } else {
        text
    }
}

fn header(shape: Shape, index: usize, random: &mut Random) -> Vec<u8> {
    let id = random.next();
    let mut text = format!(
        "Return-Path: <sender{0}@example.org>\n\
         Received: from relay.example.org (relay.example.org [192.0.2.{1}])\n\
         \tby mx.example.com with ESMTPS id {2:016x}\n\
         \tfor <reader@example.com>; Mon, 1 Jan 2024 00:00:00 +0000\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\n\
         From: Sender {0} <sender{0}@example.org>\n\
         To: Reader <reader@example.com>\n\
         Subject: Message {0} of the benchmark\n\
         Message-ID: <{2:016x}@example.org>\n\
         MIME-Version: 1.0\n",
        index,
        index % 250,
        id
    );
    text.push_str(match shape {
        Shape::Mime(_) => "Content-Type: multipart/mixed; boundary=\"frontier\"\n\n",
        _ => "Content-Type: text/plain; charset=us-ascii\n\n",
    });
    text.into_bytes()
}

/// Appends lines of words until `text` has `size` bytes; each `every`th begins
/// with one to three dots, some of them with nothing behind.
fn lines(text: &mut Vec<u8>, size: usize, every: usize, random: &mut Random) {
    let mut number = 0;
    while text.len() < size {
        number += 1;
        if number % every == 0 {
            let dots = 1 + (random.next() % 3) as usize;
            text.extend_from_slice(&b"..."[..dots]);
            if random.next() % 4 == 0 {
                text.push(b'\n');
                continue;
            }
        }
        let end = text.len() + 40 + (random.next() % 34) as usize;
        while text.len() < end {
            text.extend_from_slice(WORDS[(random.next() % 32) as usize].as_bytes());
            text.push(b' ');
        }
        text.pop();
        text.push(b'\n');
    }
}

fn multipart(text: &mut Vec<u8>, size: usize, random: &mut Random) {
    text.extend_from_slice(b"--frontier\nContent-Type: text/plain; charset=us-ascii\n\n");
    let plain = text.len() + 2048.min(size / 4);
    lines(text, plain, 9, random);
    text.extend_from_slice(
        b"--frontier\nContent-Type: application/octet-stream; name=\"data.bin\"\n\
          Content-Transfer-Encoding: base64\n\n",
    );
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    while text.len() + 16 < size {
        // 70 characters (RFC 2045 §6.8 allows 76): ten from each number.
        for _ in 0..7 {
            let bits = random.next();
            text.extend((0..10).map(|digit| ALPHABET[(bits >> (digit * 6)) as usize & 63]));
        }
        text.push(b'\n');
    }
    text.extend_from_slice(b"--frontier--\n");
}

fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        out.extend_from_slice(&line[..line.len() - 1]);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The bytes that follow the status line of RETR, terminator included, and the
/// octets of the message (RFC 1939 §3 and §5). Written for clarity, apart from
/// the server's own code: it is what that is checked against.
pub fn wire(stored: &[u8]) -> (Vec<u8>, u64) {
    let mut out = Vec::with_capacity(stored.len() + stored.len() / 32 + 8);
    let mut octets = 0;
    let mut rest = stored;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        octets += line.len() as u64 + 2;
        rest = &rest[(end + 1).min(rest.len())..];
    }
    out.extend_from_slice(b".\r\n");
    (out, octets)
}

/// The bytes that follow the status line of `TOP n 0`: the header, the empty
/// line, the terminator.
pub fn top(wire: &[u8]) -> Vec<u8> {
    let header = memchr::memmem::find(wire, b"\r\n\r\n").map_or(wire.len() - 3, |at| at + 4);
    let mut out = wire[..header].to_vec();
    out.extend_from_slice(b".\r\n");
    out
}

/// What a server must send for this stored message.
pub fn wanted(stored: &[u8]) -> Wanted {
    let (wire, octets) = wire(stored);
    Wanted {
        octets,
        whole: Expected::of(&wire),
        top: Expected::of(&top(&wire)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_is_that_of_rfc_1939() {
        let table: [(&[u8], &[u8], u64); 6] = [
            (b"a\n", b"a\r\n.\r\n", 3),
            (b"a\r\nb", b"a\r\nb\r\n.\r\n", 6),
            (b".\n", b"..\r\n.\r\n", 3),
            (b"h\n\n..x\n", b"h\r\n\r\n...x\r\n.\r\n", 10),
            (b"", b".\r\n", 0),
            (b"\n\n", b"\r\n\r\n.\r\n", 4),
        ];
        for (stored, want, octets) in table {
            assert_eq!(wire(stored), (want.to_vec(), octets), "{stored:?}");
        }
        assert_eq!(top(b"h: 1\r\n\r\n..b\r\n.\r\n"), b"h: 1\r\n\r\n.\r\n");
    }

    #[test]
    fn messages_are_the_same_every_time_and_as_large_as_asked() {
        for shape in [Shape::Text(10240), Shape::Dots(10240), Shape::Mime(1 << 20)] {
            let lf = stored(shape, Ends::Mixed, 2);
            assert_eq!(lf, stored(shape, Ends::Lf, 2));
            assert_ne!(lf, stored(shape, Ends::Lf, 4));
            assert_eq!(with_crlf(&lf), stored(shape, Ends::CrLf, 2));
            assert!(!lf.contains(&b'\r') && lf.is_ascii());
            let (Shape::Text(size) | Shape::Dots(size) | Shape::Mime(size)) = shape;
            assert!(
                lf.len() + 32 > size && lf.len() < size + 120,
                "{shape:?}: {}",
                lf.len()
            );
            assert!(
                lf.split(|&b| b == b'\n').all(|line| line.len() <= 80),
                "{shape:?}"
            );
        }
    }
}
