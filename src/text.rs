//! Text and bytes: the one place of their rules.
//!
//! - **Names of files** are characters to scripts and bytes to the system. Between them
//!   stands Tcl's system encoding, both ways, as in Tcl's own `file` commands. A name that
//!   it cannot express names nothing.
//! - **Names of users and passwords** come as bytes whose encoding nobody tells. They are
//!   equal to a script's text as characters (read as UTF-8, or as Latin-1 where they are
//!   no UTF-8), or as the bytes that Tcl has read that text from: a script that is written
//!   in UTF-8 and read byte by byte under `LC_ALL=C` means the same users.
//! - **Errors of the system** read as Tcl shows them ([`Reason`]).
//! - **Messages**: `data BYTES` is bytes, `text TEXT` goes out as UTF-8 (`bind::message`).
//!
//! The system encoding is the process's. `ffi` tells it by [`set_system_encoding`];
//! before, and for encodings of more than one byte for a character, it is UTF-8.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, PoisonError, RwLock};

use pop3_proto::{Proof, Secret};

/// The characters of an encoding of one byte for each: that of byte n at index n.
pub type Table = [char; 256];

/// None: UTF-8.
static SYSTEM: RwLock<Option<Arc<Table>>> = RwLock::new(None);

/// Tells the system encoding: its characters if it has one byte for each, none for all
/// others, which are treated as UTF-8.
pub fn set_system_encoding(table: Option<Arc<Table>>) {
    *SYSTEM.write().unwrap_or_else(PoisonError::into_inner) = table;
}

fn system() -> Option<Arc<Table>> {
    SYSTEM
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The bytes that text is written with in an encoding; none if it cannot be.
fn encoded<'a>(text: &'a str, table: Option<&Table>) -> Option<Cow<'a, [u8]>> {
    match table {
        Some(table) if !text.is_ascii() => {
            let byte = |c: char| table.iter().position(|known| *known == c);
            let bytes = text.chars().map(|c| byte(c).map(|at| at as u8));
            bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
        }
        _ => Some(Cow::Borrowed(text.as_bytes())),
    }
}

/// The text that bytes are in an encoding; none if they are none.
fn decoded<'a>(bytes: &'a [u8], table: Option<&Table>) -> Option<Cow<'a, str>> {
    match table {
        Some(table) if !bytes.is_ascii() => {
            Some(bytes.iter().map(|b| table[usize::from(*b)]).collect())
        }
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    }
}

/// The name that the system knows a file by which scripts call `name`; none if the system
/// encoding cannot express it.
pub fn to_native(name: &str) -> Option<OsString> {
    let bytes = encoded(name, system().as_deref())?;
    Some(OsString::from_vec(bytes.into_owned()))
}

/// What scripts call a file that the system knows as `name`; none if its bytes are no
/// text in the system encoding.
pub fn from_native(name: &OsStr) -> Option<String> {
    decoded(name.as_bytes(), system().as_deref()).map(Cow::into_owned)
}

/// As [`from_native`], to be shown: bytes that are no text are characters of their
/// number.
pub fn shown(name: &OsStr) -> String {
    from_native(name).unwrap_or_else(|| latin_1(name.as_bytes()))
}

/// The characters that a client means: UTF-8, or Latin-1 if it is no UTF-8.
pub fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(latin_1(bytes)),
    }
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// The names under which a script may know the user that a client names, the likelier
/// first.
pub fn names(user: &[u8]) -> (Cow<'_, str>, Option<String>) {
    let first = characters(user);
    let system = system();
    let as_read = system.and_then(|table| decoded(user, Some(&table)).map(Cow::into_owned));
    let second = as_read.filter(|name| *name != first);
    (first, second)
}

/// Whether a client's proof fits a password, which a script has as text. Takes the same
/// time wherever the first difference is.
pub fn proves(proof: &Proof, password: &Secret) -> bool {
    let Ok(text) = std::str::from_utf8(password.expose()) else {
        return proof.matches(password);
    };
    let as_read = encoded(text, system().as_deref());
    let as_latin_1 = text.chars().map(|c| u8::try_from(u32::from(c)).ok());
    let as_latin_1: Option<Vec<u8>> = as_latin_1.collect();
    let spelt = |bytes: Option<&[u8]>| bytes.is_some_and(|b| proof.matches(&Secret::new(b)));
    // All are tried: which one fits must not show.
    proof.matches(password) | spelt(as_read.as_deref()) | spelt(as_latin_1.as_deref())
}

/// Shows an error as Tcl shows it: `permission denied`, without the number that
/// Rust adds and with a small first letter.
pub struct Reason<'a>(pub &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or_default();
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        first.map_or(Ok(()), |c| fmt::Write::write_char(f, c))?;
        f.write_str(chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latin_1_table() -> Table {
        std::array::from_fn(|n| char::from(n as u8))
    }

    #[test]
    fn text_is_written_and_read_by_the_encoding() {
        let table = latin_1_table();
        /// Text, its bytes in UTF-8, its bytes in Latin-1.
        type Row = (&'static str, &'static [u8], Option<&'static [u8]>);
        let rows: [Row; 4] = [
            ("abc", b"abc", Some(b"abc")),
            ("m\u{fc}ll", b"m\xc3\xbcll", Some(b"m\xfcll")),
            (
                "m\u{c3}\u{bc}ll",
                b"m\xc3\x83\xc2\xbcll",
                Some(b"m\xc3\xbcll"),
            ),
            ("\u{20ac}", b"\xe2\x82\xac", None),
        ];
        for (text, utf_8, latin_1) in rows {
            assert_eq!(encoded(text, None).as_deref(), Some(utf_8));
            assert_eq!(decoded(utf_8, None).as_deref(), Some(text));
            assert_eq!(encoded(text, Some(&table)).as_deref(), latin_1);
            if let Some(bytes) = latin_1 {
                assert_eq!(decoded(bytes, Some(&table)).as_deref(), Some(text));
            }
        }
        assert_eq!(decoded(b"m\xfcll", None), None);
    }

    #[test]
    fn a_password_fits_as_characters_or_as_the_bytes_that_tcl_reads() {
        let password = Secret::new("p\u{e4}ss".as_bytes());
        let euro = Secret::new("\u{20ac}".as_bytes());
        // The system encoding is UTF-8 here.
        let rows: [(&Secret, &[u8], bool); 6] = [
            (&password, b"p\xc3\xa4ss", true),
            (&password, b"p\xe4ss", true),
            (&password, b"p\xc3\x83\xc2\xa4ss", false),
            (&password, b"p?ss", false),
            (&euro, b"\xe2\x82\xac", true),
            (&euro, b"?", false),
        ];
        for (password, bytes, want) in rows {
            let proof = Proof::Password(Secret::new(bytes));
            assert_eq!(proves(&proof, password), want, "{bytes:x?}");
        }
    }

    #[test]
    fn as_tcl_says_it() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error());
        assert_eq!(Reason(&error).to_string(), "permission denied");
        assert_eq!(Reason(&io::Error::other("")).to_string(), "");
    }
}
