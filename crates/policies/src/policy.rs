//! The policy trait, and what policies share.

use std::sync::{Arc, OnceLock};

use pylae_core::cache::Cache;
use pylae_core::cluster::{CacheChange, Outbox};
use pylae_core::limit::{CounterStore, InFlightTable, MemoryCounterStore, SharedInFlight};
use pylae_core::{Exchange, Problem, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::authentication::{Authenticators, Identity};

/// One feature of a route. It sees every request before it is forwarded, and every response before it is sent.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The policy's part of the plan. Unknown fields are refused and every field is required, because Python fills in
    /// the defaults.
    type Config: DeserializeOwned + Serialize;

    /// Compiles the policy: everything that can be computed once is computed here. Paths of problems are relative to
    /// the configuration, e.g. `origins[1]`.
    fn build(config: Self::Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>>;

    /// The request half. Runs once per exchange, in table order.
    fn on_request(&self, _exchange: &mut Exchange) -> Verdict {
        Verdict::Continue
    }

    /// Returns how many bytes of the request body the policy needs in memory. With the default, None, bodies stream
    /// past it.
    fn body_limit(&self) -> Option<usize> {
        None
    }

    /// The body half. Runs after all request halves, for policies with a `body_limit`. If `complete` is true, `body` is
    /// the whole body. Otherwise the body is longer than any policy of the route asked for, and the rest streams past
    /// unseen.
    fn on_body(&self, _exchange: &mut Exchange, _body: &[u8], _complete: bool) -> Verdict {
        Verdict::Continue
    }

    /// The response half. Runs if and only if the request half was entered, in reverse order. It also sees rejections.
    fn on_response(&self, _exchange: &mut Exchange) {}

    /// Returns true if the policy answers CORS preflights; the route then also matches preflights of its requests.
    fn answers_preflights(&self) -> bool {
        false
    }

    /// Describes what the request half would decide, without side effects.
    fn preview(&self, exchange: &Exchange) -> String;

    /// Applies those effects of the request half that previews of later policies depend on, such as the user.
    fn apply_preview(&self, _exchange: &mut Exchange) {}
}

/// What a policy may use while it is built.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Name of the route.
    pub route: &'a str,
    /// Name of the route's service; empty if it has none of its own.
    pub service: &'a str,
    /// Names of the values that the route's match captures, in the order of `Exchange::params`.
    pub params: &'a [Box<str>],
    /// State shared by all policies of all routes.
    pub shared: &'a Arc<PolicyShared>,
    /// The authenticators of the plan.
    pub auth: &'a Authenticators,
}

/// State that survives a reload and is shared by all workers.
pub struct PolicyShared {
    /// Counters of all rate limits that this node counts on its own.
    pub counters: MemoryCounterStore,
    /// Counters that all nodes of the cluster share, if the gateway is one of them.
    pub(crate) shared_counters: Option<Arc<dyn CounterStore>>,
    /// Verified credentials, revocations, fetched keys.
    pub identity: Arc<Identity>,
    /// Exchanges in flight, per key of each concurrency limit.
    pub in_flight: Arc<InFlightTable>,
    /// Places for exchanges that all nodes of the cluster share, if the gateway is one of them.
    pub(crate) shared_in_flight: Option<SharedInFlight>,
    /// The response cache. It is created when the first route uses it.
    cache: OnceLock<Arc<Cache>>,
    cache_size: u64,
    /// Where changes of the response cache wait until other nodes are told, if there are any.
    outbox: OnceLock<Arc<Outbox>>,
}

impl PolicyShared {
    /// Creates empty state for at most `max_keys` rate-limit keys, with a response cache of zero bytes.
    pub fn new(max_keys: usize) -> Self {
        Self {
            counters: MemoryCounterStore::new(max_keys),
            shared_counters: None,
            identity: Arc::default(),
            in_flight: InFlightTable::new(),
            shared_in_flight: None,
            cache: OnceLock::new(),
            cache_size: 0,
            outbox: OnceLock::new(),
        }
    }

    /// Sets the size of the response cache.
    #[must_use]
    pub fn with_cache(self, bytes: u64) -> Self {
        Self { cache_size: bytes, ..self }
    }

    /// Counts limits of the cluster in `counters`.
    #[must_use]
    pub fn with_shared_counters(self, counters: Arc<dyn CounterStore>) -> Self {
        Self { shared_counters: Some(counters), ..self }
    }

    /// Counts exchanges in flight over the cluster in `places`.
    #[must_use]
    pub fn with_shared_in_flight(self, places: SharedInFlight) -> Self {
        Self { shared_in_flight: Some(places), ..self }
    }

    /// Counts what all nodes of the cluster count together, or this gateway alone if it is in none.
    pub fn cluster_counters(&self) -> &dyn CounterStore {
        self.shared_counters.as_deref().unwrap_or(&self.counters)
    }

    /// Puts changes of the response cache into `outbox` for other nodes. Must be called before any plan is built.
    pub fn set_outbox(&self, outbox: Arc<Outbox>) {
        let _ = self.outbox.set(outbox);
    }

    /// Returns the response cache, which is created on the first call.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        self.cache.get_or_init(|| {
            let cache = Cache::new(self.cache_size);
            if let Some(outbox) = self.outbox.get().cloned() {
                cache.listen(Box::new(move |host, path| {
                    outbox.push(CacheChange::Changed { host: host.into(), path: path.into() });
                }));
            }
            cache
        })
    }

    /// Returns the response cache if any route has used it.
    pub fn cache_if_used(&self) -> Option<&Arc<Cache>> {
        self.cache.get()
    }
}
