//! A request to the service on behalf of the cache: how it is sent, and how its response is copied.

use std::sync::Arc;

use pylae_http::{Method, Name};

use super::flight::{FetchOutcome, FlightLeader};
use super::rules::CacheRules;
use super::selection::vary::RequestFacts;
use super::storage::entry::Entry;
use super::storage::shared::Cache;
use crate::{Exchange, Instant};

/// A request to the service whose response may be stored.
#[derive(Debug)]
pub struct Fetch {
    pub(super) cache: Arc<Cache>,
    pub(super) rules: Arc<CacheRules>,
    pub(super) key: Box<[u8]>,
    /// The request as it was when the key was written.
    pub(super) facts: RequestFacts,
    /// When the request was sent.
    pub(super) began: Instant,
    /// When the request itself has invalidated its target, if it has.
    pub(super) changed: Option<Instant>,
    /// Set if other requests wait for this fetch.
    pub(super) leader: Option<FlightLeader>,
    /// The stored response that is no longer fresh.
    pub(super) stale: Option<Arc<Entry>>,
    /// True if the request validates `stale`.
    pub(super) validates: bool,
    /// True if the request allows storing the response.
    pub(super) stores: bool,
    /// True if the request asks for a range.
    pub(super) part: bool,
    /// Value of Cache-Status.
    pub(super) miss: &'static [u8],
    pub(super) copy: Option<CachedCopy>,
}

/// A response that is copied while it is relayed.
#[derive(Debug)]
pub(super) struct CachedCopy {
    pub(super) entry: Entry,
    pub(super) body: CopiedBody,
    pub(super) most: usize,
    /// True if the client gets a 304 and only the cache needs the body.
    pub(super) cache_only: bool,
}

/// A body that is copied while it is relayed, within the memory that the cache grants to all such copies.
#[derive(Debug)]
pub(super) struct CopiedBody {
    cache: Arc<Cache>,
    bytes: Vec<u8>,
    /// Bytes reserved from the cache's memory for copies.
    reserved: usize,
}

impl CopiedBody {
    /// Creates a copy for `length` bytes, or None if there is no memory for them.
    pub(super) fn new(cache: &Arc<Cache>, length: usize) -> Option<Self> {
        let mut body = Self { cache: Arc::clone(cache), bytes: Vec::new(), reserved: 0 };
        body.reserve(length).then_some(body)
    }

    /// Appends a piece; returns false if there is no memory for it.
    fn add(&mut self, piece: &[u8]) -> bool {
        let wanted = self.bytes.len() + piece.len();
        let fits = wanted <= self.reserved || self.reserve(wanted.max(2 * self.reserved)) || self.reserve(wanted);
        if fits {
            self.bytes.extend_from_slice(piece);
        }
        fits
    }

    /// Drops the copied bytes and releases their memory.
    fn forget(&mut self) {
        self.bytes = Vec::new();
        self.cache.release(std::mem::take(&mut self.reserved));
    }

    /// Reserves memory for `bytes` in total.
    fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.cache.reserve(bytes - self.reserved);
        if fits {
            self.reserved = bytes;
            self.bytes.reserve_exact(bytes - self.bytes.len());
        }
        fits
    }
}

impl Drop for CopiedBody {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Fetch {
    /// Turns the request in `exchange` into the one that this fetch needs. Called once, just before the service is
    /// asked.
    pub(super) fn begin(&mut self, exchange: &mut Exchange) {
        self.began = exchange.times.now;
        let asks = self.stores || exchange.request.head.method == Method::Head;
        if let Some(entry) = self.stale.as_ref().filter(|entry| asks && entry.has_validator()) {
            ask(entry, exchange);
            self.validates = true;
        }
    }

    /// Like `begin`, at `now`, for a fetch without a waiting client.
    pub fn begin_at(&mut self, now: Instant, exchange: &mut Exchange) {
        exchange.times.now = now;
        strip(exchange);
        self.begin(exchange);
    }

    /// Wakes the requests that wait for this fetch.
    pub(super) fn finish(mut self, outcome: FetchOutcome) {
        if let Some(leader) = self.leader.take() {
            leader.finish(outcome);
        }
    }

    pub(super) fn copy_body(&mut self, piece: &[u8]) {
        let Some(copy) = self.copy.as_mut().filter(|_| self.stores) else { return };
        if copy.body.bytes.len() + piece.len() <= copy.most && copy.body.add(piece) {
            return;
        }
        if copy.cache_only {
            // Nobody needs the rest, but it must be read.
            copy.body.forget();
        } else {
            self.copy = None;
        }
        self.stores = false;
        if let Some(leader) = self.leader.take() {
            leader.finish(FetchOutcome::Alone);
        }
    }

    pub(super) fn complete(mut self: Box<Self>) {
        let Some(copy) = self.copy.take().filter(|_| self.stores) else { return self.finish(FetchOutcome::Alone) };
        let entry = Entry { body: copy.body.bytes.as_slice().into(), ..copy.entry };
        let entry =
            if entry.part.is_some() { self.cache.combine_parts(&self.key, entry, copy.most) } else { Some(entry) };
        let Some(entry) = entry.map(Arc::new) else { return self.finish(FetchOutcome::Alone) };
        let outcome = if entry.fresh_for(entry.received).is_some() && !entry.control.no_cache {
            FetchOutcome::Stored
        } else {
            FetchOutcome::Alone
        };
        self.cache.put(&self.key, entry);
        self.finish(outcome);
    }
}

/// Turns the request into one that validates `entry`, in place of the client's conditions (section 4.3.1).
fn ask(entry: &Entry, exchange: &mut Exchange) {
    strip(exchange);
    let edits = &mut exchange.request.edits;
    for (from, to) in [(Name::Etag, Name::IfNoneMatch), (Name::LastModified, Name::IfModifiedSince)] {
        if let Some(value) = entry.field(from) {
            // Cannot be refused: it came in a field.
            let _ = edits.set_known(to, value);
        }
    }
}

/// Gives up the fetch of the request in `exchange`: another service will answer it than the one that its key stands
/// for. What the request asks for on behalf of the cache is taken back.
pub fn forgo(exchange: &mut Exchange) {
    if exchange.is_fetching() {
        for name in [Name::IfNoneMatch, Name::IfModifiedSince] {
            exchange.request.edits.remove_known(name);
        }
        exchange.cache_visit().cancel(FetchOutcome::Alone);
    }
}

/// Removes the client's conditions from the request, because its response is for other clients too.
pub(super) fn strip(exchange: &mut Exchange) {
    for name in [Name::IfNoneMatch, Name::IfModifiedSince, Name::IfRange, Name::Range] {
        if exchange.request.head.fields.has(name) {
            exchange.request.edits.remove_known(name);
        }
    }
}
