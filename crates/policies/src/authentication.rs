//! Authenticates clients with any of several authenticators.

mod asked;
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
use pylae_core::request::fetch;
use pylae_core::{Exchange, Problem, Resume, Verdict};
use pylae_http::{Edits, Name};
use serde::{Deserialize, Serialize};

pub use asked::{AskedFunction, FunctionEnd, FunctionResult, IdentityFunction};
pub use authenticators::Authenticators;
pub use identity::Identity;
pub use key_set::{Background, Fetched, KeySet, MAX_KEY_SET_BYTES};
pub use kinds::jwt::TokenVerifier;

use crate::{Parts, Policy, PolicyShared};
use failures::Failures;
use kinds::Authenticator;
use outcome::challenges::Challenges;
pub(crate) use outcome::challenges::reject;
use outcome::{AuthenticatorOutcome, NOT_A_TOKEN, Refusal};

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
        // One that cannot read a token says less about it than one that can.
        let unread = self.bearer && later.bearer && self.why == Refusal::Bad(NOT_A_TOKEN);
        let (before, after) = (self.why.weight(), later.why.weight());
        let counts = if after > before || unread && after == before { later } else { self };
        Self { recognised, ..counts }
    }
}

struct AuthenticationRules {
    authenticators: Vec<Arc<Authenticator>>,
    /// All authenticators of the plan. Their credentials are stripped even on routes that do not use them.
    all: Vec<Arc<Authenticator>>,
    required: bool,
    /// The first one that can send people elsewhere to log in.
    inviting: Option<Arc<Authenticator>>,
    challenges: Challenges,
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
        let of = |one: &Arc<Authenticator>| [Some(one.challenge(&parts.auth.realm)), one.second_challenge()];
        let challenges = Challenges::new(authenticators.iter().flat_map(of).flatten());
        let inviting = authenticators.iter().find(|authenticator| authenticator.invites()).map(Arc::clone);
        let (shared, all) = (Arc::clone(parts.shared), parts.auth.list.clone());
        Ok(Self(Arc::new(AuthenticationRules {
            authenticators,
            all,
            required: config.required,
            inviting,
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
        let (mut refused, mut unchecked, mut no_session) = (Vec::new(), None, None);
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
                AuthenticatorOutcome::NoSession(why) => {
                    no_session = Some(format!("{}: no session ({})", authenticator.name(), why.name()));
                }
                AuthenticatorOutcome::Rejected(rejection) => {
                    return format!("{}: {}: {}", rejection.status, authenticator.name(), rejection.message);
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
        if let Some(inviting) = self.0.inviting(exchange).filter(|_| refused.is_empty()) {
            return format!("302: {} begins a login", inviting.name());
        }
        refused.extend(no_session.filter(|_| self.0.required));
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
            None if self.required => self.invite_or(exchange, "authentication is required"),
            None => self.admit(exchange),
        }
    }

    /// Returns the authenticator that begins a login for this request, if nobody is known by it.
    fn inviting(&self, exchange: &Exchange) -> Option<&Arc<Authenticator>> {
        self.inviting.as_ref().filter(|_| self.required && fetch::is_navigation(exchange))
    }

    /// Begins a login if a browser asks for a page; refuses other requests.
    fn invite_or(self: &Arc<Self>, exchange: &mut Exchange, refusal: &'static str) -> Verdict {
        match self.inviting(exchange).map(|inviting| inviting.invite(exchange)) {
            Some(outcome) => self.invited(exchange, outcome, refusal),
            None => self.challenges.unauthorized(refusal, false),
        }
    }

    /// Turns what has come of an invitation into a verdict. Nobody is let in by it.
    fn invited(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        outcome: AuthenticatorOutcome,
        refusal: &'static str,
    ) -> Verdict {
        match outcome {
            AuthenticatorOutcome::Answered(answer) => Verdict::Answer(answer),
            AuthenticatorOutcome::Rejected(rejection) => Verdict::Reject(rejection),
            AuthenticatorOutcome::Refused(Refusal::Rejected(rejection)) => self.challenges.challenging(rejection),
            AuthenticatorOutcome::WithFields(fields, outcome) => {
                add_fields(exchange, &fields);
                self.invited(exchange, *outcome, refusal)
            }
            AuthenticatorOutcome::Wait(waiting) => {
                let inner = Arc::clone(self);
                Verdict::Wait(Box::pin(async move {
                    let outcome = waiting.await;
                    Box::new(move |exchange: &mut Exchange| inner.invited(exchange, outcome, refusal)) as Resume
                }))
            }
            _ => self.challenges.unauthorized(refusal, false),
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
            AuthenticatorOutcome::NoSession(why) => {
                exchange.set_no_session(why);
                self.shared.identity.no_sessions.add(why);
                Err(refusal)
            }
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
                add_fields(exchange, &fields);
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

    fn reject_credential(self: &Arc<Self>, exchange: &mut Exchange, refused: Refused) -> Verdict {
        match refused.why {
            Refusal::Limited(wait) => reject_too_many_failures(wait),
            Refusal::Unchecked(why) => {
                reject(503, "authentication_unavailable", why.into(), &[("Retry-After", "1".into())])
            }
            Refusal::Unavailable(rejection) => Verdict::Reject(rejection),
            Refusal::Answered { answer, credential: false } => self.challenges.answering(answer),
            // A client cannot know the nonce before it is told.
            Refusal::Unproven(unproven) if unproven.nonce.is_some() => self.challenges.unproven(*unproven),
            why => match (self.charge_failures(exchange, 1), why) {
                (Some(wait), _) => reject_too_many_failures(wait),
                (None, Refusal::Rejected(rejection)) => self.challenges.challenging(rejection),
                (None, Refusal::Answered { answer, .. }) => self.challenges.answering(answer),
                (None, Refusal::Unproven(unproven)) => self.challenges.unproven(*unproven),
                (None, Refusal::Bad(why)) => self.challenges.unauthorized(why, refused.bearer),
                (None, _) => self.invite_or(exchange, "the credential belongs to no known user"),
            },
        }
    }
}

/// What an explanation says of a token that is bound to a key, and was sent as it must be.
const PROOF_CHECKED: &str = "; its token is bound to a key, which the request shows (the proof is not used up by this)";

/// Adds fields to whatever answer comes.
fn add_fields(exchange: &mut Exchange, fields: &Edits) {
    let own = &mut exchange.hook_visit().fields;
    for (name, value) in fields.added() {
        // Cannot fail: they were validated when they were set.
        let _ = own.append(name, value);
    }
}

fn reject_too_many_failures(wait: Duration) -> Verdict {
    let message = "too many failed authentications from this address";
    reject(429, "too_many_failures", message.into(), &[("Retry-After", headers::seconds(wait).max(1).to_string())])
}

#[cfg(test)]
mod tests;
