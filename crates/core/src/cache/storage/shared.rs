//! What all workers share.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::cache::condition::has_wanted;
use crate::cache::flight::Flights;
use crate::cache::rules::CacheRules;
use crate::cache::selection::key;
use crate::cache::storage::combine::joined;
use crate::cache::storage::entry::Entry;
use crate::cache::storage::purge::Purge;
use crate::cache::storage::store::{CacheStore, MemoryCacheStore};
use crate::{Exchange, Instant};

/// Slots for marks of changes. One change takes one in so many other entries with it.
const CHANGES: usize = 1 << 16;
/// Slots for marks of keys whose answers cannot be kept.
const SLOTS: usize = 1 << 14;
/// How long it is remembered that a key's answers cannot be kept, in seconds.
const PASSED: u64 = 60;

/// The cache of a gateway.
pub struct Cache {
    store: Box<dyn CacheStore>,
    pub(crate) flights: Arc<Flights>,
    /// Bytes of the largest entry.
    largest: usize,
    /// Room for bodies that are copied while they pass, and how much of it is taken.
    room: usize,
    passing: AtomicUsize,
    hash: RandomState,
    /// When something was changed at an address whose hash is the slot: what is older is invalid. Two addresses that
    /// share a slot lose their entries together, which is safe.
    changed: Box<[AtomicU64]>,
    /// Keys whose answers could not be kept lately: nobody waits for another there. Half hash, half seconds.
    passed: Box<[AtomicU64]>,
    /// When something was purged last: what was being fetched then is not kept.
    purged: AtomicU64,
}

/// What the cache has for a request.
#[derive(Debug)]
pub(crate) enum CacheLookup {
    /// What answers it.
    Entry(Arc<Entry>),
    /// Parts of what answers it.
    Parts,
    /// What answers other requests for the same target.
    Others,
    Nothing,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes held.
    pub bytes: u64,
    /// Keys held.
    pub entries: u64,
}

fn marks(slots: usize) -> Box<[AtomicU64]> {
    (0..slots).map(|_| AtomicU64::new(0)).collect()
}

impl Cache {
    /// An empty cache for `bytes` bytes in memory, and up to a quarter of that for bodies that have not passed completely.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::over(Box::new(MemoryCacheStore::new(bytes)), usize::try_from(bytes / 16).unwrap_or(usize::MAX))
    }

    /// A cache over `store`, which takes entries of up to `largest` bytes; four of them may pass at the same time.
    pub fn over(store: Box<dyn CacheStore>, largest: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            flights: Arc::default(),
            largest,
            room: largest.saturating_mul(4),
            passing: AtomicUsize::new(0),
            hash: RandomState::default(),
            changed: marks(CHANGES),
            passed: marks(SLOTS),
            purged: AtomicU64::new(0),
        })
    }

    /// Bytes of the largest entry.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// The entry that answers the request in `exchange`, whose key is written; fresh or not.
    pub(crate) fn find(&self, rules: &CacheRules, exchange: &mut Exchange) -> CacheLookup {
        let visit = exchange.cache_visit();
        let Some(variants) = self.store.get(&visit.key) else { return CacheLookup::Nothing };
        let mut scratch = std::mem::take(&mut visit.scratch);
        let changed = self.changed(&exchange.request.host, &exchange.request.target.path);
        let mut others = CacheLookup::Others;
        let mut matching = variants.0.iter().filter(|entry| {
            let selected = entry.requested > changed && entry.selecting.matches(exchange, rules, &mut scratch);
            let answers = selected && has_wanted(entry, exchange);
            if selected && !answers {
                others = CacheLookup::Parts;
            }
            answers
        });
        let mut found = matching.next();
        if found.is_some_and(|entry| entry.head.status >= 500) {
            // A failure seldom says on what it depends. It must not hide what is good.
            found = matching.find(|other| other.is_good(exchange.times.now)).or(found);
        }
        let found = found.cloned();
        exchange.cache_visit().scratch = scratch;
        found.map_or(others, CacheLookup::Entry)
    }

    /// What is kept of a part that has just come, with the parts that are there already; none if it is of no use.
    pub(crate) fn joined(&self, key: &[u8], entry: Entry, most: usize) -> Option<Entry> {
        joined(entry, self.store.get(key).as_deref(), most)
    }

    /// Writes what a fetch for the request in `exchange` is known by: its key and what it says in the fields by which the
    /// stored answers differ.
    pub(crate) fn flight_key(&self, rules: &CacheRules, exchange: &mut Exchange) -> Vec<u8> {
        let visit = exchange.cache_visit();
        let (mut key, mut scratch) = (visit.key.clone(), std::mem::take(&mut visit.scratch));
        if let Some(latest) = self.store.get(&key).and_then(|variants| variants.0.first().cloned()) {
            latest.selecting.append(exchange, rules, &mut scratch, &mut key);
        }
        exchange.cache_visit().scratch = scratch;
        key
    }

    /// Keeps `entry`, unless what it answers was changed or purged since its request was made.
    pub(crate) fn put(&self, key: &[u8], entry: Arc<Entry>) {
        let (host, path, _) = key::read(key);
        let requested = entry.requested;
        if requested > self.changed(host, path) && requested > self.purged() {
            self.store.put(key, entry);
            // A purge that ran meanwhile may have looked here too early.
            if requested <= self.purged() {
                self.store.remove(key);
            }
        }
    }

    /// Takes room for `bytes` more of a body that passes; false if there is not so much.
    pub(crate) fn take_room(&self, bytes: usize) -> bool {
        let taken = self.passing.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.room;
        if !fits {
            self.give_room(bytes);
        }
        fits
    }

    /// Gives it back.
    pub(crate) fn give_room(&self, bytes: usize) {
        self.passing.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of bodies that are being copied.
    #[cfg(test)]
    pub(crate) fn passing(&self) -> usize {
        self.passing.load(Ordering::Relaxed)
    }

    pub(crate) fn purged(&self) -> Instant {
        Instant::from_nanos(self.purged.load(Ordering::Acquire))
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.store.remove(key);
    }

    /// Makes everything invalid that is stored for an address, whatever its query (RFC 9111 section 4.4). What is being
    /// fetched now is not kept. Returns when that was done last.
    pub fn invalidate(&self, host: &[u8], path: &[u8], now: Instant) -> Instant {
        let mark = Self::slot(&self.changed, self.address(host, path));
        Instant::from_nanos(mark.fetch_max(now.as_nanos(), Ordering::AcqRel))
    }

    /// Forgets what `purge` names, and returns how many entries that were. What is being fetched now is not kept.
    pub fn purge(&self, purge: &Purge, now: Instant) -> usize {
        self.purged.fetch_max(now.as_nanos(), Ordering::Release);
        self.store.purge(&|key, entry| purge.names(key, entry))
    }

    /// What is held.
    pub fn usage(&self) -> Usage {
        let (bytes, entries) = self.store.held();
        Usage { bytes, entries }
    }

    /// Notes that the answers of a key cannot be kept.
    pub(crate) fn pass(&self, key: &[u8], now: Instant) {
        let hash = self.hash.hash_one(key);
        let until = now.as_nanos() / 1_000_000_000 + PASSED;
        Self::slot(&self.passed, hash).store(hash & !0xFFFF_FFFF | until, Ordering::Relaxed);
    }

    /// Whether the answers of a key could not be kept lately.
    pub(crate) fn passes(&self, key: &[u8], now: Instant) -> bool {
        let hash = self.hash.hash_one(key);
        let mark = Self::slot(&self.passed, hash).load(Ordering::Relaxed);
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
