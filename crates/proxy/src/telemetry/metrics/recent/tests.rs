use pylae_http::Method;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos((1000 + seconds) * 1_000_000_000)
}

/// Figures of a route after `requests` exchanges of 10 ms, of which `errors` failed.
fn figures(route: &str, service: &str, requests: u64, errors: u64) -> (Names, Figures) {
    let mut figures = Figures::default();
    let tally: &mut TallyFigures = figures.methods[Method::Get as usize].get_or_insert_default();
    (tally.by_class[1], tally.by_class[4]) = (requests - errors, errors);
    tally.duration.put(requests * 10_000_000, [(50, requests)]);
    ((route.into(), service.into()), figures)
}

fn totals(window: &Window) -> (u64, u64, u64) {
    let all = window.by_service.values();
    all.fold((0, 0, 0), |sum, one| (sum.0 + one.requests, sum.1 + one.errors, sum.2 + one.duration.count()))
}

#[test]
fn what_is_older_than_a_minute_is_forgotten() {
    let mut recent = RecentGrowth::new(at(0));
    let mut requests = 0;
    for second in (5..=200).step_by(5) {
        requests += if second <= 100 { 50 } else { 0 };
        recent.sample(at(second), &[figures("a", "users", requests, requests)]);
    }
    // The last exchange ended a hundred seconds ago.
    let now = [figures("a", "users", requests + 3, requests + 1)];
    let window = recent.window(at(203), &now);
    assert_eq!(totals(&window), (3, 1, 3));
    assert!(window.span <= SPAN && window.span + INTERVAL > SPAN, "{:?}", window.span);
    // Memory is bounded: no more intervals than a minute has.
    assert!(recent.intervals.len() as u64 <= SPAN.as_secs() / INTERVAL.as_secs() + 1);
}

#[test]
fn the_first_minute_begins_at_the_start() {
    let mut recent = RecentGrowth::new(at(0));
    assert_eq!(totals(&recent.window(at(2), &[figures("a", "users", 7, 1)])), (7, 1, 7));
    recent.sample(at(5), &[figures("a", "users", 9, 1)]);
    let window = recent.window(at(8), &[figures("a", "users", 12, 2)]);
    assert_eq!((totals(&window), window.span), ((12, 2, 12), Duration::from_secs(8)));
}

#[test]
fn routes_of_a_service_come_together_and_unrouted_ones_do_not_count() {
    let recent = RecentGrowth::new(at(0));
    let now = [figures("a", "users", 7, 1), figures("b", "users", 2, 0), figures("c", "orders", 1, 1)];
    let unrouted = figures(NONE, NONE, 1000, 0);
    let window = recent.window(at(1), &[&now[..], &[unrouted]].concat());
    let users = &window.by_service[&("users".into(), Method::Get as usize)];
    assert_eq!((users.requests, users.errors, totals(&window)), (9, 1, (10, 2, 10)));
}

#[test]
fn a_route_that_leaves_takes_nothing_from_the_others() {
    let mut recent = RecentGrowth::new(at(0));
    recent.sample(at(5), &[figures("a", "users", 70, 0), figures("b", "users", 500, 0)]);
    let window = recent.window(at(6), &[figures("a", "users", 75, 0)]);
    assert_eq!(totals(&window), (575, 0, 575));
    assert_eq!(totals(&recent.window(at(62), &[figures("a", "users", 75, 0)])), (5, 0, 5));
}
