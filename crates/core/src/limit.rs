//! Rate limits, quotas and concurrency: who may still come in, decided without a clock of its own.
//!
//! Every function takes the time as an argument. A clock that stands still or jumps back never admits more.

mod carry;
pub mod concurrency;
pub mod fixed_window;
pub mod headers;
pub mod key;
pub mod sliding_window;
pub mod store;
pub mod token_bucket;

use std::time::Duration;

use crate::clock::Instant;

pub use concurrency::{InFlight, Permit};
pub use fixed_window::FixedWindow;
pub use key::{Key, KeySource};
pub use sliding_window::SlidingWindow;
pub use store::{Charge, CounterStore, Limit, MemoryStore, Verdict};
pub use token_bucket::TokenBucket;

/// How a limit counts.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Continuous refill, bursts up to the capacity.
    TokenBucket,
    /// Never more than the limit in any window, wherever it starts.
    SlidingWindow,
    /// Counted from one UTC-aligned boundary to the next.
    FixedWindow,
}

/// Policies that limit rates.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Before authentication.
    Address,
    /// Behind it.
    Rate,
}

impl Limiter {
    /// All of them, by position.
    pub const ALL: [Self; 2] = [Self::Address, Self::Rate];

    /// Name of the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address_limit",
            Self::Rate => "rate_limit",
        }
    }
}

/// What can be wrong with the figures of a limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// A limit, burst or period of nothing.
    #[error("limit, burst and period must be greater than zero")]
    Zero,
    /// The period, or the time in which the burst refills, is longer than [`LONGEST`].
    #[error("the period, and the time in which the burst refills, must not exceed ten years")]
    TooLong,
    /// A burst where the algorithm has none.
    #[error("burst belongs to token_bucket only")]
    Burst,
    /// More limits were registered in the life of the process than a store can tell apart.
    #[error("too many limits")]
    TooMany,
}

/// Longest period, and longest time in which a burst may refill.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The checked figures of a limit, in the form in which decisions are made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    algorithm: Algorithm,
    limit: u32,
    per: u64,
    /// Most that can be taken at once.
    capacity: u32,
    /// `refill` tokens come back every `every` nanoseconds: `limit / per` in lowest terms.
    refill: u32,
    every: u64,
}

impl Shape {
    /// `limit` per `per`. `burst` is the capacity of a token bucket, `limit` if absent; the other algorithms have none.
    pub fn new(algorithm: Algorithm, limit: u32, per: Duration, burst: Option<u32>) -> Result<Self, LimitError> {
        if burst.is_some() && algorithm != Algorithm::TokenBucket {
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
        Ok(Self { algorithm, limit, per, capacity, refill, every })
    }

    /// How it counts.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What is allowed per period.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The period.
    pub const fn per(&self) -> Duration {
        Duration::from_nanos(self.per)
    }

    /// Most that can be taken at once; a greater cost is never admitted.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The two clocks at one moment. Windows aligned to UTC follow `wall`, everything else `now`.
#[derive(Copy, Clone, Debug, Default)]
pub struct Reading {
    /// Monotonic.
    pub now: Instant,
    /// Time since the Unix epoch.
    pub wall: Duration,
}

/// The answer of one limit, with its figures.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the cost was admitted (and, unless another limit refused, taken).
    pub admitted: bool,
    /// What could still be taken at once.
    pub remaining: u32,
    /// Zero if admitted; otherwise the wait after which the same cost is admitted if nobody else takes any.
    /// [`Duration::MAX`] if the cost exceeds the capacity.
    pub retry_after: Duration,
    /// Time until the whole allowance is there again if nothing more is taken.
    pub reset: Duration,
}

/// A decision in absolute time: what the algorithms return before the caller's clock reading is taken off.
#[derive(Copy, Clone, Debug)]
struct Outcome {
    admitted: bool,
    remaining: u32,
    /// When the cost is admitted; `u64::MAX` for never.
    ready_at: u64,
    /// When the allowance is whole.
    whole_at: u64,
}

impl Outcome {
    /// `now` is the reading that the caller gave, which may lie behind the one that was decided with.
    fn seen_from(self, now: u64) -> Decision {
        let retry_after = match (self.admitted, self.ready_at) {
            (true, _) => Duration::ZERO,
            (false, u64::MAX) => Duration::MAX,
            (false, at) => Duration::from_nanos(at.saturating_sub(now)),
        };
        Decision {
            admitted: self.admitted,
            remaining: self.remaining,
            retry_after,
            reset: Duration::from_nanos(self.whole_at.saturating_sub(now)),
        }
    }
}
