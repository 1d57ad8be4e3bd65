//! Unique ids: what the storage's `uidl` says, or digests of the messages.

use std::collections::HashSet;

use super::complaints::Asked;
use super::unknown::is_unknown_method;
use super::{digests, numbers_after, Callbacks, Trouble};
use crate::bind::escape::shortened;
use crate::bind::step::Turn;
use crate::ffi::interp::Raised;
use crate::ffi::Value;
use crate::store::delivery::is_uid;
use crate::store::jobs::{Digest, Job};
use crate::store::reason::Reason;
use pop3_proto::{Failure, MsgNo};

/// After so many failures in a row, from the first message on, the storage is taken to fail
/// as a whole. More would be a crowd of failing calls for nothing.
const MOST_TRIED: u32 = 16;

/// Whether a message could be read.
fn any_read(digests: &[Option<Digest>]) -> bool {
    digests.iter().any(Option::is_some)
}

/// What was made, if any message could be read. The failures are logged already.
fn read_some<T>(made: Option<T>) -> Result<T, Trouble> {
    made.ok_or(Trouble(Failure::Temporary))
}

impl Callbacks<'_> {
    /// One id. Without `uidl` it takes the digests of all messages before this one, since
    /// equal ones are told apart by their order.
    pub(super) async fn one_uid(
        &self,
        job: &Job,
        mailbox: &str,
        number: MsgNo,
        count: u32,
    ) -> Result<Box<str>, Trouble> {
        if self.server.storage_has_uidl() {
            let argument = Value::int(number.get().into());
            if let Some(uid) = self.uidl(mailbox, &[argument]).await? {
                let asked = Asked::message("uidl", mailbox, number);
                return self.valid_uid(asked, &uid);
            }
        }
        let id = |digests: &[Option<Digest>]| digests::last_id(&digests[..=number.index()]);
        let id = |digests: &[_]| any_read(digests).then(|| id(digests)).flatten();
        let mut made = self.with_digests(job, mailbox, number.get(), id).await?;
        if made.is_none() && number.get() < count {
            // Of the messages up to this one none can be read: others may be.
            let tried = count.min(MOST_TRIED).max(number.get());
            made = self.with_digests(job, mailbox, tried, id).await?;
        }
        read_some(made)
    }

    /// All ids.
    pub(super) async fn all_uids(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
    ) -> Result<Vec<Box<str>>, Trouble> {
        if count > 0 && self.server.storage_has_uidl() {
            if let Some(said) = self.uidl(mailbox, &[]).await? {
                let asked = Asked::new("uidl", mailbox);
                let wrong = |expected| self.wrong(asked, Some(&said), expected);
                let list = said.to_list().filter(|list| list.len() == count as usize);
                let list = list.ok_or_else(|| wrong("as many ids as messages"))?;
                let uids = list.iter().map(|id| self.valid_uid(asked, id));
                let uids = uids.collect::<Result<Vec<_>, _>>()?;
                if uids.iter().collect::<HashSet<_>>().len() < uids.len() {
                    return Err(wrong("different ids"));
                }
                return Ok(uids);
            }
        }
        let ids = |digests: &[_]| (count == 0 || any_read(digests)).then(|| digests::ids(digests));
        read_some(self.with_digests(job, mailbox, count, ids).await?)
    }

    /// Makes something of the digests of the first `count` messages.
    async fn with_digests<T>(
        &self,
        job: &Job,
        mailbox: &str,
        count: u32,
        make: impl FnOnce(&[Option<Digest>]) -> T,
    ) -> Result<T, Trouble> {
        let mut digests = job.take_digests();
        let taken = self.more_digests(mailbox, count, &mut digests).await;
        if taken.is_err() && !any_read(&digests) {
            // Nothing shows that it is only these: they are tried again.
            digests.clear();
        }
        let made = taken.map(|()| make(&digests[..count as usize]));
        job.keep_digests(digests);
        made
    }

    async fn more_digests(
        &self,
        mailbox: &str,
        count: u32,
        digests: &mut Vec<Option<Digest>>,
    ) -> Result<(), Trouble> {
        let mut turn = Turn::begin();
        for number in numbers_after(digests.len(), count) {
            turn.next_item().await;
            let digest = match self.digest(mailbox, number).await {
                Ok(digest) => Some(digest),
                Err(trouble) => {
                    self.check_others(mailbox, digests, trouble).await?;
                    None
                }
            };
            digests.push(digest);
        }
        Ok(())
    }

    /// One message that cannot be read must not hide the others, so it goes without a
    /// digest. But when the storage as a whole fails, clients must not be told that all
    /// ids are other ones now: they would fetch everything again later. So a message
    /// that could be read must be readable still.
    async fn check_others(
        &self,
        mailbox: &str,
        digests: &[Option<Digest>],
        trouble: Trouble,
    ) -> Result<(), Trouble> {
        self.check_wanted()?;
        let read = digests.iter().rposition(Option::is_some);
        let read = read.and_then(|index| MsgNo::new(u32::try_from(index + 1).ok()?));
        match (read, trouble) {
            (_, trouble @ Trouble(Failure::Permanent)) => Err(trouble),
            (Some(number), _) => self.digest(mailbox, number).await.map(drop),
            (None, trouble) if digests.len() + 1 >= MOST_TRIED as usize => Err(trouble),
            (None, _) => Ok(()),
        }
    }

    /// What the storage's `uidl` says; none, for good, when the first call shows that the
    /// storage does not know the method.
    async fn uidl(&self, mailbox: &str, number: &[Value]) -> Result<Option<Value>, Trouble> {
        self.check_wanted()?;
        let words = [&[Value::text(mailbox)], number].concat();
        let asked = self.server.storage_number();
        let target = self.storage_method("uidl");
        let said = self.call(&self.for_client(None), &target, &words).await;
        // Another storage may have been configured meanwhile: this says nothing of it.
        let is_the_same = self.server.storage_number() == asked;
        if self.server.storage_uidl_is_in_doubt() {
            let prefix = target.prefix.to_list().unwrap_or_default();
            let prefix: Vec<_> = prefix.iter().map(Value::to_text).collect();
            let reason = match &said {
                // A `switch` without a default says nothing.
                Ok(value) if value.is_empty() => Some("an empty result".to_owned()),
                Err(raised) => is_unknown_method(raised, &prefix).then(|| raised.message()),
                Ok(_) => None,
            };
            let learnt = is_the_same && (reason.is_some() || said.is_ok());
            let is_news = learnt && self.server.set_storage_has_uidl(reason.is_none());
            if let Some(reason) = reason {
                if is_news {
                    // If it has ids of its own, somebody should know that clients do not
                    // see them.
                    let log = self.server.log();
                    log.uidl_unknown(|| self.client.clone(), &shortened(&reason));
                }
                return Ok(None);
            }
        }
        said.map(Some)
            .map_err(|raised| self.raised("uidl", &raised))
    }

    fn valid_uid(&self, asked: Asked<'_>, said: &Value) -> Result<Box<str>, Trouble> {
        let uid = said.to_text();
        match is_uid(uid.as_bytes()) {
            true => Ok(uid.into()),
            false => {
                let expected = "an id of 1 to 70 printable characters";
                Err(self.wrong(asked, Some(said), expected))
            }
        }
    }

    async fn digest(&self, mailbox: &str, number: MsgNo) -> Result<Digest, Trouble> {
        let got = self.get(mailbox, number, None).await?;
        digests::digest(got).map_err(|error| {
            let line = format!("get {mailbox} {number}: {}", Reason(&error));
            self.complain("get", &line, &Raised::new(&line, &["POP3D", "LOG"]))
        })
    }
}
