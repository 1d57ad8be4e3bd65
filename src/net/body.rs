//! Messages on their way to the client, a chunk at a time: what waits for a slow
//! client is one chunk, however large the message.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::driver::{with_scratch, Driver, SCRATCH};
use super::observer::{End, Event};
use crate::backend::message_file::{read_cached, read_waiting};
use crate::backend::Content;

/// Bytes read or copied at a time: as many as a thread reads at once.
const CHUNK: usize = SCRATCH;

/// Chunks sent in a row before other connections have their turn.
const CHUNKS_PER_TURN: u32 = 16;

impl Driver<'_> {
    /// Streams a message, or what is left of it, after
    /// [`Reply::Fetching`](crate::protocol::Reply::Fetching).
    pub(super) async fn send(&mut self, content: Content) -> Result<(), End> {
        match content {
            Content::Data(bytes) => self.send_data(bytes).await,
            Content::File(file, size) => self.send_file(file, size).await,
        }
    }

    async fn send_data(&mut self, bytes: Arc<[u8]>) -> Result<(), End> {
        let (mut sent, mut turn) = (0, 0);
        while sent < bytes.len() {
            turn += 1;
            if !self.make_room(turn).await? {
                break;
            }
            let end = bytes.len().min(sent + CHUNK);
            self.connection.session().handle_body(&bytes[sent..end]);
            sent = end;
        }
        self.connection.session().handle_body_end();
        Ok(())
    }

    async fn send_file(&mut self, file: File, size: u64) -> Result<(), End> {
        let mut file = Arc::new(file);
        let (mut left, mut turn) = (size, 0);
        // The size spares the read that would find the end.
        while left > 0 {
            turn += 1;
            if !self.make_room(turn).await? {
                break;
            }
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = match self.read_cached(&file, wanted) {
                Ok(None) => self.read_waiting(&mut file, wanted).await,
                Ok(Some(n)) => Ok(n),
                Err(error) => Err(error),
            };
            match chunk {
                Ok(n) if n > 0 => left -= n as u64,
                read => {
                    // It has shrunk: less can be sent than was announced.
                    let error = read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                    self.read_failed(&error);
                    return Ok(());
                }
            }
        }
        self.connection.session().handle_body_end();
        Ok(())
    }

    /// Writes until the session wants the next chunk; false if it wants none any
    /// more.
    async fn make_room(&mut self, turn: u32) -> Result<bool, End> {
        if turn.is_multiple_of(CHUNKS_PER_TURN) {
            tokio::task::yield_now().await;
        }
        if !self.connection.session().wants_body() {
            self.flush().await?;
        }
        Ok(self.connection.session().wants_body())
    }

    /// Reads a chunk without leaving this thread, if the system has it in memory, and
    /// hands it to the session; none if it must be waited for.
    fn read_cached(&self, file: &File, wanted: usize) -> io::Result<Option<usize>> {
        with_scratch(|buffer| {
            let read = read_cached(file, &mut buffer[..wanted])?;
            Ok(read.map(|n| self.take(&buffer[..n])))
        })
    }

    /// Reads a chunk on a thread that may block.
    async fn read_waiting(&self, file: &mut Arc<File>, wanted: usize) -> io::Result<usize> {
        let source = file.clone();
        let read = tokio::task::spawn_blocking(move || read_waiting(&source, wanted));
        let bytes = read.await.map_err(io::Error::other)??;
        Ok(self.take(&bytes))
    }

    fn take(&self, bytes: &[u8]) -> usize {
        self.connection.session().handle_body(bytes);
        bytes.len()
    }

    fn read_failed(&self, error: &io::Error) {
        let connection = self.connection.id;
        self.connection
            .server
            .observe(|| Event::ReadFailed { connection, error });
        self.connection.session().handle_body_failed();
    }
}
