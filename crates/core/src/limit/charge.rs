//! The interface of counter stores: charges and verdicts.

use std::pin::Pin;
use std::sync::Arc;

use super::decision::{Clocks, Decision, Reservation, clock_reading};
use super::shape::{LimitError, LimitShape};

/// A limit that is registered with a store.
#[derive(Clone, Debug)]
pub struct Limit {
    pub(super) identity: Box<str>,
    pub(super) shape: LimitShape,
    pub(super) salt: u64,
    pub(super) id: u32,
    /// Keeps the limit registered while someone holds it.
    pub(super) _held: Arc<()>,
}

impl Limit {
    /// Creates the value that [`CounterStore::register`] of a custom store returns. Only that store can use it.
    pub fn new(identity: &str, shape: LimitShape) -> Self {
        Self { identity: identity.into(), shape, salt: 0, id: 0, _held: Arc::default() }
    }

    /// Identity over reloads: route, policy and index.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The figures of the limit.
    pub fn shape(&self) -> &LimitShape {
        &self.shape
    }
}

/// A cost to charge to one key of one limit.
#[derive(Debug)]
pub struct Charge<'a> {
    pub(super) limit: &'a Limit,
    pub(super) key: &'a [u8],
    pub(super) cost: u32,
    /// The account of the token bucket, filled in by the store if it is settled.
    pub(super) account: u64,
    /// The decision, filled in by the store.
    pub decision: Decision,
}

impl<'a> Charge<'a> {
    /// Creates a charge of `cost` to `key` of `limit`.
    pub fn new(limit: &'a Limit, key: &'a [u8], cost: u32) -> Self {
        Self { limit, key, cost, account: 0, decision: Decision::default() }
    }

    /// Returns the limit.
    pub fn limit(&self) -> &'a Limit {
        self.limit
    }

    /// Returns the key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Returns the cost.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns what [`CounterStore::settle`] needs to settle the charge, which
    /// was made `at` that time.
    pub fn reservation(&self, at: Clocks) -> Reservation {
        let reservation = Reservation::new(self.cost, &self.decision, at.now, clock_reading(&self.limit.shape, at));
        Reservation { account: self.account, ..reservation }
    }
}

/// The decision on a list of charges.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChargeVerdict {
    /// All were admitted and charged.
    Admitted,
    /// Nothing was charged.
    Refused {
        /// Index of the refused charge; of several the one with the longest wait, so that waiting for it is enough.
        by: usize,
    },
}

/// How several nodes count together. A store that only this node uses knows no difference.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitMode {
    /// Far from the limit a node decides at once by what it knows, and tells the store afterwards.
    #[default]
    Fast,
    /// Nothing is admitted that was not taken from the store before.
    Exact,
}

/// What became of a list of charges.
#[must_use]
pub enum ChargeOutcome {
    /// Decided at once; each charge has its decision.
    Decided(ChargeVerdict),
    /// To be awaited. It costs an allocation, so a store decides at once where it can.
    Pending(PendingCharges),
}

/// Charges that wait for a store. Dropping them gives back what the store may have charged.
pub type PendingCharges = Pin<Box<dyn Future<Output = ChargeDecisions> + Send>>;

/// The decisions on charges that were awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeDecisions {
    /// The verdict on all charges.
    pub verdict: ChargeVerdict,
    /// The decision of each charge, in their order.
    pub decisions: Vec<Decision>,
}

/// A store of counters: the one in memory, which decides at once, or one that nodes share. A charge has all that a
/// store needs: the limit's identity and figures, the key and the cost. `crates/core/tests/counter_store.rs` has a
/// custom one.
pub trait CounterStore: Send + Sync {
    /// Registers a limit. If the identity is known with other figures, the counts carry over: the used share stays.
    fn register(&self, identity: &str, shape: LimitShape, mode: LimitMode) -> Result<Limit, LimitError>;

    /// Charges all or none. No two charges may be of the same limit.
    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> ChargeOutcome;

    /// Replaces the cost of a charge to `key` by the true one. What is more is charged even if it is more than what is
    /// left, what is less comes back as far as the charge still counts. With `Reservation::default()` nothing was
    /// charged before.
    fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks);

    /// Returns the state of `key` as far as it is known here, without waiting and without charging anything.
    fn peek(&self, limit: &Limit, key: &[u8], at: Clocks) -> Option<Decision>;

    /// Clears the count of `key`. Returns true if there was one.
    fn reset(&self, limit: &Limit, key: &[u8]) -> bool;
}
