//! Permits of concurrency limits.

use std::sync::Arc;

use super::in_flight::InFlightTable;
use super::table::PlaceTable;
use crate::limit::tag::CounterTag;

/// Who counts the exchange.
#[derive(Debug)]
enum PermitCounter {
    Node(Arc<InFlightTable>),
    Cluster(Arc<PlaceTable>),
}

/// Permission for one exchange in flight; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping the permit gives the place back"]
pub struct ConcurrencyPermit {
    of: PermitCounter,
    tag: CounterTag,
    remaining: u32,
}

impl ConcurrencyPermit {
    /// The permit of an exchange that has one of this node's places in the cluster.
    pub(super) fn of_cluster(table: &Arc<PlaceTable>, tag: CounterTag, remaining: u32) -> Self {
        Self { of: PermitCounter::Cluster(Arc::clone(table)), tag, remaining }
    }

    /// Returns how many more were free when this permit was given.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        match &self.of {
            PermitCounter::Node(table) => table.leave(self.tag),
            PermitCounter::Cluster(table) => table.leave(self.tag),
        }
    }
}

impl InFlightTable {
    /// Counts one more exchange in flight for this key until the permit is dropped, or returns None if there are
    /// `limit` already.
    pub fn acquire(self: &Arc<Self>, salt: u64, key: &[u8], limit: u32) -> Option<ConcurrencyPermit> {
        let (tag, remaining) = self.enter(salt, key, limit)?;
        Some(ConcurrencyPermit { of: PermitCounter::Node(Arc::clone(self)), tag, remaining })
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

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
