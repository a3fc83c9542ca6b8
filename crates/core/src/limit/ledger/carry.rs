//! Carries what was charged over to other figures: the used share stays.

/// Returns `used` of `from` as a share of `to`: rounded up to a smaller whole and down to a greater one. So nodes with
/// different figures for a moment use up nothing by their taking turns.
pub(super) fn scale(used: u64, from: u64, to: u64) -> u64 {
    let product = u128::from(used.min(from)) * u128::from(to);
    let from = u128::from(from);
    (if to < from as u64 { product.div_ceil(from) } else { product / from }) as u64
}
