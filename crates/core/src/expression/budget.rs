//! What an evaluation may cost.

use std::cell::Cell;

use super::failure::ExpressionFailure;

/// Most that one evaluation may cost. A step costs 1, a text that is looked through 1 for every 64 bytes, and more if
/// the look is by a regular expression.
pub const MAX_COST: u32 = 10_000;

/// Bytes of a text that cost as much as a step.
const BYTES_PER_STEP: usize = 64;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget(Cell<u32>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_COST))
    }

    /// Takes `steps`, for the part of the expression at `at`.
    #[inline]
    pub(super) fn take(&self, steps: u32, at: u32) -> Result<(), ExpressionFailure> {
        if let Some(left) = self.0.get().checked_sub(steps) {
            self.0.set(left);
            Ok(())
        } else {
            self.0.set(0);
            Err(ExpressionFailure::too_expensive(at))
        }
    }

    /// Takes what it costs to look through `length` bytes.
    #[inline]
    pub(super) fn take_bytes(&self, length: usize, at: u32) -> Result<(), ExpressionFailure> {
        self.take(u32::try_from(length / BYTES_PER_STEP).unwrap_or(u32::MAX), at)
    }
}
