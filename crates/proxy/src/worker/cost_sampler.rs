//! Which exchanges of a worker have their policies timed: all of them while there are few, and one in 64 at high rates.

use std::cell::Cell;

/// Exchanges that a worker times per second, about, before it leaves some out.
const PER_SECOND: u64 = 256;
/// Most exchanges of which one is timed.
const MOST: u64 = 64;

/// Chooses exchanges with random gaps, so that no rhythm of clients is preferred.
pub(crate) struct CostSampler {
    /// Exchanges to leave out before the next one is timed.
    left: Cell<u64>,
    /// How many exchanges that one stands for.
    weight: Cell<u64>,
    /// One in so many is timed from now on.
    interval: Cell<u64>,
    /// Exchanges of this second, as the timed ones stand for them.
    seen: Cell<u64>,
}

impl Default for CostSampler {
    fn default() -> Self {
        Self { left: Cell::new(0), weight: Cell::new(1), interval: Cell::new(1), seen: Cell::new(0) }
    }
}

impl CostSampler {
    /// Returns how many exchanges the next one stands for, or None if it is not timed.
    #[inline]
    pub(crate) fn next(&self, random: impl FnOnce() -> u64) -> Option<u64> {
        let left = self.left.get();
        if left > 0 {
            self.left.set(left - 1);
            return None;
        }
        let (weight, interval) = (self.weight.get(), self.interval.get());
        self.seen.set(self.seen.get() + weight);
        // Gaps from 0 to 2 (interval - 1) are equally likely, so their mean is interval - 1.
        self.left.set(if interval > 1 { random() % (2 * interval - 1) } else { 0 });
        self.weight.set(interval);
        Some(weight)
    }

    /// Adapts to the rate. To be called once a second.
    pub(crate) fn adapt(&self) {
        self.interval.set((self.seen.replace(0) / PER_SECOND).next_power_of_two().min(MOST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchanges that the timed ones of `count` stand for, and the number of timed ones.
    fn run(sampler: &CostSampler, count: u64, random: &mut fastrand::Rng) -> (u64, u64) {
        let weights = (0..count).filter_map(|_| sampler.next(|| random.u64(..)));
        weights.fold((0, 0), |(sum, number), weight| (sum + weight, number + 1))
    }

    #[test]
    fn few_exchanges_are_all_timed_and_of_many_one_in_sixty_four() {
        let (sampler, mut random) = (CostSampler::default(), fastrand::Rng::with_seed(7));
        assert_eq!(run(&sampler, 500, &mut random), (500, 500));
        sampler.adapt();
        assert_eq!(run(&sampler, 100_000, &mut random), (100_000, 100_000));
        sampler.adapt();
        let (sum, number) = run(&sampler, 1_000_000, &mut random);
        assert!((14_500..16_800).contains(&number), "{number}");
        assert!((950_000..1_050_000).contains(&sum), "{sum}");
        sampler.adapt();
        sampler.adapt();
        let (_, number) = run(&sampler, 200, &mut random);
        assert!(number >= 200 - 127, "a quiet second times all again: {number}");
    }
}
