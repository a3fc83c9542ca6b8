//! The cache that all workers share.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::cache::condition::satisfies_range;
use crate::cache::flight::Flights;
use crate::cache::rules::CacheRules;
use crate::cache::selection::key;
use crate::cache::storage::combine::combine_parts;
use crate::cache::storage::entry::Entry;
use crate::cache::storage::purge::Purge;
use crate::cache::storage::store::{CacheStore, MemoryCacheStore};
use crate::{Exchange, Instant};

/// Slots for times of invalidation. Each slot covers many paths, so an invalidation drops some other entries too.
const CHANGES: usize = 1 << 16;
/// Slots for keys whose responses cannot be stored.
const SLOTS: usize = 1 << 14;
/// How long a key is remembered as uncacheable, in seconds.
const UNCACHEABLE_SECONDS: u64 = 60;

/// The cache of a gateway.
pub struct Cache {
    store: Box<dyn CacheStore>,
    pub(crate) flights: Arc<Flights>,
    /// Largest entry, in bytes.
    largest: usize,
    /// Memory for bodies that are being copied, and how much of it is in use, in bytes.
    copy_capacity: usize,
    copying: AtomicUsize,
    hash: RandomState,
    /// Time of the last invalidation by hash of the path: older entries are invalid. Paths that share a slot are
    /// invalidated together, which is safe.
    changed: Box<[AtomicU64]>,
    /// Keys whose responses could not be stored lately: their requests are not collapsed. Half hash, half seconds.
    uncacheable: Box<[AtomicU64]>,
    /// Time of the last purge: responses that were being fetched then are not stored.
    purged: AtomicU64,
    listener: OnceLock<ChangeListener>,
}

/// Is called with host and path when a request has changed what is stored for them.
pub type ChangeListener = Box<dyn Fn(&[u8], &[u8]) + Send + Sync>;

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum CacheLookup {
    /// An entry that answers the request.
    Entry(Arc<Entry>),
    /// Only parts, which do not have the requested bytes.
    Parts,
    /// Only variants for other requests to the same target.
    Others,
    Nothing,
}

/// Size of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes held.
    pub bytes: u64,
    /// Keys held.
    pub entries: u64,
}

fn atomic_table(slots: usize) -> Box<[AtomicU64]> {
    (0..slots).map(|_| AtomicU64::new(0)).collect()
}

impl Cache {
    /// Creates an empty cache for `bytes` bytes in memory, plus up to a quarter of that for bodies that are still being
    /// copied.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::over(Box::new(MemoryCacheStore::new(bytes)), usize::try_from(bytes / 16).unwrap_or(usize::MAX))
    }

    /// Creates a cache over `store`, with entries of up to `largest` bytes; four of that size may be copied at the same
    /// time.
    pub fn over(store: Box<dyn CacheStore>, largest: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            flights: Arc::default(),
            largest,
            copy_capacity: largest.saturating_mul(4),
            copying: AtomicUsize::new(0),
            hash: RandomState::default(),
            changed: atomic_table(CHANGES),
            uncacheable: atomic_table(SLOTS),
            purged: AtomicU64::new(0),
            listener: OnceLock::new(),
        })
    }

    /// Has `listener` called from now on, so that the caches of other gateways learn of changes. Only the first one is.
    pub fn listen(&self, listener: ChangeListener) {
        let _ = self.listener.set(listener);
    }

    /// Tells the listener of a change.
    pub(crate) fn tell(&self, host: &[u8], path: &[u8]) {
        if let Some(listener) = self.listener.get() {
            listener(host, path);
        }
    }

    /// Returns the size of the largest entry, in bytes.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Finds the entry that answers the request in `exchange`, whose key is `key`; fresh or not.
    pub(crate) fn find(
        &self,
        rules: &CacheRules,
        exchange: &Exchange,
        key: &[u8],
        scratch: &mut Vec<u8>,
    ) -> CacheLookup {
        let Some(variants) = self.store.get(key) else { return CacheLookup::Nothing };
        let changed = self.changed(&exchange.request.host, &exchange.request.target.path);
        let mut others = CacheLookup::Others;
        let mut matching = variants.0.iter().filter(|entry| {
            let selected = entry.requested > changed && entry.selecting.matches(exchange, rules, scratch);
            let answers = selected && satisfies_range(entry, exchange);
            if selected && !answers {
                others = CacheLookup::Parts;
            }
            answers
        });
        let mut found = matching.next();
        if found.is_some_and(|entry| entry.head.status >= 500) {
            // Error responses seldom have a Vary. They must not hide a usable entry.
            found = matching.find(|other| other.is_good(exchange.times.now)).or(found);
        }
        found.cloned().map_or(others, CacheLookup::Entry)
    }

    /// Combines a new part with the stored ones; returns None if it need not be stored.
    pub(crate) fn combine_parts(&self, key: &[u8], entry: Entry, most: usize) -> Option<Entry> {
        combine_parts(entry, self.store.get(key).as_deref(), most)
    }

    /// Returns the key by which requests are collapsed: the cache key and the request's values of the fields that
    /// select among the stored responses.
    pub(crate) fn flight_key(&self, rules: &CacheRules, exchange: &mut Exchange) -> Vec<u8> {
        let visit = exchange.cache_visit();
        let (mut key, mut scratch) = (visit.key.clone(), std::mem::take(&mut visit.scratch));
        if let Some(latest) = self.store.get(&key).and_then(|variants| variants.0.first().cloned()) {
            latest.selecting.append(exchange, rules, &mut scratch, &mut key);
        }
        exchange.cache_visit().scratch = scratch;
        key
    }

    /// Stores `entry`, unless its target was changed or purged since its request was made.
    pub(crate) fn put(&self, key: &[u8], entry: Arc<Entry>) {
        let (host, path, _) = key::read(key);
        let requested = entry.requested;
        if requested > self.changed(host, path) && requested > self.purged() {
            self.store.put(key, entry);
            // A purge that ran meanwhile may have missed the new entry.
            if requested <= self.purged() {
                self.store.remove(key);
            }
        }
    }

    /// Reserves memory for `bytes` more of a body that is copied; returns false if there is not enough.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let taken = self.copying.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.copy_capacity;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    /// Releases reserved memory.
    pub(crate) fn release(&self, bytes: usize) {
        self.copying.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of bodies that are being copied.
    #[cfg(test)]
    pub(crate) fn copying(&self) -> usize {
        self.copying.load(Ordering::Relaxed)
    }

    pub(crate) fn purged(&self) -> Instant {
        Instant::from_nanos(self.purged.load(Ordering::Acquire))
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.store.remove(key);
    }

    /// Invalidates everything stored for a path, whatever the query (RFC 9111 section 4.4). Responses being fetched now
    /// are not stored. Returns the time of the previous invalidation.
    pub fn invalidate(&self, host: &[u8], path: &[u8], now: Instant) -> Instant {
        let mark = Self::slot(&self.changed, self.address(host, path));
        Instant::from_nanos(mark.fetch_max(now.as_nanos(), Ordering::AcqRel))
    }

    /// Removes the entries that `purge` covers and returns their number. Responses being fetched now are not stored.
    pub fn purge(&self, purge: &Purge, now: Instant) -> usize {
        self.purged.fetch_max(now.as_nanos(), Ordering::Release);
        self.store.purge(&|key, entry| purge.matches(key, entry))
    }

    /// Returns the size of the cache.
    pub fn usage(&self) -> Usage {
        let (bytes, entries) = self.store.held();
        Usage { bytes, entries }
    }

    /// Remembers that the responses of a key cannot be stored.
    pub(crate) fn mark_uncacheable(&self, key: &[u8], now: Instant) {
        let hash = self.hash.hash_one(key);
        let until = now.as_nanos() / 1_000_000_000 + UNCACHEABLE_SECONDS;
        Self::slot(&self.uncacheable, hash).store(hash & !0xFFFF_FFFF | until, Ordering::Relaxed);
    }

    /// Returns true if the responses of a key could not be stored lately.
    pub(crate) fn is_uncacheable(&self, key: &[u8], now: Instant) -> bool {
        let hash = self.hash.hash_one(key);
        let mark = Self::slot(&self.uncacheable, hash).load(Ordering::Relaxed);
        mark >> 32 == hash >> 32 && mark & 0xFFFF_FFFF > now.as_nanos() / 1_000_000_000
    }

    fn changed(&self, host: &[u8], path: &[u8]) -> Instant {
        Instant::from_nanos(Self::slot(&self.changed, self.address(host, path)).load(Ordering::Acquire))
    }

    fn address(&self, host: &[u8], path: &[u8]) -> u64 {
        self.hash.hash_one((host, path))
    }

    fn slot(table: &[AtomicU64], hash: u64) -> &AtomicU64 {
        // Their number is a power of two.
        &table[hash as usize & (table.len() - 1)]
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(formatter)
    }
}
