//! Bucket bounds on the page of metrics.

/// Bucket bounds on the page, in nanoseconds and in seconds. Each is a bound of the workers' histograms, so that counts
/// are exact.
pub(crate) const BOUNDS: [(u64, &str); 20] = [
    (20_000, "0.00002"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_000_000_000, "2"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

/// Number of buckets on the page, with the one above all bounds.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;
/// The bounds in the spelling of `OpenMetrics`, where it is another: that of Go, and never an integer ("Canonical
/// Numbers").
pub(crate) const CANONICAL: [(&str, &str); 8] = [
    ("0.00002", "2e-05"),
    ("0.00005", "5e-05"),
    ("1", "1.0"),
    ("2", "2.0"),
    ("5", "5.0"),
    ("10", "10.0"),
    ("30", "30.0"),
    ("60", "60.0"),
];

/// The bucket of a duration on the page.
#[inline]
pub(crate) fn bucket(nanos: u64) -> usize {
    BOUNDS.partition_point(|(bound, _)| *bound < nanos)
}
