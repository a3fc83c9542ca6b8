//! Carries usage over to a limit whose figures have changed: the used share stays.

use crate::limit::fixed_window::Count;
use crate::limit::shape::LimitShape;
use crate::limit::token_bucket::Level;

/// The used share of a limit.
#[derive(Copy, Clone, Debug)]
pub(super) struct Share {
    used: u128,
    whole: u128,
}

impl Share {
    pub(super) fn of_level(level: Level, now: u64, shape: &LimitShape) -> Self {
        Self { used: level.debt(now, shape), whole: shape.max_debt() }
    }

    pub(super) fn of_count(used: u32, shape: &LimitShape) -> Self {
        Self { used: used.into(), whole: shape.limit.into() }
    }

    /// Returns the same share of another whole, rounded up. It is more than the whole for one in debt, but never more
    /// than `most`.
    fn scale_to(self, whole: u128, most: u128) -> u128 {
        let (mut used, mut old) = (self.used, self.whole);
        loop {
            if let Some(product) = used.checked_mul(whole) {
                return product.div_ceil(old).min(most);
            }
            // Only figures far beyond any real limit get here; they lose low bits, rounded up.
            (used, old) = (used.div_ceil(2), old / 2);
        }
    }

    pub(super) fn level(self, now: u64, shape: &LimitShape) -> Level {
        let most = u128::from(shape.most_used()) * u128::from(shape.every);
        Level::with_debt(self.scale_to(shape.max_debt(), most), now, shape)
    }

    pub(super) fn used_of(self, shape: &LimitShape) -> u32 {
        let most = shape.most_used().min(u32::MAX.into());
        self.scale_to(shape.limit.into(), most.into()) as u32
    }

    pub(super) fn count(self, wall: u64, shape: &LimitShape) -> Count {
        Count { until: shape.boundary(wall), used: self.used_of(shape) }
    }
}
