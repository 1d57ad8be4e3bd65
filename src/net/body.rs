//! Messages on their way to the client, a chunk at a time: what waits for a slow
//! client is one chunk, however large the message.

use std::io;
use std::time::Instant;

use tokio::runtime::Handle;

use super::driver::{with_scratch, Driver, SCRATCH};
use super::runtime;
use crate::store::source::{Fed, Source};

impl Driver<'_> {
    /// Hands over the next bytes of the message: at once if the system has them in
    /// memory, else by a thread that may block.
    pub(super) async fn feed(&mut self) {
        let Some(source) = &mut self.source else {
            return self.connection.machine().handle_body_end();
        };
        let mut fed = with_scratch(|buffer| source.feed(&mut self.connection.machine(), buffer));
        if let Fed::Waits = fed {
            fed = self.feed_waiting().await;
            self.now = Instant::now();
        }
        match fed {
            Fed::More => {}
            Fed::Complete | Fed::Waits => self.source = None,
            Fed::Failed(error) => {
                self.source = None;
                let connection = &self.connection;
                connection
                    .server
                    .log
                    .read_failed(|| connection.client(), &error);
            }
        }
    }

    async fn feed_waiting(&mut self) -> Fed {
        let source = self.source.take();
        let read = runtime::blocking_on(&Handle::current(), move || {
            let mut source = source?;
            let read = source.read(SCRATCH);
            Some((source, read))
        });
        let gone = || io::Error::other("no thread to read it");
        let (source, read) = match read.await {
            Ok(Some((source, read))) => (Some(source), read),
            _ => (None, Err(gone())),
        };
        self.source = source;
        Source::hand_over(&mut self.connection.machine(), read)
    }
}
