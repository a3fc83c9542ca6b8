//! Changes that other nodes must still be told.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::message::CacheChange;
use crate::cache::Purge;

/// Maximum number of waiting changes.
const MAX_CHANGES: usize = 8192;
/// Estimated maximum bytes of waiting changes.
const MAX_BYTES: usize = 1024 * 1024;

/// Changes of the response cache, in order. When there are too many, all of them become one: everything is purged.
pub struct Outbox {
    changes: Mutex<ChangeQueue>,
    /// Called after a change was added to an empty outbox.
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct ChangeQueue {
    changes: VecDeque<CacheChange>,
    bytes: usize,
}

impl Outbox {
    /// Creates an empty outbox. `wake` is called when there is something in it; it must not wait.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { changes: Mutex::default(), wake }
    }

    /// Adds a change.
    pub fn push(&self, change: CacheChange) {
        let was_empty = {
            let mut waiting = self.changes.lock();
            let was_empty = waiting.changes.is_empty();
            waiting.push(change);
            was_empty
        };
        if was_empty {
            (self.wake)();
        }
    }

    /// Returns the number of changes that wait.
    pub fn len(&self) -> usize {
        self.changes.lock().changes.len()
    }

    /// Returns true if no change waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `most` changes of up to `bytes` bytes, and at least one if there is any.
    pub fn take(&self, most: usize, bytes: usize) -> Vec<CacheChange> {
        let mut waiting = self.changes.lock();
        let (mut taken, mut size) = (Vec::new(), 0);
        while let Some(next) = waiting.changes.front().map(CacheChange::size) {
            if taken.len() >= most || size + next > bytes && !taken.is_empty() {
                break;
            }
            taken.extend(waiting.changes.pop_front());
            size += next;
        }
        waiting.bytes -= size;
        taken
    }

    /// Puts changes back that the store may not have taken.
    pub fn put_back(&self, changes: Vec<CacheChange>) {
        let mut waiting = self.changes.lock();
        let later = std::mem::take(&mut *waiting);
        changes.into_iter().chain(later.changes).for_each(|change| waiting.push(change));
    }
}

impl ChangeQueue {
    fn push(&mut self, change: CacheChange) {
        if self.changes.back() == Some(&change) || self.purges_everything() {
            return;
        }
        let size = change.size();
        if self.changes.len() >= MAX_CHANGES || self.bytes + size > MAX_BYTES {
            let all = CacheChange::Purge(Purge::All);
            *self = Self { bytes: all.size(), changes: VecDeque::from([all]) };
        } else {
            self.changes.push_back(change);
            self.bytes += size;
        }
    }

    /// True if whatever is added is purged already.
    fn purges_everything(&self) -> bool {
        self.changes.back() == Some(&CacheChange::Purge(Purge::All))
    }
}
