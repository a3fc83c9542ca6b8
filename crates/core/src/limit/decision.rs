//! Decisions of limits.

use std::time::Duration;

use super::shape::{LimitAlgorithm, LimitShape};
use crate::clock::Instant;

/// The readings of both clocks at one moment. Windows aligned to UTC follow `wall`, everything else `now`.
#[derive(Copy, Clone, Debug, Default)]
pub struct Clocks {
    /// Monotonic.
    pub now: Instant,
    /// Time since the Unix epoch.
    pub wall: Duration,
}

/// The decision of one limit, with its figures.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// True if the cost was admitted; it is then charged unless another limit refuses.
    pub admitted: bool,
    /// How much could be charged immediately.
    pub remaining: u32,
    /// Zero if admitted; otherwise the time after which the same cost is admitted if nothing else is charged.
    /// [`Duration::MAX`] if the cost exceeds the capacity.
    pub retry_after: Duration,
    /// Time until the limit is completely unused again if nothing more is charged.
    pub reset: Duration,
}

/// What was charged for a cost that is only estimated: with it the charge is settled once the true cost is known.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    pub(super) cost: u32,
    /// When it was charged, on the monotonic clock.
    pub(super) since: Instant,
    /// When the limit would have been completely unused again if nothing more had been charged after this.
    pub(super) until: u64,
    /// The account of the token bucket that it is in.
    pub(super) account: u64,
}

impl Reservation {
    /// `since` is when it was charged, `reading` the clock reading to which the decision is relative.
    pub(super) fn new(cost: u32, decision: &Decision, since: Instant, reading: u64) -> Self {
        let reset = u64::try_from(decision.reset.as_nanos()).unwrap_or(u64::MAX);
        let cost = if decision.admitted { cost } else { 0 };
        Self { cost, since, until: reading.saturating_add(reset), account: 0 }
    }

    /// Returns the cost that was charged.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

/// Nanoseconds since the Unix epoch, up to the year 2554.
pub(super) fn wall_nanos(wall: Duration) -> u64 {
    u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the reading to which the limit's figures are relative.
pub(super) fn clock_reading(shape: &LimitShape, at: Clocks) -> u64 {
    if shape.algorithm == LimitAlgorithm::FixedWindow { wall_nanos(at.wall) } else { at.now.as_nanos() }
}

/// A decision in absolute time, which is what the algorithms return.
#[derive(Copy, Clone, Debug)]
pub(super) struct AbsoluteDecision {
    pub(super) admitted: bool,
    pub(super) remaining: u32,
    /// When the cost is admitted; `u64::MAX` for never.
    pub(super) ready_at: u64,
    /// When the limit is completely unused again.
    pub(super) full_at: u64,
}

impl AbsoluteDecision {
    /// Converts to times relative to `now`, the caller's clock reading. It may be behind the reading that was used for
    /// the decision.
    pub(super) fn relative_to(self, now: u64) -> Decision {
        let retry_after = match (self.admitted, self.ready_at) {
            (true, _) => Duration::ZERO,
            (false, u64::MAX) => Duration::MAX,
            (false, at) => Duration::from_nanos(at.saturating_sub(now)),
        };
        Decision {
            admitted: self.admitted,
            remaining: self.remaining,
            retry_after,
            reset: Duration::from_nanos(self.full_at.saturating_sub(now)),
        }
    }
}
