//! Logins of a server's clients, as both shells tell of them: what is logged, and counted
//! for addresses.

use std::net::IpAddr;
use std::time::Instant;

use super::addresses::{AddressList, ClientNet};
use super::Server;
use crate::store::access::Answer;
use crate::store::ids::Client;
use pop3_proto::hook::Verdict;
use pop3_proto::sasl::Mechanism;
use pop3_proto::{AddressFailures, Refusal, Reply, Request};

/// Addresses that are treated in another way than others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Their failed logins are not counted.
    pub exempt: AddressList,
    /// Their connections begin with a header of the PROXY protocol, which gives the address
    /// of the client.
    pub proxies: AddressList,
}

impl Server {
    /// Whether a login from this address is refused before anything is asked, since too many
    /// have failed.
    pub fn refuses_logins(&self, peer: IpAddr) -> bool {
        self.config().is_some_and(|config| {
            let client = ClientNet::of(peer);
            !self.is_exempt(peer) && self.failures.refuse(client, Instant::now(), &config.limits)
        })
    }

    /// The answer to what a client asks, if it is of a login and its address is refused.
    pub fn refuse_login(
        &self,
        client: impl Fn() -> Client,
        peer: IpAddr,
        request: &Request,
    ) -> Option<Answer> {
        let mechanism = request.login_mechanism()?;
        self.refuses_logins(peer).then(|| {
            let refusal = Refusal::TooManyFailures;
            self.log.login(client, mechanism, Some(refusal));
            Reply::Refused(refusal).into()
        })
    }

    /// A login was answered, and the hook does not decide on it. One that failed by wrong
    /// credentials is told by [`login_failed`](Self::login_failed).
    pub fn login_answered(
        &self,
        client: impl Fn() -> Client,
        (peer, mechanism): (IpAddr, Mechanism),
        refusal: Option<Refusal>,
    ) {
        match refusal {
            Some(Refusal::Credentials) => return,
            Some(_) => {}
            None => self.failures.forgive(ClientNet::of(peer)),
        }
        self.log.login(client, mechanism, refusal);
    }

    /// The hook has answered whether a client whose credentials are right is let in; whether
    /// it is.
    pub fn login_decided(
        &self,
        client: impl Fn() -> Client,
        (peer, mechanism): (IpAddr, Mechanism),
        answer: &Reply,
    ) -> bool {
        let is_let_in = matches!(answer, Reply::Hook(Verdict::Proceed(_) | Verdict::Reply(_)));
        match is_let_in {
            true => self.login_answered(client, (peer, mechanism), None),
            false => self.log.login_refused_by_hook(client, mechanism),
        }
        is_let_in
    }

    /// A login failed by wrong credentials. Counts it.
    pub fn login_failed(
        &self,
        client: impl Fn() -> Client,
        (peer, mechanism): (IpAddr, Mechanism),
    ) -> AddressFailures {
        let refusal = Refusal::Credentials;
        self.log.login(client, mechanism, Some(refusal));
        self.count_failure(peer)
    }

    /// Counts a failed login: one that was refused, or whose client has gone before it was
    /// answered.
    pub fn count_failure(&self, peer: IpAddr) -> AddressFailures {
        let Some(config) = self.config().filter(|_| !self.is_exempt(peer)) else {
            return AddressFailures::default();
        };
        let client = ClientNet::of(peer);
        let limits = &config.limits;
        let failures = self.failures.add(client, Instant::now(), limits);
        if failures.is_refused && failures.count == limits.address_failures {
            let time = limits.address_block;
            self.log
                .address_refused(&client.to_string(), failures.count, time);
        }
        failures
    }

    fn is_exempt(&self, peer: IpAddr) -> bool {
        self.address_rules.load().exempt.contains(peer)
    }
}
