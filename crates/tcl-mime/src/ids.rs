//! Content-IDs and boundaries: unique in the world, as far as one can tell.

use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

use super::codec::encode_base64;

/// A counter with what distinguishes this process from others.
#[derive(Debug)]
pub(super) struct Ids {
    host: String,
    count: u64,
}

impl Ids {
    pub(super) fn new() -> Ids {
        let names = rustix::system::uname();
        Ids {
            host: names.nodename().to_string_lossy().into_owned(),
            count: 0,
        }
    }

    /// `<PID.SECONDS.COUNT@HOST>`, as Tcllib makes them.
    pub(super) fn content_id(&mut self) -> String {
        self.count += 1;
        let seconds = since_epoch().as_secs();
        format!(
            "<{}.{seconds}.{}@{}>",
            std::process::id(),
            self.count,
            self.host
        )
    }

    /// `----- =_` and a digest; RFC 2045 §6.7 shows why `=_`: no encoded body
    /// can contain it.
    pub(super) fn boundary(&mut self) -> String {
        self.count += 1;
        let seed = format!(
            "{} {} {:?} {}",
            self.host,
            std::process::id(),
            since_epoch(),
            self.count
        );
        let digest = Md5::digest(seed.as_bytes());
        format!(
            "----- =_{}",
            String::from_utf8_lossy(&encode_base64(&digest, b""))
        )
    }
}

fn since_epoch() -> std::time::Duration {
    // A clock before 1970 is no reason to fail: the counter still distinguishes.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
