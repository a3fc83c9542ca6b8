//! `Authorization: Bearer` with a JSON Web Token (RFC 6750, RFC 7519).

use std::sync::Arc;
use std::time::Duration;

use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem, User};
use pylae_http::Name;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::key_set::{Hope, KeySet};
use super::keys::{Algorithm, Given, Keys};
use super::memory::{Entry, Tag};
use super::outcome::{Moment, Outcome, Refusal, credential};
use super::token::{self, Failure, Rules, Verified};

/// Longest time for which a token without `exp` is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What the plan says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Config {
    name: String,
    keys: Given,
    /// Accepted algorithms; empty takes the usual one of each key.
    algorithms: Vec<Algorithm>,
    /// How often keys at an address are fetched.
    refresh: Seconds,
    /// Bytes of a token.
    max_size: usize,
    #[serde(flatten)]
    rules: Rules,
    /// Whether instances see the token.
    forward_credentials: bool,
}

/// The authenticator.
pub(super) struct Jwt {
    inner: Arc<Inner>,
    forward: bool,
}

struct Inner {
    name: String,
    source: Source,
    rules: Rules,
    max_size: usize,
    salt: u64,
    identity: Arc<Identity>,
}

enum Source {
    Fixed(Arc<Keys>),
    At(Arc<KeySet>),
}

const TOO_LARGE: token::Why = "the token is too large";
const REVOKED: token::Why = "the token was revoked";
const NO_KEYS: &str = "the keys that tokens are verified with are not available";

impl Jwt {
    pub(super) fn build(config: Config, identity: &Arc<Identity>) -> Result<Self, Vec<Problem>> {
        // Cannot fail: strings, numbers and lists.
        let settings = serde_json::to_string(&config).unwrap_or_default();
        let allowed = &config.algorithms[..];
        let fixed = |keys: Keys| Source::Fixed(Arc::new(keys));
        let source = match &config.keys {
            Given::Secret(secrets) => fixed(Keys::from_secrets(secrets, allowed)?),
            Given::Pem(texts) => fixed(Keys::from_pem(texts, allowed)?),
            Given::Jwks(text) => fixed(
                Keys::from_jwks(text.as_bytes(), allowed, true).map_err(|why| vec![Problem::at("keys.value", why)])?,
            ),
            Given::Url(url) => {
                let set = identity.key_sets.get(url, allowed, config.refresh.0);
                if let Some(background) = identity.background() {
                    background.look_after(&set);
                }
                Source::At(set)
            }
        };
        let inner = Inner {
            name: config.name,
            source,
            rules: config.rules,
            max_size: config.max_size,
            salt: identity.memory.salt(&settings),
            identity: Arc::clone(identity),
        };
        Ok(Self { inner: Arc::new(inner), forward: config.forward_credentials })
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.name
    }

    #[inline]
    pub(super) fn ask(&self, exchange: &Exchange, peek: impl FnOnce() -> Option<Duration>) -> Outcome {
        let Some(token) = credential(exchange, "bearer") else { return Outcome::Absent };
        if token.len() > self.inner.max_size {
            return Outcome::Refused(Refusal::Bad(TOO_LARGE));
        }
        let at = Moment::of(exchange);
        let tag = self.inner.tag(token);
        match self.inner.identity.memory.recall(tag, at.wall) {
            Some(user) => Outcome::Accepted(user),
            None => self.first_sight(token, tag, at, peek),
        }
    }

    /// A token that is not remembered.
    fn first_sight(&self, token: &[u8], tag: Tag, at: Moment, peek: impl FnOnce() -> Option<Duration>) -> Outcome {
        if let Some(wait) = peek() {
            return Outcome::Refused(Refusal::Limited(wait));
        }
        let Ok(token) = std::str::from_utf8(token) else {
            return self.inner.refused(Failure::Refused(token::NOT_A_TOKEN));
        };
        match self.inner.verify(token, tag, at) {
            Ok(user) => Outcome::Accepted(user),
            Err(Failure::UnknownKey(why)) => self.look_for_key(token, at, why),
            Err(failure) => self.inner.refused(failure),
        }
    }

    /// Waits for a newer set of keys, if there may be one.
    fn look_for_key(&self, token: &str, at: Moment, why: token::Why) -> Outcome {
        let refused = || self.inner.refused(Failure::UnknownKey(why));
        let Source::At(set) = &self.inner.source else { return refused() };
        let Some(background) = self.inner.identity.background() else { return refused() };
        if matches!(set.ask(at.now), Hope::None) {
            return refused();
        }
        background.look_after(set);
        let (inner, set, token) = (Arc::clone(&self.inner), Arc::clone(set), token.to_owned());
        Outcome::Wait(Box::pin(async move {
            set.fetched(at.now).await;
            let tag = inner.tag(token.as_bytes());
            inner.verify(&token, tag, at).map_or_else(|failure| inner.refused(failure), Outcome::Accepted)
        }))
    }

    pub(super) fn preview(&self, exchange: &Exchange) -> Outcome {
        let Some(token) = credential(exchange, "bearer") else { return Outcome::Absent };
        if token.len() > self.inner.max_size {
            return Outcome::Refused(Refusal::Bad(TOO_LARGE));
        }
        let keys = match &self.inner.source {
            Source::Fixed(keys) => Arc::clone(keys),
            Source::At(_) => return Outcome::Refused(Refusal::Unchecked("the keys would have to be fetched first")),
        };
        let token = std::str::from_utf8(token).unwrap_or_default();
        token::verify(token, &keys, &self.inner.rules, exchange.times.wall)
            .map_or_else(|failure| self.inner.refused(failure), |verified| Outcome::Accepted(verified.user))
    }

    pub(super) fn conceal(&self, exchange: &mut Exchange) {
        if !self.forward && credential(exchange, "bearer").is_some() {
            exchange.request.edits.remove_known(Name::Authorization);
        }
    }
}

impl Inner {
    #[inline]
    fn tag(&self, token: &[u8]) -> Tag {
        let generation = match &self.source {
            Source::Fixed(_) => 0,
            Source::At(set) => set.generation(),
        };
        self.identity.memory.tag(self.salt ^ generation, token)
    }

    /// Verifies a token and remembers it.
    fn verify(&self, token: &str, tag: Tag, at: Moment) -> Result<Arc<User>, Failure> {
        let memory = &self.identity.memory;
        let epoch = memory.epoch();
        let keys = match &self.source {
            Source::Fixed(keys) => Some(Arc::clone(keys)),
            Source::At(set) => set.current(),
        };
        let keys = keys.ok_or(Failure::UnknownKey(token::UNKNOWN_KEY))?;
        let Verified { user, expires, issued, id } = token::verify(token, &keys, &self.rules, at.wall)?;
        if memory.is_revoked(&user, id.as_deref(), issued, at.wall) {
            return Err(Failure::Refused(REVOKED));
        }
        let until = expires.unwrap_or_else(|| at.wall.saturating_add(REMEMBERED));
        let entry = Entry { user: Arc::clone(&user), until, id: id.map(Into::into) };
        memory.remember(tag, entry, token.len(), epoch);
        Ok(user)
    }

    fn refused(&self, failure: Failure) -> Outcome {
        Outcome::Refused(match (failure, &self.source) {
            (Failure::UnknownKey(_), Source::At(set)) if set.current().is_none() => Refusal::Unchecked(NO_KEYS),
            (Failure::Refused(why) | Failure::UnknownKey(why), _) => Refusal::Bad(why),
        })
    }
}
