//! Carrying what was used over to a limit whose figures changed: the share used stays.

use super::fixed_window::Count;
use super::shape::LimitShape;
use super::token_bucket::Level;

/// What is used, as a part of the whole.
#[derive(Copy, Clone, Debug)]
pub(super) struct Share {
    used: u128,
    whole: u128,
}

impl Share {
    pub(super) fn of_level(level: Level, now: u64, shape: &LimitShape) -> Self {
        Self { used: level.debt(now, shape), whole: shape.most_debt() }
    }

    pub(super) fn of_count(used: u32, shape: &LimitShape) -> Self {
        Self { used: used.into(), whole: shape.limit.into() }
    }

    /// The same share of another whole, rounded up.
    fn part_of(self, whole: u128) -> u128 {
        let (mut used, mut old) = (self.used.min(self.whole), self.whole);
        loop {
            if let Some(product) = used.checked_mul(whole) {
                return product.div_ceil(old).min(whole);
            }
            // Only figures far beyond any real limit get here; they lose low bits, rounded up.
            (used, old) = (used.div_ceil(2), old / 2);
        }
    }

    pub(super) fn level(self, now: u64, shape: &LimitShape) -> Level {
        Level::owing(self.part_of(shape.most_debt()), now, shape)
    }

    pub(super) fn used_of(self, shape: &LimitShape) -> u32 {
        self.part_of(shape.limit.into()) as u32
    }

    pub(super) fn count(self, wall: u64, shape: &LimitShape) -> Count {
        Count { until: shape.boundary(wall), used: self.used_of(shape) }
    }
}
