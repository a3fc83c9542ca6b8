//! What is asked of a store of counters, and what it answers.

use std::sync::Arc;

use super::decision::{Clocks, Decision};
use super::shape::{LimitError, LimitShape};

/// A limit as a store knows it.
#[derive(Clone, Debug)]
pub struct Limit {
    pub(super) identity: Box<str>,
    pub(super) shape: LimitShape,
    pub(super) salt: u64,
    pub(super) id: u32,
    /// Says that somebody has it.
    pub(super) _held: Arc<()>,
}

impl Limit {
    /// As [`CounterStore::register`] of a store of one's own gives it back. It is of use to that store alone.
    pub fn new(identity: &str, shape: LimitShape) -> Self {
        Self { identity: identity.into(), shape, salt: 0, id: 0, _held: Arc::default() }
    }

    /// What stays the same over reloads: route, policy and index.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Its figures.
    pub fn shape(&self) -> &LimitShape {
        &self.shape
    }
}

/// A cost to be taken from one key of one limit.
#[derive(Debug)]
pub struct Charge<'a> {
    pub(super) limit: &'a Limit,
    pub(super) key: &'a [u8],
    pub(super) cost: u32,
    /// The answer, filled in by the store.
    pub decision: Decision,
}

impl<'a> Charge<'a> {
    /// `cost` from `key` of `limit`.
    pub fn new(limit: &'a Limit, key: &'a [u8], cost: u32) -> Self {
        Self { limit, key, cost, decision: Decision::default() }
    }

    /// The limit that is charged.
    pub fn limit(&self) -> &'a Limit {
        self.limit
    }

    /// Whose share is taken from.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// What is taken.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

/// The answer to a list of charges.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChargeVerdict {
    /// All were admitted and taken.
    Admitted,
    /// Nothing was taken.
    Refused {
        /// Which charge refused; of several the one that asks for the longest wait, so that waiting for it is enough.
        by: usize,
    },
}

/// Counters, wherever they are kept. A store on the network returns a future that waits; it has all it needs: the limit's
/// identity and figures, the key and the cost. `crates/core/tests/counter_store.rs` has one of another make.
pub trait CounterStore: Send + Sync {
    /// Makes a limit known. The same identity with other figures carries the counts over: the share used stays.
    fn register(&self, identity: &str, shape: LimitShape) -> Result<Limit, LimitError>;

    /// Takes all charges or none, and fills in each `decision`. No two charges may be of the same limit.
    fn check_all(&self, charges: &mut [Charge<'_>], at: Clocks) -> impl Future<Output = ChargeVerdict>;
}
