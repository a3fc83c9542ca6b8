//! Fixed window of a ledger.

use super::shape::LedgerShape;

/// What was charged in the window that ends at `until`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerWindow {
    pub(super) until: u64,
    /// May exceed the limit; the next window begins with the excess.
    pub(super) used: u64,
}

impl LedgerWindow {
    /// Begins a window if the one before is over, and returns true then. What was held in it may have been used in it.
    pub(super) fn advance(&mut self, now: u64, held: u64, shape: &LedgerShape) -> bool {
        if self.until > now + 2 * shape.per {
            // The clock was set back. The next window opens a whole period from now at the earliest.
            self.until = shape.window_end(now) + shape.per;
        }
        if now < self.until {
            return false;
        }
        let next = now < self.until + shape.per;
        self.used = if next { self.excess(held, shape) } else { 0 };
        self.until = shape.window_end(now);
        true
    }

    pub(super) fn charge(&mut self, tokens: u64, shape: &LedgerShape) {
        self.used = self.used.saturating_add(tokens).min(shape.most_debt());
    }

    /// Takes back what was charged at `since` or later; a charge in a window before is not in this count.
    pub(super) fn credit(&mut self, tokens: u64, since: u64, shape: &LedgerShape) {
        if since + shape.per >= self.until {
            self.used = self.used.saturating_sub(tokens);
        }
    }

    /// Returns when a cost fits that does not fit now.
    pub(super) fn ready_at(&self, held: u64, cost: u64, shape: &LedgerShape) -> u64 {
        let next = self.excess(held, shape) + cost <= shape.limit.into();
        self.until + if next { 0 } else { shape.per }
    }

    /// Returns what the next window begins with.
    fn excess(&self, held: u64, shape: &LedgerShape) -> u64 {
        (self.used + held).saturating_sub(shape.limit.into()).min(shape.limit.into())
    }
}
