//! Authenticates clients with any of several authenticators.

mod authenticator;
mod authenticators;
mod binding;
mod credential;
mod failures;
mod identity;
mod key_set;
mod keys;
mod kinds;
mod memory;
mod object;
mod outcome;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::limit::{Clocks, headers};
use pylae_core::{Answer, Exchange, Problem, Rejection, Resume, Verdict};
use pylae_http::Name;
use serde::{Deserialize, Serialize};

pub use authenticators::Authenticators;
pub use identity::Identity;
pub use key_set::{Background, Fetched, KeySet, MAX_KEY_SET_BYTES};
pub use kinds::function::{AskedFunction, FunctionEnd, FunctionResult, IdentityFunction};
pub use kinds::jwt::TokenVerifier;

use crate::{Parts, Policy, PolicyShared};
use failures::Failures;
use kinds::Authenticator;
use outcome::{AuthenticatorOutcome, Refusal, Unproven};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names of the authenticators to try, in this order. If empty, the policy only strips credentials from requests.
    authenticators: Vec<String>,
    /// Whether a request without any credential is refused. A bad credential is always refused.
    required: bool,
}

/// The authentication policy. It sets the user of the exchange.
pub struct Authentication(Arc<AuthenticationRules>);

/// A refused credential, and whether it was a bearer token.
#[derive(Clone)]
struct Refused {
    why: Refusal,
    bearer: bool,
    /// Whether any authenticator has recognised it.
    recognised: bool,
}

impl Refused {
    /// Returns the one of two refusals of a request that counts.
    fn or(self, later: Self) -> Self {
        let recognised = self.recognised || later.recognised;
        let counts = if later.why.weight() > self.why.weight() { later } else { self };
        Self { recognised, ..counts }
    }
}

struct AuthenticationRules {
    authenticators: Vec<Arc<Authenticator>>,
    /// All authenticators of the plan. Their credentials are stripped even on routes that do not use them.
    all: Vec<Arc<Authenticator>>,
    required: bool,
    /// Distinct values of `WWW-Authenticate`.
    challenges: Vec<String>,
    failures: Option<Failures>,
    shared: Arc<PolicyShared>,
}

impl Policy for Authentication {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut authenticators = Vec::new();
        let mut problems = Vec::new();
        for (index, name) in config.authenticators.iter().enumerate() {
            match parts.auth.list.iter().find(|authenticator| authenticator.name() == name) {
                Some(found) => authenticators.push(Arc::clone(found)),
                None => problems.push(Problem::at(
                    format!("authenticators[{index}]"),
                    format!("there is no authenticator `{name}`"),
                )),
            }
        }
        if config.required && authenticators.is_empty() && problems.is_empty() {
            problems.push(Problem::at("authenticators", "there is none, so no user could be authenticated"));
        }
        let failures = parts.auth.failure_limit.and_then(|limit| {
            Failures::register(limit, parts.shared.cluster_counters())
                .map_err(|error| problems.push(Problem::at("failure_limit", error.to_string())))
                .ok()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut challenges: Vec<String> = Vec::new();
        let of = |one: &Arc<Authenticator>| [Some(one.challenge(&parts.auth.realm)), one.second_challenge()];
        for challenge in authenticators.iter().flat_map(of).flatten() {
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        let (shared, all) = (Arc::clone(parts.shared), parts.auth.list.clone());
        Ok(Self(Arc::new(AuthenticationRules {
            authenticators,
            all,
            required: config.required,
            challenges,
            failures,
            shared,
        })))
    }

    #[inline]
    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        // An instance might use either of the two (RFC 9110 section 5.3).
        if exchange.request.head.fields.count(Name::Authorization) > 1 {
            return reject(400, "invalid_request", "the request has more than one Authorization field".into(), &[]);
        }
        // An early hook has said who it is.
        if exchange.request.user.is_some() {
            return self.0.admit(exchange);
        }
        self.0.authenticate_from(exchange, 0, None)
    }

    fn preview(&self, exchange: &Exchange) -> String {
        if let Some(user) = &exchange.request.user {
            return format!("lets user {} pass, who is known already", user.id);
        }
        let (mut refused, mut unchecked) = (Vec::new(), None);
        for authenticator in &self.0.authenticators {
            match authenticator.preview(exchange).bare() {
                AuthenticatorOutcome::Accepted(user) => {
                    let role = if user.role.is_empty() { "no role" } else { user.role.as_str() };
                    let bound = if user.claims.contains_key("cnf") { PROOF_CHECKED } else { "" };
                    return format!("{} lets user {} ({role}) pass{bound}", authenticator.name(), user.id);
                }
                AuthenticatorOutcome::Refused(Refusal::Unproven(unproven)) => {
                    refused.push(format!("{}: {}", authenticator.name(), unproven.why));
                }
                AuthenticatorOutcome::Refused(Refusal::Answered { .. }) | AuthenticatorOutcome::Answered(_) => {
                    refused.push(format!("{}: the service has refused it", authenticator.name()));
                }
                AuthenticatorOutcome::Refused(Refusal::Bad(why)) => {
                    refused.push(format!("{}: {why}", authenticator.name()));
                }
                AuthenticatorOutcome::Refused(Refusal::Unknown) if self.0.required => {
                    refused.push(format!("{}: the credential belongs to no known user", authenticator.name()));
                }
                AuthenticatorOutcome::Refused(Refusal::Unchecked(why)) => {
                    unchecked = Some(format!("{}: {why}", authenticator.name()));
                }
                _ => {}
            }
        }
        if self.0.authenticators.is_empty() {
            return "requires no user, and keeps credentials for the gateway from the instance".to_owned();
        }
        let names: Vec<&str> = self.0.authenticators.iter().map(|authenticator| authenticator.name()).collect();
        let names = names.join(" or ");
        if let Some(unchecked) = unchecked {
            return format!("cannot be told: {unchecked}");
        }
        match (refused.is_empty(), self.0.required) {
            (false, _) => format!("401: {}", refused.join("; ")),
            (true, true) => format!("401: no credential for {names}"),
            (true, false) => format!("no credential for {names}, and none is required"),
        }
    }

    fn apply_preview(&self, exchange: &mut Exchange) {
        if exchange.request.user.is_some() {
            return;
        }
        exchange.request.user =
            self.0.authenticators.iter().find_map(|authenticator| match authenticator.preview(exchange).bare() {
                AuthenticatorOutcome::Accepted(user) => Some(user),
                _ => None,
            });
    }
}

impl Authentication {
    /// Returns true if it asks any authenticator.
    pub(crate) fn asks(&self) -> bool {
        !self.0.authenticators.is_empty()
    }

    /// Returns the names of the authenticators, one of which must accept the client. None if no user is required.
    pub(crate) fn required_authenticators(&self) -> Option<BTreeSet<&str>> {
        self.0.required.then(|| self.0.authenticators.iter().map(|authenticator| authenticator.name()).collect())
    }
}

impl AuthenticationRules {
    /// Tries the authenticators from index `next` on. `refusal` is the refusal of an earlier one.
    #[inline]
    fn authenticate_from(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        next: usize,
        mut refusal: Option<Refused>,
    ) -> Verdict {
        for index in next..self.authenticators.len() {
            let recognised = refusal.as_ref().is_some_and(|refused| refused.recognised);
            if recognised && self.authenticators[index].asks_about_tokens() {
                continue;
            }
            let outcome = self.authenticators[index].authenticate(exchange, || self.charge_failures(exchange, 0));
            match self.apply(exchange, index, outcome, refusal) {
                Ok(verdict) => return verdict,
                Err(so_far) => refusal = so_far,
            }
        }
        match refusal {
            Some(Refused { why: Refusal::Unknown | Refusal::Answered { credential: false, .. }, .. })
                if !self.required =>
            {
                self.admit(exchange)
            }
            Some(refusal) => self.reject_credential(exchange, refusal),
            None if self.required => self.unauthorized("authentication is required", false),
            None => self.admit(exchange),
        }
    }

    /// Admits the request and strips the credentials that instances must not see.
    fn admit(&self, exchange: &mut Exchange) -> Verdict {
        for authenticator in &self.all {
            authenticator.strip_credential(exchange);
        }
        Verdict::Continue
    }

    /// Turns the outcome of authenticator `index` into a verdict. Returns Err with the refusal so far if the next
    /// authenticator must be tried.
    #[inline]
    fn apply(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        index: usize,
        outcome: AuthenticatorOutcome,
        refusal: Option<Refused>,
    ) -> Result<Verdict, Option<Refused>> {
        match outcome {
            AuthenticatorOutcome::Absent => Err(refusal),
            AuthenticatorOutcome::Refused(why) => Err(Some(self.refused(index, why, false, refusal))),
            AuthenticatorOutcome::Judged(why) => Err(Some(self.refused(index, why, true, refusal))),
            AuthenticatorOutcome::Accepted(user) => {
                let verdict = self.admit(exchange);
                self.authenticators[index].pass_on(exchange, &user);
                exchange.request.user = Some(user);
                Ok(verdict)
            }
            AuthenticatorOutcome::Answered(answer) => Ok(Verdict::Answer(answer)),
            AuthenticatorOutcome::Rejected(rejection) => Ok(Verdict::Reject(rejection)),
            AuthenticatorOutcome::WithFields(fields, outcome) => {
                let own = &mut exchange.hook_visit().fields;
                for (name, value) in fields.added() {
                    // Cannot fail: they were validated when they were set.
                    let _ = own.append(name, value);
                }
                self.apply(exchange, index, *outcome, refusal)
            }
            AuthenticatorOutcome::Wait(waiting) => {
                let inner = Arc::clone(self);
                Ok(Verdict::Wait(Box::pin(async move {
                    let outcome = waiting.await;
                    Box::new(move |exchange: &mut Exchange| match inner.apply(exchange, index, outcome, refusal) {
                        Ok(verdict) => verdict,
                        Err(refusal) => inner.authenticate_from(exchange, index + 1, refusal),
                    }) as Resume
                })))
            }
        }
    }

    /// Returns the refusal that counts, after that of authenticator `index` has come to those so far.
    fn refused(&self, index: usize, why: Refusal, recognised: bool, so_far: Option<Refused>) -> Refused {
        let refused = Refused { why, bearer: self.authenticators[index].takes_bearer_tokens(), recognised };
        match so_far {
            Some(earlier) => earlier.or(refused),
            None => refused,
        }
    }

    /// Charges `cost` failures to the client's address. Returns how long the address must wait if its limit is used up.
    fn charge_failures(&self, exchange: &Exchange, cost: u32) -> Option<Duration> {
        let at = Clocks { now: exchange.times.now, wall: exchange.times.wall };
        self.failures.as_ref()?.charge(exchange.request.origin.client, cost, self.shared.cluster_counters(), at)
    }

    fn reject_credential(&self, exchange: &Exchange, refused: Refused) -> Verdict {
        match refused.why {
            Refusal::Limited(wait) => reject_too_many_failures(wait),
            Refusal::Unchecked(why) => {
                reject(503, "authentication_unavailable", why.into(), &[("Retry-After", "1".into())])
            }
            Refusal::Unavailable(rejection) => Verdict::Reject(rejection),
            Refusal::Answered { answer, credential: false } => self.answering(answer),
            // A client cannot know the nonce before it is told.
            Refusal::Unproven(unproven) if unproven.nonce.is_some() => self.unproven(*unproven),
            why => match (self.charge_failures(exchange, 1), why) {
                (Some(wait), _) => reject_too_many_failures(wait),
                (None, Refusal::Rejected(rejection)) => self.challenging(rejection),
                (None, Refusal::Answered { answer, .. }) => self.answering(answer),
                (None, Refusal::Unproven(unproven)) => self.unproven(*unproven),
                (None, Refusal::Bad(why)) => self.unauthorized(why, refused.bearer),
                (None, _) => self.unauthorized("the credential belongs to no known user", false),
            },
        }
    }

    /// Rejects as a function has said, with every challenge if it has given none (RFC 9110 section 15.5.2).
    fn challenging(&self, mut rejection: Box<Rejection>) -> Verdict {
        let mut names = rejection.headers.iter().map(|(name, _)| name);
        if !names.any(|name| name.eq_ignore_ascii_case("WWW-Authenticate")) {
            let challenges = self.challenges.iter().cloned();
            rejection.headers.extend(challenges.map(|challenge| ("WWW-Authenticate".into(), challenge)));
        }
        Verdict::Reject(rejection)
    }

    /// Rejects with 401: the challenge of the scheme in which the token is bound, with what is wrong, then all others.
    fn unproven(&self, Unproven { why, error, challenge, nonce }: Unproven) -> Verdict {
        let own = format!("{challenge}, error=\"{error}\", error_description=\"{why}\"");
        let mut headers = vec![("WWW-Authenticate", own)];
        let others = self.challenges.iter().filter(|other| **other != challenge);
        headers.extend(others.map(|other| ("WWW-Authenticate", other.clone())));
        headers.extend(nonce.map(|nonce| ("DPoP-Nonce", nonce)));
        reject(401, "unauthorized", why.into(), &headers)
    }

    /// Answers as a service has said, with the same.
    fn answering(&self, mut answer: Box<Answer>) -> Verdict {
        if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("WWW-Authenticate")) {
            let challenges = self.challenges.iter().cloned().map(String::into_bytes);
            answer.headers.extend(challenges.map(|challenge| ("WWW-Authenticate".into(), challenge)));
        }
        Verdict::Answer(answer)
    }

    /// Rejects with 401 and every challenge. Only a client that sent a bad bearer token is told why (RFC 6750 section
    /// 3).
    fn unauthorized(&self, message: &'static str, bearer: bool) -> Verdict {
        let challenges = self.challenges.iter().map(|challenge| {
            if bearer && challenge.starts_with("Bearer") {
                format!("{challenge}, error=\"invalid_token\", error_description=\"{message}\"")
            } else {
                challenge.clone()
            }
        });
        let headers: Vec<_> = challenges.map(|challenge| ("WWW-Authenticate", challenge)).collect();
        reject(401, "unauthorized", message.into(), &headers)
    }
}

/// What an explanation says of a token that is bound to a key, and was sent as it must be.
const PROOF_CHECKED: &str = "; its token is bound to a key, which the request shows (the proof is not used up by this)";

fn reject_too_many_failures(wait: Duration) -> Verdict {
    let message = "too many failed authentications from this address";
    reject(429, "too_many_failures", message.into(), &[("Retry-After", headers::seconds(wait).max(1).to_string())])
}

/// Returns a rejection as a verdict.
pub(crate) fn reject(
    status: u16,
    code: &'static str,
    message: std::borrow::Cow<'static, str>,
    headers: &[(&'static str, String)],
) -> Verdict {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Verdict::Reject(Box::new(Rejection { status, code, message, headers }))
}

#[cfg(test)]
mod tests;
