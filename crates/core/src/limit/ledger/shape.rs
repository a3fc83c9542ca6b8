//! The figures of a limit as the store counts with them: in microseconds.

use crate::limit::shape::{LimitAlgorithm, LimitShape, gcd};

/// The figures of a limit for a ledger. A period of part of a microsecond is rounded up, so the limit is at most
/// stricter for it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerShape {
    pub(super) algorithm: LimitAlgorithm,
    pub(super) limit: u32,
    /// The burst of a token bucket, the limit of a window.
    pub(super) capacity: u32,
    /// The period in microseconds.
    pub(super) per: u64,
    /// `refill` tokens are added every `every` microseconds: `limit / per` in lowest terms.
    pub(super) refill: u32,
    pub(super) every: u64,
}

impl From<&LimitShape> for LedgerShape {
    fn from(shape: &LimitShape) -> Self {
        let per = shape.per.div_ceil(1000);
        let common = gcd(per, shape.limit.into());
        let refill = (u64::from(shape.limit) / common) as u32;
        Self {
            algorithm: shape.algorithm,
            limit: shape.limit,
            capacity: shape.capacity,
            per,
            refill,
            every: per / common,
        }
    }
}

impl LedgerShape {
    /// Returns the algorithm.
    pub const fn algorithm(&self) -> LimitAlgorithm {
        self.algorithm
    }

    /// Returns what is allowed per period.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the largest cost that can be taken at once.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the period in microseconds.
    pub const fn per(&self) -> u64 {
        self.per
    }

    /// Returns the tokens that are added in each [`LedgerShape::every`].
    pub const fn refill(&self) -> u32 {
        self.refill
    }

    /// Returns the microseconds in which [`LedgerShape::refill`] tokens are added, in lowest terms.
    pub const fn every(&self) -> u64 {
        self.every
    }

    /// Returns the largest debt: an empty bucket, and one limit (or burst) more.
    pub fn most_debt(&self) -> u64 {
        u64::from(self.capacity) + u64::from(self.limit.max(self.capacity))
    }

    /// Returns the microseconds in which `tokens` are added, rounded up.
    pub fn refill_time(&self, tokens: u64) -> u64 {
        let time = (u128::from(tokens) * u128::from(self.every)).div_ceil(self.refill.into());
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Returns the tokens that are added in so many microseconds, rounded down.
    pub fn refilled_in(&self, time: u64) -> u64 {
        let tokens = u128::from(time) * u128::from(self.refill) / u128::from(self.every);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Returns the tokens that are missing in a bucket that is full in so many microseconds, rounded up.
    pub fn missing(&self, full_after: u64) -> u64 {
        (u128::from(full_after) * u128::from(self.refill)).div_ceil(self.every.into()) as u64
    }

    /// Returns the microseconds in which a number of tokens that may be negative is added, rounded up.
    pub(super) fn signed_time(&self, tokens: i64) -> i64 {
        let (time, refill) = (i128::from(tokens) * i128::from(self.every), i128::from(self.refill));
        (time.div_euclid(refill) + i128::from(time.rem_euclid(refill) > 0)) as i64
    }

    /// Returns the end of the UTC-aligned window that contains `now`.
    pub(super) fn window_end(&self, now: u64) -> u64 {
        now - now % self.per + self.per
    }
}
