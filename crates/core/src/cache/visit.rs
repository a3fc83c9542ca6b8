//! The cache's per-exchange state.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::fetch::Fetch;
use super::flight::{FetchOutcome, Flight};
use super::storage::entry::Entry;
use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// How the cache served an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOutcome {
    /// From the cache.
    Hit,
    /// From the cache, although it is stale.
    Stale,
    /// From the cache, after the service has confirmed it.
    Revalidated,
    /// From the service.
    Miss,
    /// The request is not one that the cache handles.
    Bypass,
}

impl CacheOutcome {
    /// As attributes of spans have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// The cache's state of one exchange. Its memory is reused.
#[derive(Debug, Default)]
pub struct CacheVisit {
    /// How the exchange was served, if its route has a cache.
    pub outcome: Option<CacheOutcome>,
    /// How the wait for another request's fetch ended; `Alone` after a timeout.
    pub joined: Option<FetchOutcome>,
    pub(super) key: Vec<u8>,
    pub(super) scratch: Vec<u8>,
    pub(super) fetch: Option<Box<Fetch>>,
}

/// A stored response to send; its head is in the exchange.
#[derive(Debug)]
pub struct StoredResponse {
    /// The entry, which has the body.
    pub entry: Arc<Entry>,
    /// The part of the body to send.
    pub part: Range<usize>,
    /// A revalidation to run in the background.
    pub refresh: Option<Box<Fetch>>,
}

/// Another request's fetch to wait for.
#[derive(Debug)]
pub struct Join {
    /// The fetch.
    pub flight: Arc<Flight>,
    /// How long to wait.
    pub timeout: Duration,
}

impl FeatureMemory for CacheVisit {
    /// Dropping the fetch wakes the requests that wait for it.
    fn reset(&mut self) {
        self.outcome = None;
        self.joined = None;
        self.fetch = None;
    }
}

impl Feature for CacheVisit {
    const POSITION: FeatureSlot = FeatureSlot::Cache;
}

impl Exchange {
    /// Returns the cache's state, if the cache has seen this exchange.
    #[inline]
    pub fn cache(&self) -> Option<&CacheVisit> {
        self.slots.get()
    }

    /// Returns the cache's state for changing, if the cache has seen this exchange.
    #[inline]
    pub fn cache_mut(&mut self) -> Option<&mut CacheVisit> {
        self.slots.get_mut()
    }

    /// Returns the cache's state, and creates it on first use.
    #[inline]
    pub fn cache_visit(&mut self) -> &mut CacheVisit {
        self.slots.get_or_default()
    }

    /// Returns true if the client gets a 304 and only the cache needs the body.
    #[inline]
    pub fn is_cache_only(&self) -> bool {
        self.cache().is_some_and(CacheVisit::is_cache_only)
    }

    /// Returns true if the cache may store the service's response.
    #[inline]
    pub fn is_fetching(&self) -> bool {
        self.cache().is_some_and(|visit| visit.fetch.is_some())
    }

    /// How the exchange was served, if its route has a cache.
    #[inline]
    pub fn cache_outcome(&self) -> Option<CacheOutcome> {
        self.cache().and_then(|visit| visit.outcome)
    }
}

impl CacheVisit {
    /// Sets the fetch that the exchange carries out.
    pub fn set_fetch(&mut self, fetch: Box<Fetch>) {
        self.fetch = Some(fetch);
    }

    /// Copies a piece of the response body that is being relayed.
    #[inline]
    pub fn copy_body(&mut self, piece: &[u8]) {
        if let Some(fetch) = &mut self.fetch {
            fetch.copy_body(piece);
        }
    }

    /// Stores the response: its body is complete.
    #[inline]
    pub fn complete(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.complete();
        }
    }

    /// Drops the copy of a response that broke off, and wakes waiting requests.
    pub fn abort(&mut self) {
        self.cancel(FetchOutcome::Failed);
    }

    /// Ends the fetch of a request that is not forwarded after all, and wakes waiting requests.
    pub fn cancel(&mut self, outcome: FetchOutcome) {
        if let Some(fetch) = self.fetch.take() {
            fetch.finish(outcome);
        }
    }

    /// Returns true if the client gets a 304 and only the cache needs the body.
    #[inline]
    fn is_cache_only(&self) -> bool {
        self.fetch.as_ref().and_then(|fetch| fetch.copy.as_ref()).is_some_and(|copy| copy.cache_only)
    }
}
