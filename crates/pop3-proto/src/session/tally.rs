//! What a session has done, in numbers.

use std::ops::AddAssign;

use super::Input;
use crate::command;

/// What a session has done, for the log line at its end; or what several have done together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Command lines, unknown ones and those too long included.
    pub commands: u64,
    /// The same by their verbs.
    pub by_verb: CommandCounts,
    /// Messages sent to their end, by RETR or TOP.
    pub messages: u64,
    /// Those of them that TOP has sent.
    pub tops: u64,
    /// Octets of messages put into the output, without first and last lines of
    /// the answers.
    pub octets: u64,
    /// Messages that QUIT deleted. 0 for a session that ended in another way,
    /// however many it had marked.
    pub deleted: u64,
}

/// How often each command has come. Never by words of a client's choice: what is no command is
/// counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts([u64; command::COUNT + 2]);

impl CommandCounts {
    /// Unknown commands, and lines over the bound.
    const UNKNOWN: usize = command::COUNT;
    /// Responses of SASL exchanges.
    const RESPONSE: usize = command::COUNT + 1;

    /// All of them: verbs in upper case, then `unknown` and `response` (a client's line in an
    /// exchange of AUTH).
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = command::verbs().chain(["unknown", "response"]);
        names.zip(self.0.iter().copied())
    }
}

impl Tally {
    /// Counts a line of the client.
    pub(super) fn count(&mut self, input: &Input) {
        self.commands += 1;
        self.by_verb.0[match input {
            Input::Command(_, row, _) => row.unwrap_or(CommandCounts::UNKNOWN),
            Input::LongCommand => CommandCounts::UNKNOWN,
            Input::Response(_) | Input::LongResponse => CommandCounts::RESPONSE,
        }] += 1;
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.commands += other.commands;
        for (sum, count) in self.by_verb.0.iter_mut().zip(other.by_verb.0) {
            *sum += count;
        }
        self.messages += other.messages;
        self.tops += other.tops;
        self.octets += other.octets;
        self.deleted += other.deleted;
    }
}
