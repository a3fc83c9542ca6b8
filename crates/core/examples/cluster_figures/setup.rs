//! What is simulated, and what came of it.

use std::time::Duration;

use pylae_core::limit::{LimitAlgorithm, LimitMode, LimitShape, OnStoreError};

/// Nanoseconds.
pub(crate) const MILLI: u64 = 1_000_000;
/// Nanoseconds.
pub(crate) const SECOND: u64 = 1000 * MILLI;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The store does nothing for a while, and then all that it was sent.
    Freeze(u64),
    /// The store forgets everything.
    Forget,
    /// The store is gone for `outage`. Its successor does not know the last `lag` nanoseconds, and its clock is ahead
    /// of the old one by `step`.
    FailOver { lag: u64, outage: u64, step: i64 },
    /// These nodes, counted from the first, do not reach the store for a while.
    Partition { nodes: usize, time: u64 },
    /// The last node that lives dies. Its requests go to the first one.
    Death,
    /// The wall clock of the first node is set.
    ClockStep(i64),
}

/// How requests choose their keys.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Keys {
    /// So many, each as often as another.
    Even(u32),
    /// So many; the rank-th is as often as `1 / rank`.
    Zipf(u32),
}

impl Keys {
    /// Returns the sums of the frequencies of Zipf's keys.
    pub(crate) fn frequencies(self) -> Vec<f64> {
        let Self::Zipf(count) = self else { return Vec::new() };
        let mut sums: Vec<f64> = Vec::with_capacity(count as usize);
        for rank in 1..=count {
            sums.push(sums.last().unwrap_or(&0.0) + 1.0 / f64::from(rank));
        }
        let all = sums.last().copied().unwrap_or(1.0);
        for sum in &mut sums {
            *sum /= all;
        }
        sums
    }
}

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) shape: LimitShape,
    pub(crate) mode: LimitMode,
    pub(crate) on_store_error: OnStoreError,
    /// Requests per second of each node.
    pub(crate) rates: Vec<f64>,
    pub(crate) keys: Keys,
    /// Costs are evenly spread from 1 to this.
    pub(crate) most_cost: u32,
    pub(crate) duration: u64,
    /// What comes before is not in the figures, apart from the excess.
    pub(crate) warm_up: u64,
    /// Of the store.
    pub(crate) servers: usize,
    /// Mean time of one way, in nanoseconds. It is at least half of that, and has a long tail.
    pub(crate) latency: u64,
    /// Time of the store for one call.
    pub(crate) service: u64,
    /// Share of the batches that is lost on the way to the store or back.
    pub(crate) loss: f64,
    pub(crate) flush: u64,
    /// Calls are given up after this.
    pub(crate) timeout: u64,
    /// When each fault begins.
    pub(crate) faults: Vec<(u64, Fault)>,
}

impl Setup {
    pub(crate) fn new(shape: LimitShape, mode: LimitMode, rates: Vec<f64>) -> Self {
        Self {
            seed: 1,
            shape,
            mode,
            on_store_error: OnStoreError::Deny,
            rates,
            keys: Keys::Even(1),
            most_cost: 1,
            duration: 2 * SECOND,
            warm_up: 0,
            servers: 1,
            latency: MILLI / 4,
            service: 15_000,
            loss: 0.0,
            flush: 20 * MILLI,
            timeout: 50 * MILLI,
            faults: Vec::new(),
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.rates.len()
    }

    pub(crate) fn offered(&self) -> f64 {
        self.rates.iter().sum()
    }
}

/// Returns the figures of a token bucket.
pub(crate) fn bucket(limit: u32, per: Duration, burst: u32) -> LimitShape {
    shape(LimitAlgorithm::TokenBucket, limit, per, Some(burst))
}

/// Returns the figures of a limit.
pub(crate) fn shape(algorithm: LimitAlgorithm, limit: u32, per: Duration, burst: Option<u32>) -> LimitShape {
    LimitShape::new(algorithm, limit, per, burst).unwrap_or_else(|error| panic!("{error}"))
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    /// Requests that the store was asked about before they were decided.
    pub(crate) waited: u64,
    /// The longest time that one has waited, and the sum.
    pub(crate) longest_wait: u64,
    pub(crate) wait: u64,
    pub(crate) calls: u64,
    /// Calls go in batches, each in one write to each server.
    pub(crate) writes: u64,
    /// Time that the servers of the store have worked, and that of the busiest one.
    pub(crate) busy: u64,
    pub(crate) busiest: u64,
    /// By how many tokens the limit was exceeded most, of all keys, and all keys together.
    pub(crate) excess: u64,
    pub(crate) excess_sum: u64,
    /// Tokens of the store's answers that a fail-over has lost.
    pub(crate) lost: u64,
    /// Admitted tokens, by key.
    pub(crate) tokens: u64,
    /// Keys in the store at the end.
    pub(crate) keys: u64,
    /// Memory of the views of all nodes.
    pub(crate) view_bytes: u64,
}
