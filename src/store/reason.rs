//! What an error of the system means for a session.

use std::io;

pub use crate::text::Reason;

/// Whether trying again is of no use before somebody mends something (RFC 3206 §4).
pub fn is_permanent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory};
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        // Invalid data: what is there is something else than it should be.
        PermissionDenied | ReadOnlyFilesystem | IsADirectory | NotADirectory | InvalidData
    )
}
