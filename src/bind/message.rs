//! What a storage's `get` may return, as bytes: a mime token, `file PATH` or
//! `data BYTES`.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::backend::message_file::open_message;
use crate::backend::octets::{count, Counter};
use crate::backend::{Content, Message};
use crate::ffi::interp::{self, Raised};
use crate::ffi::{Interp, Value};

/// Why a message could not be had.
#[derive(Debug)]
pub enum Error {
    /// The mime package raised an error.
    Script(Raised),
    /// A file could not be read.
    Unreadable(PathBuf, io::Error),
    /// The value is none of the three forms.
    Form,
}

/// What a storage's `get` returned.
pub struct Got {
    /// Its octets are never more than will be sent.
    pub message: Message,
    /// Whether `mime` has just built it, and made up boundaries and Content-IDs.
    pub built: bool,
}

impl From<Message> for Got {
    fn from(message: Message) -> Self {
        let built = false;
        Self { message, built }
    }
}

/// The message that a storage's `get` returned. With `finalize` a token is finalized
/// afterwards.
///
/// # Errors
/// When there is no message; see [`Error`].
pub fn from_value(interp: &Interp, value: &Value, finalize: bool) -> Result<Got, Error> {
    // A token never is a list of two elements.
    match value.to_list().as_deref() {
        Some([form, path]) if form.is("file") => {
            let path = path.to_path().ok_or(Error::Form)?;
            Ok(from_file(path)?.into())
        }
        Some([form, bytes]) if form.is("data") => Ok(from_bytes(bytes.to_bytes()).into()),
        Some([_token]) => {
            let message = from_token(interp, value);
            if finalize {
                let words = [Value::text("::mime::finalize"), value.clone()];
                interp::call(interp, &words).map_err(Error::Script)?;
            }
            message
        }
        _ => Err(Error::Form),
    }
}

fn from_bytes(bytes: Vec<u8>) -> Message {
    Message {
        octets: count(&bytes),
        content: Content::Data(Arc::from(bytes)),
    }
}

/// The octets of a large file are not counted, which would keep the interpreter: what is
/// announced is then the least that can come.
fn from_file(path: PathBuf) -> Result<Message, Error> {
    let open = || {
        let (file, stamp) = open_message(&path, OFlags::empty())?;
        let octets = Counter::new().check(&file, stamp.size, 0)?;
        let content = Content::File(file, stamp.size);
        Ok(Message { octets, content })
    };
    open().map_err(|error| Error::Unreadable(path, error))
}

/// The bytes of a mime token: of the message it was made of, when it is unchanged;
/// else what `mime::buildmessage` makes of it. Tcllib's mime would write an unchanged
/// message differently from how it came (headers moved, lines ended by CR CR LF).
fn from_token(interp: &Interp, token: &Value) -> Result<Got, Error> {
    let name = token.to_text();
    let element = |element: &str| interp::get_element(interp, &name, Some(element));
    let parsed = element("canonicalP").is_some_and(|made| made.is("0"));
    if let Some(fields) = element("header").filter(|_| parsed) {
        let fields = header_fields(&fields);
        if let Some(path) = element("file").and_then(|file| file.to_path()) {
            if fields.is_some_and(|fields| is_header(&fields, start_of(&path).as_deref())) {
                return Ok(from_file(path)?.into());
            }
        } else if let Some(lines) = element("lines").and_then(|lines| lines.to_list()) {
            let text = joined(&lines);
            if fields.is_some_and(|fields| is_header(&fields, Some(&text))) {
                return Ok(from_bytes(text).into());
            }
        }
    }
    let built = interp::call(
        interp,
        &[Value::text("::mime::buildmessage"), token.clone()],
    );
    Ok(Got {
        message: from_bytes(built.map_err(Error::Script)?.to_bytes()),
        built: true,
    })
}

fn joined(lines: &[Value]) -> Vec<u8> {
    let text = lines
        .iter()
        .map(Value::to_text)
        .collect::<Vec<_>>()
        .join("\n");
    Value::text(&text).to_bytes()
}

type Fields = HashMap<String, Vec<String>>;

/// The fields that Tcllib's mime has of a message: a list of names and values.
fn header_fields(header: &Value) -> Option<Fields> {
    let items = header.to_list()?;
    let field = |pair: &[Value]| {
        let values = pair[1].to_list()?;
        Some((
            pair[0].to_text(),
            values.iter().map(Value::to_text).collect(),
        ))
    };
    items.chunks_exact(2).map(field).collect()
}

/// A header longer than this is no reason to read on.
const LONGEST_HEADER: u64 = 1 << 20;

/// The beginning of a file, with all of its header.
fn start_of(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    let (file, _) = open_message(path, OFlags::empty()).ok()?;
    file.take(LONGEST_HEADER).read_to_end(&mut start).ok()?;
    Some(start)
}

/// Whether `fields` are those that Tcllib's mime reads from this message: then nobody
/// has changed them, since `setheader` is the only way to change a parsed message.
fn is_header(fields: &Fields, message: Option<&[u8]>) -> bool {
    // mime 1.6 and 1.7 put "]" in the place of the CR at the end of a header line.
    let read = |cr| message.and_then(|message| parse_header(message, cr));
    read("").as_ref() == Some(fields) || read("]").as_ref() == Some(fields)
}

/// Reads a header as Tcllib's mime does, with `cr` for the CR before a line's end.
fn parse_header(message: &[u8], cr: &str) -> Option<Fields> {
    /// Kept by mime in other places, and refused by `setheader`.
    const APART: [&str; 4] = [
        "content-type",
        "content-md5",
        "content-transfer-encoding",
        "mime-version",
    ];
    let mut unfolded: Vec<Vec<u8>> = Vec::new();
    for line in message.split(|&b| b == b'\n') {
        let line = match line.strip_suffix(b"\r") {
            Some([]) => break,
            Some(line) => [line, cr.as_bytes()].concat(),
            None => line.to_vec(),
        };
        match (line.first(), unfolded.last_mut()) {
            (None, _) => break,
            (Some(b' ' | b'\t'), Some(field)) => {
                field.push(b'\n');
                field.extend(line);
            }
            _ => unfolded.push(line),
        }
    }
    let mut fields = Fields::new();
    for field in unfolded {
        let colon = field.iter().position(|&b| b == b':')?;
        let text = |bytes: &[u8]| bytes.iter().map(|&b| char::from(b)).collect::<String>();
        let name = text(&field[..colon]).trim_end().to_lowercase();
        if !APART.contains(&&*name) {
            let value = text(&field[colon + 1..]).trim().to_owned();
            fields.entry(name).or_default().push(value);
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_mime_reads_them() {
        let message = b"Subject: one\r\n two\r\nX: 1\nx:  2 \nContent-Type: text/plain\n\nY: body";
        let fields = |subject: &str| -> Fields {
            [
                ("subject".to_owned(), vec![subject.to_owned()]),
                ("x".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
            ]
            .into()
        };
        assert_eq!(parse_header(message, ""), Some(fields("one\n two")));
        assert_eq!(parse_header(message, "]"), Some(fields("one]\n two]")));
        assert_eq!(parse_header(b"no field\n\n", ""), None);
        assert!(is_header(&fields("one]\n two]"), Some(message)));
        assert!(!is_header(&fields("changed"), Some(message)));
    }
}
