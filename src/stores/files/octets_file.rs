//! The exact octets of a mailbox's messages, counted once: kept in a dot file beside them.
//!
//! Each line of the file is `SUM v2 OCTETS SIZE SECONDS NANOS CHANGED NANOS INODE NAME`,
//! where SUM is over the rest. A line counts when the sum is right and the file NAME
//! still has that stamp; whatever else is in there (lines without `v2` are of versions
//! that did not look at the time of change) is passed over. Lines are appended,
//! and the file is written anew when most of it is about messages that have gone.
//! It holds nothing that cannot be counted again, so it is neither synced nor
//! missed where it cannot be written. Its writer holds the mailbox's lock.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::mailboxes::Links;
use super::message_file::{open_message_at, regular};
use super::octets::is_plausible;
use super::stamp::Stamp;
use crate::store::Wait;

/// Name of the file in the mailbox. Dot files are not messages.
const OCTETS_FILE: &str = ".pop3d.octets";

/// Beside it while it is written anew.
const NEW_FILE: &str = ".pop3d.octets.new";

/// What begins a line after its sum.
const VERSION: &str = "v2";

/// About the bytes of a line beside the name.
const LINE_REST: u64 = 85;

/// A file of this size is never written anew only because it is too long.
const SMALL_FILE: u64 = 16 * 1024;

/// The messages of a mailbox whose octets are to be counted.
pub struct Uncounted<'a> {
    /// The mailbox.
    pub dir: BorrowedFd<'a>,
    /// The names by which the messages are known from one session to the next.
    pub names: &'a dyn Fn(usize) -> &'a [u8],
    /// Their stamps; where only the size is told, that of the file when it was counted
    /// is put in its place.
    pub stamps: &'a mut [Stamp],
    /// Seconds since 1970 before the stamps were taken.
    pub moment: i64,
}

impl Uncounted<'_> {
    /// Completes `octets` from the file of the mailbox, and by `count` for what is
    /// not in it, which is then added; that gives also the stamp of the file it has
    /// counted. A message that cannot be counted has its
    /// size: no more than that is promised, and the second result is false: such a
    /// listing must not be kept.
    pub fn fill(
        &mut self,
        octets: &mut [Option<u64>],
        load: bool,
        mut count: impl FnMut(usize) -> io::Result<(u64, Stamp)>,
    ) -> (Vec<u64>, bool) {
        if load && octets.contains(&None) {
            self.load(octets);
        }
        let mut added = Vec::new();
        let missing = octets.iter_mut().enumerate();
        for (index, octets) in missing.filter(|(_, octets)| octets.is_none()) {
            if let Ok((counted, stamp)) = count(index) {
                *octets = Some(counted);
                self.stamps[index] = stamp;
            }
            // What changes once more within the same tick has the same stamp.
            if octets.is_some() && self.stamps[index].is_settled(self.moment) {
                added.push(index);
            }
        }
        if !added.is_empty() {
            let _counted_again_next_time = self.store(octets, &added);
        }
        let sizes = octets.iter().zip(&*self.stamps);
        let sizes = sizes.map(|(octets, stamp)| octets.unwrap_or(stamp.size));
        (sizes.collect(), !octets.contains(&None))
    }

    fn load(&mut self, octets: &mut [Option<u64>]) {
        // A mailbox may belong to a user who has put something else in the file's place.
        let opened = open_message_at(
            self.dir,
            OCTETS_FILE.as_ref(),
            Links::Refuse,
            Wait::UNTIL_DONE,
        );
        let Ok((file, stamp)) = opened.and_then(regular) else {
            return;
        };
        // `store` writes a longer file anew; in it a name's bytes may take three each.
        if stamp.size > SMALL_FILE.max(8 * self.needed()) {
            return;
        }
        let mut bytes = Vec::new();
        if file.take(stamp.size).read_to_end(&mut bytes).is_err() {
            return;
        }
        let mut lines: HashMap<&[u8], (Stamp, u64)> = HashMap::with_capacity(octets.len());
        lines.extend(bytes.split(|&byte| byte == b'\n').filter_map(parse));
        let mut escaped = Vec::new();
        for (index, octets) in octets.iter_mut().enumerate() {
            escaped.clear();
            escape((self.names)(index), &mut escaped);
            let Some((stamp, known)) = lines.get(&escaped[..]).filter(|_| octets.is_none()) else {
                continue;
            };
            if self.stamps[index].may_be(stamp) {
                *octets = Some(*known);
                self.stamps[index] = *stamp;
            }
        }
    }

    /// Bytes of the file when each message is in it once, about.
    fn needed(&self) -> u64 {
        let line = |index| (self.names)(index).len() as u64 + LINE_REST;
        (0..self.stamps.len()).map(line).sum()
    }

    fn store(&self, octets: &[Option<u64>], added: &[usize]) -> io::Result<()> {
        let mut file = self.open(OCTETS_FILE, OFlags::APPEND)?;
        let (size, links) = (file.metadata()?.len(), rustix::fs::fstat(&file)?.st_nlink);
        if links > 1 {
            // Somebody has given another file, maybe not the owner's, this name.
            return Err(io::ErrorKind::InvalidData.into());
        }
        if size <= SMALL_FILE.max(2 * self.needed()) {
            // The last line may have been torn by a crash: begin a new one.
            return file.write_all(&self.lines(b"\n", octets, added.iter().copied()));
        }
        let settled = |&index: &usize| self.stamps[index].is_settled(self.moment);
        let lines = self.lines(b"", octets, (0..octets.len()).filter(settled));
        let _what_an_interrupted_process_left =
            rustix::fs::unlinkat(self.dir, NEW_FILE, AtFlags::empty());
        self.open(NEW_FILE, OFlags::EXCL)?.write_all(&lines)?;
        Ok(rustix::fs::renameat(
            self.dir,
            NEW_FILE,
            self.dir,
            OCTETS_FILE,
        )?)
    }

    /// Opens a file of the mailbox for writing. A link in its place is not followed, a
    /// pipe not waited for.
    fn open(&self, name: &str, further: OFlags) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let private = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(self.dir, name, flags | careful | further, private)?;
        Ok(regular(fd.into())?.0)
    }

    fn lines(
        &self,
        start: &[u8],
        octets: &[Option<u64>],
        which: impl Iterator<Item = usize>,
    ) -> Vec<u8> {
        let mut lines = start.to_vec();
        let (mut numbers, mut line) = (String::new(), Vec::new());
        for index in which {
            let Some(octets) = octets[index] else {
                continue;
            };
            let stamp = &self.stamps[index];
            numbers.clear();
            let _infallible = write!(
                numbers,
                "{VERSION} {octets} {} {} {} {} {} {} ",
                stamp.size,
                stamp.seconds,
                stamp.nanos,
                stamp.changed,
                stamp.changed_nanos,
                stamp.inode
            );
            line.clear();
            line.extend_from_slice(numbers.as_bytes());
            escape((self.names)(index), &mut line);
            lines.extend_from_slice(format!("{:08x} ", sum(&line)).as_bytes());
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        lines
    }
}

/// A line of the file: the escaped name, and what is known under it.
fn parse(line: &[u8]) -> Option<(&[u8], (Stamp, u64))> {
    let (checksum, rest) = (line.get(..8)?, line.get(9..)?);
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
    if line[8] != b' ' || checksum != sum(rest) {
        return None;
    }
    let mut words = rest.splitn(9, |&byte| byte == b' ');
    let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    if word()? != VERSION {
        return None;
    }
    let octets = word()?.parse().ok()?;
    let stamp = Stamp {
        size: word()?.parse().ok()?,
        seconds: word()?.parse().ok()?,
        nanos: word()?.parse().ok()?,
        changed: word()?.parse().ok()?,
        changed_nanos: word()?.parse().ok()?,
        inode: word()?.parse().ok()?,
    };
    let name = word()?.as_bytes();
    is_plausible(octets, stamp.size).then_some((name, (stamp, octets)))
}

/// A name without line ends.
fn escape(name: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        match byte {
            b'%' | b'\n' => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            0x80.. => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            byte => out.push(byte),
        }
    }
}

/// FNV-1a: against torn and damaged lines, not against malice, as those who can write
/// here can write messages too.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
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

    /// What is known without counting; what is not is counted as its size + 1.
    fn fill(dir: &Path, all: &[&str], stamps: &[Stamp]) -> (Vec<u64>, Vec<usize>) {
        let mut counted = Vec::new();
        let open = File::open(dir).unwrap();
        let mut uncounted = Uncounted {
            dir: open.as_fd(),
            names: &|index| all[index].as_bytes(),
            stamps: &mut stamps.to_vec(),
            moment: NOW,
        };
        let octets = uncounted.fill(&mut vec![None; all.len()], true, |index| {
            counted.push(index);
            Ok((stamps[index].size + 1, stamps[index]))
        });
        (octets.0, counted)
    }

    /// What a mailbox's owner may have put in the file's place: nobody waits for it,
    /// follows it or reads it without end.
    #[test]
    fn something_else_in_its_place() {
        let all = ["a"];
        let stamps = [stamp(1)];
        let make: [fn(&Path); 3] = [
            |file| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, file, kind, mode, 0).unwrap();
            },
            |file| std::os::unix::fs::symlink("/dev/zero", file).unwrap(),
            |file| File::create(file).unwrap().set_len(1 << 40).unwrap(),
        ];
        for make in make {
            let dir = tempfile::tempdir().unwrap();
            make(&dir.path().join(OCTETS_FILE));
            assert_eq!(fill(dir.path(), &all, &stamps), (vec![2], vec![0]));
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
        for other in [
            Stamp {
                seconds: 8,
                ..stamp(1)
            },
            Stamp {
                nanos: 8,
                ..stamp(1)
            },
            Stamp {
                changed: 7,
                ..stamp(1)
            },
            Stamp {
                changed_nanos: 8,
                ..stamp(1)
            },
            Stamp {
                inode: 8,
                ..stamp(1)
            },
        ] {
            assert_eq!(fill(dir, &["a"], &[other]).1, [0]);
        }
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
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(&file, &bad).unwrap();
            assert_eq!(fill(dir.path(), &all, &stamps).0, right.0, "bad at {index}");
        }
        // What no file can be sent as is not believed, though the sum is right.
        let wild = "v2 9999 1 5 6 8 9 7 a";
        fs::write(&file, format!("{:08x} {wild}\n", sum(wild.as_bytes()))).unwrap();
        assert_eq!(fill(dir.path(), &all, &stamps).0, right.0);
    }

    #[test]
    fn not_writable_is_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(OCTETS_FILE)).unwrap();
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![0]));
        let open = File::open(dir.path()).unwrap();
        let mut uncounted = Uncounted {
            dir: open.as_fd(),
            names: &|_| b"a",
            stamps: &mut [stamp(1)],
            moment: NOW,
        };
        let failing = |_| Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(uncounted.fill(&mut [None], true, failing), (vec![1], false));
    }

    /// A hard link cannot be told from a file by opening it: nothing is written to one,
    /// as it may be somebody else's file.
    #[test]
    fn another_file_of_this_name_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "theirs").unwrap();
        for name in [OCTETS_FILE, NEW_FILE] {
            fs::hard_link(&other, dir.path().join(name)).unwrap();
        }
        let long = "x".repeat(SMALL_FILE as usize);
        for names in [["a"], [&long[..]]] {
            assert_eq!(fill(dir.path(), &names, &[stamp(1)]), (vec![2], vec![0]));
        }
        fs::remove_file(dir.path().join(OCTETS_FILE)).unwrap();
        fs::write(dir.path().join(OCTETS_FILE), &long).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(OCTETS_FILE))
            .and_then(|mut file| file.write_all(long.as_bytes()))
            .unwrap();
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![0]));
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![]));
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(OCTETS_FILE);
        for round in 0..2000 {
            fill(
                dir.path(),
                &[&format!("message number {round}")],
                &[stamp(round)],
            );
            assert!(fs::metadata(&file).unwrap().len() < SMALL_FILE + 200);
        }
        assert!(!dir.path().join(NEW_FILE).exists());
        assert_eq!(
            fill(dir.path(), &["message number 1999"], &[stamp(1999)]).1,
            [0; 0]
        );
    }

    /// A name that tells the size is matched by that, and what is known of the file then
    /// comes from the line: whoever opens the file can tell whether it has changed.
    #[test]
    fn a_told_size_gets_the_stamp_that_was_counted() {
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
            };
            let failing = |_| match dir.path().join(OCTETS_FILE).exists() {
                true => Err(io::ErrorKind::NotFound.into()),
                false => Ok((8, counted)),
            };
            let octets = uncounted.fill(&mut [None], true, failing);
            let right = if size == 5 {
                (vec![8], true)
            } else {
                (vec![6], false)
            };
            assert_eq!((octets, stamps), (right, [want]));
        }
    }

    #[test]
    fn lines_of_older_versions_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let old = "3 1 5 6 7 a";
        let line = format!("{:08x} {old}\n", sum(old.as_bytes()));
        fs::write(dir.path().join(OCTETS_FILE), line).unwrap();
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![0]));
        assert_eq!(fill(dir.path(), &["a"], &[stamp(1)]), (vec![2], vec![]));
    }
}
