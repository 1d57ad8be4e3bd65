//! A stored message → the wire: line ends, dot-stuffing, the cut of TOP.
//!
//! A stream over chunks of any size. RFC 1939 §3: lines end with CRLF, and a
//! line that begins with the termination octet "." gets another in front. Stored
//! CRLF stays, LF becomes CRLF, and a CR that no LF follows is a byte like any
//! other. A message whose last line has no end gets one.

mod cut;
mod octets;

use memchr::memchr_iter;

use super::{reply, Extent};

pub use cut::Cut;
pub use octets::OctetCounter;

/// What the next byte of a message follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Edge {
    /// The begin of the message or a line end.
    #[default]
    LineStart,
    /// CR, which is a line end only with the LF that may follow.
    Cr,
    /// Any other byte.
    Inside,
}

impl Edge {
    fn after(byte: u8) -> Self {
        match byte {
            b'\n' => Self::LineStart,
            b'\r' => Self::Cr,
            _ => Self::Inside,
        }
    }
}

/// Block that is examined as a whole. A multiple of all vector widths; small
/// enough that one irregular place spoils little.
const BLOCK: usize = 512;

/// Makes line ends CRLF and stuffs dots.
#[derive(Debug, Default)]
pub struct Stuffer {
    edge: Edge,
}

impl Stuffer {
    /// Appends the wire form of the next bytes.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let (Some(&first), Some(&last)) = (chunk.first(), chunk.last()) else {
            return;
        };
        out.reserve(chunk.len() + chunk.len() / 32 + 2);
        match (self.edge, first) {
            (Edge::LineStart, b'.') => out.push(b'.'),
            (Edge::LineStart | Edge::Inside, b'\n') => out.push(b'\r'),
            _ => {}
        }
        let mut begin = 0;
        while begin < chunk.len() {
            begin = copy_block(chunk, begin, out);
        }
        self.edge = Edge::after(last);
    }

    /// Ends the last line if it has no end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.edge != Edge::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        self.edge = Edge::LineStart;
    }
}

/// Appends the wire form of `chunk` from `begin` on, about a block of it, the
/// byte at `begin` as it is. Returns where it stopped.
fn copy_block(chunk: &[u8], begin: usize, out: &mut Vec<u8>) -> usize {
    let end = chunk.len().min(begin + BLOCK);
    let pairs = &chunk[begin..chunk.len().min(end + 1)];
    if is_regular(pairs) {
        out.extend_from_slice(&chunk[begin..end]);
        // The pair across the end is examined: the next block begins with a byte
        // that stays as it is.
        return end;
    }
    copy_lines(chunk, begin, end, out);
    end
}

/// Whether nothing is to be put between any two neighbours: each LF follows a
/// CR and no dot follows an LF.
fn is_regular(bytes: &[u8]) -> bool {
    let Some((_, next)) = bytes.split_first() else {
        return true;
    };
    let irregular = bytes.iter().zip(next).fold(0_u8, |found, (&a, &b)| {
        found | u8::from((a != b'\r') & (b == b'\n')) | u8::from((a == b'\n') & (b == b'.'))
    });
    irregular == 0
}

/// Appends `chunk[begin..end]` line by line, and what belongs before the byte at
/// `end` if there is one.
fn copy_lines(chunk: &[u8], begin: usize, end: usize, out: &mut Vec<u8>) {
    let mut copied = begin;
    let window = &chunk[begin..chunk.len().min(end + 1)];
    for lf in memchr_iter(b'\n', window).map(|offset| begin + offset) {
        // A LF at `begin` is settled, a dot after it is not.
        if lf > begin && chunk[lf - 1] != b'\r' {
            out.extend_from_slice(&chunk[copied..lf]);
            out.push(b'\r');
            copied = lf;
        }
        if lf < end && chunk.get(lf + 1) == Some(&b'.') {
            out.extend_from_slice(&chunk[copied..=lf]);
            out.push(b'.');
            copied = lf + 1;
        }
    }
    out.extend_from_slice(&chunk[copied..end]);
}

/// The answer to RETR or TOP after its first line.
#[derive(Debug)]
pub struct Body {
    stuffer: Stuffer,
    /// None for RETR.
    cut: Option<Cut>,
}

impl Body {
    /// The body of an answer that sends so much of a message.
    pub fn new(extent: Extent) -> Self {
        let cut = match extent {
            Extent::Whole => None,
            Extent::Top(lines) => Some(Cut::new(lines)),
        };
        let stuffer = Stuffer::default();
        Self { stuffer, cut }
    }

    /// Appends the wire form of the next stored bytes; those after the cut of
    /// TOP are ignored.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let wanted = match &mut self.cut {
            Some(cut) => cut.wanted(chunk),
            None => chunk.len(),
        };
        self.stuffer.push(&chunk[..wanted], out);
    }

    /// Whether TOP has all it sends.
    pub fn is_done(&self) -> bool {
        self.cut.as_ref().is_some_and(Cut::is_done)
    }

    /// Appends the end: of the last line, if it has none, and of the answer.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.stuffer.finish(out);
        reply::end_of_list(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client gets, the message fed in chunks of `size`.
    fn sent(message: &[u8], extent: Extent, size: usize) -> Vec<u8> {
        let mut body = Body::new(extent);
        let mut out = Vec::new();
        for chunk in message.chunks(size) {
            body.push(chunk, &mut out);
        }
        body.finish(&mut out);
        out
    }

    #[track_caller]
    fn check(extent: Extent, table: &[(&str, &str)]) {
        for (message, want) in table {
            for size in 1..=message.len().max(1) {
                let got = sent(message.as_bytes(), extent, size);
                let got = String::from_utf8_lossy(&got);
                assert_eq!(&got, want, "{message:?} by {size}");
            }
        }
    }

    #[test]
    fn whole_messages() {
        let table = [
            ("", ".\r\n"),
            ("\n", "\r\n.\r\n"),
            ("\r\n", "\r\n.\r\n"),
            ("\r", "\r\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\n", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n\n", "a\r\n\r\n.\r\n"),
            ("a\r\nb\nc\rd\n\re", "a\r\nb\r\nc\rd\r\n\re\r\n.\r\n"),
            ("a\r\r\nb", "a\r\r\nb\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("..\n.\n", "...\r\n..\r\n.\r\n"),
            ("a.\n.b\r\n.c.\n", "a.\r\n..b\r\n..c.\r\n.\r\n"),
            ("\r.\n.", "\r.\r\n..\r\n.\r\n"),
            ("\n.\n\n.\n", "\r\n..\r\n\r\n..\r\n.\r\n"),
            ("a\0\u{e9}\n", "a\0\u{e9}\r\n.\r\n"),
        ];
        check(Extent::Whole, &table);
    }

    #[test]
    fn top_without_a_line_is_the_header_and_the_blank_line() {
        let table = [
            ("", ".\r\n"),
            ("S: x", "S: x\r\n.\r\n"),
            ("S: x\n", "S: x\r\n.\r\n"),
            ("S: x\n\n", "S: x\r\n\r\n.\r\n"),
            ("S: x\n\nbody\n", "S: x\r\n\r\n.\r\n"),
            ("S: x\r\n\r\nbody\r\n", "S: x\r\n\r\n.\r\n"),
            ("S: x\r\nT: y\n\r\n\n", "S: x\r\nT: y\r\n\r\n.\r\n"),
            ("\nbody", "\r\n.\r\n"),
            ("\r\n.body", "\r\n.\r\n"),
            // CR CR LF and blanks are not a blank line.
            ("S: x\n\r\r\nb\n", "S: x\r\n\r\r\nb\r\n.\r\n"),
            ("S: x\n \nb\n\nc", "S: x\r\n \r\nb\r\n\r\n.\r\n"),
            (".S: x\n\n.b", "..S: x\r\n\r\n.\r\n"),
        ];
        check(Extent::Top(0), &table);
    }

    #[test]
    fn top_counts_lines_of_the_body() {
        let table = [
            ("H\n\n1\n2\n3\n", "H\r\n\r\n1\r\n2\r\n.\r\n"),
            ("H\r\n\r\n1\r\n2\r\n3\r\n", "H\r\n\r\n1\r\n2\r\n.\r\n"),
            ("H\n\n1\n2", "H\r\n\r\n1\r\n2\r\n.\r\n"),
            ("H\n\n1\n", "H\r\n\r\n1\r\n.\r\n"),
            ("H\n\n\n\n\n", "H\r\n\r\n\r\n\r\n.\r\n"),
            ("H\n\n.\n..\n.", "H\r\n\r\n..\r\n...\r\n.\r\n"),
            ("H\n\n1\rx\n2\n3", "H\r\n\r\n1\rx\r\n2\r\n.\r\n"),
            ("H\nI", "H\r\nI\r\n.\r\n"),
        ];
        check(Extent::Top(2), &table);
    }

    #[test]
    fn top_is_done_at_its_last_line_end() {
        let mut body = Body::new(Extent::Top(1));
        let mut out = Vec::new();
        for (chunk, done) in [("H\n\n", false), ("1", false), ("\n", true), ("2", true)] {
            body.push(chunk.as_bytes(), &mut out);
            assert_eq!(body.is_done(), done, "{chunk:?}");
        }
        assert!(!Body::new(Extent::Whole).is_done());
    }

    /// The simplest thing that can be right, for what is larger than a block.
    fn slowly(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut last = b'\n';
        for &byte in message {
            match (last, byte) {
                (b'\n', b'.') => out.push(b'.'),
                (b'\r', b'\n') => {}
                (_, b'\n') => out.push(b'\r'),
                _ => {}
            }
            out.push(byte);
            last = byte;
        }
        if last != b'\n' {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    /// Irregular pairs on, before and after each border of blocks and chunks.
    #[test]
    fn blocks_do_not_show() {
        for pair in ["\n", ".", "\n.", "\r\n", "\r\n.", "\n\n.", "\r", "\n.\n."] {
            for place in (0..8).chain(BLOCK - 8..BLOCK + 8) {
                let mut message = vec![b'x'; 3 * BLOCK + 16];
                for block in 0..3 {
                    let at = block * BLOCK + place;
                    message[at..at + pair.len()].copy_from_slice(pair.as_bytes());
                }
                let want = slowly(&message);
                for size in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK] {
                    let got = sent(&message, Extent::Whole, size);
                    assert!(got == want, "{pair:?} at {place} by {size}");
                }
            }
        }
    }
}
