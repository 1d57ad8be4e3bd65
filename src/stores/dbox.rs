//! The layout of `pop3d::dbox`: a mailbox is a directory, a message a file in it.
//!
//! Messages are the regular files, and the symbolic links to such unless
//! [`Links::Refuse`] is chosen, whose names do not begin with a dot, in the order of
//! their names. Their sizes are taken when
//! the mailbox is locked and then stay: STAT and LIST agree throughout a session
//! (RFC 1939 §5), whatever happens to the files. Only RETR announces the size of the
//! file it opens.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::files::arrival::{unique_name, Places, Turn, Written};
use super::files::layout::Intake;
use super::files::listing::{read_dir, Cache, MailboxDir, Names};
use super::files::locked::Messages;
use super::files::mailbox_error::Fault;
use super::files::mailboxes::{Layout, Links, Mailboxes, Octets, Rules};
use super::files::message_file::{open_message_at, regular};
use super::files::octets::{sum, Counter, ListedOctets};
use super::files::octets_file::Uncounted;
use super::files::stamp::{now, DirStamp, Stamp};
use crate::store::delivery::{is_uid, Uid};
use crate::store::Wait;

/// Mailboxes as `pop3d::dbox` objects have them.
pub fn dbox() -> Mailboxes {
    let rules = Rules {
        octets: Octets::File,
        links: Links::Follow,
    };
    Mailboxes::new(Files::default(), rules)
}

/// How many files an event loop asks for their stamps itself. A hop to another thread costs
/// about as much.
const FEW: usize = 16;

/// One file for a message.
#[derive(Default)]
struct Files {
    cache: Cache<FileList>,
}

impl Layout for Files {
    fn create(&self, dir: &Path) -> io::Result<()> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(dir)
    }

    fn fault(&self, _dir: &Path) -> io::Result<Option<Fault>> {
        Ok(None)
    }

    fn list(
        &self,
        dir: MailboxDir<'_>,
        rules: Rules,
        wait: Wait<'_>,
    ) -> io::Result<Arc<dyn Messages>> {
        let (moment, stamp) = (now(), DirStamp::of(dir.fd)?);
        let kept = self.cache.get(dir.path);
        let kept = kept.filter(|kept| kept.rules == rules);
        if let Some(kept) = &kept {
            let may_ask = wait.may_block() || kept.names.len() <= FEW;
            if kept.stamp == stamp && may_ask && kept.still_holds(dir.fd, wait)? {
                return Ok(kept.clone());
            }
        }
        if !wait.may_block() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut list = FileList::read(dir.fd, rules, stamp, moment)?;
        let whole = rules.octets == Octets::File || list.measure(dir, kept.as_deref(), wait)?;
        let list = Arc::new(list);
        if whole {
            self.cache.put(dir.path, list.clone(), list.weight());
        }
        Ok(list)
    }

    fn kept(&self, dir: &Path, rules: Rules) -> Option<Arc<dyn Messages>> {
        let kept = self.cache.get(dir).filter(|kept| kept.rules == rules);
        kept.map(|kept| kept as Arc<dyn Messages>)
    }

    fn forget(&self, dir: &Path) {
        self.cache.forget(dir);
    }
}

impl Intake for Files {
    fn places(&self, dir: &Arc<OwnedFd>) -> io::Result<Places> {
        let [written, delivered] = [dir.clone(), dir.clone()];
        Ok(Places { written, delivered })
    }

    fn new_name(&self, written: &Written) -> String {
        unique_name(written.number, "")
    }

    fn carries(&self, uid: &Uid) -> Result<(), &'static str> {
        match uid.as_str() {
            uid if uid.contains('/') || uid.starts_with('.') => {
                Err("it becomes a file name, with no / in it and no . before it")
            }
            _ => Ok(()),
        }
    }

    fn name_of(&self, uid: &Uid, _written: &Written) -> Result<String, &'static str> {
        Ok(format!("{}{CHOSEN}", uid.as_str()))
    }

    fn has_uid(&self, dir: BorrowedFd<'_>, uid: &Uid, rules: Rules) -> io::Result<bool> {
        let uid = uid.as_str();
        let chosen = format!("{uid}{CHOSEN}");
        match rustix::fs::statat(dir, &chosen, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            found => return Ok(found.map(|_| true)?),
        }
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if uid.len() != 2 * DIGEST || !uid.bytes().all(is_digit) {
            return Ok(false);
        }
        // It may be a digest.
        let list = FileList::read(dir, rules, DirStamp::of(dir)?, now())?;
        Ok(list.find(uid).is_some())
    }

    fn turn(&self, _places: &Places) -> io::Result<Option<Turn>> {
        // An id has one file name. (And the lock of the directory is that of a session.)
        Ok(None)
    }

    fn uid_of(&self, name: &[u8], stamp: &Stamp) -> Box<str> {
        uid(name, stamp)
    }
}

/// The messages of one mailbox.
struct FileList {
    stamp: DirStamp,
    /// Seconds since 1970 before anything was read.
    moment: i64,
    /// Whether the directory's stamp changes when there are other messages.
    settled: bool,
    names: Names,
    stamps: Box<[Stamp]>,
    /// By which rules it was made.
    rules: Rules,
    sizes: Arc<[u64]>,
    octets: u64,
    uids: OnceLock<Arc<[Box<str>]>>,
    /// See [`Uncounted::unsaved`].
    unsaved: u64,
}

impl FileList {
    fn read(dir: BorrowedFd<'_>, rules: Rules, stamp: DirStamp, moment: i64) -> io::Result<Self> {
        let mut found = Names::default();
        read_dir(dir, |name, _| found.push(name))?;
        let found = found.sorted();
        let mut stamps = Vec::with_capacity(found.len());
        let mut messages = Vec::with_capacity(found.len());
        for index in 0..found.len() {
            let stamp = Stamp::at(dir, found.file(index), rules.links, Wait::UNTIL_DONE)?;
            if let Some(stamp) = stamp {
                stamps.push(stamp);
                messages.push(index);
            }
        }
        let all = messages.len() == found.len();
        let sizes: Arc<[u64]> = stamps.iter().map(|stamp| stamp.size).collect();
        Ok(Self {
            stamp,
            moment,
            // What is no message now may be one later without a change here: a link
            // may get a target.
            settled: stamp.is_settled(moment) && all,
            names: match all {
                true => found,
                false => found.select(messages.into_iter()),
            },
            stamps: stamps.into(),
            rules,
            octets: sum(&sizes),
            sizes,
            uids: OnceLock::new(),
            unsaved: 0,
        })
    }

    /// Whether a directory whose stamp has not changed holds the listed messages. The stamp
    /// tells of files that come and go, but not of changes within a file: every file is
    /// asked for its stamp.
    ///
    /// # Errors
    /// When the system cannot say.
    fn still_holds(&self, dir: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<bool> {
        if !self.settled {
            return Ok(false);
        }
        let links = match wait {
            // A link may lead to another machine. It is not followed here, and so never
            // equals the file that was listed.
            Wait::No => Links::Refuse,
            Wait::While(_) => self.rules.links,
        };
        for (index, stamp) in self.stamps.iter().enumerate() {
            let now = Stamp::at(dir, self.names.file(index), links, wait)?;
            let counted = self.rules.octets == Octets::File || stamp.is_settled(self.moment);
            if now.as_ref() != Some(stamp) || !counted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Replaces the sizes by exact octets: from the earlier listing `known`, from the file
    /// beside the messages, and by reading the rest. False if a message could not be read.
    ///
    /// # Errors
    /// Those of [`Uncounted::fill`].
    fn measure(
        &mut self,
        dir: MailboxDir<'_>,
        known: Option<&Self>,
        wait: Wait<'_>,
    ) -> io::Result<bool> {
        let known_octets = |index: usize| {
            let (known, stamp) = (known?, &self.stamps[index]);
            let there = known.names.find(self.names.get(index), |name| name)?;
            let same = known.stamps[there] == *stamp && stamp.is_settled(known.moment);
            same.then(|| known.sizes[there])
        };
        let mut octets: Vec<Option<u64>> = (0..self.names.len()).map(known_octets).collect();
        let (names, links) = (&self.names, self.rules.links);
        let mut uncounted = Uncounted {
            dir: dir.fd,
            names: &|index| names.get(index),
            stamps: &mut self.stamps,
            moment: self.moment,
            unsaved: known.map_or(0, |known| known.unsaved),
            keep: dir.is_locked,
        };
        let mut counter = Counter::new(wait);
        let (octets, whole) = uncounted.fill(&mut octets, |index| {
            counter.go_on()?;
            let name = names.file(index).as_ref();
            let (file, stamp) = regular(open_message_at(dir.fd, name, links, wait)?)?;
            Ok((counter.count(&file, stamp.size)?, stamp))
        })?;
        self.unsaved = uncounted.unsaved;
        self.octets = sum(&octets);
        self.sizes = octets.into();
        Ok(whole)
    }

    /// Bytes of memory, unique ids included.
    fn weight(&self) -> usize {
        const EACH: usize = size_of::<Stamp>() + size_of::<u64>() + size_of::<Box<str>>() + 48;
        size_of::<Self>() + self.names.weight() + EACH * self.stamps.len()
    }
}

impl Messages for FileList {
    fn count(&self) -> usize {
        self.names.len()
    }

    fn sizes(&self) -> &Arc<[u64]> {
        &self.sizes
    }

    fn octets(&self) -> u64 {
        self.octets
    }

    fn uid(&self, index: usize) -> Box<str> {
        match self.uids.get() {
            Some(uids) => uids[index].clone(),
            None => uid(self.names.get(index), &self.stamps[index]),
        }
    }

    fn uids(&self) -> Arc<[Box<str>]> {
        let make = || {
            let stamps = self.names.iter().zip(&self.stamps);
            stamps.map(|(name, stamp)| uid(name, stamp)).collect()
        };
        self.uids.get_or_init(make).clone()
    }

    fn has_uid(&self, index: usize, stamp: &Stamp) -> bool {
        self.uid(index) == uid(self.names.get(index), stamp)
    }

    fn received(&self, _dir: BorrowedFd<'_>, index: usize) -> io::Result<i64> {
        Ok(self.stamps[index].seconds)
    }

    fn path(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<PathBuf> {
        let name = self.names.file(index);
        match self.rules.links {
            // Opening it will give the error.
            Links::Follow => Ok(name.into()),
            Links::Refuse => match Stamp::at(dir, name, self.rules.links, Wait::UNTIL_DONE)? {
                Some(_) => Ok(name.into()),
                None => Err(Errno::NOENT.into()),
            },
        }
    }

    fn listed_octets(&self, index: usize, stamp: &Stamp) -> ListedOctets {
        match self.rules.octets {
            // Of the file as it is now: it may have shrunk.
            Octets::File => ListedOctets::FileSize,
            Octets::Wire if *stamp == self.stamps[index] && stamp.is_settled(self.moment) => {
                ListedOctets::Counted(self.sizes[index])
            }
            Octets::Wire => ListedOctets::Unknown,
        }
    }

    fn open(&self, dir: BorrowedFd<'_>, index: usize, wait: Wait<'_>) -> io::Result<File> {
        open_message_at(dir, self.names.file(index).as_ref(), self.rules.links, wait)
    }

    fn named_size(&self, _index: usize) -> Option<u64> {
        None
    }

    fn delete(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<()> {
        let name = self.names.file(index);
        match rustix::fs::statat(dir, name, self.rules.links.stat_flags()) {
            Err(Errno::NOENT) => {}
            // The client has seen another message under this name than is there now.
            Ok(stat) if !Stamp::new(&stat).is_same_message(&self.stamps[index]) => {
                return Err(io::Error::other("changed since the mailbox was locked"));
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// Ends the file name of a message whose unique id was chosen when it was delivered. The id
/// is what stands before. So it stays in every copy of the mailbox that keeps its file names.
const CHOSEN: &str = ",pop3d-uid";

/// The unique id of a message: the one that was chosen for it, or a [`digest`].
fn uid(name: &[u8], stamp: &Stamp) -> Box<str> {
    let chosen = name.strip_suffix(CHOSEN.as_bytes());
    let chosen = chosen.filter(|chosen| is_uid(chosen));
    match chosen.and_then(|chosen| std::str::from_utf8(chosen).ok()) {
        Some(chosen) => chosen.into(),
        None => digest(name, stamp),
    }
}

/// Bytes of a digest that are in a unique id.
const DIGEST: usize = 16;

/// A unique id made of what a message is: 32 hexadecimal digits of its name, its size and the second
/// of its last change, so that a name used again has a new one (RFC 1939 §7).
///
/// All three stay when the mailbox moves, and when it is restored from a backup or copied to
/// another machine with its times: clients must not fetch everything anew then. So the
/// inode and the time of its change are left out, and fractions of a second, which `tar`
/// and older file systems and protocols drop.
///
/// The content is not in it: a first UIDL would read the whole mailbox.
fn digest(name: &[u8], stamp: &Stamp) -> Box<str> {
    /// Nanoseconds of versions up to 1.10.0: the ids of files that had none stay.
    const NANOS: u32 = 0;
    let mut hash = Sha256::new();
    hash.update(stamp.size.to_le_bytes());
    hash.update(stamp.seconds.to_le_bytes());
    hash.update(NANOS.to_le_bytes());
    hash.update(name);
    hex(&hash.finalize()[..DIGEST])
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.into()
}
