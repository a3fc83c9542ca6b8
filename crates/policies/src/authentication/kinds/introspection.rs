//! Bearer tokens whose issuer is asked about them (RFC 7662). What it says may bind them to keys.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::HookCall;
use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem};
use serde::{Deserialize, Serialize};

use crate::authentication::asked::IdentityFunction;
use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::binding::confirmation::Binding;
use crate::authentication::binding::evidence::{Evidence, SentToken};
use crate::authentication::binding::{self, BindingConfig, BindingRules, Looks};
use crate::authentication::identity::Identity;
use crate::authentication::kinds::function::{self, FunctionAuthenticator};
use crate::authentication::memory::KnownCredential;
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal};

/// What the plan says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    function: function::Config,
    /// Tokens that are bound to keys.
    binding: BindingConfig,
    /// Tolerated difference between clocks.
    leeway: Seconds,
}

/// The authenticator: a function that is asked about tokens, and what their senders must show besides.
pub(crate) struct Introspection {
    function: FunctionAuthenticator,
    binding: Arc<BindingRules>,
}

impl AuthenticatorKind for Introspection {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        let function = FunctionAuthenticator::build(config.function, identity)?;
        let binding = BindingRules::build(config.binding, config.leeway.0, identity)
            .map_err(|found| found.into_iter().map(|problem| problem.under("binding")).collect::<Vec<_>>())?;
        Ok(Self { function, binding: Arc::new(binding) })
    }

    fn name(&self) -> Option<&str> {
        self.function.name()
    }

    fn challenge(&self, realm: &str) -> String {
        match self.binding.challenge() {
            Some((challenge, true)) => challenge.to_owned(),
            _ => self.function.challenge(realm),
        }
    }

    fn second_challenge(&self) -> Option<String> {
        let (challenge, required) = self.binding.challenge()?;
        (!required).then(|| challenge.to_owned())
    }

    fn authenticate(&self, exchange: &Exchange, lockout: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let Some(sent) = SentToken::of(exchange) else { return AuthenticatorOutcome::Absent };
        let (evidence, at) = (Evidence::of(exchange, sent.scheme), Moment::of(exchange));
        match self.function.authenticate(exchange, lockout) {
            AuthenticatorOutcome::Wait(waiting) => {
                let (binding, token) = (Arc::clone(&self.binding), sent.text.to_vec());
                AuthenticatorOutcome::Wait(Box::pin(async move {
                    proven(&binding, waiting.await, &token, &evidence, at, Looks::ForReal)
                }))
            }
            outcome => proven(&self.binding, outcome, sent.text, &evidence, at, Looks::ForReal),
        }
    }

    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let Some(sent) = SentToken::of(exchange) else { return AuthenticatorOutcome::Absent };
        let (evidence, at) = (Evidence::of(exchange, sent.scheme), Moment::of(exchange));
        proven(&self.binding, self.function.preview(exchange), sent.text, &evidence, at, Looks::Only)
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if !self.function.forwards() {
            binding::strip(exchange);
        }
    }

    fn credential_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once("DPoP")
    }

    fn call(&self) -> Option<(&HookCall, bool)> {
        self.function.call()
    }

    fn connect(&self, function: Arc<dyn IdentityFunction>, revision: u64) {
        self.function.connect(function, revision);
    }

    fn takes_bearer_tokens(&self) -> bool {
        true
    }

    fn asks_about_tokens(&self) -> bool {
        true
    }
}

/// Judges an outcome by what the request shows besides its token: with every request, also for what is remembered.
fn proven(
    rules: &BindingRules,
    outcome: AuthenticatorOutcome,
    token: &[u8],
    evidence: &Evidence,
    at: Moment,
    looks: Looks,
) -> AuthenticatorOutcome {
    match outcome {
        AuthenticatorOutcome::Accepted(user) => match Binding::of(&user.claims) {
            Ok(binding) => rules.settle(KnownCredential { user, binding }, token, evidence, at, looks),
            Err(why) => AuthenticatorOutcome::Refused(rules.refusal(evidence.scheme, why)),
        },
        AuthenticatorOutcome::Refused(Refusal::Bad(why)) => {
            AuthenticatorOutcome::Refused(rules.refusal(evidence.scheme, why))
        }
        AuthenticatorOutcome::WithFields(fields, outcome) => {
            let outcome = proven(rules, *outcome, token, evidence, at, looks);
            AuthenticatorOutcome::WithFields(fields, Box::new(outcome))
        }
        outcome => outcome,
    }
}
