//! Decisions of limits.

use std::time::Duration;

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
