//! A stored message → the wire: line ends, dot-stuffing, the cut of TOP.
//!
//! A stream over chunks of any size. RFC 1939 §3: lines end with CRLF, and a
//! line that begins with the termination octet "." gets another in front. Stored
//! CRLF stays, LF becomes CRLF, and a CR that no LF follows is a byte like any
//! other. A message whose last line has no end gets one.

use memchr::memchr;

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
const BLOCK: usize = 1024;

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
    let mut from = begin;
    // A LF at `begin` is settled, a dot after it is not.
    while let Some(offset) = memchr(b'\n', &chunk[from..chunk.len().min(end + 1)]) {
        let lf = from + offset;
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
        from = lf + 1;
    }
    if copied < end {
        out.extend_from_slice(&chunk[copied..end]);
    }
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
