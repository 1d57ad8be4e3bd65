//! How many octets a stored message has on the wire.

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

#[cfg(test)]
mod tests {
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

    #[test]
    fn long_runs_of_line_feeds_do_not_overflow_the_sums() {
        let mut counter = OctetCounter::new();
        counter.push(&[b'\n'; 100_000]);
        assert_eq!(counter.octets(), 200_000);
    }
}
