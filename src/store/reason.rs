//! What an error of the system means for a session.

use std::io;

pub use crate::text::Reason;

/// What to do about an error of the system, where that is not plain.
pub fn advice_on(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, StorageFull};
    match error.kind() {
        PermissionDenied => Some("the user of this process lacks a right"),
        StorageFull | QuotaExceeded => Some("make room on the file system, or raise the quota"),
        _ => None,
    }
}

/// Whether trying again is of no use until an administrator has acted (RFC 3206 §4).
pub fn is_permanent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory};
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        // Invalid data: what is there is something else than it should be.
        PermissionDenied | ReadOnlyFilesystem | IsADirectory | NotADirectory | InvalidData
    )
}
