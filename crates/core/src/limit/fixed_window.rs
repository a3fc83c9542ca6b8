//! Fixed window: a quota counted from one UTC-aligned boundary to the next, e.g. from midnight to midnight.

use std::time::Duration;

use super::decision::{AbsoluteDecision, Decision, Reservation, wall_nanos};
use super::shape::{LimitAlgorithm, LimitError, LimitShape};

/// What was charged in the window that ends at `until` (wall clock).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) until: u64,
    pub(super) used: u32,
}

impl LimitShape {
    /// Returns the end of the window that contains `wall`.
    pub(super) fn boundary(&self, wall: u64) -> u64 {
        (wall - wall % self.per).saturating_add(self.per)
    }

    /// Decides on `cost` at `wall`, which must not be earlier than in any call before.
    pub(super) fn fixed_window(&self, count: Count, wall: u64, cost: u32) -> (AbsoluteDecision, Count) {
        let count = if wall >= count.until { Count { until: self.boundary(wall), used: 0 } } else { count };
        let room = self.limit.saturating_sub(count.used);
        let admitted = cost <= room;
        let used = if admitted { count.used + cost } else { count.used };
        let ready_at = if cost > self.limit { u64::MAX } else { count.until };
        let full_at = if used == 0 { wall } else { count.until };
        (
            AbsoluteDecision { admitted, remaining: self.limit.saturating_sub(used), ready_at, full_at },
            Count { used, ..count },
        )
    }
}

impl LimitShape {
    /// Settles a reservation at `wall`. What was charged too much comes back if its window has not ended; what was
    /// charged too little is charged now.
    pub(super) fn settle_fixed_window(&self, count: Count, wall: u64, reservation: &Reservation, cost: u32) -> Count {
        if cost <= reservation.cost {
            let same = count.until == reservation.until;
            let back = if same { reservation.cost - cost } else { 0 };
            return Count { used: count.used.saturating_sub(back), ..count };
        }
        let count = if wall >= count.until { Count { until: self.boundary(wall), used: 0 } } else { count };
        Count { used: self.used_with(count.used, cost - reservation.cost), ..count }
    }

    /// Returns what is in use after `more` was charged beyond the limit, within the bound of debts.
    pub(super) fn used_with(&self, used: u32, more: u32) -> u32 {
        let most = u32::try_from(self.most_used()).unwrap_or(u32::MAX);
        used.saturating_add(more).min(most).max(used)
    }
}

/// A fixed window for one key.
#[derive(Clone, Debug)]
pub struct FixedWindow {
    shape: LimitShape,
    count: Count,
    latest: u64,
}

impl FixedWindow {
    /// Creates a window that admits at most `limit` between two multiples of `per` since the Unix epoch.
    pub fn new(limit: u32, per: Duration) -> Result<Self, LimitError> {
        let shape = LimitShape::new(LimitAlgorithm::FixedWindow, limit, per, None)?;
        Ok(Self { shape, count: Count::default(), latest: 0 })
    }

    /// Charges `cost` if it is admitted. `wall` is the time since the Unix epoch.
    pub fn check(&mut self, wall: Duration, cost: u32) -> Decision {
        let wall = wall_nanos(wall);
        self.latest = self.latest.max(wall);
        let (outcome, count) = self.shape.fixed_window(self.count, self.latest, cost);
        self.count = count;
        outcome.relative_to(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_boundary_to_boundary() {
        let mut quota = FixedWindow::new(2, Duration::from_secs(86_400)).unwrap();
        let evening = Duration::from_secs(20_000 * 86_400 + 86_390);
        assert!(quota.check(evening, 1).admitted);
        assert!(quota.check(evening, 1).admitted);
        let refused = quota.check(evening, 1);
        assert_eq!((refused.admitted, refused.remaining), (false, 0));
        assert_eq!(refused.retry_after, Duration::from_secs(10));
        assert!(quota.check(evening + refused.retry_after, 2).admitted);
        assert!(!quota.check(evening, 1).admitted, "a clock set back opens no window");
        assert_eq!(quota.check(evening, 3).retry_after, Duration::MAX);
    }
}
