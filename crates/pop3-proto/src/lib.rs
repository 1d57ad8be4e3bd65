#![doc = include_str!("../README.md")]

mod auth;
pub mod body;
pub mod command;
pub mod connection;
pub mod hook;
pub mod limits;
pub mod line;
pub mod listing;
pub mod maildrop;
pub mod output;
mod reply;
pub mod sasl;
pub mod security;
pub mod session;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use hook::{Detail, Event, Verdict};
pub use reply::{is_capability, is_reply_text, TOO_MANY_CONNECTIONS, TOO_MANY_FAILURES};
use sasl::scram::ScramKeys;
use sasl::Mechanism;
use security::TlsFacts;
use subtle::ConstantTimeEq;

/// A message number as clients write it: 1 for the first message (RFC 1939 §5).
///
/// That it lies within the maildrop is checked by `maildrop`, so a number inside
/// a [`Request`] always names a message of the session's maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsgNo(NonZeroU32);

impl MsgNo {
    /// The message number `n`; none for 0.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// As clients write it, from 1.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// As arrays are indexed, from 0.
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for MsgNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much of a message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// RETR: all of it.
    Whole,
    /// TOP: the header, the blank line and so many lines of the body.
    Top(u32),
}

/// A password, an APOP digest or what it is made of.
///
/// Debug prints nothing of it; comparison takes the same time wherever the
/// first difference is.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps a secret.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for hashing; never for printing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a client offers to prove who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// PASS: the password itself.
    Password(Secret),
    /// APOP: a digest of challenge and password (RFC 1939 §7).
    Apop {
        /// The time stamp of the greeting, angle brackets included.
        challenge: Box<str>,
        /// The 32 hexadecimal digits as the client sent them.
        digest: Secret,
    },
    /// OAUTHBEARER, XOAUTH2: a token, which only its issuer can judge.
    Token(Secret),
    /// The session has checked it: by SCRAM, or by a certificate.
    Verified,
}

/// A login that a client attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The user's name as the client sent it.
    pub user: Box<[u8]>,
    /// What came with it.
    pub proof: Proof,
    /// How it came.
    pub mechanism: Mechanism,
    /// The connection's TLS, if it has any.
    pub tls: Option<Arc<TlsFacts>>,
}

/// What a session asks of users and mailboxes: the coarse jobs, one for a command.
///
/// A session asks one at a time and takes no further command before
/// [`Session::handle_reply`](session::Session::handle_reply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// PASS, APOP or AUTH: look the user up, check the proof, lock the mailbox and
    /// count it. Answered by [`Reply::Opened`] or [`Reply::Refused`].
    Login(Attempt),
    /// SCRAM: what is known of a user's password. Answered by [`Reply::Keys`], for an
    /// unknown user too.
    Keys {
        /// The user's name as the client sent it.
        user: Box<[u8]>,
        /// SCRAM with or without channel binding.
        mechanism: Mechanism,
    },
    /// LIST n. Answered by [`Reply::Sizes`] with one element.
    Size(MsgNo),
    /// STAT when messages were marked since the last STAT: their sizes. Answered by
    /// [`Reply::Sizes`], one for each number in the order asked.
    SizesOf(Vec<MsgNo>),
    /// LIST: the size of every message. Answered by [`Reply::Sizes`].
    Sizes,
    /// UIDL n. Answered by [`Reply::Uids`] with one element.
    Uid(MsgNo),
    /// UIDL: every unique id. Answered by [`Reply::Uids`].
    Uids,
    /// RETR or TOP. Answered by [`Reply::Fetching`], after which the driver feeds
    /// the message to [`Session::handle_body`](session::Session::handle_body).
    Fetch {
        /// Which message.
        number: MsgNo,
        /// How much of it; a hint that lets a driver stop reading early.
        extent: Extent,
    },
    /// QUIT: delete the marked messages (none: delete nothing), then unlock.
    /// Answered by [`Reply::Updated`].
    Update {
        /// The marked messages, in the order of their marking.
        delete: Vec<MsgNo>,
    },
    /// What is to come of an event. Answered by [`Reply::Hook`]. [`Reply::Failed`] refuses
    /// it: a policy that cannot be asked must not be evaded.
    Hook(Box<Event>),
}

/// In the words of the protocol, for a log: without secrets, of bounded length.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(Attempt {
                user, mechanism, ..
            }) => {
                let how = match mechanism {
                    Mechanism::User => "PASS",
                    mechanism => mechanism.name(),
                };
                let user = String::from_utf8_lossy(user);
                write!(f, "login {} by {how}", user.escape_debug())
            }
            Self::Keys { user, .. } => {
                let user = String::from_utf8_lossy(user);
                write!(f, "keys of {}", user.escape_debug())
            }
            Self::Size(number) => write!(f, "LIST {number}"),
            Self::SizesOf(marked) => write!(f, "STAT without {}", Numbers(marked)),
            Self::Sizes => f.write_str("LIST"),
            Self::Uid(number) => write!(f, "UIDL {number}"),
            Self::Uids => f.write_str("UIDL"),
            Self::Fetch { number, extent } => match extent {
                Extent::Whole => write!(f, "RETR {number}"),
                Extent::Top(lines) => write!(f, "TOP {number} {lines}"),
            },
            Self::Update { delete } if delete.is_empty() => f.write_str("QUIT"),
            Self::Update { delete } => write!(f, "QUIT, deleting {}", Numbers(delete)),
            Self::Hook(event) => event.fmt(f),
        }
    }
}

/// Message numbers as a log shows them.
struct Numbers<'a>(&'a [MsgNo]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// So many are named; of more it says how many there are.
        const NAMED: usize = 10;
        let shown: Vec<_> = self.0.iter().take(NAMED).map(MsgNo::to_string).collect();
        f.write_str(&shown.join(" "))?;
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Request {
    /// The mechanism, if it is a login or a step of one.
    pub fn login_mechanism(&self) -> Option<Mechanism> {
        match self {
            Self::Login(Attempt { mechanism, .. }) | Self::Keys { mechanism, .. } => {
                Some(*mechanism)
            }
            _ => None,
        }
    }

    /// The mechanism by which a client has logged in, if the answer lets that in or does not.
    pub fn decided_login(&self) -> Option<Mechanism> {
        match self {
            Self::Hook(event) => match event.detail {
                Detail::Login { mechanism, .. } => Some(mechanism),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it is carried out even if the client goes meanwhile: RFC 1939 §6, once
    /// UPDATE is entered.
    pub fn is_carried_out(&self) -> bool {
        match self {
            Self::Update { .. } => true,
            Self::Hook(event) => event.is_carried_out(),
            _ => false,
        }
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// The mailbox is locked and is this session's.
    Opened {
        /// The storage reference, as the script's `lookup` gave it.
        storage: Box<str>,
        /// Number of messages.
        count: u32,
        /// Octets of all messages together.
        octets: u64,
    },
    /// The login failed; nothing is locked.
    Refused(Refusal),
    /// What is known of a password. For a user who is not known, or whose password cannot
    /// be checked so, keys that fit no password and do not change: the client must not see
    /// the difference.
    Keys {
        /// The keys.
        keys: ScramKeys,
        /// Random bytes, never given twice.
        nonce: [u8; 18],
    },
    /// Sizes in octets.
    Sizes(Arc<[u64]>),
    /// Unique ids, each 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7).
    Uids(Arc<[Box<str>]>),
    /// The message follows through `handle_body`.
    Fetching {
        /// Octets to announce: never more than will be sent.
        octets: u64,
    },
    /// Deleted and unlocked.
    Updated,
    /// What is to come of the event.
    Hook(Verdict),
    /// The request failed. After `Update` some messages may be left, but the
    /// mailbox is unlocked.
    Failed(Failure),
}

/// Why a login failed, as far as the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown user, wrong proof, or no mailbox: not told apart.
    Credentials,
    /// Another session has the mailbox (`[IN-USE]`, RFC 2449 §8.1.1).
    InUse,
    /// Too many logins from the client's address have failed: nothing was asked.
    TooManyFailures,
    /// Something failed that has nothing to do with the credentials.
    Failed(LoginStep, Failure),
}

/// The failed logins of a client's address, over all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFailures {
    /// How many there are, this connection's last one included; 0 where they are not counted.
    pub count: u32,
    /// Whether the address is refused from now on.
    pub is_refused: bool,
}

/// Which step of a login failed. The reply names it: clients and their users must not
/// take a failing mailbox for a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginStep {
    /// Looking the user up.
    Users,
    /// Locking the mailbox, by a script.
    Lock,
    /// Opening and counting the mailbox.
    Mailbox,
    /// Having anything done: the interpreter or the runtime is ending.
    Server,
}

/// A failure of the stores, as far as the client may know (RFC 3206); the detail
/// goes to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `[SYS/TEMP]`: may work later.
    Temporary,
    /// `[SYS/PERM]`: somebody must mend something first.
    Permanent,
}
