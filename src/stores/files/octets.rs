//! Exact octets of messages, and those to announce.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pop3_proto::body::OctetCounter;

use crate::store::Wait;

/// Read at once while counting.
const CHUNK: usize = 64 * 1024;

/// Counts octets of messages, by a buffer that it keeps.
pub struct Counter<'a> {
    buffer: Box<[u8]>,
    wait: Wait<'a>,
}

impl<'a> Counter<'a> {
    /// A counter that stops when nobody waits for it any more: a file with holes may have
    /// more octets than can be counted in years.
    pub fn new(wait: Wait<'a>) -> Self {
        let buffer = vec![0; CHUNK].into();
        Self { buffer, wait }
    }

    /// Whether to go on: asked before a message is opened, as a mailbox may have a hundred
    /// thousand of them, and after each part of it.
    ///
    /// # Errors
    /// [`Interrupted`](io::ErrorKind::Interrupted) when the answer is not wanted any more.
    pub fn go_on(&self) -> io::Result<()> {
        match self.wait.is_wanted() {
            true => Ok(()),
            false => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// Octets of a message as it is sent. Only the `size` bytes are counted that its file had
    /// when it was opened: what it grows by later is not sent. The file's position stays.
    ///
    /// # Errors
    /// When the file cannot be read; [`Interrupted`](io::ErrorKind::Interrupted) when the
    /// answer is not wanted any more.
    pub fn count(&mut self, file: &File, size: u64) -> io::Result<u64> {
        let mut counter = OctetCounter::new();
        let mut position = 0;
        loop {
            let most = usize::try_from(size - position).map_or(CHUNK, |left| left.min(CHUNK));
            match file.read_at(&mut self.buffer[..most], position) {
                Ok(0) => break,
                Ok(n) => {
                    counter.push(&self.buffer[..n]);
                    position += n as u64;
                    if position == size {
                        break;
                    }
                    self.go_on()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(counter.octets())
    }

    /// The octets to announce of a message whose name claims some: a small message is
    /// counted, of a large one only the start is read.
    ///
    /// # Errors
    /// Those of [`count`](Self::count).
    pub fn check(&mut self, file: &File, size: u64, claimed: u64) -> io::Result<u64> {
        if size <= CHUNK as u64 {
            return self.count(file, size);
        }
        let start = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut self.buffer[..], 0))?;
        Ok(to_announce(
            &self.buffer[..start],
            size - start as u64,
            claimed,
        ))
    }

    /// The octets to announce of a message for which a script claims some: a large message
    /// is counted only where the claim is more than its start is sure of.
    ///
    /// # Errors
    /// Those of [`count`](Self::count).
    pub fn verify(&mut self, file: &File, size: u64, claimed: Option<u64>) -> io::Result<u64> {
        let sure = self.check(file, size, 0)?;
        match claimed {
            Some(claimed) if claimed > sure && size > CHUNK as u64 => self.count(file, size),
            _ => Ok(sure),
        }
    }
}

/// Whether a file of `size` bytes can be sent as `octets`: each byte may be a line
/// feed that becomes two, and the last line may want an end.
pub fn is_plausible(octets: u64, size: u64) -> bool {
    let most = size.saturating_mul(2).saturating_add(2);
    (size..=most).contains(&octets)
}

/// Octets of several messages together; the greatest number where they are more. Files with
/// holes may be as large as their owner likes.
pub fn sum(octets: &[u64]) -> u64 {
    octets.iter().fold(0, |all, &one| all.saturating_add(one))
}

/// What the listing of a mailbox says of the octets of a message whose file has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedOctets {
    /// The mailbox does not count: the size of the file is announced.
    FileSize,
    /// They were counted when the file was as it is now.
    Counted(u64),
    /// The file's name tells them, which may be wrong.
    Claimed(u64),
    /// Nothing.
    Unknown,
}

/// The octets to announce of a message that has the bytes `start`, `left` more bytes, and
/// `claimed` octets by its name. Where nothing is left they are counted. Else they are the
/// claim, unless `start` shows that it cannot be right: then the least that can come.
pub fn to_announce(start: &[u8], left: u64, claimed: u64) -> u64 {
    let counted = count(start);
    if left == 0 {
        return counted;
    }
    // The last line of the start was counted with an end that may yet come.
    let least = counted.saturating_sub(2).saturating_add(left);
    let most = counted
        .saturating_add(left.saturating_mul(2))
        .saturating_add(2);
    match (least..=most).contains(&claimed) {
        true => claimed,
        false => least,
    }
}

/// Octets of a whole message in memory.
pub fn count(message: &[u8]) -> u64 {
    let mut counter = OctetCounter::new();
    counter.push(message);
    counter.octets()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    /// Never more is announced than comes, and exactly that where the claim is right.
    #[test]
    fn the_start_shows_what_cannot_be() {
        for text in [
            "aa\nbb\ncc",
            "aa\r\nbb\r\n",
            "\n\n\n\n",
            "aa\r\nb\r",
            "\r\n\n\r\r\n",
        ] {
            let (text, right) = (text.as_bytes(), count(text.as_bytes()));
            for cut in 0..=text.len() {
                let (start, left) = (&text[..cut], (text.len() - cut) as u64);
                assert_eq!(to_announce(start, left, right), right);
                for claimed in [0, 1, 1000, u64::MAX] {
                    let announced = to_announce(start, left, claimed);
                    assert!(announced <= right, "{text:?} at {cut}: {announced}");
                }
                assert!(left > 0 || to_announce(start, 0, 1000) == right);
            }
        }
    }

    #[test]
    fn sums_do_not_wrap() {
        let large = i64::MAX as u64;
        assert_eq!(sum(&[large, large, large]), u64::MAX);
        assert_eq!((sum(&[1, 2]), sum(&[])), (3, 0));
    }

    fn counter() -> Counter<'static> {
        Counter::new(Wait::UNTIL_DONE)
    }

    /// Within one message: a file of holes has as many octets as its owner likes.
    #[test]
    fn counting_stops_when_nobody_waits() {
        let file = tempfile::tempfile().unwrap();
        let size = 1 << 40;
        file.set_len(size).unwrap();
        let asked = Cell::new(0);
        let is_wanted = || asked.replace(asked.get() + 1) < 3;
        let mut counter = Counter::new(Wait::While(&is_wanted));
        let stopped = counter.verify(&file, size, Some(u64::MAX)).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn octets_are_those_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let long = "x".repeat(CHUNK - 1);
        let table: &[(String, u64)] = &[
            (String::new(), 0),
            ("a".into(), 3),
            ("a\n".into(), 3),
            ("a\r\n".into(), 3),
            (".\n".into(), 3),
            (format!("{long}\r\n"), CHUNK as u64 + 1),
            (format!("{long}\n\n"), CHUNK as u64 + 3),
        ];
        for (text, want) in table {
            fs::write(&path, text).unwrap();
            let file = File::open(&path).unwrap();
            let size = text.len() as u64;
            assert_eq!(counter().count(&file, size).unwrap(), *want);
            assert!(is_plausible(*want, size));
            // What was appended after it was opened is not sent, so not counted.
            fs::write(&path, text.clone() + "\nmore\n").unwrap();
            assert_eq!(counter().count(&file, size).unwrap(), *want);
        }
    }
}
