//! Concurrency limits: at most N exchanges in flight per key.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use parking_lot::Mutex;

use super::tag::{CounterTag, Tagger};

const SHARDS: usize = 64;

/// The number of exchanges in flight for all concurrency limits and their keys. Only keys with exchanges in flight are
/// stored, so its size is bounded by their number. It survives reloads: each request passes the figure of its limit.
#[derive(Debug)]
pub struct InFlightTable {
    tagger: Tagger,
    shards: [Mutex<HashMap<CounterTag, u32, FixedState>>; SHARDS],
}

impl Default for InFlightTable {
    fn default() -> Self {
        Self { tagger: Tagger::default(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl InFlightTable {
    /// Creates an empty table.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns the number that identifies a limit (route, policy, index) in `acquire`.
    pub fn salt(&self, identity: &str) -> u64 {
        self.tagger.salt(identity)
    }

    /// Counts one more exchange in flight for this key until the permit is dropped, or returns None if there are
    /// `limit` already.
    pub fn acquire(self: &Arc<Self>, salt: u64, key: &[u8], limit: u32) -> Option<ConcurrencyPermit> {
        let tag = self.tagger.tag(salt, key);
        let mut shard = self.shard(tag).lock();
        let count = shard.get(&tag).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        shard.insert(tag, count + 1);
        Some(ConcurrencyPermit { of: Arc::clone(self), tag, remaining: limit - count - 1 })
    }

    /// Returns the number of exchanges in flight for this key of this limit.
    pub fn count(&self, salt: u64, key: &[u8]) -> u32 {
        let tag = self.tagger.tag(salt, key);
        self.shard(tag).lock().get(&tag).copied().unwrap_or(0)
    }

    /// Returns the number of keys with exchanges in flight.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, tag: CounterTag) -> &Mutex<HashMap<CounterTag, u32, FixedState>> {
        &self.shards[tag[0] as usize % SHARDS]
    }
}

/// Permission for one exchange in flight; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping the permit gives the place back"]
pub struct ConcurrencyPermit {
    of: Arc<InFlightTable>,
    tag: CounterTag,
    remaining: u32,
}

impl ConcurrencyPermit {
    /// Returns how many more were free when this permit was given.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        let mut shard = self.of.shard(self.tag).lock();
        match shard.get_mut(&self.tag) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(shard.remove(&self.tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_and_places_come_back() {
        let flights = InFlightTable::new();
        let (a, b) = (flights.salt("a"), flights.salt("b"));
        let first = flights.acquire(a, b"k", 2).unwrap();
        let second = flights.acquire(a, b"k", 2).unwrap();
        assert_eq!((first.remaining(), second.remaining()), (1, 0));
        assert_eq!((flights.count(a, b"k"), flights.count(a, b"other")), (2, 0));
        assert!(flights.acquire(a, b"k", 2).is_none());
        assert!(flights.acquire(b, b"k", 2).is_some(), "another limit");
        assert!(flights.acquire(a, b"other", 2).is_some(), "another key");
        assert!(flights.acquire(a, b"k", 3).is_some(), "a limit that was raised");
        drop(first);
        assert!(flights.acquire(a, b"k", 2).is_some());
        drop(second);
        assert_eq!(flights.keys(), 0);
    }

    #[test]
    fn holds_over_threads() {
        let flights = InFlightTable::new();
        let salt = flights.salt("route");
        let held = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| held.lock().extend(flights.acquire(salt, b"k", 80))));
            }
        });
        assert_eq!(held.lock().len(), 80);
        held.lock().clear();
        assert_eq!(flights.keys(), 0);
    }
}
