//! The states of a session by the lines that lead there, over one mailbox.

use super::{Mailbox, Play};
use pop3_proto::limits::Limits;

/// A state, by the lines that lead there.
pub type State = &'static [&'static str];

pub const FRESH: State = &[];
pub const NAMED: State = &["USER mrose"];
pub const REFUSED: State = &["USER mrose", "PASS wrong"];
pub const OPEN: State = &["USER mrose", "PASS tanstaaf"];
pub const MARKED: State = &["USER mrose", "PASS tanstaaf", "DELE 2", "DELE 1"];
pub const ALL_MARKED: State = &["USER mrose", "PASS tanstaaf", "DELE 1", "DELE 2", "DELE 3"];
pub const RESET: State = &["USER mrose", "PASS tanstaaf", "DELE 2", "RSET"];

// Replies of more than one state.
pub const NOT_YET: &str = "-ERR client not authenticated\r\n";
pub const ALREADY: &str = "-ERR client already authenticated\r\n";
pub const NO_MESSAGE: &str = "-ERR no such message\r\n";
pub const SORRY: &str = "-ERR [AUTH] authentication failed, sorry\r\n";
pub const NOBODY: &str = "-ERR authentication failed, sorry\r\n";

/// Three messages of 14, 19 and 6 octets on the wire.
pub fn mailbox() -> Mailbox {
    Mailbox::new(&["S: 1\n\nbody\n", ".S: 2\r\n\r\na\r\n.\r\n..\r\n", "x\ny"])
}

/// A session in a state; what led there is written and taken.
pub fn play(mailbox: Mailbox, state: State) -> Play {
    let mut play = Play::new(mailbox, Limits::default());
    play.set_up(state);
    play
}
