//! Where TOP stops.

use memchr::memchr;

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
