//! Bytes → bounded lines.

use std::fmt;

use memchr::memchr;

/// One line of input, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the bound.
    Text(&'a [u8]),
    /// A line over the bound; its bytes are gone.
    TooLong,
}

/// Cuts input into lines, whatever the pieces it arrives in.
///
/// CRLF ends a line (RFC 1939 §3), and LF alone does too: clients typed by hand
/// and scripts send it. Any other CR is part of the line. Between two lines it
/// holds no memory.
#[derive(Default)]
pub struct LineReader {
    /// Input not handed out yet, from `start` on.
    pending: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Inside a line that has passed the bound: bytes go until its end.
    skipping: bool,
}

/// Without the bytes: there may be a password among them.
impl fmt::Debug for LineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineReader({} bytes)", self.waiting())
    }
}

impl LineReader {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole line of at most `bound` bytes, if it has arrived.
    pub fn next_line(&mut self, bound: usize) -> Option<Line<'_>> {
        let Some(length) = memchr(b'\n', &self.pending[self.start..]) else {
            self.keep_rest(bound);
            return None;
        };
        let begin = self.start;
        let end = begin + length;
        self.start = end + 1;
        let line = &self.pending[begin..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if std::mem::take(&mut self.skipping) || line.len() > bound {
            return Some(Line::TooLong);
        }
        Some(Line::Text(line))
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.pending.len() - self.start
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Without a line end in sight: gives back the memory of the lines before,
    /// and of a line that can only become too long.
    fn keep_rest(&mut self, bound: usize) {
        // One more than the bound: the CR of a CRLF may be the last byte here.
        if self.waiting() > bound.saturating_add(1) {
            self.skipping = true;
        }
        if self.skipping || self.waiting() == 0 {
            self.pending = Vec::new();
            self.start = 0;
        } else if self.start > 0 {
            self.pending = self.pending[self.start..].to_vec();
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of an input; `None` is a line too long.
    type Lines = Vec<Option<Vec<u8>>>;

    /// All lines of `input`, fed in pieces of `size`.
    fn lines(input: &[u8], size: usize, bound: usize) -> Lines {
        let mut reader = LineReader::default();
        let mut all = Vec::new();
        for piece in input.chunks(size) {
            reader.push(piece);
            while let Some(line) = reader.next_line(bound) {
                all.push(match line {
                    Line::Text(text) => Some(text.to_vec()),
                    Line::TooLong => None,
                });
            }
        }
        all
    }

    #[test]
    fn every_line_end_in_every_chunking() {
        let t = |text: &str| Some(text.as_bytes().to_vec());
        let table: [(&[u8], Lines); 14] = [
            (b"", vec![]),
            (b"\n", vec![t("")]),
            (b"\r\n", vec![t("")]),
            (b"STAT", vec![]),
            (b"STAT\r", vec![]),
            (b"STAT\r\n", vec![t("STAT")]),
            (b"STAT\n", vec![t("STAT")]),
            (b"a\nb\r\nc\n", vec![t("a"), t("b"), t("c")]),
            (b"a\rb\r\r\n\n", vec![t("a\rb\r"), t("")]),
            (b"a\0b\n", vec![t("a\0b")]),
            (
                b"12345678\n12345678\r\n",
                vec![t("12345678"), t("12345678")],
            ),
            (b"123456789\nx\n", vec![None, t("x")]),
            (b"123456789\r\nx\r\n", vec![None, t("x")]),
            (b"1234567890123456789012345\r\n\nx", vec![None, t("")]),
        ];
        for (input, want) in table {
            for size in 1..=input.len().max(1) {
                assert_eq!(lines(input, size, 8), want, "{input:?} by {size}");
            }
        }
    }

    #[test]
    fn no_input_is_printed() {
        let mut reader = LineReader::default();
        reader.push(b"PASS secret");
        assert_eq!(format!("{reader:?}"), "LineReader(11 bytes)");
    }

    #[test]
    fn an_endless_line_costs_no_memory() {
        let mut reader = LineReader::default();
        for _ in 0..1000 {
            reader.push(&[b'x'; 1000]);
            assert_eq!(reader.next_line(100), None);
            assert_eq!(reader.pending.capacity(), 0);
        }
        reader.push(b"\nQUIT\n");
        assert_eq!(reader.next_line(100), Some(Line::TooLong));
        assert_eq!(reader.next_line(100), Some(Line::Text(b"QUIT")));
        assert_eq!(reader.next_line(100), None);
        assert_eq!(reader.pending.capacity(), 0);
    }
}
