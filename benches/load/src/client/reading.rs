//! Takes one reply apart as it arrives and verifies it: bytes in, verdict out.

use std::hash::Hasher as _;

use memchr::{memchr, memmem};
use twox_hash::{xxhash3_64, XxHash3_64};

use crate::corpus::Expected;

/// No status line that a server sends is longer (RFC 1939 §3 and RFC 2449 §4).
const LINE: usize = 512;

/// What remains to be read of a multi-line reply.
pub enum Body {
    /// All bytes are known: counted and digested.
    Exact(Exact),
    /// Up to the terminator, whatever it is; the bytes are kept on demand.
    Framed(Framed),
}

/// A body of known bytes.
pub struct Exact {
    want: Expected,
    left: u64,
    hasher: Option<Box<xxhash3_64::Hasher>>,
}

/// A body of unknown bytes.
pub struct Framed {
    /// The last bytes so far, at most four: the terminator may be cut anywhere.
    tail: Vec<u8>,
    /// Line ends so far.
    pub lines: u64,
    /// All bytes, if wanted.
    pub kept: Option<Vec<u8>>,
}

impl Body {
    /// A body that must be exactly these bytes.
    pub fn exact(want: Expected) -> Self {
        Self::Exact(Exact {
            want,
            left: want.len,
            hasher: None,
        })
    }

    /// A body that ends at its terminator; `keep` its bytes.
    pub fn framed(keep: bool) -> Self {
        // The status line's end counts: an empty body is the terminator alone.
        let tail = b"\r\n".to_vec();
        Self::Framed(Framed {
            tail,
            lines: 0,
            kept: keep.then(Vec::new),
        })
    }

    /// Takes what belongs to the body from the front of `bytes`; the second
    /// value tells whether it is complete.
    ///
    /// # Errors
    /// The complete body has another digest than it must have.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), String> {
        match self {
            Self::Exact(exact) => exact.take(bytes),
            Self::Framed(framed) => Ok(framed.take(bytes)),
        }
    }
}

impl Exact {
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), String> {
        let taken = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let part = &bytes[..taken];
        self.left -= taken as u64;
        let digest = match (&mut self.hasher, self.left) {
            (None, 0) => XxHash3_64::oneshot(part),
            (hasher, left) => {
                let hasher = hasher.get_or_insert_with(Default::default);
                hasher.write(part);
                if left > 0 {
                    return Ok((taken, false));
                }
                hasher.finish()
            }
        };
        if digest == self.want.digest {
            return Ok((taken, true));
        }
        let from = taken.saturating_sub(60);
        let end = String::from_utf8_lossy(&part[from..]);
        Err(format!(
            "wrong bytes in a body of {}, which ends {end:?}",
            self.want.len
        ))
    }
}

impl Framed {
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        const END: &[u8] = b"\r\n.\r\n";
        let before = self.tail.len();
        self.tail.extend_from_slice(&bytes[..bytes.len().min(4)]);
        let end = match memmem::find(&self.tail, END) {
            Some(at) => Some(at + END.len() - before),
            None => memmem::find(bytes, END).map(|at| at + END.len()),
        };
        let taken = end.unwrap_or(bytes.len());
        let part = &bytes[..taken];
        self.lines += memchr::memchr_iter(b'\n', part).count() as u64;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(part);
        }
        if bytes.len() >= 4 {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - 4..]);
        } else {
            let surplus = self.tail.len().saturating_sub(4);
            self.tail.drain(..surplus);
        }
        (taken, end.is_some())
    }
}

/// Collects a status line that may come in pieces.
#[derive(Default)]
pub struct Status(Vec<u8>);

impl Status {
    /// Takes the line from the front of `bytes`, calling `done` with it (line
    /// end included) when it is complete; returns the bytes taken.
    ///
    /// # Errors
    /// A line without end, or what `done` returns.
    pub fn take(
        &mut self,
        bytes: &[u8],
        done: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<usize, String> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.0.extend_from_slice(bytes);
            if self.0.len() > LINE {
                return Err(format!("a status line without end: {:?}", self.text()));
            }
            return Ok(bytes.len());
        };
        let line = &bytes[..=end];
        if self.0.is_empty() {
            done(line)?;
        } else {
            self.0.extend_from_slice(line);
            done(&std::mem::take(&mut self.0))?;
        }
        Ok(line.len())
    }

    /// What has come of it so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(mut body: Body, bytes: &[u8], chunk: usize) -> Result<usize, String> {
        let mut at = 0;
        for part in bytes.chunks(chunk) {
            let (taken, done) = body.take(part)?;
            at += taken;
            if done {
                return Ok(at);
            }
        }
        Err("incomplete".to_owned())
    }

    #[test]
    fn bodies_end_where_they_must_in_every_chunking() {
        let table: [(&[u8], usize); 5] = [
            (b".\r\n+OK", 3),
            (b"a\r\n.\r\n+OK", 6),
            (b"\r\n..\r\n.\r\n.\r\n", 9),
            (b"\r\n.x\r\n\r\n.\r\n", 11),
            (b"a\r\n.\n\r.\r\n\r\n.\r\n", 14),
        ];
        for (bytes, len) in table {
            for chunk in 1..=bytes.len() {
                assert_eq!(
                    feed(Body::framed(false), bytes, chunk),
                    Ok(len),
                    "{bytes:?} by {chunk}"
                );
                let want = Expected::of(&bytes[..len]);
                assert_eq!(
                    feed(Body::exact(want), bytes, chunk),
                    Ok(len),
                    "{bytes:?} by {chunk}"
                );
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_seen_in_every_chunking() {
        let want = Expected::of(b"abcdefgh\r\n.\r\n");
        for chunk in 1..=13 {
            let error = feed(Body::exact(want), b"abcdeFgh\r\n.\r\n", chunk).unwrap_err();
            assert!(error.starts_with("wrong bytes"), "{error}");
        }
    }
}
