//! Storage of entries.

use std::sync::Arc;

use quick_cache::sync::{Cache as Table, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::cache::storage::entry::{Entry, Variants};

/// Storage of responses in memory. It answers at once, from any worker.
///
/// A second level that gateways share would not be one of these: it holds entries as bytes and is awaited. It belongs
/// between a lookup that has found nothing here and the fetch from the service, and it is told what is put here.
pub trait CacheStore: Send + Sync {
    /// Returns the responses stored under a key.
    fn get(&self, key: &[u8]) -> Option<Arc<Variants>>;
    /// Stores `entry` in place of the one that answers the same requests. The store may evict it at any time.
    fn put(&self, key: &[u8], entry: Arc<Entry>);
    /// Removes everything under a key.
    fn remove(&self, key: &[u8]);
    /// Removes every entry for which `gone` returns true, and returns their number.
    fn purge(&self, gone: &dyn Fn(&[u8], &Entry) -> bool) -> usize;
    /// Returns the size in bytes and the number of keys.
    fn held(&self) -> (u64, u64);
}

/// Average response in bytes, by which the tables are sized.
const USUAL: u64 = 4096;
/// Number of shards, each with its own lock.
const SHARDS: usize = 8;

/// Entries in memory, up to a number of bytes. Frequently used entries stay, entries used once are evicted first (by
/// `quick_cache`'s Clock-PRO, which is close to S3-FIFO).
pub struct MemoryCacheStore {
    table: Table<Box<[u8]>, Arc<Variants>, Weight>,
    most: usize,
    /// Serialises the replacement of entries.
    writing: parking_lot::Mutex<()>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Variants>> for Weight {
    fn weight(&self, key: &Box<[u8]>, value: &Arc<Variants>) -> u64 {
        // Never zero: the table never evicts entries of weight zero.
        (key.len() + value.weight()) as u64 + 1
    }
}

impl MemoryCacheStore {
    /// Creates a store of `bytes` bytes.
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
            // Cannot happen: both capacities are set.
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
