//! The methods on single messages that every store of mailboxes has as a Tcl object:
//! `deliver`, `messages`, `fetch`, `expunge`. They work on [`MessageStore`].

use std::fs::File;
use std::io::{self, Read};

use super::object::Identity;
use crate::ffi::command::Error;
use crate::ffi::input::Input;
use crate::ffi::Value;
use crate::store::delivery::{DeliverError, ExpungeError, FetchError, MessageStore, Uid};
use crate::store::{Content, Message, StoreError};
use crate::stores::files::message_file::open_message;
use crate::text::Reason;
use pop3_proto::Failure;

/// The most bytes of a message that `fetch` returns: a value of Tcl 8.6 can have no more.
/// A file with holes may be as large as its owner likes.
const MOST_FETCHED: u64 = i32::MAX as u64;

/// Where scripts find unique ids.
const UIDS: &str = "the method \"messages\" tells the unique ids that there are";

const DELIVER: &str = "deliver mbox -data bytes|-file path|-channel chan ?-uid id?";

/// Runs `method` of the object `identity` if it is one of these; `None` if it is not.
pub fn invoke(
    identity: &Identity,
    store: &dyn MessageStore,
    method: &str,
    args: &[Value],
) -> Option<Result<Value, Error>> {
    Some(match (method, args) {
        ("deliver", [mailbox, options @ ..]) => deliver(identity, store, mailbox, options),
        ("deliver", _) => Err(identity.usage(DELIVER)),
        ("messages", [mailbox]) => messages(store, mailbox),
        ("messages", _) => Err(identity.usage("messages mbox")),
        ("fetch", [mailbox, uid]) => fetch(store, mailbox, uid),
        ("fetch", _) => Err(identity.usage("fetch mbox uid")),
        ("expunge", [mailbox, uids]) => expunge(store, mailbox, uids),
        ("expunge", _) => Err(identity.usage("expunge mbox uidList")),
        _ => return None,
    })
}

fn deliver(
    identity: &Identity,
    store: &dyn MessageStore,
    mailbox: &Value,
    options: &[Value],
) -> Result<Value, Error> {
    let (mut source, mut uid) = (None, None);
    for pair in options.chunks(2) {
        let [option, value] = pair else {
            return Err(identity.usage(DELIVER));
        };
        match &*option.to_text() {
            name @ ("-data" | "-file" | "-channel") => {
                if source.replace((name.to_owned(), value)).is_some() {
                    return Err(identity.usage(DELIVER));
                }
            }
            "-uid" => uid = Some(chosen(value)?),
            name => {
                let expected = "expected -data, -file, -channel or -uid";
                let message = format!("unknown option \"{name}\": {expected}");
                return Err(Error::new(message, &["OPTION", name]));
            }
        }
    }
    let Some((form, value)) = source else {
        return Err(identity.usage(DELIVER));
    };
    let mailbox = mailbox.to_text();
    let delivered = match &*form {
        "-data" => {
            let bytes = value.to_bytes().ok_or_else(|| {
                let message = "the message has a character above 255: -data is bytes";
                let error = Error::new(message, &["SOURCE"]);
                error.with_note("encode text first, as by \"encoding convertto utf-8\"")
            })?;
            store.deliver(&mailbox, &mut &bytes[..], uid.as_ref())
        }
        "-file" => store.deliver(&mailbox, &mut file(value)?, uid.as_ref()),
        _ => {
            let mut input = Input::open(&identity.interp, value)?;
            let delivered = store.deliver(&mailbox, &mut input, uid.as_ref());
            if let Some(raised) = input.close() {
                // What the channel said is more than what the store has seen of it.
                return Err(raised.into());
            }
            delivered
        }
    };
    Ok(Value::text(&delivered?))
}

fn chosen(uid: &Value) -> Result<Uid, Error> {
    let uid = uid.to_text();
    Uid::new(&uid).ok_or_else(|| {
        let why = "expected 1 to 70 characters from ! to ~";
        let uid = uid.into();
        DeliverError::UnfitUid { uid, why }.into()
    })
}

/// The content of a file as it is now: what it grows by later is not delivered.
fn file(path: &Value) -> Result<io::Take<File>, Error> {
    let name = path.to_text();
    let opened = match path.to_path() {
        Some(path) => open_message(&path),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let (file, stamp) = opened.map_err(|error| {
        let message = format!("couldn't read \"{name}\": {}", Reason(&error));
        Error::new(message, &["SOURCE", &name])
    })?;
    Ok(file.take(stamp.size))
}

fn messages(store: &dyn MessageStore, mailbox: &Value) -> Result<Value, Error> {
    let messages = store.messages(&mailbox.to_text())?;
    let rows: Vec<Value> = messages
        .iter()
        .map(|message| {
            let octets = i64::try_from(message.octets).unwrap_or(i64::MAX);
            Value::list(&[
                Value::text(&message.uid),
                Value::int(octets),
                Value::int(message.received),
            ])
        })
        .collect();
    Ok(Value::list(&rows))
}

fn fetch(store: &dyn MessageStore, mailbox: &Value, uid: &Value) -> Result<Value, Error> {
    let (mailbox, uid) = (mailbox.to_text(), uid.to_text());
    let Message { content, .. } = store.fetch(&mailbox, &uid)?;
    let bytes = match content {
        Content::Data(bytes) => return Ok(Value::bytes(&bytes)),
        Content::File(file, size) => read_whole(file, size),
    };
    let bytes = bytes.map_err(|source| StoreError::Message {
        what: format!("couldn't read message \"{uid}\" of \"{mailbox}\""),
        source,
    })?;
    Ok(Value::bytes(&bytes))
}

fn read_whole(file: File, size: u64) -> io::Result<Vec<u8>> {
    if size > MOST_FETCHED {
        return Err(io::Error::other("it has more than 2147483647 bytes"));
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(size).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(room)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn expunge(store: &dyn MessageStore, mailbox: &Value, uids: &Value) -> Result<Value, Error> {
    let list = uids.to_list().ok_or_else(|| {
        let message = format!("\"{}\" is no list of unique ids", uids.to_text());
        let error = Error::new(message, &["MAILBOX", "MESSAGE"]);
        error.with_note(UIDS)
    })?;
    let uids: Vec<Box<str>> = list.iter().map(|uid| uid.to_text().into()).collect();
    store.expunge(&mailbox.to_text(), &uids)?;
    Ok(Value::text(""))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code: &[&str] = match &error {
            StoreError::InUse(_) => &["MAILBOX", "LOCKED"],
            // Somebody must mend something: sessions tell their clients so.
            error if error.failure() == Failure::Permanent => &["MAILBOX", "UNUSABLE"],
            _ => &["MAILBOX"],
        };
        Self::new(error.to_string(), code).with_advice(error.advice())
    }
}

impl From<DeliverError> for Error {
    fn from(error: DeliverError) -> Self {
        let message = error.to_string();
        match error {
            DeliverError::Store(error) => error.into(),
            DeliverError::NoMailbox(_) => Self::new(message, &["MAILBOX", "UNUSABLE"]),
            DeliverError::UnfitUid { uid, .. } => {
                Self::new(message, &["MAILBOX", "UID", "UNFIT", &uid])
            }
            DeliverError::UsedUid { uid, .. } => {
                let error = Self::new(message, &["MAILBOX", "UID", "USED", &uid]);
                error.with_note("take another -uid, or leave it out")
            }
            DeliverError::Source(_) => Self::new(message, &["SOURCE"]),
        }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        let message = error.to_string();
        match error {
            FetchError::Store(error) => error.into(),
            FetchError::Unknown { uid, .. } => {
                Self::new(message, &["MAILBOX", "MESSAGE", &uid]).with_note(UIDS)
            }
        }
    }
}

impl From<ExpungeError> for Error {
    fn from(error: ExpungeError) -> Self {
        let message = error.to_string();
        match error {
            ExpungeError::Store(error) => error.into(),
            ExpungeError::Unknown { uids, .. } => {
                let uids = uids.iter().map(|uid| &**uid);
                let code: Vec<&str> = ["MAILBOX", "MESSAGE"].into_iter().chain(uids).collect();
                Self::new(message, &code).with_note(UIDS)
            }
        }
    }
}
