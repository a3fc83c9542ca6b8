//! Token bucket of a ledger.

use super::shape::LedgerShape;

/// The bucket is full at `at + parts * every / refill` microseconds. `parts` are whole tokens and fewer than `refill`:
/// a charge adds tokens to `parts`, and what makes up `refill` goes to `at` as `every`. So a charge rounds nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerBucket {
    pub(super) at: u64,
    pub(super) parts: u32,
}

impl LedgerBucket {
    pub(super) const fn full(now: u64) -> Self {
        Self { at: now, parts: 0 }
    }

    pub(super) fn with_debt(debt: u64, now: u64, shape: &LedgerShape) -> Self {
        let mut bucket = Self::full(now);
        bucket.add(debt.cast_signed(), shape);
        bucket
    }

    /// Returns the tokens that are missing, rounded up.
    pub(super) fn debt(self, now: u64, shape: &LedgerShape) -> u64 {
        let parts = u64::from(self.parts);
        if self.at >= now {
            shape.missing(self.at - now) + parts
        } else {
            parts.saturating_sub(shape.refilled_in(now - self.at))
        }
    }

    /// Moves the state of a full bucket to `now`. A debt that is too large comes from a clock that was set back.
    pub(super) fn advance(&mut self, now: u64, shape: &LedgerShape) {
        match self.debt(now, shape) {
            0 => *self = Self::full(now),
            debt if debt > shape.most_debt() => *self = Self::with_debt(shape.most_debt(), now, shape),
            _ => {}
        }
    }

    pub(super) fn charge(&mut self, tokens: u64, now: u64, shape: &LedgerShape) {
        self.advance(now, shape);
        if self.debt(now, shape).saturating_add(tokens) > shape.most_debt() {
            *self = Self::with_debt(shape.most_debt(), now, shape);
        } else {
            self.add(tokens.cast_signed(), shape);
        }
    }

    pub(super) fn credit(&mut self, tokens: u64, now: u64, shape: &LedgerShape) {
        self.add(-tokens.min(self.debt(now, shape)).cast_signed(), shape);
        self.advance(now, shape);
    }

    fn add(&mut self, tokens: i64, shape: &LedgerShape) {
        let (parts, refill) = (i64::from(self.parts) + tokens, i64::from(shape.refill));
        self.at = self.at.saturating_add_signed(parts.div_euclid(refill) * shape.every.cast_signed());
        self.parts = parts.rem_euclid(refill) as u32;
    }

    /// Returns when the bucket is full if `more` is charged now.
    pub(super) fn full_at(self, more: i64, shape: &LedgerShape) -> u64 {
        self.at.saturating_add_signed(shape.signed_time(i64::from(self.parts) + more))
    }
}
