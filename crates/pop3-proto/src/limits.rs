//! Every bound of a server, and its reason.

use std::time::Duration;

/// Commands of one connection that are executed before other connections have
/// their turn. A client may send a thousand at once (RFC 2449 §6.6, PIPELINING).
///
/// A command costs microseconds, and a turn's end about as much: 32 keep that
/// small, and let 64 clients that send ahead keep another waiting for a few
/// milliseconds only.
pub const COMMANDS_PER_TURN: u32 = 32;

/// Octets read from one client and written to it before other connections have their
/// turn, where the client sends and takes them as fast as the server does.
///
/// Some hundred microseconds of work, of which the turn's end is a hundredth.
pub const OCTETS_PER_TURN: usize = 256 * 1024;

/// Bytes of a line of a SASL exchange, AUTH with its initial response included
/// (RFC 4422 leaves it to the protocol): tokens are long.
pub const SASL_LINE: usize = 12_288;

/// How long a client may take nothing of what is sent to it where there is no idle
/// time-out (RFC 1939 §3: at least ten minutes).
const WRITE_STALL: Duration = Duration::from_secs(600);

/// How long input is read on and thrown away after the farewell.
///
/// A socket that is closed with unread input, or gets some afterwards, is reset,
/// and the reset may take the farewell along. A client that reads its farewell
/// closes within a round trip.
pub const LINGER: Duration = Duration::from_secs(2);

/// How many bytes are thrown away after the farewell before the connection is
/// closed all the same.
pub const LINGER_BYTES: usize = 256 * 1024;

/// The longest delay that a hook's verdict may ask for. Clients give up after minutes; what is
/// longer is a mistake of units.
pub const LONGEST_HOOK_DELAY: Duration = Duration::from_secs(3600);

/// Bytes of a reply that a hook may give in a server's place: it waits for the client as a
/// whole. A listing of ten thousand messages has a fifth of it.
pub const LONGEST_HOOK_REPLY: usize = 1 << 20;

/// What one client, or all of them together, may take from a server.
///
/// Sessions obey the bounds on lines, input, output, errors and logins; drivers
/// obey the time-outs and the numbers of connections. Each is an option of a
/// server object. 0 means "no bound" where the field says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one command line without its line end. A longer line is skipped
    /// and answered with one −ERR.
    ///
    /// RFC 2449 §4 allows 255 octets with CRLF; the rest is for long passwords.
    pub line: usize,
    /// Bytes of output that wait for the client before commands, listings and
    /// message bodies pause.
    ///
    /// With the largest chunk a driver adds at a time this bounds the memory of a
    /// slow reader; much less would cost system calls.
    pub output_mark: usize,
    /// Bytes of input that wait while an earlier command is at work; at least one
    /// command line fits always.
    ///
    /// RFC 2449 §6.6 lets clients send ahead; 16 KiB are a thousand commands.
    pub pipelined: usize,
    /// Bad commands in a row before the session ends; 0: no bound.
    ///
    /// A POP3 client makes none. One that makes twenty speaks another protocol.
    pub errors: u32,
    /// Failed logins before the session ends; 0: no bound.
    ///
    /// Enough for slips of a human, few enough that guessing needs reconnecting.
    pub failed_logins: u32,
    /// Wait before the reply to the first failed login; doubles with each
    /// further one. 0: no wait.
    pub login_delay: Duration,
    /// Where the doubling stops, below the patience of clients (about 30 s).
    pub login_delay_max: Duration,
    /// Inactivity after which a session that is logged in ends; 0: never.
    ///
    /// RFC 1939 §3: at least ten minutes.
    pub idle: Duration,
    /// Time to log in, from the greeting on; 0: for ever.
    ///
    /// A stranger gets less time than a user; a human types a password
    /// in two minutes.
    pub login_timeout: Duration,
    /// Connections of a server at a time; 0: no bound.
    ///
    /// Each costs some 3 KiB and a descriptor.
    pub connections: u32,
    /// Connections of a server from one address at a time; 0: no bound.
    ///
    /// Three quarters of all: one address cannot shut out the others, and a
    /// proxy in front of everybody still works. Lower it where there is none.
    pub per_address: u32,
    /// Failed logins from one address, over all its connections, after which it is refused;
    /// 0: no bound.
    ///
    /// Twenty clients behind one address that repeat a wrong password every minute, for ten
    /// minutes without one good login between them, make so many.
    pub address_failures: u32,
    /// So long the failed logins of an address count together, and so long it is refused
    /// afterwards; 0: they do not count.
    ///
    /// Long enough that a guesser has 200 tries in ten minutes, short enough that users
    /// need not ask for help.
    pub address_block: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 1024,
            output_mark: 64 * 1024,
            pipelined: 16 * 1024,
            errors: 20,
            failed_logins: 5,
            login_delay: Duration::from_millis(250),
            login_delay_max: Duration::from_secs(4),
            idle: Duration::from_secs(600),
            login_timeout: Duration::from_secs(120),
            connections: 16_384,
            per_address: 12_288,
            address_failures: 200,
            address_block: Duration::from_secs(600),
        }
    }
}

impl Limits {
    /// The wait before the reply to the failed login number `failures`, from 1.
    pub fn delay_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.login_delay
            .saturating_mul(1 << doublings)
            .min(self.login_delay_max)
    }

    /// How long a client may take nothing of what is sent to it: it is as idle as
    /// one that says nothing.
    pub fn longest_stall(&self) -> Duration {
        match self.idle.is_zero() {
            true => WRITE_STALL,
            false => self.idle,
        }
    }

    /// Whether `count` has come to a bound of which 0 means that there is none.
    pub(super) fn reached(count: u32, bound: u32) -> bool {
        bound != 0 && count >= bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_maximum() {
        let limits = Limits::default();
        let table = [
            (1, 250),
            (2, 500),
            (3, 1000),
            (4, 2000),
            (5, 4000),
            (6, 4000),
        ];
        for (failures, milliseconds) in table {
            let want = Duration::from_millis(milliseconds);
            assert_eq!(limits.delay_after(failures), want, "{failures}");
        }
        assert_eq!(limits.delay_after(u32::MAX), limits.login_delay_max);
        assert_eq!(limits.delay_after(0), limits.login_delay);
    }

    #[test]
    fn no_delay_stays_none() {
        let limits = Limits {
            login_delay: Duration::ZERO,
            ..Limits::default()
        };
        assert_eq!(limits.delay_after(9), Duration::ZERO);
    }

    #[test]
    fn an_authenticated_session_has_the_ten_minutes_of_rfc_1939() {
        assert!(Limits::default().idle >= Duration::from_secs(600));
    }
}
