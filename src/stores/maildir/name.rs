//! File names of a Maildir: `UNIQUE[,S=SIZE][,W=OCTETS][:2,FLAGS]`.
//!
//! All up to the colon is the base name, which a message keeps for life; flags come
//! and go. `S` is the file's size (Maildir++), `W` the octets of the message as
//! POP3 counts them (Dovecot).

use sha2::{Digest, Sha256};

use crate::store::delivery::is_uid;
use crate::stores::dbox::hex;
use crate::stores::files::octets::is_plausible;
use crate::stores::files::stamp::Stamp;

/// What begins the flags. Other colons are part of the base name, though the
/// format forbids them.
const FLAGS: &[u8] = b":2,";

/// The part of a file name that stays.
pub fn base(name: &[u8]) -> &[u8] {
    match memchr::memmem::rfind(name, FLAGS) {
        Some(end) => &name[..end],
        None => name,
    }
}

/// The number of field `letter` (`S` or `W`) in a base name.
fn field(base: &[u8], letter: u8) -> Option<u64> {
    let start = memchr::memmem::find(base, &[b',', letter, b'='])? + 3;
    let digits = base[start..].split(|byte| *byte == b',').next()?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The size of a message by the name of its file.
pub enum NamedSize {
    /// The name tells the octets (`W`), and maybe the size of the file (`S`).
    Octets(u64, Option<u64>),
    /// The name tells only the size of the file.
    File(u64),
    /// The name tells neither, or what cannot be.
    Missing,
}

impl NamedSize {
    /// The size by the base name `base`.
    pub fn of(base: &[u8]) -> Self {
        let (size, octets) = (field(base, b'S'), field(base, b'W'));
        match (octets, size) {
            (Some(octets), Some(size)) if !is_plausible(octets, size) => Self::Missing,
            (Some(octets), size) => Self::Octets(octets, size),
            (None, Some(size)) => Self::File(size),
            (None, None) => Self::Missing,
        }
    }

    /// The stamp to know the file by; `None` where its own must be asked for.
    pub fn stamp(&self) -> Option<Stamp> {
        match *self {
            Self::Octets(octets, size) => Some(Stamp::of_size(size.unwrap_or(octets))),
            Self::File(size) => Some(Stamp::of_size(size)),
            Self::Missing => None,
        }
    }
}

/// The unique id of a message: its base name where that is one (RFC 1939 §7: 1 to
/// 70 characters from 0x21 to 0x7E), else 32 hexadecimal digits made from it.
pub fn uid(base: &[u8]) -> Box<str> {
    match std::str::from_utf8(base) {
        Ok(text) if is_uid(base) => text.into(),
        _ => hex(&Sha256::digest(base)[..16]),
    }
}

/// Whether `wanted` is the unique id of a message of this base name.
pub fn is_uid_of(wanted: &str, base: &[u8]) -> bool {
    match is_uid(base) {
        true => base == wanted.as_bytes(),
        false => *uid(base) == *wanted,
    }
}

/// The time of arrival by a base name that begins with one, in seconds since 1970.
pub fn time(base: &[u8]) -> Option<i64> {
    let end = memchr::memchr(b'.', base)?;
    // Later than 1973, and before the year 5138: other numbers are no times.
    let digits = (9..=11).contains(&end) && base[..end].iter().all(u8::is_ascii_digit);
    std::str::from_utf8(&base[..end])
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        type Row = (&'static str, &'static str, Option<u64>, Option<u64>);
        let table: &[Row] = &[
            ("1.M2P3.host", "1.M2P3.host", None, None),
            ("1.M2P3.host:2,", "1.M2P3.host", None, None),
            ("1.a.h,S=12:2,FS", "1.a.h,S=12", Some(12), None),
            ("1.a.h,S=12,W=14:2,S", "1.a.h,S=12,W=14", Some(12), Some(14)),
            ("1.a.h,W=14,S=12", "1.a.h,W=14,S=12", Some(12), Some(14)),
            ("1.a.h:2,S=5", "1.a.h", None, None),
            ("1:b:2,:2,S", "1:b:2,", None, None),
            ("1:b", "1:b", None, None),
            ("1,S=,W=1x", "1,S=,W=1x", None, None),
            ("1,S=+1,W=-1", "1,S=+1,W=-1", None, None),
            (
                "1,S=99999999999999999999",
                "1,S=99999999999999999999",
                None,
                None,
            ),
            ("S=1", "S=1", None, None),
        ];
        for (name, want, s, w) in table {
            let got = base(name.as_bytes());
            assert_eq!(got, want.as_bytes());
            assert_eq!((field(got, b'S'), field(got, b'W')), (*s, *w), "{name}");
        }
    }

    #[test]
    fn times() {
        let table = [
            ("1700000000.M1.host", Some(1_700_000_000)),
            ("0999999999.x", Some(999_999_999)),
            ("1700000000", None),
            ("1.host", None),
            ("123456789012.host", None),
            ("-170000000.host", None),
            (".host", None),
        ];
        for (base, want) in table {
            assert_eq!(time(base.as_bytes()), want, "{base}");
        }
    }

    #[test]
    fn uids() {
        let long = "x".repeat(70);
        for name in ["1.M2P3.host,S=1", "~!", &long] {
            assert_eq!(&*uid(name.as_bytes()), name);
        }
        let longer = "x".repeat(71);
        let others = ["", "a b", "a\u{e9}", "a\x7f", &longer];
        for name in others {
            assert_eq!(uid(name.as_bytes()).len(), 32);
        }
        assert_ne!(uid(others[1].as_bytes()), uid(others[2].as_bytes()));
        assert_eq!(&*uid(b"a b"), "c8687a08aa5d6ed2044328fa6a697ab8");
    }
}
