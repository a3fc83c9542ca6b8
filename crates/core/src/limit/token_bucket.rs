//! Token bucket, implemented as the generic cell rate algorithm (ITU-T I.371): the state is the time at which the
//! bucket is full again.
//!
//! **What is exact.** A token takes `every / refill` nanoseconds, a fraction in lowest terms. The time at which the
//! bucket is full is stored as whole nanoseconds less a numerator over `refill`, and every comparison is made in 128
//! bits in units of `1 / refill` nanoseconds. So nothing is ever rounded: for every limit, period (in whole
//! nanoseconds), burst and cost the decisions are those of a bucket that counts tokens as fractions. Only reported
//! figures are rounded, remaining tokens down and waits up.

use std::time::Duration;

use super::decision::{AbsoluteDecision, Decision};
use super::shape::{LimitAlgorithm, LimitError, LimitShape};
use crate::clock::Instant;

/// When the bucket is full: at `until - early / refill` nanoseconds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// Whole nanoseconds, rounded up.
    pub(super) until: u64,
    /// How much `until` is too late, in units of `1 / refill` nanoseconds; less than `refill`.
    pub(super) early: u32,
}

impl Level {
    fn new(scaled: u128, shape: &LimitShape) -> Self {
        if shape.refill == 1 {
            return Self { until: saturate(scaled), early: 0 };
        }
        let refill = u128::from(shape.refill);
        let until = divide(scaled + refill - 1, shape.refill.into());
        Self { until: saturate(until), early: (until * refill - scaled) as u32 }
    }

    /// Returns what is missing at `now`, in units of `1 / refill` nanoseconds; a token is `every` of them.
    pub(super) fn debt(self, now: u64, shape: &LimitShape) -> u128 {
        let refill = u128::from(shape.refill);
        (u128::from(self.until) * refill - u128::from(self.early)).saturating_sub(u128::from(now) * refill)
    }

    /// Returns the level at which `debt` is missing at `now`.
    pub(super) fn with_debt(debt: u128, now: u64, shape: &LimitShape) -> Self {
        Self::new(u128::from(now) * u128::from(shape.refill) + debt, shape)
    }
}

impl LimitShape {
    /// Returns the debt of an empty bucket.
    pub(super) fn max_debt(&self) -> u128 {
        u128::from(self.capacity) * u128::from(self.every)
    }

    /// Decides on `cost` at `now`, which must not be earlier than in any call before; also returns the level after the
    /// charge.
    pub(super) fn token_bucket(&self, level: Level, now: u64, cost: u32) -> (AbsoluteDecision, Level) {
        let every = u128::from(self.every);
        let most = self.max_debt();
        let debt = level.debt(now, self);
        let wanted = debt + u128::from(cost) * every;
        // At the clock's last nanosecond time would stop for the bucket, so nothing is admitted that lasts until then.
        let taken = Level::with_debt(wanted, now, self);
        let admitted = wanted <= most && taken.until < u64::MAX;
        let (left, level) = if admitted { (most - wanted, taken) } else { (most.saturating_sub(debt), level) };
        let ready_at = if admitted {
            now
        } else if cost > self.capacity {
            u64::MAX
        } else {
            Level::with_debt(wanted.saturating_sub(most), now, self).until
        };
        let remaining = divide(left, self.every) as u32;
        (AbsoluteDecision { admitted, remaining, ready_at, full_at: level.until.max(now) }, level)
    }
}

fn saturate(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A division that is cheap for common values.
fn divide(value: u128, by: u64) -> u128 {
    u64::try_from(value).map_or_else(|_| value / u128::from(by), |value| u128::from(value / by))
}

/// A token bucket for one key.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    shape: LimitShape,
    level: Level,
    latest: u64,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` (or else `limit`) tokens, refilled continuously at `limit / per`.
    pub fn new(limit: u32, per: Duration, burst: Option<u32>) -> Result<Self, LimitError> {
        let shape = LimitShape::new(LimitAlgorithm::TokenBucket, limit, per, burst)?;
        Ok(Self { shape, level: Level::default(), latest: 0 })
    }

    /// Takes `cost` tokens if there are enough.
    pub fn check(&mut self, now: Instant, cost: u32) -> Decision {
        self.latest = self.latest.max(now.as_nanos());
        let (outcome, level) = self.shape.token_bucket(self.level, self.latest, cost);
        self.level = level;
        outcome.relative_to(now.as_nanos())
    }
}

#[cfg(test)]
mod tests;
