//! Functions of a program that say who the client is. The data plane asks them and remembers what they say.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pylae_core::hook::{HookCall, Identified};
use pylae_core::plan::Seconds;
use pylae_core::{Answer, Exchange, Problem, Rejection, User};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::credential::{CredentialPart, SentCredentials};
use crate::authentication::identity::Identity;
use crate::authentication::memory::{Known, VerifiedCredential};
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal};

const REVOKED: &str = "the user was revoked";
const NOT_ASKED: &str = "its function is asked about real requests only";

/// What the plan says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name by which routes refer to it.
    name: String,
    /// What users are known by.
    via: Via,
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

/// What is called: a function of the program, or one of Pylae's own.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Via {
    Function,
}

impl Via {
    /// As users have it.
    fn text(self) -> &'static str {
        match self {
            Self::Function => "function",
        }
    }
}

/// Calls the function of an authenticator.
pub trait IdentityFunction: Send + Sync {
    /// Asks about a copy of a request.
    fn ask(&self, exchange: Box<Exchange>) -> AskedFunction;
}

/// What comes of asking.
pub enum AskedFunction {
    /// The function has ended.
    Ended(Box<FunctionResult>),
    /// It has not yet.
    Pending(Pin<Box<dyn Future<Output = Box<FunctionResult>>>>),
}

/// How a function has ended.
pub struct FunctionResult {
    /// The request it was asked about, with what the function has left in it.
    pub exchange: Box<Exchange>,
    /// What it has said.
    pub end: FunctionEnd,
}

/// What a function has said besides who the client is.
pub enum FunctionEnd {
    /// Nothing.
    Continue,
    /// It answers the request.
    Answer(Box<Answer>),
    /// It rejects the request, or has failed.
    Reject(Box<Rejection>),
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
                let Some(sent) = SentCredentials::of(exchange, parts) else { return AuthenticatorOutcome::Absent };
                let by = rules.config.cache.map(|span| rules.remembered_by(&sent, connected.salt, at, span.0));
                if let Some(outcome) = by.as_ref().and_then(|by| rules.remembered(by, at)) {
                    return outcome;
                }
                (Some(sent), by)
            }
        };
        if let Some(wait) = lockout() {
            return AuthenticatorOutcome::Refused(Refusal::Limited(wait));
        }
        let request = match sent {
            None => Some(exchange.copy_request()),
            Some(sent) => sent.request(exchange),
        };
        let Some(request) = request else {
            return AuthenticatorOutcome::Refused(Refusal::Bad("the credential cannot be read"));
        };
        match connected.function.ask(request) {
            AskedFunction::Ended(result) => rules.conclude(*result, by, at),
            AskedFunction::Pending(waiting) => {
                let rules = Arc::clone(rules);
                AuthenticatorOutcome::Wait(Box::pin(async move { rules.conclude(*waiting.await, by, at) }))
            }
        }
    }

    /// What is known without asking the function.
    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let unchecked = AuthenticatorOutcome::Refused(Refusal::Unchecked(NOT_ASKED));
        let Some(parts) = &self.0.config.key else { return unchecked };
        let Some(sent) = SentCredentials::of(exchange, parts) else { return AuthenticatorOutcome::Absent };
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
        Some((&self.0.config.call, self.0.config.key.is_some()))
    }

    fn connect(&self, function: Arc<dyn IdentityFunction>, revision: u64) {
        // Cannot fail: strings, numbers and lists.
        let settings = serde_json::to_string(&self.0.config).unwrap_or_default();
        let salt = self.0.identity.memory.salt(&format!("function {revision} {settings}"));
        let _ = self.0.connected.set(ConnectedFunction { function, salt });
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
        if let Some(Known { user, .. }) = memory.get(memory.tag(by.salt, &by.credentials), at.wall) {
            return Some(AuthenticatorOutcome::Accepted(user));
        }
        let nobody = unknown.get(unknown.tag(by.salt, &by.credentials), at.wall);
        nobody.map(|_| AuthenticatorOutcome::Refused(Refusal::Unknown))
    }

    /// Turns what the function has said into an outcome, and remembers who the user is, or that there is none.
    fn conclude(&self, result: FunctionResult, by: Option<RememberedBy>, at: Moment) -> AuthenticatorOutcome {
        let FunctionResult { mut exchange, end } = result;
        let visit = exchange.hook_visit();
        let (fields, identified) = (std::mem::take(&mut visit.fields), std::mem::take(&mut visit.identified));
        let until = visit.identified_until.take().unwrap_or(Duration::MAX);
        let by = by.filter(|_| fields.is_empty()).map(|by| RememberedBy { until: by.until.min(until), ..by });
        let outcome = match (end, identified) {
            (FunctionEnd::Answer(answer), _) => AuthenticatorOutcome::Answered(answer),
            (FunctionEnd::Reject(rejection), _) if rejection.status == 401 => {
                AuthenticatorOutcome::Refused(Refusal::Rejected(rejection))
            }
            (FunctionEnd::Reject(rejection), _) => AuthenticatorOutcome::Rejected(rejection),
            (FunctionEnd::Continue, Identified::User(user)) => self.accept(user, by, at),
            (FunctionEnd::Continue, Identified::Nobody) => self.know_nobody(by),
            // It has failed, and the program says that the request goes on then.
            (FunctionEnd::Continue, Identified::Unasked) => AuthenticatorOutcome::Absent,
        };
        if fields.is_empty() { outcome } else { AuthenticatorOutcome::WithFields(fields, Box::new(outcome)) }
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
            let entry = VerifiedCredential { user: Arc::clone(&user), until: by.until, id, binding: None };
            memory.insert(memory.tag(by.salt, &by.credentials), entry, bytes, by.epoch);
        }
        AuthenticatorOutcome::Accepted(user)
    }

    fn know_nobody(&self, by: Option<RememberedBy>) -> AuthenticatorOutcome {
        if let Some(by) = by {
            let unknown = &self.identity.unknown;
            let entry = VerifiedCredential { user: Arc::default(), until: by.until, id: None, binding: None };
            unknown.insert(unknown.tag(by.salt, &by.credentials), entry, by.credentials.len(), unknown.epoch());
        }
        // Without `key`, it is not known if there was a credential at all.
        match self.config.key {
            Some(_) => AuthenticatorOutcome::Refused(Refusal::Unknown),
            None => AuthenticatorOutcome::Absent,
        }
    }
}

/// Returns `jti` and `iat`, if the function has taken the user from a token (RFC 7519 section 4.1).
fn token_of(claims: &Map<String, Value>) -> (Option<Box<str>>, Option<Duration>) {
    let issued = claims.get("iat").and_then(Value::as_f64).filter(|at| *at >= 0.0);
    let issued = issued.and_then(|at| Duration::try_from_secs_f64(at).ok());
    (claims.get("jti").and_then(Value::as_str).map(Into::into), issued)
}

/// Returns about how many bytes the texts of a user take.
fn size_of_user(user: &User) -> usize {
    let permissions: usize = user.permissions.iter().map(String::len).sum();
    let claims: usize = user.claims.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
    user.id.len() + user.email.len() + user.role.len() + permissions + claims
}
