//! The answer of a limit.

use std::time::Duration;

use crate::clock::Instant;

/// The two clocks at one moment. Windows aligned to UTC follow `wall`, everything else `now`.
#[derive(Copy, Clone, Debug, Default)]
pub struct Clocks {
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
pub(super) struct AbsoluteDecision {
    pub(super) admitted: bool,
    pub(super) remaining: u32,
    /// When the cost is admitted; `u64::MAX` for never.
    pub(super) ready_at: u64,
    /// When the allowance is whole.
    pub(super) whole_at: u64,
}

impl AbsoluteDecision {
    /// `now` is the reading that the caller gave, which may lie behind the one that was decided with.
    pub(super) fn seen_from(self, now: u64) -> Decision {
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
