//! What drivers show of a session.

use std::fmt;

use super::{Phase, Session, Step};

/// The state names that scripts see in `conn state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// AUTHORIZATION.
    Auth,
    /// TRANSACTION.
    Trans,
    /// UPDATE, from QUIT after login on.
    Update,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "auth",
            Self::Trans => "trans",
            Self::Update => "update",
        })
    }
}

/// What `conn state` shows of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The time stamp of the greeting.
    pub id: Box<str>,
    /// The state.
    pub state: StateName,
    /// The last user name the client gave, as it sent it; empty before.
    pub name: Box<[u8]>,
    /// The storage reference; empty before login.
    pub storage: Box<str>,
    /// `user` between USER and PASS, else empty.
    pub logon: &'static str,
    /// The marked messages, in the order of their marking.
    pub deleted: Vec<u32>,
    /// Number of messages at login; 0 before.
    pub msg: u32,
    /// Octets at login; 0 before.
    pub size: u64,
}

/// Why a session ended by itself. Drivers have reasons of their own besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// QUIT.
    Quit,
    /// QUIT, but not all marked messages were deleted.
    UpdateFailed,
    /// [`Limits::errors`](crate::limits::Limits::errors).
    TooManyErrors,
    /// [`Limits::failed_logins`](crate::limits::Limits::failed_logins).
    TooManyLogins,
    /// A message could not be read to its end.
    BodyFailed,
    /// Nobody had logged in, and the server needed the room.
    MadeRoom,
    /// A verdict of the hook.
    ByHook,
    /// The server's owner has closed it.
    Closed,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quit => "quit",
            Self::UpdateFailed => "update failed",
            Self::TooManyErrors => "too many errors",
            Self::TooManyLogins => "too many failed logins",
            Self::BodyFailed => "message unreadable",
            Self::MadeRoom => "made room for a new connection",
            Self::ByHook => "ended by the hook",
            Self::Closed => "closed by script",
        })
    }
}

impl Session {
    /// The last user name the client gave, as it sent it; empty before.
    pub fn user(&self) -> &[u8] {
        match &self.phase {
            Phase::Authorization { name, .. } => name,
            Phase::Transaction(opened) | Phase::Update(opened) => &opened.name,
        }
    }

    /// The session as `conn state` shows it.
    pub fn snapshot(&self) -> Snapshot {
        let mut shown = Snapshot {
            id: self.id.clone(),
            state: StateName::Auth,
            name: self.user().into(),
            storage: Box::default(),
            logon: "",
            deleted: Vec::new(),
            msg: 0,
            size: 0,
        };
        match &self.phase {
            Phase::Authorization { step, .. } => {
                if matches!(step, Step::Named) {
                    shown.logon = "user";
                }
            }
            Phase::Transaction(opened) | Phase::Update(opened) => {
                shown.state = match self.phase {
                    Phase::Update(_) => StateName::Update,
                    _ => StateName::Trans,
                };
                let maildrop = &opened.maildrop;
                shown.storage = opened.storage.clone();
                shown.deleted = maildrop.marked().iter().map(|n| n.get()).collect();
                shown.msg = maildrop.count();
                shown.size = maildrop.octets();
            }
        }
        shown
    }
}
