//! One connection's dialogue, without the socket: bytes in, commands out.

use std::time::{Duration, Instant};

use super::reading::{Body, Status};
use super::{Plan, Verify, Workload};
use crate::corpus::Expected;
use crate::histogram::Histogram;
use crate::mailbox::PASSWORD;

/// Commands sent at once when pipelining (RFC 2449 §6.6): a few KiB, so that
/// one write always fits into the socket's buffer.
const BATCH: usize = 200;

/// What the measured part of a run has brought so far.
#[derive(Default)]
pub struct Tally {
    /// Durations of the operations.
    pub latencies: Histogram,
    /// Whole operations: sessions, messages or passes, as the workload counts.
    pub operations: u64,
    /// Bytes of multi-line replies.
    pub bytes: u64,
    /// Connections whose TLS handshake resumed a session.
    pub resumed: u64,
    /// Whether the measured part is on.
    pub on: bool,
}

impl Tally {
    fn count(&mut self, operations: u64, duration: Duration) {
        if self.on {
            self.operations += operations;
            self.latencies.record(duration);
        }
    }
}

/// What the next reply answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Greeting,
    User,
    Pass,
    Stat,
    Message(usize),
    Top(usize),
    List,
    Uidl,
    Quit,
    /// Nothing is asked and nothing may come.
    Held,
    Over,
}

/// The client's side of one session.
pub struct Session {
    user: String,
    step: Step,
    status: Status,
    body: Option<Body>,
    /// UIDL's reply, once a first one has been checked line by line.
    uidl: Option<Expected>,
    begun: Instant,
    /// Commands to be written.
    pub output: Vec<u8>,
}

impl Session {
    /// A session of this user, about to connect.
    pub fn new(user: String) -> Self {
        Self {
            user,
            step: Step::Greeting,
            status: Status::default(),
            body: None,
            uidl: None,
            begun: Instant::now(),
            output: Vec::new(),
        }
    }

    /// Starts over on a new connection.
    pub fn restart(&mut self) {
        (self.step, self.begun) = (Step::Greeting, Instant::now());
    }

    /// Whether the server has answered QUIT.
    pub fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// Whether the connection is to be held as it is.
    pub fn is_held(&self) -> bool {
        self.step == Step::Held
    }

    /// Leaves the held state by QUIT.
    pub fn release(&mut self) {
        self.send("QUIT", Step::Quit);
    }

    /// Where the session stands, for error messages.
    pub fn describe(&self) -> String {
        format!(
            "{} at {:?}, received {:?}",
            self.user,
            self.step,
            self.status.text()
        )
    }

    /// Takes what was received; `stopping` ends the session at the next good point.
    ///
    /// # Errors
    /// A reply that is not what it must be; nothing more can be read then.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        plan: &Plan,
        stopping: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            let taken = match &mut self.body {
                Some(body) => {
                    let (taken, done) = body.take(bytes)?;
                    if tally.on {
                        tally.bytes += taken as u64;
                    }
                    if done {
                        self.body_done(plan)?;
                        self.advance(plan, stopping, tally);
                    }
                    taken
                }
                None if matches!(self.step, Step::Held | Step::Over) => {
                    return Err("bytes that nothing asked for".to_owned());
                }
                None => self.receive_status(bytes, plan, stopping, tally)?,
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn receive_status(
        &mut self,
        bytes: &[u8],
        plan: &Plan,
        stopping: bool,
        tally: &mut Tally,
    ) -> Result<usize, String> {
        let mut complete = false;
        let mut status = std::mem::take(&mut self.status);
        let taken = status.take(bytes, |line| {
            complete = true;
            check_status(self.step, line, plan)
        })?;
        self.status = status;
        if complete {
            self.body = self.body_after_status(plan);
            if self.body.is_none() {
                self.advance(plan, stopping, tally);
            }
        }
        Ok(taken)
    }

    fn body_after_status(&self, plan: &Plan) -> Option<Body> {
        let mailbox = &plan.manifest;
        let (want, level) = match self.step {
            Step::Message(index) => (Some(mailbox.messages[index].whole), Verify::Bytes),
            Step::Top(index) => (Some(mailbox.messages[index].top), Verify::Bytes),
            Step::List => (Some(mailbox.list), Verify::Exact),
            Step::Uidl => (self.uidl, Verify::Framing),
            _ => return None,
        };
        Some(match want {
            Some(want) if plan.verify >= level => Body::exact(want),
            _ => Body::framed(self.step == Step::Uidl),
        })
    }

    fn body_done(&mut self, plan: &Plan) -> Result<(), String> {
        let Some(Body::Framed(framed)) = self.body.take() else {
            return Ok(());
        };
        let lines = plan.manifest.messages.len() as u64 + 1;
        if matches!(self.step, Step::List | Step::Uidl) && framed.lines != lines {
            return Err(format!("{} lines for {lines} messages", framed.lines));
        }
        if let Some(kept) = framed.kept {
            check_uidl(&kept)?;
            self.uidl = Some(Expected::of(&kept));
        }
        Ok(())
    }

    fn advance(&mut self, plan: &Plan, stopping: bool, tally: &mut Tally) {
        let last = plan.manifest.messages.len() - 1;
        match (self.step, plan.workload) {
            (Step::Greeting, Workload::IdleBefore) => self.step = Step::Held,
            (Step::Greeting, _) => self.send(&format!("USER {}", self.user), Step::User),
            (Step::User, _) => self.send(&format!("PASS {PASSWORD}"), Step::Pass),
            (Step::Pass, Workload::IdleAfter) => self.step = Step::Held,
            (Step::Pass, Workload::Logins) => self.send("STAT", Step::Stat),
            (Step::Pass, Workload::List | Workload::ListUidl) => self.send("LIST", Step::List),
            (Step::Pass, Workload::Top) => self.ask_top(0),
            (Step::Pass, _) => self.ask_message(0, plan),
            (Step::List, Workload::ListUidl) => self.send("UIDL", Step::Uidl),
            (Step::Message(index), workload) => {
                let pipelined = workload == Workload::RetrPipelined;
                let batch_done = index == last || (index + 1) % BATCH == 0;
                if !pipelined || batch_done {
                    let count = if pipelined { index % BATCH + 1 } else { 1 };
                    tally.count(count as u64, self.begun.elapsed());
                }
                match (pipelined && !batch_done, stopping) {
                    (true, _) => self.step = Step::Message(index + 1),
                    (false, true) => self.release(),
                    (false, false) => {
                        self.ask_message(if index == last { 0 } else { index + 1 }, plan)
                    }
                }
            }
            (Step::Top(index), _) if index < last => {
                self.send(&format!("TOP {} 0", index + 2), Step::Top(index + 1));
            }
            (Step::Top(_), _) => {
                tally.count(1, self.begun.elapsed());
                if stopping {
                    self.release();
                } else {
                    self.ask_top(0);
                }
            }
            (Step::Stat | Step::List | Step::Uidl, _) => self.release(),
            (Step::Quit, workload) => {
                if matches!(
                    workload,
                    Workload::Logins | Workload::List | Workload::ListUidl
                ) {
                    tally.count(1, self.begun.elapsed());
                }
                self.step = Step::Over;
            }
            (Step::Held | Step::Over, _) => {}
        }
    }

    fn send(&mut self, command: &str, step: Step) {
        self.output.extend_from_slice(command.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.step = step;
    }

    fn ask_top(&mut self, index: usize) {
        self.begun = Instant::now();
        self.send(&format!("TOP {} 0", index + 1), Step::Top(index));
    }

    fn ask_message(&mut self, index: usize, plan: &Plan) {
        self.begun = Instant::now();
        let count = if plan.workload == Workload::RetrPipelined {
            BATCH
        } else {
            1
        };
        let end = (index + count).min(plan.manifest.messages.len());
        for message in index..end {
            self.send(&format!("RETR {}", message + 1), Step::Message(index));
        }
    }
}

fn check_status(step: Step, line: &[u8], plan: &Plan) -> Result<(), String> {
    let fault = || {
        Err(format!(
            "{step:?} was answered {:?}",
            String::from_utf8_lossy(line)
        ))
    };
    let Some(rest) = line.strip_prefix(b"+OK") else {
        return fault();
    };
    let mut words = rest
        .strip_suffix(b"\r\n")
        .unwrap_or(rest)
        .split(|&byte| byte == b' ')
        .skip(1);
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let mailbox = &plan.manifest;
    match step {
        Step::Stat if number() != Some(mailbox.messages.len() as u64) => fault(),
        Step::Stat if plan.verify == Verify::Exact && number() != Some(mailbox.octets) => fault(),
        Step::Message(index)
            if plan.verify == Verify::Exact && number() != Some(mailbox.messages[index].octets) =>
        {
            fault()
        }
        _ => Ok(()),
    }
}

/// RFC 1939 §7: each line a number and a unique id of 1 to 70 characters 0x21 to 0x7E.
fn check_uidl(body: &[u8]) -> Result<(), String> {
    let mut ids = std::collections::HashSet::new();
    let text = body.strip_suffix(b".\r\n").unwrap_or(body);
    for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let prefix = format!("{} ", index + 1);
        let id = line
            .strip_prefix(prefix.as_bytes())
            .and_then(|line| line.strip_suffix(b"\r\n"));
        match id {
            Some(id)
                if (1..=70).contains(&id.len())
                    && id.iter().all(|byte| (0x21..=0x7E).contains(byte))
                    && ids.insert(id) => {}
            _ => return Err(format!("bad UIDL line {:?}", String::from_utf8_lossy(line))),
        }
    }
    Ok(())
}
