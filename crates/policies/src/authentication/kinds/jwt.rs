//! `Authorization: Bearer` or `DPoP` with a JSON Web Token (RFC 6750, RFC 7519, RFC 9449).

use std::sync::Arc;
use std::time::Duration;

use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, User};
use serde::{Deserialize, Serialize};

use crate::authentication::authenticator::AuthenticatorKind;
use crate::authentication::binding::evidence::{Evidence, Scheme, SentToken};
use crate::authentication::binding::{self, BindingConfig, BindingRules, Looks};
use crate::authentication::identity::Identity;
use crate::authentication::key_set::{KeyFetch, KeySet};
use crate::authentication::keys::{KeyConfig, Keys, SignatureAlgorithm};
use crate::authentication::memory::{CredentialTag, KnownCredential, VerifiedCredential};
use crate::authentication::outcome::{AuthenticatorOutcome, Moment, Refusal};
use crate::authentication::token::{self, TokenError, TokenRules, Verified};

/// How long a token without `exp` is remembered.
const MAX_REMEMBERED: Duration = Duration::from_secs(3600);

/// What the plan says.
#[derive(Clone, Serialize, Deserialize)]
pub struct Config {
    name: String,
    keys: KeyConfig,
    /// Accepted algorithms; empty accepts the default algorithm of each key.
    algorithms: Vec<SignatureAlgorithm>,
    /// How often keys at a URL are fetched.
    refresh: Seconds,
    /// Maximum bytes of a token.
    max_size: usize,
    #[serde(flatten)]
    rules: TokenRules,
    binding: BindingConfig,
    /// Whether instances see the token.
    forward_credentials: bool,
}

/// Verifies tokens as the authenticator does, with keys that are at hand. It remembers nothing, and knows of no
/// revocations.
pub struct TokenVerifier {
    keys: Keys,
    rules: TokenRules,
    max_size: usize,
}

impl TokenVerifier {
    /// Problems have paths relative to the settings.
    pub fn build(config: Config) -> Result<Self, Vec<Problem>> {
        let keys = keys_at_hand(&config.keys, &config.algorithms)?;
        Ok(Self { keys, rules: config.rules, max_size: config.max_size })
    }

    /// Returns whose token it is at `wall`, the time since the Unix epoch, or why it is refused. A token that is bound
    /// to a key is refused, because nobody shows the key here.
    pub fn verify(&self, token: &str, wall: Duration) -> Result<Arc<User>, token::RefusalReason> {
        if token.len() > self.max_size {
            return Err(TOO_LARGE);
        }
        match token::verify(token, &self.keys, &self.rules, wall) {
            Ok(verified) if verified.binding.is_some() => Err("the token is bound to a key, which nobody shows here"),
            Ok(verified) => Ok(verified.user),
            Err(TokenError::Refused(why) | TokenError::Judged(why) | TokenError::UnknownKey(why)) => Err(why),
        }
    }
}

/// Returns the keys that the plan itself holds.
fn keys_at_hand(config: &KeyConfig, allowed: &[SignatureAlgorithm]) -> Result<Keys, Vec<Problem>> {
    match config {
        KeyConfig::Secret(secrets) => Keys::from_secrets(secrets, allowed),
        KeyConfig::Pem(texts) => Keys::from_pem(texts, allowed),
        KeyConfig::Jwks(text) => {
            Keys::from_jwks(text.as_bytes(), allowed, true).map_err(|why| vec![Problem::at("keys.value", why)])
        }
        KeyConfig::Url(_) => Err(vec![Problem::at("keys", "keys from a URL are not available here")]),
    }
}

/// The authenticator.
pub(crate) struct Jwt {
    inner: Arc<JwtVerifier>,
    forward: bool,
}

struct JwtVerifier {
    name: String,
    source: JwtKeys,
    rules: TokenRules,
    binding: BindingRules,
    max_size: usize,
    salt: u64,
    identity: Arc<Identity>,
}

enum JwtKeys {
    Fixed(Arc<Keys>),
    At(Arc<KeySet>),
}

const TOO_LARGE: token::RefusalReason = "the token is too large";
const REVOKED: token::RefusalReason = "the token was revoked";
const NO_KEYS: &str = "the keys that tokens are verified with are not available";

impl AuthenticatorKind for Jwt {
    type Config = Config;

    fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        // Cannot fail: strings, numbers and lists.
        let settings = serde_json::to_string(&config).unwrap_or_default();
        let allowed = &config.algorithms[..];
        let source = if let KeyConfig::Url(url) = &config.keys {
            let set = identity.key_sets.get(url, allowed, config.refresh.0);
            if let Some(background) = identity.background() {
                background.watch(&set);
            }
            JwtKeys::At(set)
        } else {
            JwtKeys::Fixed(Arc::new(keys_at_hand(&config.keys, allowed)?))
        };
        let binding = BindingRules::build(config.binding, config.rules.leeway.0, identity)
            .map_err(|found| found.into_iter().map(|problem| problem.under("binding")).collect::<Vec<_>>())?;
        let inner = JwtVerifier {
            name: config.name,
            source,
            binding,
            rules: config.rules,
            max_size: config.max_size,
            salt: identity.memory.salt(&settings),
            identity: Arc::clone(identity),
        };
        Ok(Self { inner: Arc::new(inner), forward: config.forward_credentials })
    }

    fn name(&self) -> Option<&str> {
        Some(&self.inner.name)
    }

    fn takes_bearer_tokens(&self) -> bool {
        true
    }

    fn challenge(&self, realm: &str) -> String {
        match self.inner.binding.challenge() {
            Some((challenge, true)) => challenge.to_owned(),
            _ => format!("Bearer realm=\"{realm}\""),
        }
    }

    fn second_challenge(&self) -> Option<String> {
        let (challenge, required) = self.inner.binding.challenge()?;
        (!required).then(|| challenge.to_owned())
    }

    #[inline]
    fn authenticate(&self, exchange: &Exchange, lockout: impl FnOnce() -> Option<Duration>) -> AuthenticatorOutcome {
        let Some(sent) = SentToken::of(exchange) else { return AuthenticatorOutcome::Absent };
        if sent.text.len() > self.inner.max_size {
            return self.inner.refused(sent.scheme, TOO_LARGE);
        }
        let at = Moment::of(exchange);
        let tag = self.inner.tag(sent.text);
        match self.inner.identity.memory.get(tag, at.wall) {
            Some(known) => judged(self.inner.binding.admit(known, sent, exchange)),
            None => self.verify_new(exchange, sent, tag, at, lockout),
        }
    }

    fn preview(&self, exchange: &Exchange) -> AuthenticatorOutcome {
        let Some(sent) = SentToken::of(exchange) else { return AuthenticatorOutcome::Absent };
        if sent.text.len() > self.inner.max_size {
            return self.inner.refused(sent.scheme, TOO_LARGE);
        }
        let keys = match &self.inner.source {
            JwtKeys::Fixed(keys) => Arc::clone(keys),
            JwtKeys::At(_) => {
                return AuthenticatorOutcome::Refused(Refusal::Unchecked("the keys would have to be fetched first"));
            }
        };
        let token = std::str::from_utf8(sent.text).unwrap_or_default();
        let at = Moment::of(exchange);
        match token::verify(token, &keys, &self.inner.rules, at.wall) {
            Err(failure) => self.inner.refusal(token, sent.scheme, failure),
            Ok(Verified { user, binding, .. }) => {
                let evidence = Evidence::of(exchange, sent.scheme);
                judged(self.inner.binding.settle(
                    KnownCredential { user, binding },
                    sent.text,
                    &evidence,
                    at,
                    Looks::Only,
                ))
            }
        }
    }

    fn strip_credential(&self, exchange: &mut Exchange) {
        if !self.forward {
            binding::strip(exchange);
        }
    }

    fn credential_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once("DPoP")
    }
}

impl Jwt {
    /// Verifies a token that is not in the credential cache.
    fn verify_new(
        &self,
        exchange: &Exchange,
        sent: SentToken<'_>,
        tag: CredentialTag,
        at: Moment,
        lockout: impl FnOnce() -> Option<Duration>,
    ) -> AuthenticatorOutcome {
        if let Some(wait) = lockout() {
            return AuthenticatorOutcome::Refused(Refusal::Limited(wait));
        }
        let Ok(token) = std::str::from_utf8(sent.text) else {
            return self.inner.refused(sent.scheme, token::NOT_A_TOKEN);
        };
        match self.inner.verify(token, tag, at) {
            Ok(known) => judged(self.inner.binding.admit(known, sent, exchange)),
            Err(TokenError::UnknownKey(why)) => {
                self.wait_for_key(token, tag, at, Evidence::of(exchange, sent.scheme), why)
            }
            Err(failure) => self.inner.refusal(token, sent.scheme, failure),
        }
    }

    /// Waits for a newer key set if one can be fetched now; refuses the token otherwise. `verified` is the tag with
    /// which the token was verified.
    pub(crate) fn wait_for_key(
        &self,
        token: &str,
        verified: CredentialTag,
        at: Moment,
        evidence: Evidence,
        why: token::RefusalReason,
    ) -> AuthenticatorOutcome {
        let refusal = || self.inner.refusal(token, evidence.scheme, TokenError::UnknownKey(why));
        let JwtKeys::At(set) = &self.inner.source else { return refusal() };
        let Some(background) = self.inner.identity.background() else { return refusal() };
        if matches!(set.request_fetch(at.now), KeyFetch::NotSoon) {
            // A fetch may have finished since the token was verified.
            return if self.inner.tag(token.as_bytes()) == verified {
                refusal()
            } else {
                self.inner.reverify(token, at, &evidence)
            };
        }
        background.watch(set);
        let (inner, set, token) = (Arc::clone(&self.inner), Arc::clone(set), token.to_owned());
        AuthenticatorOutcome::Wait(Box::pin(async move {
            set.wait_for_fetch(at.now).await;
            inner.reverify(&token, at, &evidence)
        }))
    }
}

/// The token is signed by an accepted issuer, or says that it is: nobody else decides about it.
#[inline]
fn judged(outcome: AuthenticatorOutcome) -> AuthenticatorOutcome {
    match outcome {
        AuthenticatorOutcome::Refused(why) => AuthenticatorOutcome::Judged(why),
        outcome => outcome,
    }
}

impl JwtVerifier {
    #[inline]
    fn tag(&self, token: &[u8]) -> CredentialTag {
        let generation = match &self.source {
            JwtKeys::Fixed(_) => 0,
            JwtKeys::At(set) => set.generation(),
        };
        self.identity.memory.tag(self.salt ^ generation, token)
    }

    /// Verifies a token and remembers it.
    fn verify(&self, token: &str, tag: CredentialTag, at: Moment) -> Result<KnownCredential, TokenError> {
        let memory = &self.identity.memory;
        let epoch = memory.epoch();
        let keys = match &self.source {
            JwtKeys::Fixed(keys) => Some(Arc::clone(keys)),
            JwtKeys::At(set) => set.current(),
        };
        let keys = keys.ok_or(TokenError::UnknownKey(token::UNKNOWN_KEY))?;
        let Verified { user, expires, issued, id, binding } = token::verify(token, &keys, &self.rules, at.wall)?;
        if memory.is_revoked(&user, id.as_deref(), issued, at.wall) {
            return Err(TokenError::Judged(REVOKED));
        }
        let until = expires.unwrap_or_else(|| at.wall.saturating_add(MAX_REMEMBERED));
        let known = KnownCredential { user: Arc::clone(&user), binding: binding.clone() };
        let entry = VerifiedCredential { user, until, id: id.map(Into::into), binding, answer: None };
        memory.insert(tag, entry, token.len(), epoch);
        Ok(known)
    }

    /// Verifies a token with the keys now in force.
    fn reverify(&self, token: &str, at: Moment, evidence: &Evidence) -> AuthenticatorOutcome {
        let tag = self.tag(token.as_bytes());
        match self.verify(token, tag, at) {
            Ok(known) => judged(self.binding.settle(known, token.as_bytes(), evidence, at, Looks::ForReal)),
            Err(failure) => self.refusal(token, evidence.scheme, failure),
        }
    }

    fn refused(&self, scheme: Scheme, why: token::RefusalReason) -> AuthenticatorOutcome {
        AuthenticatorOutcome::Refused(self.binding.refusal(scheme, why))
    }

    fn refusal(&self, token: &str, scheme: Scheme, failure: TokenError) -> AuthenticatorOutcome {
        match (failure, &self.source) {
            (TokenError::Judged(why), _) => judged(self.refused(scheme, why)),
            (TokenError::UnknownKey(_), JwtKeys::At(set)) if set.current().is_none() => {
                AuthenticatorOutcome::Refused(Refusal::Unchecked(NO_KEYS))
            }
            (TokenError::Refused(why) | TokenError::UnknownKey(why), _) if self.rules.claims_issuer(token) => {
                judged(self.refused(scheme, why))
            }
            (TokenError::Refused(why) | TokenError::UnknownKey(why), _) => self.refused(scheme, why),
        }
    }
}
