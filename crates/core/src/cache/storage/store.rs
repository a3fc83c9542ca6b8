//! Where entries are kept.

use std::sync::Arc;

use quick_cache::sync::{Cache as Table, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::cache::storage::entry::{Entry, Variants};

/// A place for stored responses. The one in memory is [`MemoryCacheStore`]; one that is shared between gateways can stand
/// behind the same calls.
pub trait CacheStore: Send + Sync {
    /// What is stored under a key.
    fn get(&self, key: &[u8]) -> Option<Arc<Variants>>;
    /// Puts `entry` in the place of the one that answers the same requests. It may be gone again at any time.
    fn put(&self, key: &[u8], entry: Arc<Entry>);
    /// Forgets what is stored under a key.
    fn remove(&self, key: &[u8]);
    /// Forgets every entry of which `gone` says so, and returns how many there were.
    fn purge(&self, gone: &dyn Fn(&[u8], &Entry) -> bool) -> usize;
    /// Bytes and keys held.
    fn held(&self) -> (u64, u64);
}

/// Bytes of an average answer, by which the tables are laid out.
const USUAL: u64 = 4096;
/// Parts with a lock of their own.
const SHARDS: usize = 8;

/// Entries in memory, at most so many bytes. What is used often stays, what is asked for once goes first (the eviction is
/// that of `quick_cache`: Clock-PRO, close to S3-FIFO).
pub struct MemoryCacheStore {
    table: Table<Box<[u8]>, Arc<Variants>, Weight>,
    most: usize,
    /// Entries are replaced one after the other.
    writing: parking_lot::Mutex<()>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Variants>> for Weight {
    fn weight(&self, key: &Box<[u8]>, value: &Arc<Variants>) -> u64 {
        // Nothing weighs nothing: what does is never evicted.
        (key.len() + value.weight()) as u64 + 1
    }
}

impl MemoryCacheStore {
    /// Room for `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(usize::try_from(bytes / USUAL).unwrap_or(usize::MAX).max(SHARDS * 32))
            .weight_capacity(bytes)
            .build();
        let table = match options {
            Ok(options) => {
                Table::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Cannot be: both capacities are given.
            Err(_) => Table::with_weighter(SHARDS * 32, bytes, Weight),
        };
        let most = usize::try_from(table.shard_capacity()).unwrap_or(usize::MAX) / 2;
        Self { table, most, writing: parking_lot::Mutex::new(()) }
    }
}

impl CacheStore for MemoryCacheStore {
    fn get(&self, key: &[u8]) -> Option<Arc<Variants>> {
        self.table.get(key)
    }

    fn put(&self, key: &[u8], entry: Arc<Entry>) {
        let _one_at_a_time = self.writing.lock();
        let variants = self.table.peek(key).unwrap_or_default().with(entry, self.most);
        self.table.insert(key.into(), Arc::new(variants));
    }

    fn remove(&self, key: &[u8]) {
        self.table.remove(key);
    }

    fn purge(&self, gone: &dyn Fn(&[u8], &Entry) -> bool) -> usize {
        let _one_at_a_time = self.writing.lock();
        let mut purged = 0;
        let mut kept = Vec::new();
        for (key, variants) in self.table.iter() {
            let stay: Vec<Arc<Entry>> = variants.0.iter().filter(|entry| !gone(&key, entry)).cloned().collect();
            if stay.len() < variants.0.len() {
                purged += variants.0.len() - stay.len();
                kept.push((key, stay));
            }
        }
        for (key, stay) in kept {
            if stay.is_empty() {
                self.table.remove(&key);
            } else {
                self.table.insert(key, Arc::new(Variants(stay)));
            }
        }
        purged
    }

    fn held(&self) -> (u64, u64) {
        (self.table.weight(), self.table.len() as u64)
    }
}
