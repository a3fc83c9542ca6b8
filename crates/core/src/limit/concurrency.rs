//! Concurrency: at most N exchanges in flight per key.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use parking_lot::Mutex;

use super::tag::{CounterTag, Tagger};

const SHARDS: usize = 64;

/// How many exchanges are in flight, over all concurrency limits and their keys. Holds only keys that have any, so it is
/// bounded by the number of exchanges in flight. Outlives a reload: the figure of a limit is given with each request.
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
    /// Nothing in flight.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The number that stands for a limit's identity (route, policy, index) in `enter`.
    pub fn salt(&self, identity: &str) -> u64 {
        self.tagger.salt(identity)
    }

    /// One more in flight for this key of this limit, for as long as the permit lives; none if there are `limit` already.
    pub fn enter(self: &Arc<Self>, salt: u64, key: &[u8], limit: u32) -> Option<ConcurrencyPermit> {
        let tag = self.tagger.tag(salt, key);
        let mut shard = self.shard(tag).lock();
        let count = shard.get(&tag).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        shard.insert(tag, count + 1);
        Some(ConcurrencyPermit { of: Arc::clone(self), tag, remaining: limit - count - 1 })
    }

    /// How many are in flight for this key of this limit.
    pub fn count(&self, salt: u64, key: &[u8]) -> u32 {
        let tag = self.tagger.tag(salt, key);
        self.shard(tag).lock().get(&tag).copied().unwrap_or(0)
    }

    /// Number of keys that have exchanges in flight.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, tag: CounterTag) -> &Mutex<HashMap<CounterTag, u32, FixedState>> {
        &self.shards[tag[0] as usize % SHARDS]
    }
}

/// One exchange in flight; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping the permit gives the place back"]
pub struct ConcurrencyPermit {
    of: Arc<InFlightTable>,
    tag: CounterTag,
    remaining: u32,
}

impl ConcurrencyPermit {
    /// How many more were free when this one was given.
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
        let first = flights.enter(a, b"k", 2).unwrap();
        let second = flights.enter(a, b"k", 2).unwrap();
        assert_eq!((first.remaining(), second.remaining()), (1, 0));
        assert_eq!((flights.count(a, b"k"), flights.count(a, b"other")), (2, 0));
        assert!(flights.enter(a, b"k", 2).is_none());
        assert!(flights.enter(b, b"k", 2).is_some(), "another limit");
        assert!(flights.enter(a, b"other", 2).is_some(), "another key");
        assert!(flights.enter(a, b"k", 3).is_some(), "a limit that was raised");
        drop(first);
        assert!(flights.enter(a, b"k", 2).is_some());
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
                scope.spawn(|| (0..100).for_each(|_| held.lock().extend(flights.enter(salt, b"k", 80))));
            }
        });
        assert_eq!(held.lock().len(), 80);
        held.lock().clear();
        assert_eq!(flights.keys(), 0);
    }
}
