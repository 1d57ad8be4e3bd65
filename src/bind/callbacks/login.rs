//! Who a client is: by `exists` and `lookup` of the users, or by the script of `-login`.

mod redact;

use super::call::Target;
use super::complaints::{self, Asked};
use super::{Callbacks, Trouble};
use crate::ffi::{interp, Value};
use crate::store::Account;
use crate::text::{self, characters};
use pop3_proto::sasl::Mechanism;
use pop3_proto::{Attempt, Proof, Secret};

impl Callbacks<'_> {
    /// The storage reference of the user, if the proof fits.
    pub(super) async fn check(&self, attempt: &Attempt) -> Result<Option<Box<str>>, Trouble> {
        let prefix = self.server.login_prefix();
        if !prefix.is_empty() {
            return self.check_by_script(prefix, attempt).await;
        }
        let account = self.lookup(&attempt.user).await?;
        Ok(account.and_then(|account| account.admits(&attempt.proof)))
    }

    /// Calls `-login`. Its result is the storage reference; an empty one refuses.
    async fn check_by_script(
        &self,
        prefix: Value,
        attempt: &Attempt,
    ) -> Result<Option<Box<str>>, Trouble> {
        let Some(secret) = judged_by_script(attempt) else {
            return Ok(None);
        };
        self.check_wanted()?;
        let secret = characters(secret);
        let target = Target {
            prefix,
            method: None,
            counted: "login",
        };
        let words = [self.described(attempt, &secret)];
        let checked = self.call(&self.for_client(None), &target, &words).await;
        let checked = checked.map_err(|raised| {
            // Tcl shows the call in its stack traces, and the secret is in the call.
            let raised = complaints::explained("login", &redact::without(&raised, &secret));
            interp::replace_last_error(&self.server.identity.interp, &raised);
            let line = format!("login: {}", raised.noted_message());
            self.complain("login", &line, &raised)
        })?;
        let storage = checked.to_text();
        Ok((!storage.is_empty()).then(|| storage.into()))
    }

    /// What `-login` is told.
    fn described(&self, attempt: &Attempt, secret: &str) -> Value {
        let Attempt {
            user,
            mechanism,
            tls,
            ..
        } = attempt;
        let peer = self.client.peer.ip().to_string();
        let names = tls.as_deref().map_or(&[][..], |tls| &tls.certificate);
        Value::dict([
            ("user", Value::text(&characters(user))),
            ("mechanism", Value::text(mechanism.name())),
            ("secret", Value::text(secret)),
            ("peer", Value::text(&peer)),
            ("tls", Value::int(tls.is_some().into())),
            ("certificate", Value::texts(names)),
        ])
    }

    /// The entry of the user whom a client names, by either name that a script may know.
    pub(super) async fn lookup(&self, user: &[u8]) -> Result<Option<Account>, Trouble> {
        let (name, other) = text::names(user);
        match (self.lookup_name(&name).await?, other) {
            (None, Some(other)) => self.lookup_name(&other).await,
            (account, _) => Ok(account),
        }
    }

    /// The user's entry. With an error of `lookup` scripts say that there is none, unless
    /// its code says that something else has failed.
    async fn lookup_name(&self, user: &str) -> Result<Option<Account>, Trouble> {
        let name = Value::text(user);
        let exists = self.users("exists", &name).await;
        let exists = exists.map_err(|raised| self.raised("exists", &raised))?;
        // What users return is shown to nobody: there may be a password in it.
        let exists = exists.to_bool();
        if !exists.ok_or_else(|| self.wrong(Asked::new("exists", user), None, "a boolean"))? {
            return Ok(None);
        }
        let entry = match self.users("lookup", &name).await {
            Ok(entry) => entry,
            Err(raised) if complaints::is_failure(&raised) => {
                return Err(self.raised("lookup", &raised));
            }
            Err(raised) => {
                // The client chose the name: nothing in it may break the line.
                let (user, message) = (user.escape_debug(), raised.message());
                self.log(&format!("lookup {user}: {message}"));
                return Ok(None);
            }
        };
        self.account(user, &entry)
    }

    /// The entry that `lookup` returned. Nothing at all means that there is none, as an
    /// empty storage reference does.
    fn account(&self, user: &str, entry: &Value) -> Result<Option<Account>, Trouble> {
        let wrong = |what: &str| {
            let expected = format!("a list of password and storage reference{what}");
            Err(self.wrong(Asked::new("lookup", user), None, &expected))
        };
        let text = |value: &Value| value.to_text();
        match entry.to_list().as_deref() {
            None => wrong(""),
            Some([]) => Ok(None),
            // There may be a password in it, so it is not shown.
            Some([_]) => wrong(", but one element"),
            Some([password, storage, ..]) => Ok(Some(Account {
                password: Secret::new(text(password).into_bytes()),
                storage: text(storage).into(),
            })),
        }
    }
}

/// What the script of `-login` is to judge: the password or the token; empty for a client that
/// is known by its certificate.
///
/// None for what no script can judge, so that nobody takes it for a certificate: a digest, or
/// a proof that was checked by users' keys, when `-login` was configured meanwhile; and a
/// password that is empty or nobody's, to which an LDAP server agrees (RFC 4513 §5.1.2).
fn judged_by_script(attempt: &Attempt) -> Option<&[u8]> {
    match &attempt.proof {
        Proof::Password(secret) => {
            let secret = secret.expose();
            (!attempt.user.is_empty() && !secret.is_empty()).then_some(secret)
        }
        Proof::Token(secret) => Some(secret.expose()),
        Proof::Verified => (attempt.mechanism == Mechanism::External).then_some(b""),
        Proof::Apop { .. } => None,
    }
}
