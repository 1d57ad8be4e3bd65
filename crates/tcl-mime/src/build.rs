//! A message's bytes from its parts.
//!
//! A parsed part keeps its bytes wherever nothing was changed: its header is
//! written anew only if that was, and what lies between and around its parts
//! stays. A built part is MIME with a header like Tcllib's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::codec;
use super::content_type::ContentType;
use super::error::UnknownToken;
use super::part::{Body, Origin, Part, Token};
use super::store::Store;
use super::text::bytes_of;

/// How the lines of a built message end. A parsed one keeps its own line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eol {
    /// For a channel, which translates.
    Lf,
    /// As on the wire (RFC 5322 §2.1).
    CrLf,
}

impl Eol {
    fn bytes(self) -> &'static [u8] {
        match self {
            Eol::Lf => b"\n",
            Eol::CrLf => b"\r\n",
        }
    }
}

/// What remains to be written, the next at the end.
enum Step<'a> {
    Part(&'a Token),
    /// A delimiter in front of a part, or the closing one.
    Delimiter {
        boundary: Cow<'a, str>,
        closing: bool,
    },
}

pub(super) fn build(store: &Store, token: &str, eol: Eol) -> Result<Vec<u8>, UnknownToken> {
    let mut out = Vec::new();
    let token = Token::from(token);
    // Scripts can nest without a bound, so built parts are not built by recursion.
    let mut steps = vec![Step::Part(&token)];
    let alone = matches!(store.part(&token)?.origin, Origin::Parsed { .. });
    while let Some(step) = steps.pop() {
        match step {
            Step::Delimiter { boundary, closing } => {
                out.extend_from_slice(eol.bytes());
                out.extend_from_slice(b"--");
                out.extend_from_slice(&bytes_of(&boundary));
                out.extend_from_slice(if closing { b"--" } else { b"" });
                out.extend_from_slice(eol.bytes());
            }
            Step::Part(token) => {
                let part = store.part(token)?;
                match &part.origin {
                    Origin::Parsed { .. } if alone => write_parsed(store, part, &mut out)?,
                    Origin::Parsed { .. } => {
                        let mut bytes = Vec::new();
                        write_parsed(store, part, &mut bytes)?;
                        write_lines(&bytes, eol, &mut out);
                    }
                    Origin::Built { boundary } => {
                        write_header(part, eol, &mut out);
                        push_content(part, boundary.as_deref(), eol, &mut steps, &mut out);
                    }
                }
            }
        }
    }
    Ok(out)
}

fn write_header(part: &Part, eol: Eol, out: &mut Vec<u8>) {
    for (name, value) in part.header() {
        out.extend_from_slice(&bytes_of(&name));
        out.extend_from_slice(b": ");
        write_lines(&bytes_of(&value), eol, out);
        out.extend_from_slice(eol.bytes());
    }
}

/// Writes the body of a built part, or notes the steps that do.
fn push_content<'a>(
    part: &'a Part,
    boundary: Option<&'a str>,
    eol: Eol,
    steps: &mut Vec<Step<'a>>,
    out: &mut Vec<u8>,
) {
    match &part.body {
        Body::Leaf(body) => {
            out.extend_from_slice(eol.bytes());
            write_body(part.transfer_encoding(), body, eol, out);
        }
        Body::Parts(parts) if part.content.starts_with("message/") => {
            out.extend_from_slice(eol.bytes());
            steps.extend(parts.first().map(Step::Part));
        }
        Body::Parts(parts) => {
            let named = ContentType::boundary(&part.params);
            let boundary = named.or(boundary.map(Cow::Borrowed)).unwrap_or_default();
            steps.push(Step::Delimiter {
                boundary: boundary.clone(),
                closing: true,
            });
            for part in parts.iter().rev() {
                steps.push(Step::Part(part));
                steps.push(Step::Delimiter {
                    boundary: boundary.clone(),
                    closing: false,
                });
            }
        }
    }
}

fn write_body(encoding: &str, body: &[u8], eol: Eol, out: &mut Vec<u8>) {
    match encoding {
        "base64" => out.extend_from_slice(&codec::encode_base64(body, eol.bytes())),
        "quoted-printable" => out.extend_from_slice(&codec::encode_quoted(body, eol.bytes())),
        // RFC 2045 §2.9: nothing in it is a line.
        "binary" => out.extend_from_slice(body),
        _ => write_lines(body, eol, out),
    }
}

/// Ends each line, whether it ended in LF or CRLF, as `eol` says.
fn write_lines(text: &[u8], eol: Eol, out: &mut Vec<u8>) {
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                out.extend_from_slice(eol.bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
}

/// Recursion is bounded by `split::MAX_DEPTH`: only parsing nests parsed parts.
fn write_parsed(store: &Store, part: &Part, out: &mut Vec<u8>) -> Result<(), UnknownToken> {
    let Origin::Parsed {
        whole,
        body,
        rewritten,
        touched,
    } = &part.origin
    else {
        return Ok(());
    };
    if !touched {
        out.extend_from_slice(whole);
        return Ok(());
    }
    let (data, place) = whole.parts();
    if *rewritten {
        let eol = own_eol(whole);
        write_header(part, eol, out);
        out.extend_from_slice(eol.bytes());
    } else {
        out.extend_from_slice(&data[place.start..body.start]);
    }
    let is_message = part.content.starts_with("message/");
    let mut at = body.start;
    for token in part.dynamic() {
        // One that was finalized stays as it was parsed.
        let Ok(child) = store.part(token) else {
            continue;
        };
        match within(child, data) {
            Some(child_place) => {
                out.extend_from_slice(&data[at..child_place.start]);
                if is_touched(child) {
                    end_lines(is_message, own_eol(whole), out);
                }
                write_parsed(store, child, out)?;
                at = child_place.end;
            }
            None if is_touched(child) => {
                let mut decoded = Vec::new();
                write_parsed(store, child, &mut decoded)?;
                end_lines(is_message, own_eol(whole), out);
                write_body(&part.encoding, &decoded, own_eol(whole), out);
                at = body.end;
            }
            None => {}
        }
    }
    out.extend_from_slice(&data[at..body.end]);
    Ok(())
}

/// Ends the line in front of a part that gets lines of its own, where the message is broken
/// off there; and the header, if that is what is in front.
fn end_lines(header: bool, eol: Eol, out: &mut Vec<u8>) {
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(eol.bytes());
    }
    if header && !out.ends_with(b"\n\n") && !out.ends_with(b"\n\r\n") {
        out.extend_from_slice(eol.bytes());
    }
}

/// Where in `data` a part lies; `None`: it was decoded from there.
fn within(part: &Part, data: &Arc<[u8]>) -> Option<Range<usize>> {
    let Origin::Parsed { whole, .. } = &part.origin else {
        return None;
    };
    let (own, place) = whole.parts();
    Arc::ptr_eq(own, data).then_some(place)
}

fn is_touched(part: &Part) -> bool {
    matches!(part.origin, Origin::Parsed { touched: true, .. })
}

/// How the first line of a parsed part ends.
fn own_eol(bytes: &[u8]) -> Eol {
    match memchr::memchr(b'\n', bytes) {
        Some(at) if at == 0 || bytes[at - 1] != b'\r' => Eol::Lf,
        _ => Eol::CrLf,
    }
}
