//! Token bucket, implemented as the generic cell rate algorithm (ITU-T I.371): the state is the time at which the
//! bucket is full again.
//!
//! **What is exact.** A token takes `every / refill` nanoseconds, a fraction in lowest terms. The time at which the
//! bucket is full is stored as whole nanoseconds less a numerator over `refill`, and every comparison is made in 128
//! bits in units of `1 / refill` nanoseconds. So nothing is ever rounded: for every limit, period (in whole
//! nanoseconds), burst and cost the decisions are those of a bucket that counts tokens as fractions. Only reported
//! figures are rounded, remaining tokens down and waits up.

use std::time::Duration;

use super::decision::{AbsoluteDecision, Decision, Reservation};
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

/// What a token bucket has whose costs are settled, besides its level, in which each estimate is charged at once.
///
/// `paid + open` is a second upper bound of what a bucket has in use that was charged the true costs at once: true
/// costs are charged later here, and estimates are not refilled before they are settled. So the level may be lowered to
/// that: this is how estimates come back that were too high. In whichever order they are settled, the level is never
/// below that of the bucket with the true costs, and never above that of a bucket that is charged the true costs as
/// they are told.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BucketAccount {
    /// Tells accounts apart. A bucket that is full begins another one: what was charged before concerns it no longer.
    pub(super) number: u64,
    /// The level if only true costs are charged, when they are told.
    pub(super) paid: Level,
    /// Estimates that are not settled.
    pub(super) open: u64,
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

impl LimitShape {
    /// Settles a reservation at `now`: returns the level, and the account afterwards. What was charged too little is
    /// charged now.
    pub(super) fn settle_token_bucket(
        &self,
        level: Level,
        account: BucketAccount,
        now: u64,
        reservation: &Reservation,
        cost: u32,
    ) -> (Level, BucketAccount) {
        let every = u128::from(self.every);
        let charged = |level: Level, cost: u32| {
            let debt = level.debt(now, self);
            let most = u128::from(self.most_used()) * every;
            (debt + u128::from(cost) * every).min(most.max(debt))
        };
        let more = cost.saturating_sub(reservation.cost);
        let (mut used, mut open) = (charged(level, more), account.open);
        let is_open = reservation.account == account.number;
        let paid = charged(account.paid, if is_open { cost } else { more });
        if is_open {
            open = open.saturating_sub(reservation.cost.into());
            used = used.min(paid + u128::from(open) * every);
        }
        let next = Level::with_debt(used, now, self);
        // At the clock's last nanosecond time would stop for the bucket.
        let level = if next.until < u64::MAX { next } else { level };
        (level, BucketAccount { paid: Level::with_debt(paid, now, self), open, ..account })
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
    account: BucketAccount,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` (or else `limit`) tokens, refilled continuously at `limit / per`.
    pub fn new(limit: u32, per: Duration, burst: Option<u32>) -> Result<Self, LimitError> {
        let shape = LimitShape::new(LimitAlgorithm::TokenBucket, limit, per, burst)?;
        Ok(Self { shape, level: Level::default(), latest: 0, account: BucketAccount::default() })
    }

    /// Takes `cost` tokens if there are enough.
    pub fn check(&mut self, now: Instant, cost: u32) -> Decision {
        let (decision, reservation) = self.reserve(now, cost);
        self.settle(now, &reservation, reservation.cost);
        decision
    }

    /// Takes `cost` tokens if there are enough, as an estimate that [`settle`](Self::settle) corrects. Each reservation
    /// must be settled: by its estimate if nothing better is known.
    pub fn reserve(&mut self, now: Instant, cost: u32) -> (Decision, Reservation) {
        self.latest = self.latest.max(now.as_nanos());
        if self.level.until <= self.latest {
            self.account = BucketAccount { number: self.account.number + 1, ..BucketAccount::default() };
        }
        let (outcome, level) = self.shape.token_bucket(self.level, self.latest, cost);
        self.level = level;
        let decision = outcome.relative_to(now.as_nanos());
        let reservation = Reservation::new(cost, &decision, now, now.as_nanos());
        self.account.open += u64::from(reservation.cost);
        (decision, Reservation { account: self.account.number, ..reservation })
    }

    /// Replaces the estimated cost of a reservation by the true one.
    pub fn settle(&mut self, now: Instant, reservation: &Reservation, cost: u32) {
        self.latest = self.latest.max(now.as_nanos());
        if self.level.until <= self.latest {
            self.account = BucketAccount { number: self.account.number + 1, ..BucketAccount::default() };
        }
        (self.level, self.account) =
            self.shape.settle_token_bucket(self.level, self.account, self.latest, reservation, cost);
    }
}

#[cfg(test)]
mod tests;
