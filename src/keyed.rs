//! Random numbers, and digests under a key that lives as long as the process.

use std::time::UNIX_EPOCH;

use hmac::{Hmac, Mac};
use once_cell::sync::OnceCell;
use sha2::Sha256;

static KEY: OnceCell<[u8; 32]> = OnceCell::new();

/// Random bytes.
///
/// # Errors
/// When the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// HMAC-SHA-256 (RFC 2104) of the parts under the process's random key. Where the parts are
/// divided counts.
pub fn keyed(parts: &[&[u8]]) -> [u8; 32] {
    let key = KEY.get_or_init(|| {
        random().unwrap_or_else(|_| {
            // Without random numbers time is all there is.
            let time = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
            std::array::from_fn(|at| time.to_le_bytes()[at % 16])
        })
    });
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(&part.len().to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_where_parts_end() {
        assert_eq!(keyed(&[b"ab", b"c"]), keyed(&[b"ab", b"c"]));
        assert_ne!(keyed(&[b"ab", b"c"]), keyed(&[b"a", b"bc"]));
    }
}
