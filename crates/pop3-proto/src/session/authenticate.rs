//! The commands of AUTHORIZATION (RFC 1939 §4, RFC 2595 §4, RFC 5034).

use std::mem;
use std::sync::Arc;

use data_encoding::BASE64;

use super::{Config, Phase, Session, Step};
use crate::command::Login;
use crate::reply::{self, Capabilities, Line};
use crate::sasl::scram::ScramKeys;
use crate::sasl::{self, Exchange, Mechanism, Mechanisms};
use crate::security::{TlsFacts, TlsMode};
use crate::{Attempt, Proof, Request, Secret};

impl Session {
    pub(super) fn authorization(&mut self, command: Login) {
        if let Some(verb) = self.turned_off(&command) {
            return self.respond(Line::Unknown { verb });
        }
        let takes_passwords = self.takes_passwords();
        let Phase::Authorization { name: user, step } = &mut self.phase else {
            return self.respond(Line::AlreadyAuthenticated);
        };
        let is_named = matches!(step, Step::Named);
        match command {
            Login::User(_) | Login::Pass(_) if !takes_passwords => self.need_tls(),
            Login::User(name) => {
                *user = name;
                *step = Step::Named;
                self.respond(Line::SendPassword);
            }
            // RFC 1939 §7: PASS is for after a successful USER. In Tcllib's words,
            // which do not tell a guesser what was wrong.
            Login::Pass(_) if !is_named => self.respond(Line::NobodyNamed),
            Login::Pass(password) => self.log_in(Proof::Password(password), Mechanism::User),
            Login::Apop { .. } if is_named => self.respond(Line::UserChosen),
            Login::Apop { name, digest } => {
                *user = name;
                let challenge = self.id.clone();
                self.log_in(Proof::Apop { challenge, digest }, Mechanism::Apop);
            }
            Login::Auth { mechanism, .. } if mechanism.is_empty() => {
                self.respond(Line::Mechanisms);
                let offered = self.mechanisms();
                reply::mechanisms(self.output.writer(), offered);
            }
            Login::Auth {
                mechanism,
                response,
            } => self.begin_exchange(&mechanism, response),
            Login::Stls => self.begin_tls(),
        }
    }

    /// The command's verb if this server does not know it.
    fn turned_off(&self, command: &Login) -> Option<&'static str> {
        let config = &self.config;
        let (is_on, verb) = match command {
            Login::User(_) | Login::Pass(_) => return None,
            Login::Apop { .. } => (config.apop, "APOP"),
            Login::Auth { .. } => (!self.mechanisms.is_empty(), "AUTH"),
            Login::Stls => (config.tls == TlsMode::StartTls, "STLS"),
        };
        (!is_on).then_some(verb)
    }

    /// Whether passwords are taken as they are.
    fn takes_passwords(&self) -> bool {
        let Config { plaintext, tls, .. } = &*self.config;
        self.tls.is_some() || plaintext.allows(*tls, self.peer)
    }

    fn need_tls(&mut self) {
        let stls = self.takes_stls();
        self.respond(Line::TlsNeeded { stls });
    }

    /// Whether STLS would be taken.
    fn takes_stls(&self) -> bool {
        self.config.tls == TlsMode::StartTls && self.tls.is_none() && !self.is_authenticated()
    }

    /// The mechanisms that AUTH takes on this connection now.
    fn mechanisms(&self) -> Mechanisms {
        let is_offered = |mechanism: &Mechanism| {
            mechanism.works_over(self.tls.as_deref())
                && (self.takes_passwords() || !mechanism.exposes_secret())
        };
        self.mechanisms.iter().filter(is_offered).collect()
    }

    /// CAPA, in every state (RFC 2449 §5). Mechanisms are announced after login too.
    pub(super) fn capabilities(&mut self) {
        self.respond(Line::Capabilities);
        let config = Arc::clone(&self.config);
        let capabilities = Capabilities {
            user: self.takes_passwords(),
            mechanisms: self.mechanisms(),
            stls: self.takes_stls(),
            implementation: self.is_authenticated().then_some(&config.server),
            more: &config.capabilities,
        };
        capabilities.write(self.output.writer());
    }

    /// Asks whether the user named last may have the mailbox.
    fn log_in(&mut self, proof: Proof, mechanism: Mechanism) {
        if let Phase::Authorization { name, step } = &mut self.phase {
            *step = Step::Checking(mechanism);
            self.request = Some(Request::Login(Attempt {
                user: name.clone(),
                proof,
                mechanism,
                tls: self.tls.clone(),
            }));
        }
    }

    /// STLS (RFC 2595 §4): what the client has said so far is forgotten, and what it has sent
    /// after the command is thrown away, since anybody may have put it in.
    fn begin_tls(&mut self) {
        if self.tls.is_some() {
            return self.respond(Line::TlsActive);
        }
        self.respond(Line::BeginTls);
        self.lines.clear();
        self.phase = Phase::Authorization {
            name: Box::default(),
            step: Step::TlsHandshake,
        };
    }

    /// Whether the TLS handshake is to be made, once all output is written.
    pub fn wants_tls(&self) -> bool {
        let handshake = matches!(
            self.phase,
            Phase::Authorization {
                step: Step::TlsHandshake,
                ..
            }
        );
        handshake && self.end.is_none()
    }

    /// The handshake is made.
    pub fn handle_tls(&mut self, facts: TlsFacts) {
        self.tls = Some(Arc::new(facts));
        if !self.wants_tls() {
            return;
        }
        if let Phase::Authorization { step, .. } = &mut self.phase {
            *step = Step::Nothing;
        }
        if self.config.tls == TlsMode::Implicit {
            self.begin();
        }
    }

    fn begin_exchange(&mut self, name: &[u8], response: Option<Secret>) {
        let Some(mechanism) = Mechanism::named(name) else {
            return self.respond(Line::NoSuchMechanism);
        };
        if !self.mechanisms().contains(mechanism) {
            let wanted = self.mechanisms.contains(mechanism);
            return match wanted && mechanism.exposes_secret() && !self.takes_passwords() {
                true => self.need_tls(),
                false => self.respond(Line::NoSuchMechanism),
            };
        }
        if let Phase::Authorization { name, step } = &mut self.phase {
            // A USER before is forgotten.
            *name = Box::default();
            *step = Step::Exchange(mechanism, Exchange::Begun(mechanism));
        }
        match response {
            // RFC 5034 §4: "=" is an empty initial response.
            Some(response) if response.expose() == b"=" => self.exchange(b""),
            Some(response) => self.handle_response(response.expose()),
            None => reply::challenge(self.output.writer(), Exchange::first_challenge(mechanism)),
        }
    }

    /// Takes a line of an exchange.
    pub(super) fn handle_response(&mut self, line: &[u8]) {
        if line == b"*" {
            return self.break_off(Line::Cancelled);
        }
        match BASE64.decode(line) {
            Ok(response) => self.exchange(&response),
            Err(_) => self.break_off(Line::NotBase64),
        }
    }

    /// The client has sent a line over the bound.
    pub(super) fn handle_long_response(&mut self) {
        self.break_off(Line::ResponseTooLong);
    }

    /// Ends an exchange that the client does not go on with. One for which a user's keys were
    /// computed counts as a failed login, else clients could have them computed without end.
    fn break_off(&mut self, line: Line<'static>) {
        match self.end_exchange() {
            Some((mechanism, Exchange::ScramProof(_) | Exchange::ScramEnd(_))) => {
                self.refuse(mechanism, line);
            }
            _ => self.respond(line),
        }
    }

    fn exchange(&mut self, response: &[u8]) {
        let Some((mechanism, exchange)) = self.end_exchange() else {
            return;
        };
        let offers_plus = self.mechanisms().contains(Mechanism::ScramSha256Plus);
        let next = exchange.step(response, self.tls.as_deref(), offers_plus);
        let Phase::Authorization { name, step } = &mut self.phase else {
            return;
        };
        match next {
            sasl::Step::Challenge(challenge, exchange) => {
                *step = Step::Exchange(mechanism, exchange);
                reply::challenge(self.output.writer(), &challenge);
            }
            sasl::Step::Keys(challenge) => {
                let user = challenge.user.clone();
                *name = user.clone();
                *step = Step::Keys(mechanism, challenge);
                self.request = Some(Request::Keys { user, mechanism });
            }
            sasl::Step::Attempt(user, proof) => {
                *name = user;
                self.log_in(proof, mechanism);
            }
            sasl::Step::Failed => self.login_failed(mechanism),
        }
    }

    /// Takes the exchange out, if one is under way.
    fn end_exchange(&mut self) -> Option<(Mechanism, Exchange)> {
        let Phase::Authorization { step, .. } = &mut self.phase else {
            return None;
        };
        match mem::replace(step, Step::Nothing) {
            Step::Exchange(mechanism, exchange) => Some((mechanism, exchange)),
            other => {
                *step = other;
                None
            }
        }
    }

    /// The user's keys have come: SCRAM goes on.
    pub(super) fn settle_keys(
        &mut self,
        (mechanism, challenge): (Mechanism, Box<sasl::scram::ScramChallenge>),
        keys: ScramKeys,
        nonce: [u8; 18],
    ) {
        let (text, scram) = challenge.challenge(keys, nonce);
        if let Phase::Authorization { step, .. } = &mut self.phase {
            *step = Step::Exchange(mechanism, Exchange::ScramProof(Box::new(scram)));
            reply::challenge(self.output.writer(), &text);
        }
    }
}
