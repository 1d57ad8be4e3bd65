//! What a kind of mailbox must provide: how messages lie in a directory. And the rules by
//! which they are listed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::AtFlags;

use super::arrival::{Places, Turn, Written};
use super::listing::MailboxDir;
use super::locked::Messages;
use super::mailbox_error::Fault;
use super::stamp::Stamp;
use crate::store::delivery::Uid;
use crate::store::Wait;

/// How the messages lie in a mailbox.
pub trait Layout: Intake {
    /// Makes an empty mailbox, with the directories above it.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) and whatever the system says.
    fn create(&self, dir: &Path) -> io::Result<()>;
    /// Why the directory `dir` is no such mailbox; `None` if it is one.
    ///
    /// # Errors
    /// When the system cannot say.
    fn fault(&self, dir: &Path) -> io::Result<Option<Fault>>;
    /// Lists the messages of `dir`. When the answer is no longer
    /// wanted, messages are no longer counted; such a listing is not kept.
    ///
    /// # Errors
    /// When the directory cannot be read, or the system does not say what one of its
    /// files is: a message must not be left out. [`WouldBlock`](io::ErrorKind::WouldBlock)
    /// for [`Wait::No`], unless an earlier listing is kept, and a few questions show that it
    /// still holds.
    fn list(
        &self,
        dir: MailboxDir<'_>,
        rules: Rules,
        wait: Wait<'_>,
    ) -> io::Result<Arc<dyn Messages>>;
    /// The listing that is kept of the mailbox `dir`, made by these rules. Whether it still
    /// holds is not known.
    fn kept(&self, dir: &Path, rules: Rules) -> Option<Arc<dyn Messages>>;
    /// Drops the kept listing of the mailbox `dir`, which is about to go.
    fn forget(&self, dir: &Path);
}

/// How messages get into a mailbox, and what they are called there.
pub trait Intake: Send + Sync {
    /// Opens the directories by which a message is delivered into the open directory `dir`.
    ///
    /// # Errors
    /// When they cannot be used.
    fn places(&self, dir: &Arc<OwnedFd>) -> io::Result<Places>;
    /// The file name of a new message: of none that was ever there.
    fn new_name(&self, written: &Written) -> String;
    /// Whether a message's file can have a name that tells this unique id.
    ///
    /// # Errors
    /// Why it cannot.
    fn carries(&self, uid: &Uid) -> Result<(), &'static str>;
    /// The file name of a message that is to have a unique id that the layout
    /// [carries](Self::carries).
    ///
    /// # Errors
    /// Why this message cannot have it.
    fn name_of(&self, uid: &Uid, written: &Written) -> Result<String, &'static str>;
    /// Whether a message in `dir` has this unique id.
    ///
    /// # Errors
    /// When the system does not say.
    fn has_uid(&self, dir: BorrowedFd<'_>, uid: &Uid, rules: Rules) -> io::Result<bool>;
    /// Waits until no other delivery is between [`has_uid`](Self::has_uid) and its end, where
    /// the file name alone does not keep ids apart.
    ///
    /// # Errors
    /// When the turn does not come.
    fn turn(&self, places: &Places) -> io::Result<Option<Turn>>;
    /// The unique id of the message whose file has this name and this stamp.
    fn uid_of(&self, name: &[u8], stamp: &Stamp) -> Box<str>;
}

/// What counts as the size of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Octets {
    /// The size of its file, as Tcllib has it: never more than what is sent.
    File,
    /// What is sent: every line end two octets, the last line's included, but
    /// without the dots that are stuffed (RFC 1939 §11).
    Wire,
}

/// What becomes of symbolic links among the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// A link to a regular file is a message, as Tcllib has it. Whoever can write into
    /// the mailbox can then read all files that the server can read.
    Follow,
    /// No link is a message.
    Refuse,
}

impl Links {
    /// For statat(2).
    pub fn stat_flags(self) -> AtFlags {
        match self {
            Self::Follow => AtFlags::empty(),
            Self::Refuse => AtFlags::SYMLINK_NOFOLLOW,
        }
    }
}

/// By what rules a mailbox is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What counts as the size of a message.
    pub octets: Octets,
    /// What becomes of links.
    pub links: Links,
}
