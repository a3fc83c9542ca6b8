//! What was charged, by any algorithm.

use super::bucket::LedgerBucket;
use super::carry::scale;
use super::log::LedgerLog;
use super::shape::LedgerShape;
use super::window::LedgerWindow;
use crate::limit::shape::LimitAlgorithm;

/// What was charged to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    Bucket(LedgerBucket),
    Window(LedgerWindow),
    Log(LedgerLog),
}

impl Charged {
    /// Returns what is charged when `used` of `whole` is.
    pub(super) fn new(now: u64, shape: &LedgerShape, used: u64, whole: u64) -> Self {
        match shape.algorithm {
            LimitAlgorithm::TokenBucket => {
                let debt = scale(used, whole, shape.refill_time(shape.capacity.into()));
                Self::Bucket(LedgerBucket::full(now + debt))
            }
            LimitAlgorithm::FixedWindow => {
                let used = scale(used, whole, shape.limit.into());
                Self::Window(LedgerWindow { until: shape.window_end(now), used })
            }
            LimitAlgorithm::SlidingWindow => {
                let mut log = LedgerLog::default();
                log.charge(scale(used, whole, shape.limit.into()), now, shape);
                Self::Log(log)
            }
        }
    }

    /// Returns what is used, and of what.
    pub(super) fn share(&self, now: u64, shape: &LedgerShape) -> (u64, u64) {
        match self {
            Self::Bucket(bucket) => {
                (bucket.full_at(0, shape).saturating_sub(now), shape.refill_time(shape.capacity.into()))
            }
            _ => (self.debt(now, shape), shape.limit.into()),
        }
    }

    pub(super) fn debt(&self, now: u64, shape: &LedgerShape) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.debt(now, shape),
            Self::Window(window) => window.used,
            Self::Log(log) => log.total(),
        }
    }

    pub(super) fn charge(&mut self, tokens: u64, at: u64, shape: &LedgerShape) {
        if tokens == 0 {
            return;
        }
        match self {
            Self::Bucket(bucket) => bucket.charge(tokens, at, shape),
            Self::Window(window) => window.charge(tokens, shape),
            Self::Log(log) => {
                log.advance(at, shape);
                log.charge(tokens, at, shape);
            }
        }
    }

    pub(super) fn credit(&mut self, tokens: u64, age: u64, now: u64, shape: &LedgerShape) {
        if tokens == 0 {
            return;
        }
        let since = now.saturating_sub(age);
        match self {
            Self::Bucket(bucket) => bucket.credit(tokens, now, shape),
            Self::Window(window) => window.credit(tokens, since, shape),
            Self::Log(log) => log.credit(tokens, since, now, shape),
        }
    }

    pub(super) fn full_at(&self, held: u64, now: u64, shape: &LedgerShape) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.full_at(held.cast_signed(), shape),
            Self::Window(window) if window.used + held == 0 => now,
            Self::Window(window) => window.ready_at(held, shape.limit.into(), shape),
            Self::Log(log) => log.full_at(held, now, shape),
        }
    }
}
