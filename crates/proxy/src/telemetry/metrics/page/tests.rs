use super::bounds::{BUCKETS, bucket};
use super::*;

#[test]
fn labels_are_escaped() {
    let mut page = Page::default();
    page.sample("m", &[("route", "a\"b\\c\nd ü")], 1);
    assert_eq!(page.text, "m{route=\"a\\\"b\\\\c\\nd ü\"} 1\n");
}

#[test]
fn bounds_are_the_same_in_both_units() {
    for (nanos, text) in BOUNDS {
        let seconds: f64 = text.parse().unwrap();
        assert_eq!(std::time::Duration::from_secs_f64(seconds).as_nanos(), u128::from(nanos), "{text}");
    }
}

#[test]
fn a_histogram_is_cumulative_and_ends_in_all() {
    let mut durations = Durations::default();
    durations.put(1_500_000, [(0, 3), (246, 1)]);
    let mut page = Page::default();
    page.histogram("h", &[("route", "a")], &durations);
    let lines: Vec<&str> = page.text.lines().collect();
    assert_eq!(lines.len(), BOUNDS.len() + 3);
    assert_eq!(lines[0], "h_bucket{route=\"a\",le=\"0.00002\"} 3");
    assert_eq!(lines[BOUNDS.len() - 1], "h_bucket{route=\"a\",le=\"60\"} 3");
    assert_eq!(
        lines[BOUNDS.len()..],
        ["h_bucket{route=\"a\",le=\"+Inf\"} 4", "h_sum{route=\"a\"} 0.0015", "h_count{route=\"a\"} 4"]
    );
}

#[test]
fn a_histogram_needs_no_labels() {
    let mut page = Page::default();
    page.histogram("h", &[], &Durations::default());
    assert_eq!(page.text.lines().next(), Some("h_bucket{le=\"0.00002\"} 0"));
}

#[test]
fn openmetrics_has_families_without_suffix_canonical_bounds_and_exemplars() {
    let mut page = Page { open: true, ..Page::default() };
    page.single("a_total", COUNTER, "All.", 1);
    assert_eq!(page.text, "# HELP a All.\n# TYPE a counter\na_total 1\n");
    page.text.clear();
    let mut durations = Durations::default();
    durations.put(1_500_000, [(0, 3)]);
    let exemplar = Exemplar { trace_id: 10, span_id: 11, nanos: 1_500, ended: Duration::from_millis(5250) };
    let mut exemplars = [None; BUCKETS];
    exemplars[0] = Some(exemplar);
    page.histogram_with("h", &[], &durations, Some(&exemplars));
    let mut lines = page.text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "h_bucket{le=\"2e-05\"} 3 # {trace_id=\"0000000000000000000000000000000a\",\
             span_id=\"000000000000000b\"} 0.0000015 5.250"
        )
    );
    assert!(lines.any(|line| line == "h_bucket{le=\"1.0\"} 3"));
    let mut plain = Page::default();
    plain.histogram_with("h", &[], &durations, Some(&exemplars));
    assert!(!plain.text.contains('#') && plain.text.contains("le=\"1\""));
}

#[test]
fn a_duration_is_in_the_first_bucket_that_holds_it() {
    assert_eq!(bucket(0), 0);
    for (index, (bound, _)) in BOUNDS.into_iter().enumerate() {
        assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1));
    }
}
