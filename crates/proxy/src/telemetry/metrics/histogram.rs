//! Histograms of durations. The buckets are fine enough for quantiles within 5 % from 10 µs to 100 s. Their bounds are
//! decimal, so that the coarser buckets of the Prometheus page are exact.

use std::time::Duration;

use super::counter::Counter;

/// Upper bound of the first bucket in nanoseconds.
const FIRST: u64 = 10_000;
const DECADES: usize = 7;
/// Buckets of a decade: steps of 1/10 up to 2, 1/5 up to 5, 1/2 up to 10. None is wider than a tenth of its lower
/// bound.
const PARTS: [(usize, u64); 3] = [(10, 10), (15, 5), (10, 2)];
const PER_DECADE: usize = PARTS[0].0 + PARTS[1].0 + PARTS[2].0;
/// Number of buckets, including one below and one above the decades.
pub(crate) const BUCKETS: usize = DECADES * PER_DECADE + 2;

/// Inclusive upper bounds in nanoseconds of all buckets but the last.
static BOUNDS: [u64; BUCKETS - 1] = bounds();

/// Values below `2^OCTAVE` are in the first bucket, those from `2^(OCTAVE + OCTAVES)` in the last.
const OCTAVE: u32 = 13;
const OCTAVES: u32 = 24;
/// The bucket of the smallest value with a given power of two and the next four bits.
static STARTS: [u8; OCTAVES as usize * 16] = starts();

const fn bounds() -> [u64; BUCKETS - 1] {
    let mut bounds = [FIRST; BUCKETS - 1];
    let (mut at, mut unit, mut decade) = (1, FIRST, 0);
    while decade < DECADES {
        let mut part = 0;
        while part < PARTS.len() {
            let (count, steps) = PARTS[part];
            let mut step = 0;
            while step < count {
                bounds[at] = bounds[at - 1] + unit / steps;
                at += 1;
                step += 1;
            }
            part += 1;
        }
        unit *= 10;
        decade += 1;
    }
    bounds
}

const fn starts() -> [u8; OCTAVES as usize * 16] {
    let bounds = bounds();
    let mut starts = [0; OCTAVES as usize * 16];
    let (mut index, mut bucket) = (0, 0);
    while index < starts.len() {
        let lowest = (16 + index as u64 % 16) << (OCTAVE - 4 + index as u32 / 16);
        while bucket < bounds.len() && bounds[bucket] <= lowest {
            bucket += 1;
        }
        starts[index] = bucket as u8;
        index += 1;
    }
    starts
}

/// The bucket of a duration.
#[inline]
fn bucket(nanos: u64) -> usize {
    // Bounds are inclusive.
    let value = nanos.saturating_sub(1);
    let power = (value | 1).ilog2();
    if power < OCTAVE {
        return 0;
    }
    let index = (power - OCTAVE) as usize * 16 + (value >> (power - 4)) as usize % 16;
    let Some(start) = STARTS.get(index) else { return BUCKETS - 1 };
    // At most two bounds lie between a value and the smallest value with the same leading bits. Added without a
    // loop, because the number of iterations would be unpredictable.
    let mut bucket = usize::from(*start);
    bucket += usize::from(BOUNDS.get(bucket).is_some_and(|bound| value >= *bound));
    bucket += usize::from(BOUNDS.get(bucket).is_some_and(|bound| value >= *bound));
    bucket
}

/// The durations counted by one worker.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Histogram {
    sum: Counter,
    buckets: [Counter; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum: Counter::default(), buckets: [const { Counter::new() }; BUCKETS] }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, nanos: u64) {
        self.sum.add(nanos);
        self.buckets[bucket(nanos)].add(1);
    }
}

/// Durations as read, possibly merged over workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Durations {
    /// Sum in nanoseconds.
    sum: u64,
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Durations {
    fn default() -> Self {
        Self { sum: 0, buckets: Box::new([0; BUCKETS]) }
    }
}

impl Durations {
    pub(crate) fn add(&mut self, one: &Histogram) {
        self.sum += one.sum.get();
        for (total, counter) in self.buckets.iter_mut().zip(&one.buckets) {
            *total += counter.get();
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        for (total, count) in self.buckets.iter_mut().zip(&*other.buckets) {
            *total += count;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum in seconds.
    pub(crate) fn sum(&self) -> f64 {
        Duration::from_nanos(self.sum).as_secs_f64()
    }

    /// Mean in seconds, or None if there are no durations.
    #[expect(clippy::cast_precision_loss, reason = "a mean of more than 2^52 durations may be rounded")]
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum() / count as f64)
    }

    /// Cumulative counts for `bounds`, which must be ascending bucket bounds in nanoseconds.
    pub(crate) fn up_to(&self, bounds: impl IntoIterator<Item = u64>) -> impl Iterator<Item = u64> {
        let mut ahead = self.buckets.iter().zip(&BOUNDS).peekable();
        let mut passed = 0;
        bounds.into_iter().map(move |bound| {
            while let Some((count, _)) = ahead.next_if(|(_, upper)| **upper <= bound) {
                passed += count;
            }
            passed
        })
    }

    /// The quantile `q` (0–1) in seconds, within 5 % from 10 µs to 100 s, or None if there are no durations.
    #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a rank of more than 2^52 may be rounded")]
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut passed = 0;
        let bucket = self.buckets.iter().position(|count| {
            passed += count;
            passed >= rank
        })?;
        Some(middle(bucket) / 1e9)
    }

    /// The growth since `earlier`: the sum in nanoseconds, and pairs of bucket and count.
    pub(crate) fn since<'a>(&'a self, earlier: &'a Self) -> (u64, impl Iterator<Item = (u8, u64)> + 'a) {
        let buckets = self.buckets.iter().zip(&*earlier.buckets).enumerate();
        let added = buckets.map(|(index, (now, before))| (index as u8, now.saturating_sub(*before)));
        (self.sum.saturating_sub(earlier.sum), added.filter(|(_, count)| *count > 0))
    }

    /// Adds a growth returned by [`Self::since`].
    pub(crate) fn put(&mut self, sum: u64, buckets: impl IntoIterator<Item = (u8, u64)>) {
        self.sum += sum;
        for (bucket, count) in buckets {
            self.buckets[usize::from(bucket)] += count;
        }
    }
}

/// The representative value of a bucket in nanoseconds, at equal relative distance from both bounds.
#[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
fn middle(bucket: usize) -> f64 {
    let lower = bucket.checked_sub(1).map_or(BOUNDS[0] / 2, |below| BOUNDS[below]) as f64;
    let upper = BOUNDS.get(bucket).copied().unwrap_or(BOUNDS[BOUNDS.len() - 1]) as f64;
    2.0 * lower * upper / (lower + upper)
}

#[cfg(test)]
mod tests;
