//! The exact octets of a mailbox's messages, counted once: kept in a dot file beside them.
//!
//! Each line of the file is `SUM v2 OCTETS SIZE SECONDS NANOS CHANGED NANOS INODE NAME`,
//! where SUM is over the rest. A line counts when the sum is right and the file NAME still
//! has that stamp. All other lines are passed over (those without `v2` are of versions that
//! did not look at the time of change). The file is read whole, and written whole beside
//! the old one, which it then replaces; but only where that costs less than to count what
//! else would be counted, so that one new message in a hundred thousand is cheap. It holds
//! nothing that cannot be counted again, so it
//! is not synced, and a failure to write it is no failure. Its writer holds the mailbox's
//! lock.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::layout::Links;
use super::message_file::{open_message_at, regular};
use super::octets::is_plausible;
use super::stamp::Stamp;
use crate::store::reason::is_permanent;
use crate::store::Wait;

/// Name of the file in the mailbox. Dot files are not messages.
const OCTETS_FILE: &str = ".pop3d.octets";

/// Its name while it is written.
const NEW_FILE: &str = ".pop3d.octets.new";

/// The second word of a line.
const VERSION: &str = "v2";

/// The most bytes that are read of the file: two million messages have fewer. The owner of the
/// mailbox may have put anything in its place.
const MOST_BYTES: u64 = 256 << 20;

/// Bytes of the longest line.
const LONGEST_LINE: u64 = 1024;

/// About how many bytes a line has besides the name.
const LINE_BYTES: usize = 80;

/// To open a message in order to count it costs as much as to read so many of its bytes.
const OPENING: u64 = 4096;

/// The messages of a mailbox whose octets are to be counted.
pub struct Uncounted<'a> {
    /// The mailbox.
    pub dir: BorrowedFd<'a>,
    /// The names by which the messages are known from one session to the next.
    pub names: &'a dyn Fn(usize) -> &'a [u8],
    /// Their stamps. A stamp that has only a size is replaced by that of the file that was
    /// counted.
    pub stamps: &'a mut [Stamp],
    /// Seconds since 1970 before the stamps were taken.
    pub moment: i64,
    /// What it would cost to count again what an earlier listing has counted and the file of
    /// the mailbox does not hold, in bytes to read. It is kept up to date.
    pub unsaved: u64,
    /// Whether to keep what is counted: the caller has the lock of the mailbox.
    pub keep: bool,
}

impl Uncounted<'_> {
    /// Completes `octets` from the file of the mailbox. What is not in it is counted by
    /// `count`, which gives the octets and the stamp of the file that it has read. The file
    /// of the mailbox is written anew when enough has been counted that is not in it.
    ///
    /// A message that cannot be counted has its size, as no more than that may be promised.
    /// The second result is then false: such a listing must not be kept.
    ///
    /// # Errors
    /// When one cannot be counted for a reason that says nothing of this message.
    pub fn fill(
        &mut self,
        octets: &mut [Option<u64>],
        mut count: impl FnMut(usize) -> io::Result<(u64, Stamp)>,
    ) -> io::Result<(Vec<u64>, bool)> {
        let uncounted = octets.iter().zip(&*self.stamps);
        let uncounted = uncounted.filter(|(octets, _)| octets.is_none());
        let costs: u64 = uncounted.fold(0, |all, (_, stamp)| all.saturating_add(cost(stamp)));
        if costs > 0 {
            let _counted_then = self.load(octets, costs);
        }
        let (mut has_new, mut failed) = (false, None);
        let missing = octets.iter_mut().enumerate();
        for (index, octets) in missing.filter(|(_, octets)| octets.is_none()) {
            match count(index) {
                Ok((counted, stamp)) => {
                    *octets = Some(counted);
                    self.stamps[index] = stamp;
                    if stamp.is_settled(self.moment) {
                        has_new = true;
                        self.unsaved = self.unsaved.saturating_add(cost(&stamp));
                    }
                }
                Err(error) if is_of_message(&error) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if has_new && self.keep && self.unsaved >= self.bytes(octets) {
            match self.store(octets) {
                Ok(()) => self.unsaved = 0,
                Err(_) => {
                    let _counted_again_next_time =
                        rustix::fs::unlinkat(self.dir, NEW_FILE, AtFlags::empty());
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let sizes = octets.iter().zip(&*self.stamps);
        let sizes = sizes.map(|(octets, stamp)| octets.unwrap_or(stamp.size));
        Ok((sizes.collect(), !octets.contains(&None)))
    }

    /// Whether the octets of a message, which are those of this stamp, go into the file.
    fn is_kept(&self, stamp: &Stamp) -> bool {
        // What changes once more within the same tick has the same stamp.
        !stamp.has_size_only() && stamp.is_settled(self.moment)
    }

    /// About how many bytes the file would have.
    fn bytes(&self, octets: &[Option<u64>]) -> u64 {
        let all = octets.iter().zip(&*self.stamps).enumerate();
        let kept = all.filter(|(_, (octets, stamp))| octets.is_some() && self.is_kept(stamp));
        kept.map(|(index, _)| (LINE_BYTES + (self.names)(index).len()) as u64)
            .sum()
    }

    /// Reads the file, if that is cheaper than to count what is missing.
    fn load(&mut self, octets: &mut [Option<u64>], costs: u64) -> io::Result<()> {
        // A link or a pipe in the file's place is not followed or waited for.
        let name = OCTETS_FILE.as_ref();
        let file = open_message_at(self.dir, name, Links::Refuse, Wait::UNTIL_DONE)?;
        let (file, stamp) = regular(file)?;
        if stamp.size > costs.min(MOST_BYTES) {
            return Ok(());
        }
        let missing = octets.iter().enumerate();
        let missing = missing.filter(|(_, octets)| octets.is_none());
        let missing: HashMap<String, usize> = missing
            .map(|(index, _)| (escape((self.names)(index)), index))
            .collect();
        let mut found = HashMap::new();
        let mut lines = BufReader::new(file.take(stamp.size));
        let mut line = Vec::new();
        loop {
            line.clear();
            // A longer line comes in pieces, whose sums are wrong.
            let mut piece = lines.by_ref().take(LONGEST_LINE);
            if piece.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some((name, (stamp, counted))) = parse(text.trim_end_matches('\n')) {
                let index = missing.get(name).copied();
                // Of several the last counts.
                if let Some(index) = index.filter(|&index| self.stamps[index].may_be(&stamp)) {
                    found.insert(index, (stamp, counted));
                }
            }
        }
        for (index, (stamp, counted)) in found {
            octets[index] = Some(counted);
            self.stamps[index] = stamp;
        }
        Ok(())
    }

    fn store(&self, octets: &[Option<u64>]) -> io::Result<()> {
        let _left_by_an_interrupted_process =
            rustix::fs::unlinkat(self.dir, NEW_FILE, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(self.dir, NEW_FILE, flags, private)?;
        let mut file = BufWriter::new(File::from(fd));
        for (index, (octets, stamp)) in octets.iter().zip(&*self.stamps).enumerate() {
            match octets {
                Some(octets) if self.is_kept(stamp) => {
                    let line = line(*octets, stamp, (self.names)(index));
                    writeln!(file, "{:08x} {line}", sum(&line))?;
                }
                _ => {}
            }
        }
        file.flush()?;
        Ok(rustix::fs::renameat(
            self.dir,
            NEW_FILE,
            self.dir,
            OCTETS_FILE,
        )?)
    }
}

/// What it costs to count a message, in bytes to read.
fn cost(stamp: &Stamp) -> u64 {
    stamp.size.saturating_add(OPENING)
}

/// Whether a message cannot be read because of what it is: it has gone, it is somebody
/// else's, its part of the disk is damaged. The owner of the mailbox must be able to fetch
/// the others. All other errors pass, and then the message is there with more octets. (One
/// that nobody waits for any more is not counted either, and nobody sees its size.)
fn is_of_message(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted)
        || is_permanent(error)
        || matches!(errno, Some(Errno::LOOP | Errno::NXIO | Errno::IO))
}

/// A line of the file without its sum.
fn line(octets: u64, stamp: &Stamp, name: &[u8]) -> String {
    format!(
        "{VERSION} {octets} {} {} {} {} {} {} {}",
        stamp.size,
        stamp.seconds,
        stamp.nanos,
        stamp.changed,
        stamp.changed_nanos,
        stamp.inode,
        escape(name)
    )
}

/// What a line of the file says: the escaped name, the stamp, and the octets.
fn parse(line: &str) -> Option<(&str, (Stamp, u64))> {
    let (checksum, rest) = line.split_once(' ')?;
    let mut words = rest.splitn(9, ' ');
    if u32::from_str_radix(checksum, 16) != Ok(sum(rest)) || words.next()? != VERSION {
        return None;
    }
    let octets = words.next()?.parse().ok()?;
    let stamp = Stamp {
        size: words.next()?.parse().ok()?,
        seconds: words.next()?.parse().ok()?,
        nanos: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
        changed_nanos: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
    };
    is_plausible(octets, stamp.size).then_some((words.next()?, (stamp, octets)))
}

/// A name without line ends, in ASCII.
fn escape(name: &[u8]) -> String {
    let mut escaped = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'%' | b'\n' | 0x80.. => {
                let _infallible = write!(escaped, "%{byte:02x}");
            }
            byte => escaped.push(byte.into()),
        }
    }
    escaped
}

/// FNV-1a: against damage, not against malice, as whoever can write here can write messages
/// too.
fn sum(line: &str) -> u32 {
    line.bytes().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            seconds: 5,
            nanos: 6,
            changed: 8,
            changed_nanos: 9,
            inode: 7,
        }
    }

    /// The sizes, and which messages were counted for them: as their size + 1.
    fn fill(dir: &Path, all: &[&str], stamps: &[Stamp]) -> (Vec<u64>, Vec<usize>) {
        let mut counted = Vec::new();
        let open = File::open(dir).unwrap();
        let mut uncounted = Uncounted {
            dir: open.as_fd(),
            names: &|index| all[index].as_bytes(),
            stamps: &mut stamps.to_vec(),
            moment: NOW,
            unsaved: 0,
            keep: true,
        };
        let octets = uncounted.fill(&mut vec![None; all.len()], |index| {
            counted.push(index);
            Ok((stamps[index].size + 1, stamps[index]))
        });
        let octets = octets.unwrap();
        assert!(!dir.join(NEW_FILE).exists());
        (octets.0, counted)
    }

    /// What a mailbox's owner may have put in the file's place: nobody waits for it,
    /// follows it, reads it without end or writes into it.
    #[test]
    fn something_else_in_its_place() {
        let make: [fn(&Path); 5] = [
            |file| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, file, kind, mode, 0).unwrap();
            },
            |file| std::os::unix::fs::symlink("/dev/zero", file).unwrap(),
            |file| File::create(file).unwrap().set_len(1 << 40).unwrap(),
            |file| fs::hard_link(file.with_file_name("other"), file).unwrap(),
            |file| fs::create_dir(file).unwrap(),
        ];
        for make in make {
            for name in [OCTETS_FILE, NEW_FILE] {
                let dir = tempfile::tempdir().unwrap();
                let other = dir.path().join("other");
                fs::write(&other, "theirs").unwrap();
                make(&dir.path().join(name));
                let is_dir = dir.path().join(name).is_dir();
                if is_dir && name == NEW_FILE {
                    continue;
                }
                let (all, stamps) = (["a"], [stamp(1)]);
                assert_eq!(fill(dir.path(), &all, &stamps), (vec![2], vec![0]));
                let again = if is_dir { vec![0] } else { vec![] };
                assert_eq!(fill(dir.path(), &all, &stamps), (vec![2], again));
                assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
            }
        }
    }

    #[test]
    fn counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let all = ["a", "b c", "d%\n\u{e9}"];
        let stamps = [stamp(1), stamp(2), stamp(3)];
        assert_eq!(fill(dir, &all, &stamps), (vec![2, 3, 4], vec![0, 1, 2]));
        assert_eq!(fill(dir, &all, &stamps), (vec![2, 3, 4], vec![]));
        // One changed, one new, one gone.
        let stamps = [stamp(1), stamp(9), stamp(5)];
        let all = ["a", "b c", "new"];
        assert_eq!(fill(dir, &all, &stamps), (vec![2, 10, 6], vec![1, 2]));
        assert_eq!(fill(dir, &all, &stamps), (vec![2, 10, 6], vec![]));
        let kept = fs::read_to_string(dir.join(OCTETS_FILE)).unwrap();
        assert_eq!(kept.lines().count(), 3, "{kept}");
        let other = |change: fn(&mut Stamp)| {
            let mut other = stamp(1);
            change(&mut other);
            assert_eq!(fill(dir, &["a"], &[other]).1, [0]);
            assert_eq!(fill(dir, &["a"], &[stamp(1)]).1, [0]);
        };
        other(|stamp| stamp.seconds = 8);
        other(|stamp| stamp.nanos = 8);
        other(|stamp| stamp.changed = 7);
        other(|stamp| stamp.changed_nanos = 8);
        other(|stamp| stamp.inode = 8);
    }

    /// Names and stamps of a thousand messages and some more, of so many bytes.
    fn many(size: u64) -> (Vec<String>, Vec<Stamp>) {
        let names = (0..1100).map(|number| format!("message{number}"));
        (names.collect(), vec![stamp(size); 1100])
    }

    /// Where most messages are known from an earlier listing, the file is neither read nor
    /// written for each new one.
    #[test]
    fn a_new_message_is_counted_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (names, mut stamps) = many(100);
        let lines = || fs::read_to_string(dir.path().join(OCTETS_FILE)).unwrap();
        let lines = || lines().lines().count();
        let open = File::open(dir.path()).unwrap();
        let mut fill = |count: usize, known: usize, unsaved: u64| {
            let mut counted = 0;
            let mut uncounted = Uncounted {
                dir: open.as_fd(),
                names: &|index| names[index].as_bytes(),
                stamps: &mut stamps[..count],
                moment: NOW,
                unsaved,
                keep: true,
            };
            let mut octets = vec![None; count];
            octets[..known].fill(Some(101));
            let filled = uncounted.fill(&mut octets, |_| {
                counted += 1;
                Ok((101, stamp(100)))
            });
            assert_eq!(filled.unwrap(), (vec![101; count], true));
            (counted, uncounted.unsaved)
        };
        assert_eq!(fill(1000, 0, 0), (1000, 0));
        let (mut unsaved, mut written) = (0, Vec::new());
        for count in 1001..=1100 {
            let (counted, now) = fill(count, count - 1, unsaved);
            assert_eq!(counted, 1);
            if now == 0 {
                written.push(count);
            }
            assert_eq!(lines(), written.last().copied().unwrap_or(1000));
            unsaved = now;
        }
        // A line has about as many bytes as a fiftieth of what it costs to count a message.
        assert!((3..7).contains(&written.len()), "{written:?}");
        // Another process knows nothing, and counts what is not in the file.
        let last = written.last().copied().unwrap();
        assert_eq!(fill(1100, 0, 0).0, 1100 - last);
    }

    /// What is left is not counted again, if it is not tiny.
    #[test]
    fn a_mailbox_that_shrank_is_still_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (names, stamps) = many(20_000);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(fill(dir.path(), &names, &stamps).1.len(), 1100);
        let left = fill(dir.path(), &names[..10], &stamps[..10]);
        assert_eq!(left, (vec![20_001; 10], vec![]));
    }

    #[test]
    fn the_young_are_counted_again() {
        let dir = tempfile::tempdir().unwrap();
        let young = Stamp {
            changed: NOW - 1,
            ..stamp(1)
        };
        for _ in 0..2 {
            assert_eq!(fill(dir.path(), &["a", "b"], &[young, stamp(2)]).0, [2, 3]);
        }
        assert_eq!(fill(dir.path(), &["a", "b"], &[young, stamp(2)]).1, [0]);
    }

    #[test]
    fn damage_is_counted_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(OCTETS_FILE);
        let (all, stamps) = (["a", "b"], [stamp(1), stamp(2)]);
        let right = (vec![2, 3], vec![]);
        fill(dir.path(), &all, &stamps);
        let good = fs::read(&file).unwrap();
        for length in 0..good.len() {
            fs::write(&file, &good[..length]).unwrap();
            assert_eq!(fill(dir.path(), &all, &stamps).0, right.0);
            assert_eq!(fill(dir.path(), &all, &stamps), right, "cut at {length}");
        }
        for index in 0..good.len() {
            for bit in [1, 0x80] {
                let mut bad = good.clone();
                bad[index] ^= bit;
                fs::write(&file, &bad).unwrap();
                assert_eq!(fill(dir.path(), &all, &stamps).0, right.0, "bad at {index}");
            }
        }
        // What no file can be sent as is not believed, though the sum is right. Nor are
        // lines of older versions.
        for wrong in ["v2 9999 1 5 6 8 9 7 a", "3 1 5 6 7 a"] {
            fs::write(&file, format!("{:08x} {wrong}\n", sum(wrong))).unwrap();
            assert_eq!(fill(dir.path(), &all, &stamps).0, right.0);
        }
    }

    /// As versions up to 1.10 left it: lines twice, in any order, an empty one first.
    #[test]
    fn files_that_grew_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let line = |octets, stamp| {
            let line = line(octets, &stamp, b"a");
            format!("\n{:08x} {line}\n", sum(&line))
        };
        let text = line(3, stamp(2)) + &line(2, stamp(1));
        assert!(
            text.starts_with("\n0e4896b2 v2 3 2 5 6 8 9 7 a\n\n"),
            "{text}"
        );
        fs::write(dir.path().join(OCTETS_FILE), text).unwrap();
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![]));
    }

    /// What says nothing of a message must not show a size that another session does not see.
    #[test]
    fn only_what_a_message_is_keeps_it_from_being_counted() {
        let dir = tempfile::tempdir().unwrap();
        let open = File::open(dir.path()).unwrap();
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::NXIO] {
            assert_eq!(fill_failing(&open, errno).unwrap(), (vec![1], false));
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::STALE] {
            let code = fill_failing(&open, errno).unwrap_err().raw_os_error();
            assert_eq!(code, Some(errno.raw_os_error()));
        }
    }

    fn fill_failing(dir: &File, errno: Errno) -> io::Result<(Vec<u64>, bool)> {
        let mut uncounted = Uncounted {
            dir: dir.as_fd(),
            names: &|_| b"a",
            stamps: &mut [stamp(1)],
            moment: NOW,
            unsaved: 0,
            keep: true,
        };
        uncounted.fill(&mut [None], |_| Err(errno.into()))
    }

    /// What a name tells of its file's size is enough to find its line. The stamp then comes
    /// from the line, so that a change is noticed when the file is opened.
    #[test]
    fn a_size_in_the_name_gets_the_stamp_that_was_counted() {
        let dir = tempfile::tempdir().unwrap();
        let counted = Stamp {
            changed: 77,
            ..stamp(5)
        };
        for (size, want) in [(5, counted), (5, counted), (6, Stamp::of_size(6))] {
            let mut stamps = [Stamp::of_size(size)];
            let open = File::open(dir.path()).unwrap();
            let mut uncounted = Uncounted {
                dir: open.as_fd(),
                names: &|_| b"a",
                stamps: &mut stamps,
                moment: NOW,
                unsaved: 0,
                keep: true,
            };
            let octets = uncounted.fill(&mut [None], |_| {
                match dir.path().join(OCTETS_FILE).exists() {
                    true => Err(io::ErrorKind::NotFound.into()),
                    false => Ok((8, counted)),
                }
            });
            let right = if size == 5 {
                (vec![8], true)
            } else {
                (vec![6], false)
            };
            assert_eq!((octets.unwrap(), stamps), (right, [want]));
        }
    }
}
