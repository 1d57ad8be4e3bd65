//! A locked mailbox as the tests of stores ask it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use pop3_proto::{Extent, MsgNo, Request};
use pop3d::store::{Immediate, Mailbox, StartedMessage};

pub fn no(n: u32) -> MsgNo {
    MsgNo::new(n).unwrap()
}

/// The start of a message, if an event loop can read it.
pub fn start(session: &dyn Mailbox, number: MsgNo, buffer: &mut [u8]) -> Option<StartedMessage> {
    let request = Request::Fetch {
        number,
        extent: Extent::Whole,
    };
    match session.try_now(&request, buffer) {
        Immediate::Started(message) => Some(message),
        _ => None,
    }
}
