//! What becomes of callbacks that fail: lines of the log or, where nobody writes one, errors
//! for `interp bgerror`.

use super::{Callbacks, Trouble};
use crate::bind::lines::shortened;
use crate::ffi::interp::Raised;
use crate::ffi::Value;
use crate::net::Level;
use pop3_proto::{Failure, MsgNo};

/// What a callback was asked, for complaints about what it returned.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// The user or the mailbox.
    pub(super) of: &'a str,
    pub(super) number: Option<MsgNo>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(method: &'a str, of: &'a str) -> Self {
        let number = None;
        Self { method, of, number }
    }

    pub(super) fn message(method: &'a str, of: &'a str, number: MsgNo) -> Self {
        let number = Some(number);
        Self { method, of, number }
    }

    /// As the callback is called, but short.
    fn words(self) -> String {
        let of = Value::texts([self.of]).to_text();
        let number = self.number.map(|n| format!(" {n}"));
        let number = number.unwrap_or_default();
        format!("{} {}{number}", self.method, shortened(&of))
    }
}

impl Callbacks<'_> {
    /// A callback raised an error: in full to the log.
    pub(super) fn raised(&self, method: &str, raised: &Raised) -> Trouble {
        self.complain(&format!("{method}: {}", raised.info()), raised)
    }

    /// A callback returned what it should not, which is shown if that may be.
    pub(super) fn wrong(&self, asked: Asked<'_>, said: Option<&Value>, expected: &str) -> Trouble {
        let asked = asked.words();
        let message = match said.map(Value::to_text) {
            Some(said) => format!(
                "\"{asked}\" returned \"{}\", not {expected}",
                shortened(&said)
            ),
            None => format!("\"{asked}\" did not return {expected}"),
        };
        let raised = Raised::new(&message, &["POP3D", "CALLBACK"]);
        self.complain(&message, &raised)
    }

    /// Writes a line or, where nobody does, hands the error to `interp bgerror`, so that
    /// it is not lost.
    pub(super) fn complain(&self, line: &str, raised: &Raised) -> Trouble {
        let heard = self.server.log(Level::Error, line);
        let permanent = raised
            .error_code()
            .starts_with(&["POP3D", "MAILBOX", "UNUSABLE"].map(String::from));
        if !heard {
            self.server.report(raised);
        }
        Trouble(match permanent {
            true => Failure::Permanent,
            false => Failure::Temporary,
        })
    }
}
