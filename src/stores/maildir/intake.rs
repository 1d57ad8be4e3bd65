//! How a message gets into a Maildir: by way of `tmp` into `new`, under a name that tells its
//! sizes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::name::{base, is_uid_of, uid, NamedSize};
use super::places::{FoundFiles, PLACES};
use super::{Maildirs, TMP};
use crate::store::delivery::Uid;
use crate::store::Wait;
use crate::stores::files::arrival::{unique_name, Places, Turn, Written};
use crate::stores::files::layout::{Intake, Rules};
use crate::stores::files::reach::open_dir_in;
use crate::stores::files::stamp::{DirStamp, Stamp};

impl Intake for Maildirs {
    fn places(&self, dir: &Arc<OwnedFd>) -> io::Result<Places> {
        let written = match open_dir_in(dir.as_fd(), TMP) {
            // Copies of a Maildir may lack what was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(dir, TMP, Mode::RWXU) {
                    Err(Errno::EXIST) => {}
                    made => made?,
                }
                open_dir_in(dir.as_fd(), TMP)
            }
            opened => opened,
        };
        let [new, cur] = PLACES;
        // Without it, it is no Maildir.
        DirStamp::in_dir(dir.as_fd(), cur, Wait::UNTIL_DONE)?;
        Ok(Places {
            written: Arc::new(written?),
            delivered: Arc::new(open_dir_in(dir.as_fd(), new)?),
        })
    }

    fn new_name(&self, written: &Written) -> String {
        let size = written.stamp.size;
        let fields = match written.ended {
            true => format!(",S={size},W={}", written.octets),
            // We add the end of the last line, and count it; others that read `W` do not.
            false => format!(",S={size}"),
        };
        unique_name(written.number, &fields)
    }

    fn carries(&self, uid: &Uid) -> Result<(), &'static str> {
        match uid.as_str() {
            uid if uid.contains(['/', ':']) || uid.starts_with('.') => {
                Err("it becomes a file name, with no / or : in it and no . before it")
            }
            _ => Ok(()),
        }
    }

    fn name_of(&self, uid: &Uid, written: &Written) -> Result<String, &'static str> {
        let (size, octets) = (written.stamp.size, written.octets);
        let is_true = match NamedSize::of(uid.as_str().as_bytes()) {
            NamedSize::Octets(named, in_file) => {
                named == octets && in_file.is_none_or(|named| named == size)
            }
            NamedSize::File(named) => named == size,
            NamedSize::Missing => true,
        };
        match is_true {
            true => Ok(uid.as_str().into()),
            false => Err("its ,S= or ,W= is not the size of this message"),
        }
    }

    fn has_uid(&self, dir: BorrowedFd<'_>, uid: &Uid, _: Rules) -> io::Result<bool> {
        let found = FoundFiles::read(dir)?;
        let mut bases = found.names.iter().map(base);
        Ok(bases.any(|base| is_uid_of(uid.as_str(), base)))
    }

    fn turn(&self, places: &Places) -> io::Result<Option<Turn>> {
        // A file of another name may have the same base name.
        Turn::wait(&places.written).map(Some)
    }

    fn uid_of(&self, name: &[u8], _stamp: &Stamp) -> Box<str> {
        uid(base(name))
    }
}
