//! Random numbers, and digests under a key that lives as long as the process.

use std::time::UNIX_EPOCH;

use once_cell::sync::OnceCell;

use super::compute::hmac;
use super::HashError;

static KEY: OnceCell<[u8; 32]> = OnceCell::new();

/// Random bytes.
///
/// # Errors
/// [`HashError::Random`] when the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], HashError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| HashError::Random)?;
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
    let spelt = |part: &&[u8]| [&part.len().to_le_bytes()[..], part].concat();
    hmac(key, &parts.iter().map(spelt).collect::<Vec<_>>().concat())
}
