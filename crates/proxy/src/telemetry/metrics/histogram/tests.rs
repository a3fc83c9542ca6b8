#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "the values are far below 2^52")]

use proptest::prelude::*;

use super::*;

fn of(nanos: impl IntoIterator<Item = u64>) -> Durations {
    let histogram = Histogram::default();
    nanos.into_iter().for_each(|nanos| histogram.record(nanos));
    let mut durations = Durations::default();
    durations.add(&histogram);
    durations
}

/// The bucket by definition: the first whose bound is not below the value.
fn bucket_by_search(nanos: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < nanos)
}

#[test]
fn bounds_rise_by_a_tenth_at_most() {
    assert_eq!((BOUNDS[0], BOUNDS[BOUNDS.len() - 1]), (10_000, 100_000_000_000));
    for pair in BOUNDS.windows(2) {
        assert!(pair[0] < pair[1] && pair[1] * 10 <= pair[0] * 11, "{pair:?}");
    }
}

#[test]
fn values_at_bounds_are_in_the_bucket_below() {
    for (index, bound) in BOUNDS.iter().enumerate() {
        assert_eq!((bucket(*bound), bucket(bound + 1)), (index, index + 1), "{bound}");
    }
    assert_eq!((bucket(0), bucket(1), bucket(u64::MAX)), (0, 0, BUCKETS - 1));
}

#[test]
fn counts_up_to_a_bound_are_exact() {
    let durations = of([0, 99_999, 100_000, 100_001, 1_000_000, 59_000_000_000, 60_000_000_000, 700_000_000_000]);
    let counts: Vec<u64> = durations.up_to([100_000, 1_000_000, 60_000_000_000]).collect();
    assert_eq!((counts, durations.count()), (vec![3, 5, 7], 8));
    assert!((durations.sum() - 819.001_300).abs() < 1e-9);
}

#[test]
fn nothing_has_no_quantile_and_no_mean() {
    assert_eq!((of([]).quantile(0.5), of([]).mean()), (None, None));
}

#[test]
fn growth_added_to_earlier_figures_gives_the_current_ones() {
    let (before, now) = (of([1, 30_000, 5_000_000]), of([1, 30_000, 5_000_000, 5_000_001, 40_000]));
    let mut sum = before.clone();
    let (added, buckets) = now.since(&before);
    sum.put(added, buckets.collect::<Vec<_>>());
    assert_eq!(sum, now);
    let mut twice = now.clone();
    twice.merge(&now);
    assert_eq!((twice.count(), twice.quantile(0.5)), (10, now.quantile(0.5)));
}

proptest! {
    #[test]
    fn the_quick_way_finds_the_bucket(nanos in prop_oneof![any::<u64>(), 0..200_000_000_000_u64, 0..1_000_000_u64]) {
        prop_assert_eq!(bucket(nanos), bucket_by_search(nanos));
    }

    /// Checks the promised error with values spread evenly over the orders of magnitude.
    #[test]
    fn quantiles_are_good_to_five_percent(
        exponents in prop::collection::vec(4.698_97..10.778_f64, 1..400),
        q in 0.0..=1.0_f64,
    ) {
        let mut nanos: Vec<u64> = exponents.iter().map(|exponent| 10_f64.powf(*exponent) as u64).collect();
        let found = of(nanos.iter().copied()).quantile(q).unwrap() * 1e9;
        nanos.sort_unstable();
        let rank = ((q * nanos.len() as f64).ceil() as usize).max(1);
        let exact = nanos[rank - 1] as f64;
        prop_assert!((found - exact).abs() <= 0.05 * exact, "{found} is not {exact}");
    }
}
