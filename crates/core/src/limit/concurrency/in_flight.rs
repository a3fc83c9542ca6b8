//! The exchanges in flight of each key that this node counts on its own.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use parking_lot::Mutex;

use crate::limit::tag::{CounterTag, Tagger};

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

    /// Counts one more exchange in flight. Returns its tag, and how many more are free, or None if there are `limit`
    /// already.
    pub(super) fn enter(&self, salt: u64, key: &[u8], limit: u32) -> Option<(CounterTag, u32)> {
        let tag = self.tagger.tag(salt, key);
        let mut shard = self.shard(tag).lock();
        let count = shard.get(&tag).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        shard.insert(tag, count + 1);
        Some((tag, limit - count - 1))
    }

    pub(super) fn leave(&self, tag: CounterTag) {
        let mut shard = self.shard(tag).lock();
        match shard.get_mut(&tag) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(shard.remove(&tag)),
        }
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
