//! A stored message → the wire: line ends, dot-stuffing, the cut of TOP.
//!
//! A stream over chunks of any size. RFC 1939 §3: lines end with CRLF, and a
//! line that begins with the termination octet "." gets another in front. Stored
//! CRLF stays, LF becomes CRLF, and a CR that no LF follows is a byte like any
//! other. A message whose last line has no end gets one.

mod cut;
mod octets;
mod simd;

use fearless_simd::{dispatch, Level, Simd};

use self::simd::{Classes, BLOCK};
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

/// What one block may fill: all its bytes, a byte put in before each of them, and what
/// is copied too far, to be written over.
const ROOM: usize = 3 * BLOCK;

/// Makes line ends CRLF and stuffs dots.
#[derive(Debug, Default)]
pub struct Stuffer {
    edge: Edge,
}

impl Stuffer {
    /// Appends the wire form of the next bytes.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        dispatch!(Level::new(), simd => self.push_with(simd, chunk, out));
    }

    #[inline(always)]
    fn push_with<S: Simd>(&mut self, simd: S, chunk: &[u8], out: &mut Vec<u8>) {
        let mut filled = out.len();
        // Lines of 32 bytes and longer need no more.
        out.resize(filled + chunk.len() + chunk.len() / 32 + ROOM, 0);
        let mut rest = chunk;
        while let Some(window) = rest.first_chunk() {
            make_room(out, filled, rest.len());
            filled += self.put_block(simd, window, BLOCK, &mut out[filled..]);
            rest = &rest[BLOCK..];
        }
        // The end has too little behind it, so it is filled up with what needs nothing.
        while !rest.is_empty() {
            make_room(out, filled, rest.len());
            let mut window = [0; 2 * BLOCK];
            window[..rest.len()].copy_from_slice(rest);
            let length = rest.len().min(BLOCK);
            filled += self.put_block(simd, &window, length, &mut out[filled..]);
            rest = &rest[length..];
        }
        out.truncate(filled);
    }

    /// Ends the last line if it has no end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.edge != Edge::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        self.edge = Edge::LineStart;
    }

    /// Writes the wire form of the first `length` bytes of `window`, at most half of it, to
    /// the front of `out`, which has [`ROOM`]; returns its length. The second half is there
    /// to be copied too far: copies of one known length cost less than those of the right
    /// length.
    #[inline(always)]
    fn put_block<S: Simd>(
        &mut self,
        simd: S,
        window: &[u8; 2 * BLOCK],
        length: usize,
        out: &mut [u8],
    ) -> usize {
        let Classes { lf, cr, dot } = Classes::of(simd, &window[..BLOCK]);
        let after_cr = cr << 1 | u64::from(self.edge == Edge::Cr);
        let after_lf = lf << 1 | u64::from(self.edge == Edge::LineStart);
        self.edge = Edge::after(window[length - 1]);
        // The bytes that another is put in before.
        let mut marks = lf & !after_cr | dot & after_lf;
        copy(window, 0, out, 0);
        let mut put_in = 0;
        while marks != 0 {
            let at = marks.trailing_zeros() as usize % BLOCK;
            marks &= marks - 1;
            out[at + put_in] = match window[at] {
                b'\n' => b'\r',
                dot => dot,
            };
            put_in += 1;
            copy(window, at, out, at + put_in);
        }
        length + put_in
    }
}

/// Makes [`ROOM`] behind the first `filled` bytes of `out`, of which `left` more bytes
/// are to be written.
#[inline(always)]
fn make_room(out: &mut Vec<u8>, filled: usize, left: usize) {
    if out.len() - filled < ROOM {
        out.resize(filled + 2 * left + ROOM, 0);
    }
}

/// Copies a block's length from `window[from..]` to `out[to..]`.
#[inline(always)]
fn copy(window: &[u8; 2 * BLOCK], from: usize, out: &mut [u8], to: usize) {
    out[to..to + BLOCK].copy_from_slice(&window[from..from + BLOCK]);
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

    /// Whether it answers TOP.
    pub(crate) fn is_top(&self) -> bool {
        self.cut.is_some()
    }

    /// Appends the end of the last line, if it has none: the message is complete.
    pub fn end_line(&mut self, out: &mut Vec<u8>) {
        self.stuffer.finish(out);
    }

    /// Appends the end: of the last line, if it has none, and of the answer. Returns the
    /// octets that the former takes, which are the message's.
    pub fn finish(mut self, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        self.end_line(out);
        let octets = out.len() - before;
        reply::end_of_list(out);
        octets
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

    /// Irregular pairs on, before and after each border of blocks and chunks, by all
    /// instruction sets.
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
                    for level in simd::levels() {
                        let mut stuffer = Stuffer::default();
                        let mut got = Vec::new();
                        for chunk in message.chunks(size) {
                            dispatch!(level, simd => stuffer.push_with(simd, chunk, &mut got));
                        }
                        stuffer.finish(&mut got);
                        got.extend_from_slice(b".\r\n");
                        assert!(got == want, "{pair:?} at {place} by {size}, {level:?}");
                    }
                }
            }
        }
    }

    /// What grows by more than the room that is made at first.
    #[test]
    fn what_grows_most() {
        for line in ["\n", "\n.", ".\n", "\r\n.", "a\n", "\n.a.\n"] {
            for repeats in [1, BLOCK, 1000, 50_000] {
                let message = line.repeat(repeats).into_bytes();
                let want = slowly(&message);
                for size in [BLOCK + 1, 4096, usize::MAX] {
                    let got = sent(&message, Extent::Whole, size);
                    assert!(got == want, "{line:?} {repeats} times by {size}");
                }
            }
        }
    }
}
