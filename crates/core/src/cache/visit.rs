//! What the cache and one exchange have to do with each other.

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
    /// From memory.
    Hit,
    /// From memory, although no longer fresh.
    Stale,
    /// From memory, after the service said that it still holds.
    Revalidated,
    /// By the service.
    Miss,
    /// Not at all: the request is not one that a cache answers.
    Bypass,
}

/// The cache's side of one exchange. Its memory is used again.
#[derive(Debug, Default)]
pub struct CacheVisit {
    /// How the exchange was served, if its route has a cache.
    pub outcome: Option<CacheOutcome>,
    /// How the wait for another's fetch ended; `Alone` when it took too long.
    pub joined: Option<FetchOutcome>,
    pub(super) key: Vec<u8>,
    pub(super) scratch: Vec<u8>,
    pub(super) fetch: Option<Box<Fetch>>,
}

/// A stored response that is to be sent; its head lies in the exchange.
#[derive(Debug)]
pub struct StoredResponse {
    /// Where its body is.
    pub entry: Arc<Entry>,
    /// The part of it that is sent.
    pub part: Range<usize>,
    /// What must be fetched anew behind the client's back.
    pub refresh: Option<Box<Fetch>>,
}

/// A fetch by another exchange whose answer is worth waiting for.
#[derive(Debug)]
pub struct Join {
    /// The fetch.
    pub flight: Arc<Flight>,
    /// How long it is worth waiting for.
    pub patience: Duration,
}

impl FeatureMemory for CacheVisit {
    /// Others that wait for this exchange's fetch are told that it has gone.
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
    /// What the cache knows of it, if it has seen it.
    #[inline]
    pub fn cache(&self) -> Option<&CacheVisit> {
        self.slots.get()
    }

    /// The same, to be changed.
    #[inline]
    pub fn cache_mut(&mut self) -> Option<&mut CacheVisit> {
        self.slots.get_mut()
    }

    /// The same, for a cache that sees it now.
    #[inline]
    pub fn cache_visit(&mut self) -> &mut CacheVisit {
        self.slots.get_or_default()
    }

    /// Whether the body of its answer is only for the cache: the client has it already.
    #[inline]
    pub fn is_muted(&self) -> bool {
        self.cache().is_some_and(CacheVisit::is_muted)
    }

    /// Whether the service is asked for an answer that the cache may want.
    #[inline]
    pub fn is_fetching(&self) -> bool {
        self.cache().is_some_and(|visit| visit.fetch.is_some())
    }

    /// How it was served, if its route has a cache.
    #[inline]
    pub fn cache_outcome(&self) -> Option<CacheOutcome> {
        self.cache().and_then(|visit| visit.outcome)
    }
}

impl CacheVisit {
    /// Takes over a fetch.
    pub fn carry(&mut self, fetch: Box<Fetch>) {
        self.fetch = Some(fetch);
    }

    /// Looks at a piece of the answer's body that passes.
    #[inline]
    pub fn take(&mut self, piece: &[u8]) {
        if let Some(fetch) = &mut self.fetch {
            fetch.take(piece);
        }
    }

    /// The body has passed completely.
    #[inline]
    pub fn complete(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.complete();
        }
    }

    /// The answer broke off: it is not kept, and nobody need wait for it.
    pub fn break_off(&mut self) {
        self.call_off(FetchOutcome::Failed);
    }

    /// The service is not asked after all: nobody need wait for it.
    pub fn call_off(&mut self, landing: FetchOutcome) {
        if let Some(fetch) = self.fetch.take() {
            fetch.land(landing);
        }
    }

    /// Whether the body is only for the cache: the client has it already.
    #[inline]
    fn is_muted(&self) -> bool {
        self.fetch.as_ref().and_then(|fetch| fetch.tap.as_ref()).is_some_and(|tap| tap.muted)
    }
}
