//! A channel of a script, read to its end as bytes (chan(n)).

use std::io::{self, Read};

use super::command::Error;
use super::interp::{call, Raised};
use super::value::Value;
use super::Interp;

/// Bytes read from the channel at a time.
const CHUNK: i64 = 64 * 1024;

/// What is changed while a channel is read, and put back afterwards in this order:
/// `-translation binary` changes the encoding and the end-of-file character too.
const OPTIONS: [&str; 4] = ["-blocking", "-translation", "-encoding", "-eofchar"];

/// A channel that is read as it is: binary and blocking, whatever the script has configured.
/// [`close`](Self::close) puts back the script's configuration; the channel stays open.
pub struct Input {
    interp: Interp,
    channel: Value,
    before: Vec<(&'static str, Value)>,
    chunk: Vec<u8>,
    taken: usize,
    raised: Option<Raised>,
}

impl Input {
    /// The channel that a script calls `channel`.
    ///
    /// # Errors
    /// What Tcl raises when there is no such channel.
    pub fn open(interp: &Interp, channel: &Value) -> Result<Self, Error> {
        let mut input = Self {
            interp: interp.clone(),
            channel: channel.clone(),
            before: Vec::new(),
            chunk: Vec::new(),
            taken: 0,
            raised: None,
        };
        let mut before = Vec::new();
        for option in OPTIONS {
            before.push((option, input.chan("configure", &[Value::text(option)])?));
        }
        input.before = before;
        for (option, value) in [("-blocking", "1"), ("-translation", "binary")] {
            input.chan("configure", &[option, value].map(Value::text))?;
        }
        Ok(input)
    }

    /// Configures the channel as it was. Returns the error that ended the reading, if one
    /// did.
    pub fn close(mut self) -> Option<Raised> {
        self.restore();
        self.raised.take()
    }

    fn restore(&mut self) {
        for (option, value) in std::mem::take(&mut self.before) {
            // A script behind the channel may have closed it.
            let _ = self.chan("configure", &[Value::text(option), value]);
        }
    }

    /// Calls `chan METHOD CHANNEL …`.
    fn chan(&self, method: &str, args: &[Value]) -> Result<Value, Raised> {
        let words = [Value::text("::chan"), Value::text(method)];
        let words = [&words[..], std::slice::from_ref(&self.channel), args].concat();
        call(&self.interp, &words)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Read for Input {
    /// # Errors
    /// [`Other`](io::ErrorKind::Other) when the channel raised one, which
    /// [`close`](Self::close) returns.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.chunk.len() {
            let read = self.chan("read", &[Value::int(CHUNK)]);
            let read = read.map_err(|raised| {
                let error = io::Error::other(raised.message());
                self.raised = Some(raised);
                error
            })?;
            // A binary channel gives bytes only.
            let bytes = read.to_bytes().ok_or(io::ErrorKind::InvalidData)?;
            (self.chunk, self.taken) = (bytes, 0);
        }
        let count = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..count].copy_from_slice(&self.chunk[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}
