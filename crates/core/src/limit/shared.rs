//! Limits that several nodes share: what a node does, without a socket, a clock or a runtime.
//!
//! The *store* counts, see [`super::ledger`]. A node keeps a *view* of each key that it has seen: the store's last
//! answer, and the *debits*, which it has admitted and the store has not acknowledged. A *driver* takes the calls that
//! are due ([`SharedCounterStore::collect`]), has the store execute them, and hands each back with its answer
//! ([`SharedCounterStore::answer`]). At most one call about a key is on its way.
//!
//! **Fast.** A node admits at once while the view is above the *margin* and the debits are below the node's part of it.
//! Near the limit it asks the store: one *take* for all who wait for that key, together with the debits. All nodes
//! together admit at most as much too much as there are debits: the margin, or one token for each node. It is repaid,
//! because debits are charged whatever is left.
//!
//! **Exact.** A node admits only what it has got from the store before: from *leases*, which it holds for keys that it
//! uses often, or by takes.
//!
//! **Without the store.** What waits is decided by [`OnStoreError`] when its call is lost. While the store is known to
//! be gone, nothing waits.

mod calls;
mod lending;
pub(super) mod name;
mod pending;
mod reach;
pub(super) mod table;
mod terms;
mod ticket;
mod view;
mod views;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::pending::StoreWait;
use self::terms::Terms;
use self::views::Views;
use super::charge::{Charge, ChargeOutcome, CounterStore, Limit, LimitMode};
use super::decision::{Clocks, Decision, Reservation};
use super::ledger::LedgerAnswer;
use super::shape::{LimitError, LimitShape};
use crate::clock::{Instant, nanos};

pub use self::calls::{CallLoss, StoreCall};
pub use self::name::StoreKey;
pub use self::reach::StoreReach;
pub use self::terms::{Due, OnStoreError};

/// Counters that several nodes share.
///
/// **Bounded.** It has views of at most `max_keys` keys. A new key replaces an idle one, or else one that can be asked
/// for again; keys with debits, leases or requests that wait are never replaced. While there is no place for a key, it
/// shares one counter with the other keys of its limit without a place. At most 1024 requests wait for a key; more are
/// refused.
#[derive(Debug)]
pub struct SharedCounterStore {
    views: Arc<Views>,
    on_store_error: OnStoreError,
}

impl SharedCounterStore {
    /// Creates a store of views of at most `max_keys` keys. `flush` is the time between two collections of
    /// [`Due::All`]. `wake` is called by any thread: with [`Due::Urgent`] when calls are due that cannot wait so long,
    /// with [`Due::All`] when there may be the first ones that can. After it the driver has to
    /// [`collect`](Self::collect) them, at once or within `flush`. `on_store_error` is for limits that do not say it.
    pub fn new(
        max_keys: usize,
        flush: Duration,
        on_store_error: OnStoreError,
        wake: impl Fn(Due) + Send + Sync + 'static,
    ) -> Self {
        Self { views: Arc::new(Views::new(max_keys, nanos(flush), Box::new(wake))), on_store_error }
    }

    /// Registers a limit with what is done about it while the store does not answer.
    pub fn register_with(
        &self,
        identity: &str,
        shape: LimitShape,
        mode: LimitMode,
        on_store_error: OnStoreError,
    ) -> Limit {
        let id = Terms { mode, on_store_error }.id();
        let salt = self.views.keys.tagger.salt(identity);
        Limit { identity: identity.into(), shape, salt, id, _held: Arc::default() }
    }

    /// Returns the calls that are due, at most `most`. Each has to be handed back to [`answer`](Self::answer) within
    /// the time that requests may wait.
    pub fn collect(&self, due: Due, at: Clocks, most: usize) -> Vec<StoreCall> {
        self.views.keys.collect(due, at, most, |outcome| self.views.deliver(outcome, at))
    }

    /// Takes over the answer of a call, or its loss. `sent` is when it was sent, or a little earlier; `arrived` is the
    /// present.
    pub fn answer(&self, call: StoreCall, sent: Instant, arrived: Clocks, result: Result<LedgerAnswer, CallLoss>) {
        self.views.answer(call, sent, arrived, result);
    }

    /// Returns true if there is something to look at with the next flush.
    pub fn has_news(&self) -> bool {
        self.views.keys.has_news()
    }

    /// Has the next flush give back all leases, because this node ends. No more requests must come.
    pub fn retire(&self) {
        self.views.keys.retire();
    }

    /// Says how many nodes there are.
    pub fn set_nodes(&self, nodes: usize) {
        self.views.keys.set_nodes(nodes);
    }

    /// Says which keys the store answers for. All who wait for others are decided at once, except those whose call is
    /// on its way.
    pub fn set_reach(&self, reach: StoreReach, at: Clocks) {
        self.views.keys.set_reach(reach, at, |outcome| self.views.deliver(outcome, at));
    }

    /// Returns the number of keys, including idle ones.
    pub fn keys(&self) -> usize {
        self.views.keys.keys()
    }

    /// Returns the number of requests that had to wait for the store.
    pub fn waits(&self) -> u64 {
        self.views.waits.load(Ordering::Relaxed)
    }

    /// Returns the memory of the tables, in bytes.
    pub fn bytes(&self) -> usize {
        self.views.keys.bytes()
    }
}

impl CounterStore for SharedCounterStore {
    fn register(&self, identity: &str, shape: LimitShape, mode: LimitMode) -> Result<Limit, LimitError> {
        Ok(self.register_with(identity, shape, mode, self.on_store_error))
    }

    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeOutcome {
        match self.views.check_all(charges, at) {
            Ok(verdict) => ChargeOutcome::Decided(verdict),
            Err(ticket) => {
                self.views.waits.fetch_add(1, Ordering::Relaxed);
                ChargeOutcome::Pending(Box::pin(StoreWait { views: Arc::clone(&self.views), ticket }))
            }
        }
    }

    fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        self.views.settle(limit, key, reservation, cost, at);
    }

    fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision> {
        self.views.peek(limit, key, at)
    }

    /// Clears the count of `key`, on the other nodes as soon as they ask the store. Returns true if it was known here.
    fn reset(&self, limit: &Limit, key: &[u8]) -> bool {
        self.views.reset(limit, key)
    }
}

#[cfg(test)]
mod tests;
