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
