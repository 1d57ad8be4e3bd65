//! Bytes on their way to the client.

/// A buffer written at its end and sent from its front.
///
/// Empty, it holds no memory unless it is told to keep it.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How much of `bytes` is sent.
    sent: usize,
}

impl Output {
    /// Where to append.
    pub fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Number of bytes to be sent.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// The length of [`writer`](Self::writer) at which `mark` bytes are unsent.
    pub fn length_at(&self, mark: usize) -> usize {
        self.sent.saturating_add(mark)
    }

    /// Notes that the first `n` unsent bytes are sent. With `keep`, an empty
    /// buffer keeps its memory because more follows at once.
    pub fn consume(&mut self, n: usize, keep: bool) {
        self.sent = (self.sent + n).min(self.bytes.len());
        if self.sent < self.bytes.len() {
            // A slow client must not make the sent part grow; moving no more
            // bytes than were sent keeps the cost linear.
            if self.sent >= self.waiting() {
                self.bytes.drain(..self.sent);
                self.sent = 0;
            }
            return;
        }
        self.sent = 0;
        if keep {
            self.bytes.clear();
        } else {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_memory_with_them() {
        let mut output = Output::default();
        output.writer().extend_from_slice(b"+OK\r\n");
        output.consume(1, false);
        assert_eq!(output.unsent(), b"OK\r\n");
        output.writer().extend_from_slice(b".");
        output.consume(4, false);
        assert_eq!((output.unsent(), output.waiting()), (&b"."[..], 1));
        output.consume(9, false);
        assert_eq!((output.waiting(), output.bytes.capacity()), (0, 0));
    }

    #[test]
    fn a_buffer_that_is_never_empty_stays_small() {
        let mut output = Output::default();
        output.writer().extend_from_slice(&[b'x'; 10]);
        for _ in 0..10_000 {
            output.writer().extend_from_slice(&[b'x'; 7]);
            output.consume(7, true);
            assert_eq!(output.waiting(), 10);
        }
        assert!(output.bytes.capacity() < 100);
    }

    #[test]
    fn memory_stays_while_more_follows() {
        let mut output = Output::default();
        output.writer().extend_from_slice(&[b'x'; 1000]);
        output.consume(1000, true);
        assert_eq!(output.waiting(), 0);
        assert!(output.bytes.capacity() >= 1000);
    }
}
