//! The layout of `pop3d::maildir`: messages in `new/` and `cur/` of a mailbox.
//!
//! Messages are regular files, not links, whose names do not begin with a dot, in
//! the order of their base names, which begin with the time of arrival. They are
//! only read and deleted: nothing moves to `cur/`, no flag changes. Others may do
//! both at any time; a message is then found again by its base name.
//!
//! Sizes are exact octets. A name with `,W=` says them; where it has `,S=` the
//! file is read once, and where it has neither the file's stamp is asked for at
//! every lock. STAT and LIST believe the names: a file that was changed under a name that
//! tells its size is noticed when it is opened.

mod intake;
mod name;
mod places;

use std::fs::{remove_dir_all, symlink_metadata, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::AtFlags;

use self::name::{base, is_uid_of, uid, NamedSize};
use self::places::{open_places, stamp_of, Entry, FoundFiles, Renamed, ATTEMPTS, PLACES};
use super::files::listing::{lock, Cache, MailboxDir};
use super::files::locked::Messages;
use super::files::mailbox_error::Fault;
use super::files::mailboxes::{Layout, Links, Mailboxes, Octets, Rules};
use super::files::message_file::{open_message_at, regular};
use super::files::octets::{is_plausible, sum, Counter, ListedOctets};
use super::files::octets_file::Uncounted;
use super::files::stamp::{DirStamp, Stamp};
use crate::store::Wait;
use crate::system::rename_new;

/// The directories of a Maildir; what is being delivered is in the first.
const ALL_PLACES: [&str; 3] = [TMP, "new", "cur"];

/// Where messages are written.
const TMP: &str = "tmp";

/// Mailboxes in the Maildir format.
pub fn maildir() -> Mailboxes {
    let rules = Rules {
        octets: Octets::Wire,
        links: Links::Refuse,
    };
    Mailboxes::new(Maildirs::default(), rules)
}

/// The Maildir format.
#[derive(Default)]
struct Maildirs {
    cache: Cache<MailList>,
}

impl Layout for Maildirs {
    fn create(&self, dir: &Path) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        if dir.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = dir.parent().unwrap_or(dir);
        private.recursive(true).create(parent)?;
        private.recursive(false);
        // Made aside and whole before it has its name: an interrupted one would be no
        // mailbox, but keep the name from becoming one.
        let aside = create_aside(parent, &private)?;
        let whole = ALL_PLACES
            .iter()
            .try_for_each(|place| private.create(aside.join(place)))
            .and_then(|()| rename_new(&aside, dir));
        if whole.is_err() {
            let _harmless_where_it_is = remove_dir_all(&aside);
        }
        whole
    }

    fn fault(&self, dir: &Path) -> io::Result<Option<Fault>> {
        for place in PLACES {
            let fault = match symlink_metadata(dir.join(place)) {
                Ok(found) if found.is_dir() => continue,
                Ok(found) if found.is_symlink() => Fault::LinkedPlace,
                Ok(_) => Fault::NotMailbox,
                Err(error) => match Fault::of_error(error)? {
                    Fault::Missing => Fault::NotMailbox,
                    fault => fault,
                },
            };
            return Ok(Some(fault));
        }
        Ok(None)
    }

    fn list(
        &self,
        dir: MailboxDir<'_>,
        _always_the_same: Rules,
        wait: Wait<'_>,
    ) -> io::Result<Arc<dyn Messages>> {
        let kept = self.cache.get(dir.path);
        if let Some(kept) = &kept {
            // Each file whose name does not tell the octets would be asked for its stamp.
            let may_ask = wait.may_block() || kept.all_named;
            if may_ask && kept.still_holds(dir.fd, wait)? {
                return Ok(kept.clone());
            }
        }
        if !wait.may_block() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut list = MailList::read(dir, kept.as_deref(), wait)?;
        for _ in 1..ATTEMPTS {
            if list.whole || !wait.is_wanted() {
                break;
            }
            list = MailList::read(dir, kept.as_deref(), wait)?;
        }
        let list = Arc::new(list);
        if list.whole {
            self.cache.put(dir.path, list.clone(), list.weight());
        }
        Ok(list)
    }

    fn kept(&self, dir: &Path, _always_the_same: Rules) -> Option<Arc<dyn Messages>> {
        let kept = self.cache.get(dir);
        kept.map(|kept| kept as Arc<dyn Messages>)
    }

    fn forget(&self, dir: &Path) {
        self.cache.forget(dir);
    }
}

/// Makes a directory with a name of its own in `parent`.
fn create_aside(parent: &Path, private: &DirBuilder) -> io::Result<PathBuf> {
    for number in 0_u64.. {
        // What an interrupted process has left stays; an identifier may come again.
        let aside = parent.join(format!(".pop3d.add.{}.{number}", std::process::id()));
        match private.create(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| aside),
        }
    }
    unreachable!("some number is free")
}

/// The messages of one mailbox.
struct MailList {
    found: FoundFiles,
    /// Whether every file was still there under its name at the second look and could
    /// be counted.
    whole: bool,
    /// Whether all names tell the octets, so that no file is read to count them.
    all_named: bool,
    /// The stamps of the files when they were listed or counted. Only the size of files whose
    /// names tell the octets.
    stamps: Box<[Stamp]>,
    /// The files whose names do not tell the size: their stamps are asked for again.
    asked: Box<[usize]>,
    sizes: Arc<[u64]>,
    octets: u64,
    uids: OnceLock<Arc<[Box<str>]>>,
    /// See [`Uncounted::unsaved`].
    unsaved: u64,
    /// The files when a message was last not found under its name.
    later: Mutex<Option<FoundFiles>>,
}

impl MailList {
    fn read(mailbox: MailboxDir<'_>, known: Option<&Self>, wait: Wait<'_>) -> io::Result<Self> {
        let dir = mailbox.fd;
        let mut found = FoundFiles::read(dir)?;
        let dirs = open_places(dir)?;
        let count = found.names.len();
        let (mut stamps, mut octets) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut messages, mut asked) = (Vec::with_capacity(count), Vec::new());
        let (mut renamed, mut all_there) = (Renamed::default(), true);
        for index in 0..count {
            let named = NamedSize::of(found.base(index));
            let mut stamp = match named.stamp() {
                None => stamp_of(&dirs, &found, index)?,
                stamp => stamp,
            };
            if stamp.is_none() {
                all_there = false;
                stamp = renamed.stamp_of(dir, found.base(index))?;
            }
            let Some(mut stamp) = stamp else {
                continue;
            };
            messages.push(index);
            octets.push(match named {
                NamedSize::Octets(octets, _) => Some(octets),
                _ => known.and_then(|known| known.octets_of(found.base(index), &mut stamp)),
            });
            if matches!(named, NamedSize::Missing) {
                asked.push(stamps.len());
            }
            stamps.push(stamp);
        }
        let is_named = |i| matches!(NamedSize::of(found.base(i)), NamedSize::Octets(..));
        let all_named = (0..count).all(is_named);
        if messages.len() < count {
            found.places = messages.iter().map(|&index| found.places[index]).collect();
            found.names = found.names.select(messages.into_iter());
        }
        found.settled &= all_there;
        let mut unsaved = known.map_or(0, |known| known.unsaved);
        let kept = (&mut stamps[..], &mut unsaved);
        let (sizes, counted) = measure(mailbox, &dirs, &found, kept, octets, wait)?;
        Ok(Self {
            found,
            whole: all_there && counted,
            all_named,
            stamps: stamps.into(),
            asked: asked.into(),
            octets: sum(&sizes),
            sizes: sizes.into(),
            uids: OnceLock::new(),
            unsaved,
            later: Mutex::default(),
        })
    }

    /// Whether the mailbox holds the listed messages now.
    fn still_holds(&self, dir: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<bool> {
        if !self.found.still_holds(dir, wait)? {
            return Ok(false);
        }
        if self.asked.is_empty() {
            return Ok(true);
        }
        let dirs = open_places(dir)?;
        for &index in &self.asked {
            let stamp = stamp_of(&dirs, &self.found, index)?;
            if !stamp.is_some_and(|stamp| self.is_counted(index, &stamp)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the octets of a message are those of a file of this stamp.
    fn is_counted(&self, index: usize, stamp: &Stamp) -> bool {
        self.stamps[index] == *stamp && stamp.is_settled(self.found.moment)
    }

    /// The octets of a message that this listing has too, as far as `stamp` tells. Then
    /// `stamp` becomes that of the file that was counted.
    fn octets_of(&self, base: &[u8], stamp: &mut Stamp) -> Option<u64> {
        let index = self.found.find(base)?;
        let counted = self.stamps[index];
        if counted.has_size_only() || !stamp.may_be(&counted) || !self.is_counted(index, &counted) {
            return None;
        }
        *stamp = counted;
        Some(self.sizes[index])
    }

    /// Does something with the file of a message, wherever in the mailbox it is now.
    fn reach<T>(
        &self,
        dir: BorrowedFd<'_>,
        index: usize,
        act: impl Fn(BorrowedFd<'_>, &Entry) -> io::Result<T>,
    ) -> io::Result<T> {
        let base = self.found.base(index);
        let missing = |result: &io::Result<T>| matches!(result, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let mut result = self.found.entry(index).reach(dir, &act);
        for _ in 0..ATTEMPTS {
            if !missing(&result) {
                break;
            }
            let mut later = lock(&self.later);
            // Others do not wait for the file, only for a look at the directories.
            let fresh = match later.take() {
                Some(found) if found.still_holds(dir, Wait::UNTIL_DONE)? => found,
                _ => FoundFiles::read(dir)?,
            };
            let entry = fresh.find(base).map(|there| fresh.entry(there));
            *later = Some(fresh);
            drop(later);
            let Some(entry) = entry else {
                break;
            };
            result = entry.reach(dir, &act);
        }
        result
    }

    /// Bytes of memory, unique ids included.
    fn weight(&self) -> usize {
        const EACH: usize = size_of::<Stamp>() + size_of::<u64>() + size_of::<Box<str>>() + 16 + 1;
        // The unique ids hold the names once more.
        size_of::<Self>()
            + 2 * self.found.names.weight()
            + EACH * self.stamps.len()
            + size_of::<usize>() * self.asked.len()
    }
}

/// Completes the octets from the file beside the messages and by reading. Keeps stamps, and
/// what [is not saved](Uncounted::unsaved), up to date.
fn measure(
    dir: MailboxDir<'_>,
    places: &[OwnedFd; 2],
    found: &FoundFiles,
    (stamps, unsaved): (&mut [Stamp], &mut u64),
    mut octets: Vec<Option<u64>>,
    wait: Wait<'_>,
) -> io::Result<(Vec<u64>, bool)> {
    let mut uncounted = Uncounted {
        dir: dir.fd,
        names: &|index| found.base(index),
        stamps,
        moment: found.moment,
        unsaved: *unsaved,
        keep: dir.is_locked,
    };
    let mut counter = Counter::new(wait);
    let filled = uncounted.fill(&mut octets, |index| {
        counter.go_on()?;
        let (place, name) = (&places[found.place(index)], found.names.file(index));
        let file = open_message_at(place.as_fd(), name.as_ref(), Links::Refuse, wait)?;
        let (file, stamp) = regular(file)?;
        Ok((counter.count(&file, stamp.size)?, stamp))
    });
    *unsaved = uncounted.unsaved;
    filled
}

impl Messages for MailList {
    fn count(&self) -> usize {
        self.found.names.len()
    }

    fn sizes(&self) -> &Arc<[u64]> {
        &self.sizes
    }

    fn octets(&self) -> u64 {
        self.octets
    }

    fn uid(&self, index: usize) -> Box<str> {
        uid(self.found.base(index))
    }

    fn uids(&self) -> Arc<[Box<str>]> {
        let make = || {
            self.found
                .names
                .iter()
                .map(|name| uid(base(name)))
                .collect()
        };
        self.uids.get_or_init(make).clone()
    }

    fn find(&self, uid: &str) -> Option<usize> {
        let is_it = |index: &usize| is_uid_of(uid, self.found.base(*index));
        let by_name = self.found.find(uid.as_bytes()).filter(is_it);
        by_name.or_else(|| (0..self.count()).find(is_it))
    }

    fn has_uid(&self, _index: usize, _stamp: &Stamp) -> bool {
        // A message is found by its base name, which is all that the id is made of.
        true
    }

    fn received(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<i64> {
        match name::time(self.found.base(index)) {
            Some(time) => Ok(time),
            None => self.reach(dir, index, |place, entry| {
                Ok(rustix::fs::statat(place, entry.name(), AtFlags::SYMLINK_NOFOLLOW)?.st_mtime)
            }),
        }
    }

    fn path(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<PathBuf> {
        self.reach(dir, index, |place, entry| {
            rustix::fs::statat(place, entry.name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(entry.path())
        })
    }

    fn listed_octets(&self, index: usize, stamp: &Stamp) -> ListedOctets {
        let octets = self.sizes[index];
        match NamedSize::of(self.found.base(index)) {
            NamedSize::Octets(octets, size) => match size {
                Some(size) if size == stamp.size => ListedOctets::Claimed(octets),
                None if is_plausible(octets, stamp.size) => ListedOctets::Claimed(octets),
                _ => ListedOctets::Unknown,
            },
            _ if self.is_counted(index, stamp) => ListedOctets::Counted(octets),
            _ => ListedOctets::Unknown,
        }
    }

    fn open(&self, dir: BorrowedFd<'_>, index: usize, wait: Wait<'_>) -> io::Result<File> {
        match wait {
            Wait::No => open_message_at(dir, &self.found.entry(index).path(), Links::Refuse, wait),
            Wait::While(_) => self.reach(dir, index, |place, entry| {
                open_message_at(place, entry.name(), Links::Refuse, wait)
            }),
        }
    }

    fn named_size(&self, index: usize) -> Option<u64> {
        match NamedSize::of(self.found.base(index)) {
            NamedSize::Octets(_, size) => size,
            NamedSize::File(size) => Some(size),
            NamedSize::Missing => None,
        }
    }

    fn delete(&self, dir: BorrowedFd<'_>, index: usize) -> io::Result<()> {
        let unlinked = self.reach(dir, index, |place, entry| {
            Ok(rustix::fs::unlinkat(place, entry.name(), AtFlags::empty())?)
        });
        match unlinked {
            // It is gone from both directories, which must be there to tell that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => PLACES
                .iter()
                .try_for_each(|place| DirStamp::in_dir(dir, place, Wait::UNTIL_DONE).map(drop)),
            result => result,
        }
    }
}
