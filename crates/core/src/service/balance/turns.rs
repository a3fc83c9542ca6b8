//! Turns by weight, as a table.

use std::sync::atomic::{AtomicU64, Ordering};

use super::view::below;

/// Size limit of the table of turns; larger sums of weights are rounded to it.
const MOST_TURNS: usize = 1 << 16;

/// Smooth weighted round robin as a table: position by turn. One shared counter over it keeps exact proportions,
/// however many workers use it.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) positions: Box<[u16]>,
    /// 2⁶⁴ divided by the number of turns, rounded up.
    inverse: u64,
}

impl Turns {
    pub(super) fn build(weights: &[u32]) -> Self {
        let positions = smooth(weights);
        let inverse = (u64::MAX / positions.len().max(1) as u64).wrapping_add(1);
        Self { positions, inverse }
    }

    /// Takes the next turn and returns whose it is.
    #[inline]
    pub(super) fn take(&self, cursor: &AtomicU64) -> usize {
        // The remainder by two multiplications (Lemire, Kaser and Kurz 2019), because a division would cost more than
        // the rest. It is exact for 32 bits; that the rotation starts over every 2³² turns does not matter.
        let turn = u64::from(cursor.fetch_add(1, Ordering::Relaxed) as u32);
        let turn = below(self.inverse.wrapping_mul(turn), self.positions.len());
        usize::from(self.positions[turn])
    }
}

/// Returns positions in the order of nginx's smooth weighted round robin: the largest balance goes next and pays the
/// sum of all weights.
fn smooth(weights: &[u32]) -> Box<[u16]> {
    let weights = turns_of(weights);
    let sum: i64 = weights.iter().sum();
    let mut balances = vec![0; weights.len()];
    let next = |_| {
        let mut best = 0;
        for index in 0..weights.len() {
            balances[index] += weights[index];
            if balances[index] > balances[best] {
                best = index;
            }
        }
        balances[best] -= sum;
        best as u16
    };
    if weights.iter().all(|&weight| weight == 1) {
        return (0..weights.len() as u16).collect();
    }
    (0..sum).map(next).collect()
}

/// Returns the number of turns of each instance: its weight, rounded if the sum is too large for the table, and at
/// least one.
fn turns_of(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, b)).max(1);
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    // The limit on the product keeps a reload with thousands of weighted instances fast.
    let most = ((1 << 26) / weights.len().max(1)).clamp(weights.len(), MOST_TURNS.max(weights.len())) as u64;
    let scaled = |&weight: &u32| {
        let weight = u64::from(weight / divisor);
        if sum <= most { weight } else { ((weight * most + sum / 2) / sum).max(1) }.cast_signed()
    };
    weights.iter().map(scaled).collect()
}

/// Returns true if every instance gets its share of the turns within one hundredth of all turns, the most that rounding
/// may shift.
#[allow(clippy::cast_precision_loss)]
pub(super) fn keeps_shares(weights: &[u32]) -> bool {
    let shares = |of: &[f64]| -> Vec<f64> {
        let all = of.iter().sum::<f64>().max(1.0);
        of.iter().map(|one| one / all).collect()
    };
    let turns: Vec<f64> = turns_of(weights).iter().map(|&turns| turns as f64).collect();
    let wanted: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
    shares(&turns).iter().zip(shares(&wanted)).all(|(has, wants)| (has - wants).abs() <= 0.01)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_turns_are_those_of_nginx() {
        assert_eq!(&*smooth(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(&*smooth(&[4, 2]), [0, 1, 0], "weights are reduced");
        assert_eq!(&*smooth(&[7, 7, 7]), [0, 1, 2]);
        assert!(smooth(&[]).is_empty());
    }

    #[test]
    fn huge_weights_are_rounded_to_a_bounded_table() {
        let turns = smooth(&[1_000_000_007, 500_000_003, 1]);
        let count = |wanted: u16| turns.iter().filter(|&&index| index == wanted).count();
        assert!(turns.len() <= MOST_TURNS + 1);
        assert!(count(0).abs_diff(2 * count(1)) <= 3);
        assert_eq!(count(2), 1, "nobody is left out");
    }

    #[test]
    fn turns_are_remainders() {
        for count in [1_u32, 2, 3, 7, 64, 1000, 4096] {
            let turns = Turns::build(&vec![1; count as usize]);
            for turn in [0, 1, 2, 63, 64, 4095, 4096, 12_345_678, u32::MAX - 1, u32::MAX] {
                let cursor = AtomicU64::new(turn.into());
                assert_eq!(turns.take(&cursor), (turn % count) as usize, "{turn} of {count}");
            }
        }
    }
}
