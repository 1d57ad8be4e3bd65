//! Messages on their way to the client, a chunk at a time.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::requests::Awaited;
use super::{ChannelSession, CHUNK};
use crate::backend::message_file::{read_cached, read_waiting};
use crate::backend::Content;
use crate::net::{self, Event};

/// The rest of a message that is being sent.
pub(super) enum Source {
    Data(Arc<[u8]>, usize),
    /// The file, and how much of it is still to be sent.
    File(Arc<File>, u64),
}

impl ChannelSession {
    /// Whether the session takes the next bytes of the message, or has all it wants.
    /// It takes none as well while output is at its mark: then that is written first.
    pub(super) fn is_hungry(&self) -> bool {
        let session = self.session.borrow();
        match session.wants_body() {
            true => session.output().len() < CHUNK,
            false => session.body_done() || session.output().is_empty(),
        }
    }

    pub(super) fn send(&self, content: Option<Content>) {
        *self.message.borrow_mut() = content.map(|content| match content {
            Content::Data(bytes) => Source::Data(bytes, 0),
            Content::File(file, size) => Source::File(Arc::new(file), size),
        });
    }

    /// Gives the session the next bytes of the message, or has them read.
    pub(super) fn feed(&self) {
        let wanted = self.session.borrow().wants_body();
        match self.message.take().filter(|_| wanted) {
            Some(Source::Data(bytes, sent)) if sent < bytes.len() => {
                let end = bytes.len().min(sent + CHUNK);
                self.session.borrow_mut().handle_body(&bytes[sent..end]);
                *self.message.borrow_mut() = Some(Source::Data(bytes, end));
            }
            Some(Source::File(file, left @ 1..)) => self.read(file, left),
            _ => self.session.borrow_mut().handle_body_end(),
        }
    }

    /// Reads on in the message's file, here if the system has it in memory.
    fn read(&self, file: Arc<File>, left: u64) {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = [0; CHUNK];
        let read = read_cached(&file, &mut buffer[..wanted]);
        let source = file.clone();
        *self.message.borrow_mut() = Some(Source::File(file, left));
        match read {
            Ok(Some(n)) => self.was_read(Ok(&buffer[..n])),
            Ok(None) => {
                let bytes = net::blocking(move || read_waiting(&source, wanted));
                *self.awaited.borrow_mut() = Some(Awaited::Bytes(bytes));
            }
            Err(error) => self.was_read(Err(&error)),
        }
    }

    /// Gives the session what was read.
    pub(super) fn was_read(&self, read: Result<&[u8], &io::Error>) {
        let Some(Source::File(file, left)) = self.message.take() else {
            return;
        };
        // An end means that it has shrunk: less can be sent than was announced.
        let shrunk = ErrorKind::UnexpectedEof.into();
        match read {
            Ok(bytes) if !bytes.is_empty() => {
                self.session.borrow_mut().handle_body(bytes);
                let left = left - bytes.len() as u64;
                *self.message.borrow_mut() = Some(Source::File(file, left));
            }
            end => {
                self.server.tell(&Event::ReadFailed {
                    connection: self.id,
                    error: end.err().unwrap_or(&shrunk),
                });
                self.session.borrow_mut().handle_body_failed();
            }
        }
    }
}
