//! Latencies in buckets of at most 1.6 % width.

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; ((64 - SUB_BITS as usize) + 1) << SUB_BITS], total: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.counts[index(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The upper end of the bucket in which the quantile lies, in nanoseconds; zero if nothing was recorded.
    pub(crate) fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }
}

fn index(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((u64::from(shift) << SUB_BITS) + (value >> shift)) as usize
}

fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB {
        return index;
    }
    let shift = (index >> SUB_BITS) - 1;
    (((index & (SUB - 1)) + SUB + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..100_000).chain((17..63).map(|bit| (1 << bit) + 12345)) {
            let end = upper(index(value));
            assert!(end >= value && end - value <= value / 32, "{value} in a bucket that ends at {end}");
            assert_eq!(index(end), index(value));
            assert_eq!(index(end + 1), index(value) + 1);
        }
        assert!(index(u64::MAX) < Histogram::new().counts.len());
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(990), 0);
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        assert!((500_000..510_000).contains(&histogram.quantile(500)));
        assert!((990_000..1_000_001).contains(&histogram.quantile(990)));
        assert_eq!(histogram.quantile(1000), 1_000_000);
    }
}
