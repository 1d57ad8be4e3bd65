//! A stored message → the wire: line ends, dot-stuffing, the cut of TOP.
//!
//! A stream over chunks of any size. RFC 1939 §3: lines end with CRLF, and a
//! line that begins with the termination octet "." gets another in front. Stored
//! CRLF stays, LF becomes CRLF, and a CR that no LF follows is a byte like any
//! other. A message whose last line has no end gets one.

use memchr::{memchr, memchr_iter};

use super::{reply, Extent};

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

/// Counts the octets of a stored message as RETR sends it: line ends as CRLF,
/// before dot-stuffing, without the final "." (RFC 1939 §11).
#[derive(Clone, Debug, Default)]
pub struct OctetCounter {
    octets: u64,
    edge: Edge,
}

impl OctetCounter {
    /// A counter at the begin of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the next stored bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let (Some(&first), Some(&last)) = (chunk.first(), chunk.last()) else {
            return;
        };
        let first_is_bare = first == b'\n' && self.edge != Edge::Cr;
        self.octets += chunk.len() as u64 + u64::from(first_is_bare) + bare_line_feeds(chunk);
        self.edge = Edge::after(last);
    }

    /// Octets of the whole message, if it ends here.
    pub fn octets(&self) -> u64 {
        match self.edge {
            Edge::LineStart => self.octets,
            Edge::Cr | Edge::Inside => self.octets + 2,
        }
    }
}

/// Number of LF after something else than CR, the first byte not counted.
fn bare_line_feeds(bytes: &[u8]) -> u64 {
    let Some((_, next)) = bytes.split_first() else {
        return 0;
    };
    // Sums of up to 255 fit a byte: that keeps 16 and more of them in a vector.
    let blocks = bytes.chunks(255).zip(next.chunks(255));
    let sums = blocks.map(|(before, after)| {
        let pairs = before.iter().zip(after);
        let sum: u8 = pairs
            .map(|(&a, &b)| u8::from((a != b'\r') & (b == b'\n')))
            .sum();
        u64::from(sum)
    });
    sums.sum()
}

/// Where TOP is in a message.
#[derive(Debug)]
enum Part {
    /// In the header; whether the line so far is nothing, or only a CR.
    Header(LineSoFar),
    /// In the body, so many line ends before the cut.
    Body(u32),
}

/// How much of a header line has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineSoFar {
    Empty,
    OnlyCr,
    Some,
}

/// Finds the end of what TOP sends: the header, the blank line and a number of
/// lines of the body (RFC 1939 §7).
#[derive(Debug)]
pub struct Cut {
    part: Part,
    lines: u32,
}

impl Cut {
    /// A cut after so many lines of the body.
    pub fn new(lines: u32) -> Self {
        let part = Part::Header(LineSoFar::Empty);
        Self { part, lines }
    }

    /// Whether no further byte is wanted.
    pub fn is_done(&self) -> bool {
        matches!(self.part, Part::Body(0))
    }

    /// How many of the next stored bytes are wanted.
    pub fn wanted(&mut self, chunk: &[u8]) -> usize {
        let mut from = 0;
        while !self.is_done() {
            let Some(offset) = memchr(b'\n', &chunk[from..]) else {
                self.note(&chunk[from..]);
                return chunk.len();
            };
            self.note(&chunk[from..from + offset]);
            self.end_line();
            from += offset + 1;
        }
        from
    }

    /// Takes note of bytes within a line.
    fn note(&mut self, bytes: &[u8]) {
        if let Part::Header(so_far) = &mut self.part {
            *so_far = match (*so_far, bytes) {
                (so_far, []) => so_far,
                (LineSoFar::Empty, [b'\r']) => LineSoFar::OnlyCr,
                _ => LineSoFar::Some,
            };
        }
    }

    /// Takes note of a line end.
    fn end_line(&mut self) {
        self.part = match self.part {
            Part::Header(LineSoFar::Some) => Part::Header(LineSoFar::Empty),
            Part::Header(LineSoFar::Empty | LineSoFar::OnlyCr) => Part::Body(self.lines),
            Part::Body(lines) => Part::Body(lines.saturating_sub(1)),
        };
    }
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

    #[test]
    fn octets_are_counted_after_line_ends_and_before_dots() {
        let table = [
            ("", 0),
            ("\n", 2),
            ("\r\n", 2),
            ("\r", 3),
            ("a", 3),
            ("a\n", 3),
            ("a\r\n", 3),
            ("a\r", 4),
            ("a\r\r\nb\nc", 10),
            (".\n..\n", 7),
            ("\n\n\n", 6),
        ];
        for (message, want) in table {
            for size in 1..=message.len().max(1) {
                let mut counter = OctetCounter::new();
                for chunk in message.as_bytes().chunks(size) {
                    counter.push(chunk);
                }
                assert_eq!(counter.octets(), want, "{message:?} by {size}");
            }
        }
    }

    #[test]
    fn long_runs_of_line_feeds_do_not_overflow_the_sums() {
        let mut counter = OctetCounter::new();
        counter.push(&[b'\n'; 100_000]);
        assert_eq!(counter.octets(), 200_000);
    }
}
