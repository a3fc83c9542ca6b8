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

/// What a token bucket whose costs are settled has besides the time at which it is full.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The fraction of that time, as in a level.
    pub(super) early: u32,
    /// What has come back.
    pub(super) returned: u64,
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
    /// Settles a reservation at `now`: returns the level, and how much has come back so far.
    ///
    /// What was charged too much comes back as far as it has not been refilled since: refilling begins with what was
    /// charged first. `until` of a reservation is from the time of its charge; all that has come back since is taken
    /// off it, as if it had been charged before. So the bucket never holds more than if the true cost had been charged
    /// at once. What was charged too little is charged now.
    pub(super) fn settle_token_bucket(
        &self,
        (level, returned): (Level, u64),
        now: u64,
        reservation: &Reservation,
        cost: u32,
    ) -> (Level, u64) {
        let every = u128::from(self.every);
        let debt = level.debt(now, self);
        if cost > reservation.cost {
            let wanted = debt + u128::from(cost - reservation.cost) * every;
            let next = Level::with_debt(wanted.min(u128::from(self.most_used()) * every).max(debt), now, self);
            // At the clock's last nanosecond time would stop for the bucket.
            return (if next.until < u64::MAX { next } else { level }, returned);
        }
        let charged = Level { until: reservation.until, early: reservation.early }.debt(now, self);
        let returned_since = u128::from(returned.saturating_sub(reservation.returned)) * every;
        let back = (u128::from(reservation.cost - cost) * every).min(charged.saturating_sub(returned_since)).min(debt);
        if back == 0 {
            return (level, returned);
        }
        (Level::with_debt(debt - back, now, self), returned.saturating_add(back.div_ceil(every) as u64))
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
    /// How much has come back.
    returned: u64,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` (or else `limit`) tokens, refilled continuously at `limit / per`.
    pub fn new(limit: u32, per: Duration, burst: Option<u32>) -> Result<Self, LimitError> {
        let shape = LimitShape::new(LimitAlgorithm::TokenBucket, limit, per, burst)?;
        Ok(Self { shape, level: Level::default(), latest: 0, returned: 0 })
    }

    /// Takes `cost` tokens if there are enough.
    pub fn check(&mut self, now: Instant, cost: u32) -> Decision {
        self.latest = self.latest.max(now.as_nanos());
        let (outcome, level) = self.shape.token_bucket(self.level, self.latest, cost);
        self.level = level;
        outcome.relative_to(now.as_nanos())
    }

    /// Takes `cost` tokens if there are enough, as an estimate that [`settle`](Self::settle) corrects.
    pub fn reserve(&mut self, now: Instant, cost: u32) -> (Decision, Reservation) {
        let decision = self.check(now, cost);
        let reservation = Reservation::new(cost, &decision, now, now.as_nanos());
        (decision, Reservation { early: self.level.early, returned: self.returned, ..reservation })
    }

    /// Replaces the estimated cost of a reservation by the true one.
    pub fn settle(&mut self, now: Instant, reservation: &Reservation, cost: u32) {
        self.latest = self.latest.max(now.as_nanos());
        (self.level, self.returned) =
            self.shape.settle_token_bucket((self.level, self.returned), self.latest, reservation, cost);
    }
}

#[cfg(test)]
mod tests;
