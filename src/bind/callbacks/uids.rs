//! Unique ids: what the storage's `uidl` says, or digests of the messages.

use std::collections::HashSet;

use super::complaints::Asked;
use super::{digests, numbers_after, Callbacks, Trouble};
use crate::bind::step::step;
use crate::ffi::interp::Raised;
use crate::ffi::Value;
use crate::store::jobs::{Digest, Job};
use crate::store::reason::Reason;
use pop3_proto::MsgNo;

impl Callbacks<'_> {
    /// One id; none when more is to be done for it. Without `uidl` it takes the digests of
    /// all messages before this one, since equal ones are told apart by their order.
    pub(super) fn one_uid(
        &self,
        job: &Job,
        mailbox: &str,
        number: MsgNo,
    ) -> Result<Option<Box<str>>, Trouble> {
        if self.server.storage_has_uidl() {
            if let Some(uid) = self.uidl(mailbox, &[Value::int(number.get().into())])? {
                let asked = Asked::message("uidl", mailbox, number);
                return self.valid_uid(asked, &uid).map(Some);
            }
        }
        self.with_digests(job, mailbox, number.get(), digests::last_id)
            .map(Option::flatten)
    }

    /// All ids; none when more is to be done for them.
    pub(super) fn all_uids(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
    ) -> Result<Option<Vec<Box<str>>>, Trouble> {
        if count > 0 && self.server.storage_has_uidl() {
            if let Some(said) = self.uidl(mailbox, &[])? {
                let asked = Asked::new("uidl", mailbox);
                let wrong = |expected| self.wrong(asked, Some(&said), expected);
                let list = said.to_list().filter(|list| list.len() == count as usize);
                let list = list.ok_or_else(|| wrong("as many ids as messages"))?;
                let uids = list.iter().map(|id| self.valid_uid(asked, id));
                let uids = uids.collect::<Result<Vec<_>, _>>()?;
                if uids.iter().collect::<HashSet<_>>().len() < uids.len() {
                    return Err(wrong("different ids"));
                }
                return Ok(Some(uids));
            }
        }
        self.with_digests(job, mailbox, count, digests::ids)
    }

    /// Makes something of the digests of the first `count` messages; none when a step has
    /// not taken all of them yet.
    fn with_digests<T>(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
        make: impl FnOnce(&[Digest]) -> T,
    ) -> Result<Option<T>, Trouble> {
        let mut digests = job.take_digests();
        let taken = self.more_digests(mailbox, count, &mut digests);
        let made = taken.map(|()| digests.get(..count as usize).map(make));
        job.keep_digests(digests);
        made
    }

    fn more_digests(
        &self,
        mailbox: &str,
        count: u32,
        digests: &mut Vec<Digest>,
    ) -> Result<(), Trouble> {
        for number in step(numbers_after(digests.len(), count)) {
            digests.push(self.digest(mailbox, number)?);
        }
        Ok(())
    }

    /// What the storage's `uidl` says; none, for good, when the first call shows that the
    /// storage does not know the method.
    fn uidl(&self, mailbox: &str, number: &[Value]) -> Result<Option<Value>, Trouble> {
        self.check_wanted()?;
        let words = [&[Value::text("uidl"), Value::text(mailbox)], number].concat();
        let asked = self.server.storage_number();
        let said = self.call_storage(&words);
        // Another storage may have been configured meanwhile: this says nothing of it.
        let learn = |known| {
            if self.server.storage_number() == asked {
                self.server.set_storage_has_uidl(known);
            }
        };
        let unknown = match &said {
            // A `switch` without a default says nothing.
            Ok(value) => value.is_empty(),
            Err(raised) => digests::is_unknown_method(raised),
        };
        if unknown && !self.server.storage_uidl_is_proven() {
            learn(false);
            return Ok(None);
        }
        let value = said.map_err(|raised| self.raised("uidl", &raised))?;
        learn(true);
        Ok(Some(value))
    }

    fn valid_uid(&self, asked: Asked<'_>, said: &Value) -> Result<Box<str>, Trouble> {
        let uid = said.to_text();
        // RFC 1939 §7: one to 70 characters in the range 0x21 to 0x7E.
        let valid = (1..=70).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_graphic());
        match valid {
            true => Ok(uid.into()),
            false => {
                let expected = "an id of 1 to 70 printable characters";
                Err(self.wrong(asked, Some(said), expected))
            }
        }
    }

    fn digest(&self, mailbox: &str, number: MsgNo) -> Result<Digest, Trouble> {
        let got = self.get(mailbox, number, None)?;
        digests::digest(got).map_err(|error| {
            let line = format!("get {mailbox} {number}: {}", Reason(&error));
            self.complain(&line, &Raised::new(&line, &["POP3D", "LOG"]))
        })
    }
}
