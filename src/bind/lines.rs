//! What log lines say.

use crate::net::{Event, Level};
use crate::store::reason::Reason;
use pop3_proto::{LoginStep, Refusal};

/// Characters that are shown of a value.
const SHOWN: usize = 60;

/// A log line.
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// For people.
    pub text: String,
    /// The same for programs.
    pub fields: Vec<(&'static str, String)>,
}

/// The line for an event of the network side.
pub fn line(event: &Event<'_>) -> Line {
    let mut fields: Vec<(&'static str, String)> = Vec::new();
    let text = match event {
        Event::AcceptFailed { error } => format!("accept: {}", Reason(error)),
        Event::Refused { peer, reason } => {
            fields.extend([
                ("peer", peer.to_string()),
                ("reason", format!("{reason:?}")),
            ]);
            format!("{peer} refused: {reason}")
        }
        Event::Accepted { connection, peer } => {
            fields.extend([
                ("connection", connection.to_string()),
                ("peer", peer.to_string()),
            ]);
            format!("conn{connection} state auth, waiting for logon from {peer}")
        }
        Event::Asked {
            connection,
            request,
        } => {
            fields.push(("connection", connection.to_string()));
            format!("conn{connection} asks {}", request)
        }
        Event::Login {
            connection,
            peer,
            user,
            refused,
        } => {
            fields.extend([
                ("connection", connection.to_string()),
                ("peer", peer.to_string()),
                ("user", (*user).to_owned()),
                ("ok", u8::from(refused.is_none()).to_string()),
            ]);
            // The client chose the name: nothing in it may break the line.
            let user = user.escape_debug();
            match refused {
                None => format!("conn{connection} login {user}"),
                Some(refusal) => {
                    let reason = why(*refusal);
                    fields.push(("reason", reason.to_owned()));
                    format!("conn{connection} login refused {user}: {reason}")
                }
            }
        }
        Event::StoreFailed { connection, error } => {
            fields.push(("connection", connection.to_string()));
            format!("conn{connection} storage: {error}")
        }
        Event::ReadFailed { connection, error } => {
            fields.push(("connection", connection.to_string()));
            format!("conn{connection} reading a message: {}", Reason(error))
        }
        Event::Ended {
            connection,
            peer,
            user,
            tally,
            duration,
            reason,
        } => {
            fields.extend([
                ("connection", connection.to_string()),
                ("user", (*user).to_owned()),
                ("peer", peer.to_string()),
                ("commands", tally.commands.to_string()),
                ("messages", tally.messages.to_string()),
                ("octets", tally.octets.to_string()),
                ("deleted", tally.deleted.to_string()),
                ("reason", reason.to_string()),
                ("milliseconds", duration.as_millis().to_string()),
            ]);
            format!(
                "conn{connection} closed user={} peer={peer} commands={} messages={} octets={} \
                 deleted={} reason=\"{reason}\" milliseconds={}",
                user.escape_debug(),
                tally.commands,
                tally.messages,
                tally.octets,
                tally.deleted,
                duration.as_millis()
            )
        }
    };
    Line {
        level: event.level(),
        text,
        fields,
    }
}

/// Why a login was refused; the detail of a failure has a line of its own.
fn why(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Credentials => "wrong user or secret",
        Refusal::InUse => "mailbox in use",
        Refusal::Failed(LoginStep::Users, _) => "users failed",
        Refusal::Failed(LoginStep::Lock, _) => "lock failed",
        Refusal::Failed(LoginStep::Mailbox, _) => "mailbox failed",
        Refusal::Failed(LoginStep::Server, _) => "not carried out",
    }
}

/// The begin of a value, without control characters and line feeds.
pub fn shortened(value: &str) -> String {
    let mut chars = value.chars();
    let mut shown = String::new();
    for c in chars.by_ref().take(SHOWN) {
        push(&mut shown, c, is_harmful(c));
    }
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// The text without control characters, by which a client could forge lines or take
/// over a terminal. Line feeds, which no client can send, stay: stack traces have them.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c, is_harmful(c) && c != '\n');
    }
    out
}

/// Whether a terminal would do something else than show it: control characters, those that
/// change the direction of what follows, and invisible ones.
fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || turns
}

fn push(out: &mut String, c: char, harmful: bool) {
    match harmful {
        true => out.extend(c.escape_default()),
        false => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shortened_and_escaped() {
        let long = "é".repeat(SHOWN);
        let table = [
            ("", ""),
            ("abc", "abc"),
            ("\\\"'\u{20ac}", "\\\"'\u{20ac}"),
            ("a\u{202e}b", "a\\u{202e}b"),
            (
                "u\u{308} \u{e17}\u{e35}\u{e48}",
                "u\u{308} \u{e17}\u{e35}\u{e48}",
            ),
            ("a\nb\0\x1b\u{85}", "a\\nb\\u{0}\\u{1b}\\u{85}"),
            (&*long, &*long),
            (&*format!("{long}x"), &*format!("{long}...")),
        ];
        for (value, want) in table {
            assert_eq!(shortened(value), want, "{value:?}");
        }
    }
}
