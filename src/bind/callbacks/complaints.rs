//! What becomes of callbacks that fail: lines of the log or, where nobody writes one, errors
//! for `interp bgerror`.

use super::{Callbacks, Trouble};
use crate::bind::escape::shortened;
use crate::ffi::interp::Raised;
use crate::ffi::Value;
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
    /// A callback raised an error: its stack trace goes to the log, unless the error is
    /// a refusal.
    pub(super) fn raised(&self, method: &str, raised: &Raised) -> Trouble {
        self.raised_by(method, method, raised)
    }

    /// The same of a callback that is shown otherwise than it counts.
    pub(super) fn raised_by(&self, counted: &str, shown: &str, raised: &Raised) -> Trouble {
        let raised = explained(counted, raised);
        let text = match is_refusal(counted, &raised) {
            true => raised.noted_message(),
            false => raised.info(),
        };
        self.complain(counted, &format!("{shown}: {text}"), &raised)
    }

    /// A callback returned what it should not, which is shown if that may be.
    pub(super) fn wrong(&self, asked: Asked<'_>, said: Option<&Value>, expected: &str) -> Trouble {
        let method = asked.method;
        let asked = asked.words();
        let message = match said.map(Value::to_text) {
            Some(said) => format!(
                "\"{asked}\" returned \"{}\", not {expected}",
                shortened(&said)
            ),
            None => format!("\"{asked}\" did not return {expected}"),
        };
        let raised = Raised::new(&message, &["POP3D", "CALLBACK"]);
        self.complain(method, &message, &raised)
    }

    /// Counts an error of a method, and logs it or, where nobody takes the line, hands it to
    /// `interp bgerror`, so that it is not lost.
    pub(super) fn complain(&self, method: &str, line: &str, raised: &Raised) -> Trouble {
        self.server.callbacks.failed(method);
        if !self.log(line) {
            self.server.report(raised);
        }
        Trouble(match has_code(raised, &UNUSABLE) {
            true => Failure::Permanent,
            false => Failure::Temporary,
        })
    }

    /// Logs a failure; whether anybody takes the line.
    pub(super) fn log(&self, message: &str) -> bool {
        self.server.log_failure(self.client.clone(), message)
    }
}

/// The error, with how the method is called if it may be that there is no such command, or
/// that it takes other arguments.
pub(super) fn explained(method: &str, raised: &Raised) -> Raised {
    let is_miscalled =
        has_code(raised, &["TCL", "LOOKUP", "COMMAND"]) || has_code(raised, &["TCL", "WRONGARGS"]);
    match is_miscalled {
        true => raised.clone().with_note(usage(method)),
        false => raised.clone(),
    }
}

/// How a method of a command prefix is called.
fn usage(method: &str) -> &'static str {
    match method {
        "exists" => "-auth is called as: PREFIX exists USER",
        "lookup" => "-auth is called as: PREFIX lookup USER",
        "login" => "-login is called as: PREFIX DICTIONARY",
        "hook" => "-hook is called as: PREFIX EVENT DICTIONARY",
        "lock" => "-storage is called as: PREFIX lock MAILBOX",
        "stat" => "-storage is called as: PREFIX stat MAILBOX",
        "size" => "-storage is called as: PREFIX size MAILBOX ?NUMBER?",
        "get" => "-storage is called as: PREFIX get MAILBOX NUMBER",
        "uidl" => "-storage is called as: PREFIX uidl MAILBOX ?NUMBER?",
        "dele" => "-storage is called as: PREFIX dele MAILBOX NUMBERS",
        _ => "-storage is called as: PREFIX unlock MAILBOX",
    }
}

/// What somebody must mend.
const UNUSABLE: [&str; 3] = ["POP3D", "MAILBOX", "UNUSABLE"];

/// What may work later.
const TEMPORARY: [&str; 2] = ["POP3D", "TEMP"];

/// What has ended a callback before it returned.
const ENDED: [[&str; 3]; 2] = [
    ["POP3D", "CALLBACK", "DELETED"],
    ["POP3D", "CALLBACK", "TIMEOUT"],
];

/// Whether something has ended a callback before it returned.
pub(super) fn is_given_up(raised: &Raised) -> bool {
    ENDED.iter().any(|code| has_code(raised, code))
}

fn has_code(raised: &Raised, code: &[&str]) -> bool {
    let words = raised.error_code();
    words.len() >= code.len() && words.iter().zip(code).all(|(word, code)| word == code)
}

/// Whether an error of `lookup` says that it failed, rather than that there is no such user.
pub(super) fn is_failure(raised: &Raised) -> bool {
    is_given_up(raised) || has_code(raised, &UNUSABLE) || has_code(raised, &TEMPORARY)
}

/// Whether a script says no in its own words, where a stack trace tells nobody anything:
/// by a code of ours, or by a plain `error` of `dele`, as read-only mailboxes do.
fn is_refusal(method: &str, raised: &Raised) -> bool {
    has_code(raised, &["POP3D"]) || method == "dele" && raised.error_code() == ["NONE"]
}
