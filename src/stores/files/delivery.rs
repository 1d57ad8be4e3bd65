//! Single messages of a mailbox by their unique ids, for scripts: no session is needed, and
//! no lock but for `expunge`.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{access, Access};

use super::arrival::{Arrival, Failed};
use super::listing::MailboxDir;
use super::locked::{to_message, Messages};
use super::mailbox_error::{Fault, MailboxError};
use super::mailboxes::{failed, Mailboxes};
use super::message_file::regular;
use super::reach::open_dir;
use crate::store::delivery::{
    DeliverError, ExpungeError, FetchError, MessageStore, StoredMessage, Uid,
};
use crate::store::{Message, StoreError, Wait};

impl MessageStore for Mailboxes {
    fn deliver(
        &self,
        mailbox: &str,
        source: &mut dyn Read,
        uid: Option<&Uid>,
    ) -> Result<Box<str>, DeliverError> {
        let (path, dir) = self.reach(mailbox).map_err(not_there)?;
        let failed = |error| self.not_delivered(mailbox, error);
        if let Some(uid) = uid {
            self.layout.carries(uid).map_err(|why| unfit(uid, why))?;
            // The source need not be read for an id that is taken.
            self.is_free(mailbox, &dir, uid)?;
        }
        let places = self.layout.places(&dir).map_err(failed)?;
        self.sweeps.sweep(&path, places.written.as_fd());
        let mut arrival = Arrival::begin(&places.written).map_err(failed)?;
        let written = arrival.write(source).map_err(|error| match error {
            Failed::Source(error) => DeliverError::Source(error),
            Failed::Disk(error) => failed(error),
        })?;
        let name = match uid {
            None => {
                let name = self.layout.new_name(&written);
                arrival.deliver(&places.delivered, &name).map_err(failed)?;
                name
            }
            Some(uid) => {
                let name = self.layout.name_of(uid, &written);
                let name = name.map_err(|why| unfit(uid, why))?;
                let _turn = self.layout.turn(&places).map_err(failed)?;
                self.is_free(mailbox, &dir, uid)?;
                let placed = arrival.deliver(&places.delivered, &name);
                placed.map_err(|error| match error.kind() {
                    ErrorKind::AlreadyExists => used(mailbox, uid),
                    _ => failed(error),
                })?;
                name
            }
        };
        Ok(self.layout.uid_of(name.as_bytes(), &written.stamp))
    }

    fn messages(&self, mailbox: &str) -> Result<Vec<StoredMessage>, StoreError> {
        let (path, dir) = self.reach(mailbox)?;
        let messages = self.list_unlocked(mailbox, &path, &dir)?;
        let (uids, sizes) = (messages.uids(), messages.sizes());
        let mut found = Vec::with_capacity(uids.len());
        for (index, (uid, octets)) in uids.iter().zip(&**sizes).enumerate() {
            let received = match messages.received(dir.as_fd(), index) {
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                received => received.map_err(|source| not_read(mailbox, uid, source))?,
            };
            found.push(StoredMessage {
                uid: uid.clone(),
                octets: *octets,
                received,
            });
        }
        Ok(found)
    }

    fn fetch(&self, mailbox: &str, uid: &str) -> Result<Message, FetchError> {
        let (path, dir) = self.reach(mailbox)?;
        // A listing that may be old spares a look at every message.
        if let Some(kept) = self.layout.kept(&path, self.rules()) {
            if let Ok(Some(message)) = open_by_uid(&*kept, &dir, uid) {
                return Ok(message);
            }
        }
        let messages = self.list_unlocked(mailbox, &path, &dir)?;
        let opened = open_by_uid(&*messages, &dir, uid);
        let opened = opened.map_err(|source| not_read(mailbox, uid, source))?;
        opened.ok_or_else(|| FetchError::Unknown {
            mailbox: mailbox.into(),
            uid: uid.into(),
        })
    }

    fn expunge(&self, mailbox: &str, uids: &[Box<str>]) -> Result<(), ExpungeError> {
        let locked = self.open(mailbox, Wait::UNTIL_DONE);
        let locked = locked.map_err(StoreError::from)?;
        let known = locked.messages()?.uids();
        let known: HashMap<&str, usize> = known.iter().map(|uid| &**uid).zip(0..).collect();
        let (mut unknown, mut named) = (Vec::new(), HashSet::new());
        let mut wanted = Vec::with_capacity(uids.len());
        for uid in uids {
            match known.get(&**uid) {
                Some(index) => wanted.push((*index, &**uid)),
                None if !named.insert(uid) => {}
                None => unknown.push(uid.clone()),
            }
        }
        if !unknown.is_empty() {
            return Err(ExpungeError::Unknown {
                mailbox: mailbox.into(),
                uids: unknown,
            });
        }
        Ok(locked.expunge(&wanted)?)
    }
}

impl Mailboxes {
    /// Where a mailbox is that can be used, and its open directory.
    fn reach(&self, mailbox: &str) -> Result<(PathBuf, Arc<OwnedFd>), MailboxError> {
        let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        if let Some(path) = self.find(mailbox)? {
            // Few questions to a mailbox that can be used.
            let usable = access(&path, rights).map_err(io::Error::from);
            if let Ok(dir) = usable.and_then(|()| open_dir(&path)) {
                return Ok((path, Arc::new(dir)));
            }
        }
        let path = self.check(mailbox)?;
        match open_dir(&path) {
            Ok(dir) => Ok((path, Arc::new(dir))),
            Err(error) => Err(self.explain("couldn't open", mailbox, error)),
        }
    }

    fn list_unlocked(
        &self,
        mailbox: &str,
        path: &Path,
        dir: &OwnedFd,
    ) -> Result<Arc<dyn Messages>, MailboxError> {
        let here = MailboxDir {
            path,
            fd: dir.as_fd(),
            is_locked: false,
        };
        let messages = self.layout.list(here, self.rules(), Wait::UNTIL_DONE);
        messages.map_err(|error| self.explain("couldn't list", mailbox, error))
    }

    /// # Errors
    /// When a message of the mailbox has the id `uid`.
    fn is_free(&self, mailbox: &str, dir: &OwnedFd, uid: &Uid) -> Result<(), DeliverError> {
        match self.layout.has_uid(dir.as_fd(), uid, self.rules()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(used(mailbox, uid)),
            Err(error) => Err(not_there(failed("couldn't list", mailbox, error))),
        }
    }

    /// The error to report of a mailbox that takes no message.
    fn not_delivered(&self, mailbox: &str, error: io::Error) -> DeliverError {
        match self.check(mailbox) {
            Err(unusable @ MailboxError::Unusable { .. }) => not_there(unusable),
            _ => DeliverError::Store(failed("couldn't deliver into", mailbox, error).into()),
        }
    }
}

fn not_there(error: MailboxError) -> DeliverError {
    match error {
        MailboxError::Unusable {
            mailbox,
            fault: Fault::Missing | Fault::Outside,
        } => DeliverError::NoMailbox(mailbox),
        error => DeliverError::Store(error.into()),
    }
}

fn unfit(uid: &Uid, why: &'static str) -> DeliverError {
    let uid = uid.as_str().into();
    DeliverError::UnfitUid { uid, why }
}

fn used(mailbox: &str, uid: &Uid) -> DeliverError {
    DeliverError::UsedUid {
        mailbox: mailbox.into(),
        uid: uid.as_str().into(),
    }
}

/// What went wrong with a mailbox, as [`StoreError`] has it.
impl From<MailboxError> for FetchError {
    fn from(error: MailboxError) -> Self {
        Self::Store(error.into())
    }
}

fn not_read(mailbox: &str, uid: &str, source: io::Error) -> StoreError {
    let what = format!("couldn't read message \"{uid}\" of \"{mailbox}\"");
    StoreError::Message { what, source }
}

/// Opens the message of this unique id; `None` if the listing has none, or what has its
/// name now has another id.
fn open_by_uid(messages: &dyn Messages, dir: &OwnedFd, uid: &str) -> io::Result<Option<Message>> {
    let Some(index) = messages.find(uid) else {
        return Ok(None);
    };
    let file = match messages.open(dir.as_fd(), index, Wait::UNTIL_DONE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let (file, stamp) = regular(file)?;
    match messages.has_uid(index, &stamp) {
        true => to_message(messages, index, file, &stamp, Wait::UNTIL_DONE).map(Some),
        false => Ok(None),
    }
}
