//! The system's errors in the words that Tcl scripts know.

use std::fmt;
use std::io;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_tcl_says_it() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error());
        assert_eq!(Reason(&error).to_string(), "permission denied");
        assert_eq!(Reason(&io::Error::other("")).to_string(), "");
    }
}
