//! What can go wrong with mailboxes, in Tcllib's words, which scripts know.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::fs::{access, Access};
use rustix::io::Errno;

use crate::store::reason::{advice_on, is_permanent, Reason};
use crate::store::StoreError;

/// Why an operation on mailboxes was refused.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// `base` with an empty directory.
    #[error("directory not specified")]
    NoDirectory,
    /// `base` with a directory that cannot be used.
    #[error("base: \"{directory}\" {fault}")]
    Base {
        /// The directory as it was named.
        directory: Box<str>,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Nothing works before `base`.
    #[error("base directory not specified")]
    NoBase,
    /// `add` of what is there.
    #[error("cannot add \"{0}\", mailbox already in existence")]
    AddExisting(Box<str>),
    /// `add` of a name outside the base directory.
    #[error("cannot add \"{0}\", not a name within the base directory")]
    AddOutside(Box<str>),
    /// `remove` of what is not there.
    #[error("cannot remove \"{0}\", mailbox does not exist")]
    RemoveMissing(Box<str>),
    /// `remove` of what a session uses.
    #[error("cannot remove \"{0}\", mailbox is locked")]
    RemoveLocked(Box<str>),
    /// `move` of what is not there.
    #[error("cannot move \"{0}\", mailbox does not exist")]
    MoveMissing(Box<str>),
    /// `move` of what a session uses.
    #[error("cannot move \"{0}\", mailbox is locked")]
    MoveLocked(Box<str>),
    /// `move` to what is there.
    #[error("cannot move \"{old}\", destination \"{new}\" already exists")]
    MoveExisting {
        /// The mailbox.
        old: Box<str>,
        /// Its new name.
        new: Box<str>,
    },
    /// `move` to a name outside the base directory.
    #[error(
        "cannot move \"{old}\", destination \"{new}\" is not a name within the base directory"
    )]
    MoveOutside {
        /// The mailbox.
        old: Box<str>,
        /// Its new name.
        new: Box<str>,
    },
    /// The mailbox cannot be used.
    #[error("\"{mailbox}\" {}", FaultClause(*fault))]
    Unusable {
        /// The mailbox.
        mailbox: Box<str>,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Somebody has the mailbox. (Scripts see a 0 from `lock`.)
    #[error("mailbox \"{0}\" is locked")]
    Locked(Box<str>),
    /// Nobody has the mailbox.
    #[error("mailbox \"{0}\" is not locked")]
    NotLocked(Box<str>),
    /// There is no message of that number.
    #[error("id \"{0}\" out of range")]
    OutOfRange(i64),
    /// `dele` without messages.
    #[error("nothing to delete")]
    NothingToDelete,
    /// It takes longer than the caller can wait.
    #[error("the mailbox must be waited for")]
    WouldBlock,
    /// The system refused.
    #[error("{what}: {}", Reason(source))]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl MailboxError {
    /// What to do about it, where the message does not say: scripts compare that.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoDirectory => Some("expected the directory that holds the mailboxes"),
            Self::Base { fault, .. } => Some(match fault {
                Fault::Missing => "make the directory first, or name another",
                fault => fault.advice(),
            }),
            Self::NoBase => Some("call the method \"base\" with a directory first"),
            Self::AddExisting(_) | Self::MoveExisting { .. } => {
                Some("take another name, or remove that mailbox first")
            }
            Self::AddOutside(_) | Self::MoveOutside { .. } => Some(NAME),
            Self::RemoveMissing(_) | Self::MoveMissing(_) => {
                Some("the method \"list\" tells the mailboxes that there are")
            }
            Self::RemoveLocked(_) | Self::MoveLocked(_) | Self::Locked(_) => {
                Some("a session or a script has it: try again when that has ended")
            }
            Self::Unusable { fault, .. } => Some(fault.advice()),
            Self::NotLocked(_) => Some("call the method \"lock\" first"),
            Self::OutOfRange(_) => Some(NUMBERS),
            Self::NothingToDelete => Some("expected a list of message numbers"),
            Self::Io { source, .. } => advice_on(source),
            Self::WouldBlock => None,
        }
    }

    /// Whether trying again is of no use until an administrator has acted.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unusable { .. } | Self::NoBase => true,
            Self::Io { source, .. } => is_permanent(source),
            _ => false,
        }
    }
}

/// Which numbers messages have.
pub const NUMBERS: &str = "after \"lock\", numbers are from 1 to what \"stat\" tells";

/// Which names mailboxes have.
const NAME: &str = "expected a path from the base directory, without \"..\"";

/// Why a directory cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none of that name.
    Missing,
    /// The name leads out of the base directory, or is none.
    Outside,
    /// It is something else.
    NotDirectory,
    /// Without read access.
    NotReadable,
    /// Without write access.
    NotWritable,
    /// Without the right to enter it, or a directory of its path.
    NotAccessible,
    /// It is a directory, but not of this kind of mailbox.
    NotMailbox,
    /// `new` or `cur` of a Maildir is a link, which is not followed.
    LinkedPlace,
}

impl Fault {
    /// What is wrong with `dir`, checked as Tcl's `file` command does.
    ///
    /// # Errors
    /// When the system cannot say: then a mailbox is not known to be missing.
    pub fn of(dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(dir) {
            Err(error) => return Self::of_error(error).map(Some),
            Ok(found) if !found.is_dir() => return Ok(Some(Self::NotDirectory)),
            Ok(_) => {}
        }
        for (right, fault) in [
            (Access::READ_OK, Self::NotReadable),
            (Access::WRITE_OK, Self::NotWritable),
            (Access::EXEC_OK, Self::NotAccessible),
        ] {
            match access(dir, right) {
                Ok(()) => {}
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => return Ok(Some(fault)),
                Err(error) => return Self::of_error(error.into()).map(Some),
            }
        }
        Ok(None)
    }

    /// What to do about it.
    fn advice(self) -> &'static str {
        match self {
            Self::Missing => "make it by the method \"add\"",
            Self::Outside => NAME,
            Self::NotDirectory => "expected a directory",
            Self::NotReadable | Self::NotWritable | Self::NotAccessible => {
                "the user of this process needs the rights to read, write and enter it"
            }
            Self::NotMailbox => {
                "expected the directories tmp, new and cur in it; the method \"add\" makes them"
            }
            Self::LinkedPlace => "put a directory in its place",
        }
    }

    /// The fault of what cannot be looked at.
    ///
    /// # Errors
    /// The error itself, when it tells nothing of what is there.
    pub fn of_error(error: io::Error) -> io::Result<Self> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {
                Ok(Self::Missing)
            }
            Some(Errno::ACCESS | Errno::PERM) => Ok(Self::NotAccessible),
            _ => Err(error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing | Self::Outside => "does not exist",
            Self::NotDirectory => "not a directory",
            Self::NotReadable => "not readable",
            Self::NotWritable => "not writable",
            Self::NotAccessible => "not accessible",
            Self::NotMailbox => "not a Maildir",
            Self::LinkedPlace => "not a Maildir, its new or cur is a link",
        })
    }
}

/// A fault of a mailbox as what follows its name in an error message.
struct FaultClause(Fault);

impl fmt::Display for FaultClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::Missing | Fault::Outside => self.0.fmt(f),
            fault => write!(f, "is {fault}"),
        }
    }
}

impl From<MailboxError> for StoreError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Locked(mailbox) => Self::InUse(mailbox.into()),
            MailboxError::NotLocked(mailbox) => Self::NotLocked(mailbox.into()),
            MailboxError::WouldBlock => Self::WouldBlock,
            MailboxError::Io { what, source } => Self::Io { what, source },
            MailboxError::OutOfRange(number) => {
                Self::NoMessage(u32::try_from(number).unwrap_or_default())
            }
            error => Self::Missing(error.to_string(), error.advice()),
        }
    }
}
