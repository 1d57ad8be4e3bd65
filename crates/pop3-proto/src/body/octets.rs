//! How many octets a stored message has on the wire.

use fearless_simd::{dispatch, Level, Simd};

use super::simd::{Classes, BLOCK};
use super::Edge;

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
        let Some(&last) = chunk.last() else {
            return;
        };
        let after_cr = self.edge == Edge::Cr;
        self.octets += chunk.len() as u64;
        self.octets += dispatch!(Level::new(), simd => bare_line_feeds(simd, chunk, after_cr));
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

/// Number of LF after something else than CR.
#[inline(always)]
fn bare_line_feeds<S: Simd>(simd: S, bytes: &[u8], mut after_cr: bool) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut count = 0;
    for block in blocks {
        let Classes { lf, cr, .. } = Classes::of(simd, block);
        count += u64::from((lf & !(cr << 1 | u64::from(after_cr))).count_ones());
        after_cr = block.ends_with(b"\r");
    }
    for &byte in rest {
        count += u64::from(byte == b'\n' && !after_cr);
        after_cr = byte == b'\r';
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::simd;
    use super::*;

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

    /// Irregular pairs on, before and after each border of blocks, by all instruction sets.
    #[test]
    fn blocks_do_not_show() {
        for pair in ["\n", "\r\n", "\n\n", "\r\r\n", "\r", "\n\r"] {
            for place in 0..3 * BLOCK {
                let mut bytes = vec![b'x'; 3 * BLOCK + 3];
                bytes[place..place + pair.len()].copy_from_slice(pair.as_bytes());
                for after_cr in [false, true] {
                    let before = [if after_cr { b'\r' } else { b'x' }];
                    let bytes_before = before.iter().chain(&bytes);
                    let pairs = bytes_before.zip(&bytes);
                    let want = pairs.filter(|(&a, &b)| a != b'\r' && b == b'\n').count();
                    for level in simd::levels() {
                        let got = dispatch!(level, simd => bare_line_feeds(simd, &bytes, after_cr));
                        assert_eq!(got, want as u64, "{pair:?} at {place}, {level:?}");
                    }
                }
            }
        }
    }
}
