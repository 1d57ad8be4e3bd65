//! What a storage's `get` may return, as bytes: a mime token, `file PATH`, `data BYTES` or
//! `text TEXT`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::token::{self, Source};
use crate::ffi::interp::{self, Raised};
use crate::ffi::{Interp, Value};
use crate::store::{Content, Message, Wait};
use crate::stores::files::message_file::open_message;
use crate::stores::files::octets::{count, Counter};
use pop3_proto::MsgNo;

/// Why a message could not be had.
#[derive(Debug)]
pub enum Error {
    /// The mime package raised an error.
    Script(Raised),
    /// A file could not be read.
    Unreadable(PathBuf, io::Error),
    /// The value is none of the four forms.
    Form,
    /// `data` with a character that is no byte.
    NoBytes,
}

/// A storage's `get` that is under way for a session.
pub struct Fetching {
    /// Of which message.
    pub number: MsgNo,
    /// The message that a store of ours was asked for meanwhile, and its path: the store
    /// has followed no link that it should not, and knows the octets.
    pub opened: Option<(PathBuf, Message)>,
    /// How many octets it has, as the storage says; none where nobody asked.
    pub size: Option<u64>,
}

impl Fetching {
    /// The message in the file `path`.
    fn open(self, path: PathBuf, wait: Wait<'_>) -> Result<Message, Error> {
        match self.opened {
            Some((opened, message)) if opened == path => Ok(message),
            _ => from_file(path, self.size, wait),
        }
    }
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

/// The message that a storage's `get` returned, which was called for `fetching`. With
/// `finalize` a token is finalized afterwards. Counting of octets stops with `wait`.
///
/// # Errors
/// When there is no message; see [`Error`].
pub fn from_value(
    interp: &Interp,
    value: &Value,
    fetching: Fetching,
    finalize: bool,
    wait: Wait<'_>,
) -> Result<Got, Error> {
    // A token never is a list of two elements.
    match value.to_list().as_deref() {
        Some([form, path]) if form.is("file") => {
            let path = path.to_path().ok_or(Error::Form)?;
            Ok(fetching.open(path, wait)?.into())
        }
        Some([form, bytes]) if form.is("data") => {
            let bytes = bytes.to_bytes().ok_or(Error::NoBytes)?;
            Ok(from_bytes(bytes).into())
        }
        Some([form, text]) if form.is("text") => Ok(from_bytes(text.to_text().into_bytes()).into()),
        Some([_token]) => {
            let message = from_token(interp, value, fetching, wait);
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

/// The octets of a large file are counted only where the storage says that there are more
/// than its begin is sure of, as counting keeps the interpreter: what is announced is else
/// what the storage says.
fn from_file(path: PathBuf, size: Option<u64>, wait: Wait<'_>) -> Result<Message, Error> {
    let open = || {
        let (file, stamp) = open_message(&path)?;
        let octets = Counter::new(wait).verify(&file, stamp.size, size)?;
        let content = Content::File(file, stamp.size);
        Ok(Message { octets, content })
    };
    open().map_err(|error| Error::Unreadable(path, error))
}

/// The bytes of a mime token: of the message it was made of, when it is unchanged;
/// else what `mime::buildmessage` makes of it. Tcllib's mime would write an unchanged
/// message differently from how it came (headers moved, lines ended by CR CR LF).
fn from_token(
    interp: &Interp,
    token: &Value,
    fetching: Fetching,
    wait: Wait<'_>,
) -> Result<Got, Error> {
    match token::unchanged_source(interp, token) {
        Some(Source::File(path)) => Ok(fetching.open(path, wait)?.into()),
        Some(Source::Text(text)) => Ok(from_bytes(text).into()),
        None => {
            let words = [Value::text("::mime::buildmessage"), token.clone()];
            let built = interp::call(interp, &words).map_err(Error::Script)?;
            let message = from_bytes(bytes_of_token(&built));
            let built = true;
            Ok(Got { message, built })
        }
    }
}

/// The bytes of what `mime` builds or was given: bytes, or text beyond them, which goes out
/// as UTF-8.
pub fn bytes_of_token(value: &Value) -> Vec<u8> {
    value
        .to_bytes()
        .unwrap_or_else(|| value.to_text().into_bytes())
}
