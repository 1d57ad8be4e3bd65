//! A message on its way to a client: where its next bytes come from.

use std::io::{self, Read};
use std::sync::Arc;

use pop3_proto::connection::{Connection, Wanted};
use pop3_proto::Reply;

use super::{Content, StartedMessage};
use crate::system::read_in_memory;

/// What is left to send of a message.
pub struct Source {
    /// Bytes before `content`, which have been read.
    begin: Box<[u8]>,
    content: Content,
    /// So many bytes of content in memory have been handed over.
    at: usize,
}

/// What came of [`Source::feed`].
pub enum Fed {
    /// The connection has the next bytes, and wants more of the message.
    More,
    /// The answer is complete.
    Complete,
    /// The next bytes must be waited for: [`Source::read`] them on a thread that may
    /// block, then [`Source::hand_over`].
    Waits,
    /// The message cannot be read further; the connection knows.
    Failed(io::Error),
}

impl Source {
    /// All of `content`.
    pub fn new(content: Content) -> Self {
        Self {
            begin: Box::default(),
            content,
            at: 0,
        }
    }

    /// Hands the connection the next bytes, if they can be had without waiting.
    /// `buffer` is what a file is read into, and bounds how much.
    pub fn feed(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Fed {
        if !self.begin.is_empty() {
            return take(connection, &std::mem::take(&mut self.begin));
        }
        match &mut self.content {
            Content::Data(bytes) => {
                let bytes: Arc<[u8]> = bytes.clone();
                let end = bytes.len().min(self.at + buffer.len());
                let chunk = &bytes[self.at..end];
                self.at = end;
                take(connection, chunk)
            }
            // The size spares the read that would find the end.
            Content::File(_, 0) => take(connection, &[]),
            Content::File(file, left) => {
                let wanted = usize::try_from(*left).map_or(buffer.len(), |n| n.min(buffer.len()));
                match read_in_memory(file, &mut buffer[..wanted]) {
                    Ok(None) => Fed::Waits,
                    Ok(Some(n)) => {
                        *left -= n as u64;
                        take(connection, &buffer[..n])
                    }
                    Err(error) => failed(connection, error),
                }
            }
        }
    }

    /// Reads the next bytes, at most `most`; may wait for a disk.
    ///
    /// # Errors
    /// What the system said, and when the file has shrunk: less can be sent than was
    /// announced.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let Content::File(file, left) = &mut self.content else {
            return Ok(Vec::new());
        };
        let mut buffer = vec![0; usize::try_from(*left).map_or(most, |n| n.min(most))];
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(n);
        *left -= n as u64;
        Ok(buffer)
    }

    /// Hands the connection what [`read`](Self::read) gave.
    pub fn hand_over(connection: &mut Connection, read: io::Result<Vec<u8>>) -> Fed {
        match read {
            Ok(bytes) => take(connection, &bytes),
            Err(error) => failed(connection, error),
        }
    }
}

/// Hands over a chunk; an empty one is the end.
fn take(connection: &mut Connection, chunk: &[u8]) -> Fed {
    if chunk.is_empty() {
        connection.handle_body_end();
        return Fed::Complete;
    }
    match connection.handle_body(chunk) {
        Wanted::More => Fed::More,
        Wanted::Nothing => Fed::Complete,
    }
}

fn failed(connection: &mut Connection, error: io::Error) -> Fed {
    connection.handle_body_failed();
    Fed::Failed(error)
}

impl StartedMessage {
    /// Hands its bytes, which are in `buffer`, to a connection; returns what is left to
    /// send.
    pub fn hand_to(self, connection: &mut Connection, buffer: &[u8]) -> Option<Source> {
        connection.handle_reply(Reply::Fetching {
            octets: self.octets,
        });
        let session = connection.session();
        if session.keeps_body() && !session.sends_body() {
            // It waits for the hook.
            let nothing = Content::Data(Arc::default());
            return Some(Source {
                begin: buffer[..self.length].into(),
                ..Source::new(self.rest.unwrap_or(nothing))
            });
        }
        match (connection.handle_body(&buffer[..self.length]), self.rest) {
            (Wanted::Nothing, _) => None,
            (Wanted::More, Some(rest)) => Some(Source::new(rest)),
            (Wanted::More, None) => {
                connection.handle_body_end();
                None
            }
        }
    }
}
