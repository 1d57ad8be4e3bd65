//! What `-hook` may return.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::ffi::Value;
use pop3_proto::hook::{BadRejection, Detail, Event, EventKind, Rejection, Terms, Verdict};
use pop3_proto::limits::{LONGEST_HOOK_DELAY, LONGEST_HOOK_REPLY};

/// The verdict that a value is.
///
/// # Errors
/// What is expected instead: the event's verdicts, or the form of the one that it names.
pub fn of(value: &Value, event: &Event) -> Result<Verdict, String> {
    let kind = event.kind();
    let words = value.to_list().unwrap_or_default();
    let name = words.first().map(Value::to_text).unwrap_or_default();
    match (&*name, &words[..]) {
        ("", []) if value.to_list().is_some() => Ok(Verdict::default()),
        ("close", [_]) => Ok(Verdict::Close),
        ("reject", [_, text]) => reject(text, None),
        ("reject", [_, text, code]) => reject(text, Some(code)),
        ("reply", [_, bytes]) if kind == EventKind::Command => reply(bytes, event),
        ("delay" | "cut" | "announce" | "throttle", words) if words.len() % 2 == 0 => {
            terms(words, kind)
        }
        _ => Err(known(kind)),
    }
}

/// Every verdict of an event.
fn known(kind: EventKind) -> String {
    let more = match kind {
        EventKind::Command => ", {delay MS} or {reply BYTES}",
        EventKind::Retrieve => {
            " or pairs of delay MS, cut OCTETS, announce OCTETS and throttle OCTETS"
        }
        _ => " or {delay MS}",
    };
    let comma = if kind == EventKind::Retrieve { "," } else { "" };
    format!("a verdict: nothing, {{reject TEXT ?CODE?}}, {{close}}{comma}{more}")
}

fn reject(text: &Value, code: Option<&Value>) -> Result<Verdict, String> {
    let code = code.map(Value::to_text);
    let rejection = Rejection::new(&text.to_text(), code.as_deref());
    rejection.map(Verdict::Reject).map_err(|bad| {
        match bad {
            BadRejection::Text => "{reject TEXT ?CODE?} with a TEXT without control characters",
            BadRejection::Code => "{reject TEXT ?CODE?} with a CODE like SYS/TEMP (RFC 2449)",
            BadRejection::TooLong => "{reject TEXT ?CODE?} of at most 512 octets in all",
        }
        .into()
    })
}

/// A reply to AUTH that asks for a response would have the client send its secret as the next
/// command.
fn reply(bytes: &Value, event: &Event) -> Result<Verdict, String> {
    let bytes = bytes.to_bytes();
    let bytes = bytes.ok_or("{reply BYTES} with characters below 256 only")?;
    if bytes.len() > LONGEST_HOOK_REPLY {
        return Err(format!(
            "{{reply BYTES}} of at most {LONGEST_HOOK_REPLY} bytes"
        ));
    }
    let is_auth = matches!(&event.detail, Detail::Command { verb, .. } if &**verb == "AUTH");
    match is_auth && bytes.starts_with(b"+") && !bytes.starts_with(b"+OK") {
        true => Err("{reply BYTES} without a challenge, as AUTH is not executed".into()),
        false => Ok(Verdict::Reply(bytes.into())),
    }
}

/// Pairs of a name and a number, each name once.
fn terms(words: &[Value], kind: EventKind) -> Result<Verdict, String> {
    let mut terms = Terms::default();
    let mut seen = Vec::new();
    for pair in words.chunks_exact(2) {
        let name = pair[0].to_text();
        if seen.contains(&name) {
            return Err(format!("{name} once"));
        }
        let number = pair[1].to_int().and_then(|n| u64::try_from(n).ok());
        match (&*name, number) {
            ("delay", number) => {
                let most = LONGEST_HOOK_DELAY.as_millis();
                let fits = number.filter(|n| u128::from(*n) <= most);
                let fits =
                    fits.ok_or_else(|| format!("{{delay MS}} with 0 to {most} milliseconds"));
                terms.delay = Duration::from_millis(fits?);
            }
            _ if kind != EventKind::Retrieve => return Err(known(kind)),
            ("cut", Some(octets)) => terms.cut = Some(octets),
            ("announce", Some(octets)) => terms.announce = Some(octets),
            ("throttle", Some(octets)) if octets > 0 => terms.throttle = NonZeroU64::new(octets),
            ("throttle", _) => {
                return Err("{throttle OCTETS} with 1 or more octets a second".into())
            }
            ("cut" | "announce", None) => {
                return Err(format!("{{{name} OCTETS}} with 0 or more octets"))
            }
            _ => return Err(known(kind)),
        }
        seen.push(name);
    }
    Ok(Verdict::Proceed(terms))
}
