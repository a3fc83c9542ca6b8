//! Functions of a program that say who the client is. The data plane asks them and remembers what they say.

mod via;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pylae_core::hook::{HookCall, Identified};
use pylae_core::plan::Seconds;
use pylae_core::request::fetch;
use pylae_core::{Answer, Exchange, Problem, User};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::authentication::asked::{FunctionEnd, IdentityFunction, Said, ask, size_of_user};
use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::credential::{CredentialPart, SentCredentials};
use crate::authentication::identity::Identity;
use crate::authentication::memory::{KnownCredential, VerifiedCredential};
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal};
use via::{AskedSender, IdentitySource, answered, has_credential, size_of_answer, unavailable};

const REVOKED: &str = "the user was revoked";
const NOT_ASKED: &str = "its function is asked about real requests only";
const INACTIVE: &str = "the token is not active";

/// What the plan says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name by which routes refer to it.
    name: String,
    /// What users are known by.
    via: IdentitySource,
    /// Scheme that its challenges name.
    challenge: String,
    /// All that the function sees of a request; None for the whole of it.
    key: Option<Vec<CredentialPart>>,
    /// How long it is remembered what the function has said, by `key`.
    cache: Option<Seconds>,
    /// Whether instances see the fields and parameters of `key`.
    forward_credentials: bool,
    /// The function.
    call: HookCall,
}

/// A function in a running engine.
struct ConnectedFunction {
    function: Arc<dyn IdentityFunction>,
    /// Separates what it says from what others say.
    salt: u64,
}

/// The authenticator.
pub(crate) struct FunctionAuthenticator(Arc<FunctionRules>);

struct FunctionRules {
    config: Config,
    connected: OnceLock<ConnectedFunction>,
    identity: Arc<Identity>,
}

/// By what the outcome is remembered.
struct RememberedBy {
    credentials: Vec<u8>,
    salt: u64,
    /// Since the Unix epoch.
    until: Duration,
    /// Of the memory before the function was asked.
    epoch: u64,
}

impl AuthenticatorKind for FunctionAuthenticator {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.cache.is_some() && config.key.is_none() {
            problems.push(Problem::at("cache", "without `key` nothing says by what it is remembered"));
        }
        if config.key.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::at("key", "the function would see nothing"));
        }
        problems.extend(config.via.problems());
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self(Arc::new(FunctionRules { config, connected: OnceLock::new(), identity: Arc::clone(identity) })))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.0.config.name)
    }

    fn challenge(&self, realm: &str) -> String {
        format!("{} realm=\"{realm}\"", self.0.config.challenge)
    }

    fn authenticate(&self, exchange: &Exchange, lockout: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let rules = &self.0;
        let Some(connected) = rules.connected.get() else {
            return AuthenticatorOutcome::Refused(Refusal::Unchecked(NOT_ASKED));
        };
        let at = Moment::of(exchange);
        let (sent, by) = match &rules.config.key {
            None => (None, None),
            Some(parts) => {
                let sent = SentCredentials::of(exchange, parts);
                if !sent.present && !rules.config.via.sees_target() {
                    return AuthenticatorOutcome::Absent;
                }
                let cache = rules.config.cache.filter(|_| sent.present);
                let by = cache.map(|span| rules.remembered_by(&sent, connected.salt, at, span.0));
                if let Some(outcome) = by.as_ref().and_then(|by| rules.remembered(by, at)) {
                    return outcome;
                }
                (Some(sent), by)
            }
        };
        if let Some(wait) = lockout() {
            return AuthenticatorOutcome::Refused(Refusal::Limited(wait));
        }
        let sender = AskedSender {
            credential: sent.as_ref().map_or_else(|| has_credential(exchange), |sent| sent.present),
            navigates: rules.config.via.sees_target() && fetch::is_navigation(exchange),
        };
        let request = match sent {
            None => Some(exchange.copy_request()),
            Some(sent) => sent.request(exchange),
        };
        let Some(request) = request else {
            return AuthenticatorOutcome::Refused(Refusal::Bad("the credential cannot be read"));
        };
        let asked = Arc::clone(rules);
        ask(&*connected.function, request, move |said| asked.conclude(said, by, sender, at))
    }

    /// What is known without asking the function.
    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let unchecked = AuthenticatorOutcome::Refused(Refusal::Unchecked(NOT_ASKED));
        let Some(parts) = &self.0.config.key else { return unchecked };
        let sent = SentCredentials::of(exchange, parts);
        if !sent.present {
            return if self.0.config.via.sees_target() { unchecked } else { AuthenticatorOutcome::Absent };
        }
        let (Some(span), Some(connected)) = (self.0.config.cache, self.0.connected.get()) else { return unchecked };
        let at = Moment::of(exchange);
        let by = self.0.remembered_by(&sent, connected.salt, at, span.0);
        self.0.remembered(&by, at).unwrap_or(unchecked)
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if !self.0.config.forward_credentials {
            self.0.config.key.iter().flatten().for_each(|part| part.strip(exchange));
        }
    }

    fn credential_names(&self) -> impl Iterator<Item = &str> {
        self.0.config.key.iter().flatten().filter_map(CredentialPart::secret_name)
    }

    fn call(&self) -> Option<(&HookCall, bool)> {
        let config = &self.0.config;
        Some((&config.call, config.key.is_some() && !config.via.sees_target()))
    }

    fn connect(&self, function: Arc<dyn IdentityFunction>, revision: u64) {
        // Cannot fail: strings, numbers and lists.
        let settings = serde_json::to_string(&self.0.config).unwrap_or_default();
        let salt = self.0.identity.memory.salt(&format!("function {revision} {settings}"));
        let _ = self.0.connected.set(ConnectedFunction { function, salt });
    }

    fn reserved_fields(&self) -> &[String] {
        self.0.config.via.reserved()
    }

    fn pass_on(&self, exchange: &mut Exchange, user: &User) {
        self.0.config.via.pass_on(exchange, user);
    }
}

impl FunctionAuthenticator {
    /// Returns true if instances see what it is asked about.
    pub(super) fn forwards(&self) -> bool {
        self.0.config.forward_credentials
    }
}

impl FunctionRules {
    fn remembered_by(&self, sent: &SentCredentials, salt: u64, at: Moment, span: Duration) -> RememberedBy {
        let until = at.wall.saturating_add(span);
        RememberedBy { credentials: sent.identity(), salt, until, epoch: self.identity.memory.epoch() }
    }

    /// Returns the outcome that is remembered.
    fn remembered(&self, by: &RememberedBy, at: Moment) -> Option<AuthenticatorOutcome> {
        let Identity { memory, unknown, .. } = &*self.identity;
        if let Some(KnownCredential { user, .. }) = memory.get(memory.tag(by.salt, &by.credentials), at.wall) {
            return Some(AuthenticatorOutcome::Accepted(user));
        }
        let refused = unknown.read(unknown.tag(by.salt, &by.credentials), at.wall, |one| one.answer.clone())?;
        Some(refused.map_or_else(|| self.nobody(), |answer| answered(Box::new((*answer).clone()), AskedSender::KNOWN)))
    }

    /// Turns what the function has said into an outcome, and remembers who the user is, or that there is none.
    fn conclude(&self, said: Said, by: Option<RememberedBy>, sender: AskedSender, at: Moment) -> AuthenticatorOutcome {
        let Said { end, identified, until, fields } = said;
        let by = by.filter(|_| fields.is_empty());
        let by = by.map(|by| RememberedBy { until: by.until.min(until.unwrap_or(Duration::MAX)), ..by });
        let outcome = match (end, identified) {
            (FunctionEnd::Answer(answer), _) if self.config.via.sees_target() => {
                if let Some(by) = by.filter(|_| until.is_some()) {
                    self.remember_refusal(&by, Some(Arc::new((*answer).clone())));
                }
                answered(answer, sender)
            }
            (FunctionEnd::Reject(rejection), _)
                if rejection.status >= 500 && self.config.via != IdentitySource::Function =>
            {
                AuthenticatorOutcome::Refused(Refusal::Unavailable(Box::new(unavailable(*rejection))))
            }
            (FunctionEnd::Continue, Identified::User(user)) => self.accept(user, by, at),
            (FunctionEnd::Continue, Identified::Nobody) => {
                if let Some(by) = by {
                    self.remember_refusal(&by, None);
                }
                self.nobody()
            }
            (end, _) => end.outcome(),
        };
        outcome.with_fields(fields)
    }

    fn accept(&self, user: Arc<User>, by: Option<RememberedBy>, at: Moment) -> AuthenticatorOutcome {
        let mut user = Arc::unwrap_or_clone(user);
        user.via = self.config.via.text();
        let (id, issued) = token_of(&user.claims);
        let memory = &self.identity.memory;
        if memory.is_revoked(&user, id.as_deref(), issued, at.wall) {
            return AuthenticatorOutcome::Refused(Refusal::Bad(REVOKED));
        }
        let user = Arc::new(user);
        if let Some(by) = by {
            let bytes = by.credentials.len() + size_of_user(&user);
            let entry =
                VerifiedCredential { user: Arc::clone(&user), until: by.until, id, binding: None, answer: None };
            memory.insert(memory.tag(by.salt, &by.credentials), entry, bytes, by.epoch);
        }
        AuthenticatorOutcome::Accepted(user)
    }

    /// Remembers that nobody is known, and how a service says so.
    fn remember_refusal(&self, by: &RememberedBy, answer: Option<Arc<Answer>>) {
        let unknown = &self.identity.unknown;
        let bytes = by.credentials.len() + answer.as_ref().map_or(0, |answer| size_of_answer(answer));
        let entry = VerifiedCredential { user: Arc::default(), until: by.until, id: None, binding: None, answer };
        unknown.insert(unknown.tag(by.salt, &by.credentials), entry, bytes, unknown.epoch());
    }

    /// What it is to know nobody.
    fn nobody(&self) -> AuthenticatorOutcome {
        match (&self.config.via, &self.config.key) {
            (IdentitySource::Introspection, _) => AuthenticatorOutcome::Refused(Refusal::Bad(INACTIVE)),
            // Without `key`, it is not known if there was a credential at all.
            (_, None) => AuthenticatorOutcome::Absent,
            (_, Some(_)) => AuthenticatorOutcome::Refused(Refusal::Unknown),
        }
    }
}

/// Returns `jti` and `iat`, if the function has taken the user from a token (RFC 7519 section 4.1).
fn token_of(claims: &Map<String, Value>) -> (Option<Box<str>>, Option<Duration>) {
    let issued = claims.get("iat").and_then(Value::as_f64).filter(|at| *at >= 0.0);
    let issued = issued.and_then(|at| Duration::try_from_secs_f64(at).ok());
    (claims.get("jti").and_then(Value::as_str).map(Into::into), issued)
}
