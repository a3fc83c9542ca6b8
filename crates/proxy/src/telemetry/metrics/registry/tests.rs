use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pylae_core::Exchange;

use super::super::series::Ended;
use super::*;

fn metrics(workers: usize) -> Metrics {
    Metrics::new(workers, Instant::default())
}

fn exchange() -> Exchange {
    let mut exchange = Exchange::new(64);
    (exchange.response.status, exchange.request.head.method_span.len, exchange.response.code) =
        (503, 3, Some("overloaded"));
    exchange
}

fn record(series: &Series, worker: usize) {
    let ended = Ended { nanos: 1_000_000, bytes_in: 1, bytes_out: 10, complete: true, timed: true, traced: false };
    series.of(worker).record(&exchange(), &ended);
}

/// The number of exchanges by route.
fn requests(reading: &MetricsReading) -> Vec<(&str, u64)> {
    let routes = reading.routes.iter();
    routes
        .map(|((route, _), figures)| (&**route, figures.by_method().map(|(_, tally)| tally.requests()).sum()))
        .collect()
}

#[test]
fn a_route_keeps_its_figures_over_reloads_and_another_service_begins_anew() {
    let metrics = metrics(2);
    let before = metrics.series("a", "users");
    record(&before, 1);
    let after = metrics.series("a", "users");
    drop(before);
    record(&after, 0);
    assert_eq!(requests(&metrics.read([&after].into_iter())), [("a", 2)]);
    let other = metrics.series("a", "orders");
    drop(after);
    assert_eq!(requests(&metrics.read([&other].into_iter())), [("a", 0), (REMOVED, 2)]);
}

#[test]
fn an_exchange_that_ends_after_its_route_was_removed_is_counted() {
    let metrics = metrics(1);
    let (old, new) = (metrics.series("old", "users"), metrics.series("new", "users"));
    record(&old, 0);
    assert_eq!(requests(&metrics.read([&new].into_iter())), [("new", 0), (REMOVED, 1)]);
    record(&old, 0);
    drop(old);
    assert_eq!(requests(&metrics.read([&new].into_iter())), [("new", 0), (REMOVED, 2)]);
}

#[test]
fn ten_thousand_reloads_with_new_names_leave_one_line() {
    let metrics = metrics(1);
    let mut current = metrics.series("route", "users");
    for index in 0..10_000_u64 {
        record(&current, 0);
        current = metrics.series(&format!("route-{index}"), "users");
        let reading = metrics.read([&current].into_iter());
        assert_eq!(requests(&reading)[1], (REMOVED, index + 1));
        assert_eq!((reading.routes.len(), metrics.kept.lock().series.len()), (2, 1));
    }
}

#[test]
fn readers_miss_nothing_of_what_writers_count() {
    const EACH: u64 = 20_000;
    let metrics = metrics(3);
    let series = metrics.series("a", "users");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|worker| {
                scope.spawn({
                    let series = &series;
                    move || (0..EACH).for_each(|_| record(series, worker))
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = requests(&metrics.read([&series].into_iter()))[0].1;
                assert!(now >= last, "a count fell from {last} to {now}");
                last = now;
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let reading = metrics.read([&series].into_iter());
    let (_, figures) = &reading.routes[0];
    let (_, tally) = figures.by_method().next().unwrap();
    assert_eq!((tally.requests(), tally.errors(), tally.duration.count()), (3 * EACH, 3 * EACH, 3 * EACH));
    assert_eq!((tally.bytes_in, tally.bytes_out, figures.codes["overloaded"]), (3 * EACH, 30 * EACH, 3 * EACH));
}

#[test]
fn samples_make_the_last_minute() {
    let metrics = metrics(1);
    let series = metrics.series("a", "users");
    let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
    record(&series, 0);
    metrics.sample(at(30));
    record(&series, 0);
    let reading = metrics.read([&series].into_iter());
    let seen = |now| metrics.recently(at(now), &reading).by_service.values().map(|within| within.errors).sum::<u64>();
    assert_eq!((seen(59), seen(61), seen(91)), (2, 1, 0));
}
