//! The validated figures of a limit.

use std::time::Duration;

/// Algorithm of a limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAlgorithm {
    /// Continuous refill, bursts up to the capacity.
    TokenBucket,
    /// Never more than the limit in any window, wherever it starts.
    SlidingWindow,
    /// Counted from one UTC-aligned boundary to the next.
    FixedWindow,
}

/// An error in the figures of a limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The limit, burst or period is zero.
    #[error("limit, burst and period must be greater than zero")]
    Zero,
    /// The period, or the time in which the burst refills, is longer than [`LONGEST`].
    #[error("the period, and the time in which the burst refills, must not exceed ten years")]
    TooLong,
    /// A burst was given for another algorithm than the token bucket.
    #[error("burst belongs to token_bucket only")]
    Burst,
    /// More limits were registered than a store can tell apart.
    #[error("too many limits")]
    TooMany,
}

/// Longest period, and longest time in which a burst may refill.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The validated figures of a limit, in a form ready for decisions.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitShape {
    pub(super) algorithm: LimitAlgorithm,
    pub(super) limit: u32,
    pub(super) per: u64,
    /// Largest cost that can be charged at once.
    pub(super) capacity: u32,
    /// `refill` tokens are added every `every` nanoseconds: `limit / per` in lowest terms.
    pub(super) refill: u32,
    pub(super) every: u64,
    /// Costs are estimates, which are settled later.
    pub(super) settled: bool,
}

impl LimitShape {
    /// Validates `limit` per `per`. `burst` is the capacity of a token bucket, by default `limit`; the other algorithms
    /// have none.
    pub fn new(algorithm: LimitAlgorithm, limit: u32, per: Duration, burst: Option<u32>) -> Result<Self, LimitError> {
        if burst.is_some() && algorithm != LimitAlgorithm::TokenBucket {
            return Err(LimitError::Burst);
        }
        let capacity = burst.unwrap_or(limit);
        if limit == 0 || capacity == 0 || per.is_zero() {
            return Err(LimitError::Zero);
        }
        let nanos = per.as_nanos();
        let longest = LONGEST.as_nanos();
        if nanos > longest || nanos * u128::from(capacity) > longest * u128::from(limit) {
            return Err(LimitError::TooLong);
        }
        let per = nanos as u64;
        let common = gcd(per, u64::from(limit));
        let (refill, every) = ((u64::from(limit) / common) as u32, per / common);
        Ok(Self { algorithm, limit, per, capacity, refill, every, settled: false })
    }

    /// Returns the same figures for a limit whose costs are estimates, which are settled later.
    #[must_use]
    pub const fn with_settlement(self) -> Self {
        Self { settled: true, ..self }
    }

    /// Returns the most that may be in use after costs were settled that were higher than estimated: the capacity, and
    /// one limit of debt.
    pub(super) fn most_used(&self) -> u64 {
        u64::from(self.capacity) + u64::from(self.limit)
    }

    /// Returns the algorithm.
    pub const fn algorithm(&self) -> LimitAlgorithm {
        self.algorithm
    }

    /// Returns what is allowed per period.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the period.
    pub const fn per(&self) -> Duration {
        Duration::from_nanos(self.per)
    }

    /// Returns the largest cost that can be charged at once; a greater one is never admitted.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }
}

pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
