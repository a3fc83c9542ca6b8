//! What a policy is.

use std::sync::{Arc, OnceLock};

use pylae_core::cache::Cache;
use pylae_core::limit::{InFlightTable, MemoryCounterStore};
use pylae_core::{Exchange, Problem, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authentication::{Authenticators, Identity};

/// One feature of a route: sees every request of the route before it is forwarded, and every response before it is sent.
pub trait Policy: Sized + Send + Sync + 'static {
    /// What the plan says about it. Unknown fields are refused, every field is required: defaults are Python's.
    type Config: DeserializeOwned + Serialize;

    /// Makes the policy ready to run. Everything that can be computed once is computed here. Problems carry paths
    /// relative to the configuration, e.g. `origins[1]`.
    fn build(config: Self::Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>>;

    /// The request half. Runs once per exchange, in table order.
    fn on_request(&self, _exchange: &mut Exchange) -> Verdict {
        Verdict::Continue
    }

    /// Bytes of the request body that the policy wants in memory. None, which is the rule, lets bodies stream past it.
    fn body_limit(&self) -> Option<usize> {
        None
    }

    /// The body half. Runs behind all request halves, for policies with a `body_limit`. `body` is what was read, which is
    /// all of it if `complete`; else it is longer than any policy of the route wanted, and the rest follows unseen.
    fn on_body(&self, _exchange: &mut Exchange, _body: &[u8], _complete: bool) -> Verdict {
        Verdict::Continue
    }

    /// The response half. Runs if and only if the request half was entered, in reverse order, on rejections too.
    fn on_response(&self, _exchange: &mut Exchange) {}

    /// Whether CORS preflights are answered here, so that the route takes those for its requests.
    fn answers_preflights(&self) -> bool {
        false
    }

    /// What the request half would decide, in words, without side effects.
    fn preview(&self, exchange: &Exchange) -> String;

    /// Does to an exchange that is only looked at what the previews of later policies build on.
    fn apply_preview(&self, _exchange: &mut Exchange) {}
}

/// What a policy may use from outside while it is built.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Name of the route that it is built for.
    pub route: &'a str,
    /// Names of the values that the route's match captures, parallel to `Exchange::params`.
    pub params: &'a [Box<str>],
    /// What all policies of all routes share.
    pub shared: &'a Arc<PolicyShared>,
    /// The authenticators of the plan.
    pub auth: &'a Authenticators,
}

/// What outlives a reload and is shared by all workers. One field for each kind of state.
pub struct PolicyShared {
    /// Cells of all rate limits.
    pub counters: MemoryCounterStore,
    /// Verified credentials, revocations, fetched keys.
    pub identity: Arc<Identity>,
    /// Exchanges in flight under limits of concurrency.
    pub in_flight: Arc<InFlightTable>,
    /// The response cache, once a route has one.
    cache: OnceLock<Arc<Cache>>,
    cache_size: u64,
}

impl PolicyShared {
    /// Nothing counted yet; at most `max_keys` keys of rate limits, and no room for stored responses.
    pub fn new(max_keys: usize) -> Self {
        Self {
            counters: MemoryCounterStore::new(max_keys),
            identity: Arc::default(),
            in_flight: InFlightTable::new(),
            cache: OnceLock::new(),
            cache_size: 0,
        }
    }

    /// The same with room for so many bytes of stored responses.
    #[must_use]
    pub fn with_cache(self, bytes: u64) -> Self {
        Self { cache_size: bytes, ..self }
    }

    /// The response cache; made when the first route asks for it.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        self.cache.get_or_init(|| Cache::new(self.cache_size))
    }

    /// The response cache, if a route has had one.
    pub fn cache_if_used(&self) -> Option<&Arc<Cache>> {
        self.cache.get()
    }
}
