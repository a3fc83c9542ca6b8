use pylae_core::cache::CacheOutcome;

use std::time::Duration;

use super::*;

fn exchange(method: Method, status: u16) -> Exchange {
    let mut exchange = Exchange::new(64);
    (exchange.request.head.method, exchange.response.status) = (method, status);
    exchange.request.head.method_span.len = 3;
    exchange
}

const ENDED: Ended =
    Ended { nanos: 3_000_000, bytes_in: 5, bytes_out: 100, complete: true, timed: true, traced: false };

fn read(block: &Block) -> Figures {
    let mut figures = Figures::default();
    figures.add(block);
    figures
}

#[test]
fn methods_are_in_the_order_of_their_values() {
    assert!(METHODS.iter().enumerate().all(|(index, method)| *method as usize == index));
    let outcomes =
        [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Revalidated, CacheOutcome::Miss, CacheOutcome::Bypass];
    assert!(outcomes.iter().zip(CACHE).all(|(outcome, name)| format!("{outcome:?}").to_lowercase() == name));
}

#[test]
fn every_exchange_is_counted_once() {
    let block = Block::default();
    for status in [200, 204, 301, 404, 429, 500, 599, 499, 101] {
        block.record(&exchange(Method::Get, status), &Ended { timed: status != 101, ..ENDED });
    }
    let mut cut = exchange(Method::Post, 200);
    (cut.attempts, cut.times.upstream) = (3, Duration::from_millis(1));
    cut.cache_visit().outcome = Some(CacheOutcome::Miss);
    cut.admitted_mut().by = [Some(true), Some(false)];
    block.record(&cut, &Ended { complete: false, ..ENDED });
    let figures = read(&block);
    let get = figures.methods[Method::Get as usize].as_ref().unwrap();
    assert_eq!((get.by_class, get.bytes_in, get.bytes_out), ([1, 2, 1, 2, 2, 1], 45, 900));
    assert_eq!((get.requests(), get.errors()), (9, 2));
    // All but the upgrade.
    assert_eq!(get.duration.count(), 8);
    assert_eq!((figures.incomplete, figures.retries, figures.cache), (1, 2, [0, 0, 0, 1, 0]));
    assert_eq!(figures.limited, [[0, 1], [1, 0]]);
    assert_eq!(figures.upstream.as_ref().map(Durations::count), Some(1));
    let seen: Vec<_> = figures.by_method().map(|(method, _)| method).collect();
    assert_eq!(seen, [Method::Get, Method::Post]);
    let mut twice = figures.clone();
    twice.merge(&figures);
    assert_eq!((twice.retries, twice.limited), (4, [[0, 2], [2, 0]]));
}

#[test]
fn a_head_that_could_not_be_parsed_has_no_method() {
    let block = Block::default();
    let mut unread = exchange(Method::Get, 400);
    unread.request.head.method_span.len = 0;
    block.record(&unread, &ENDED);
    assert!(read(&block).methods[Method::Other as usize].is_some());
}

#[test]
fn codes_are_bounded() {
    let block = Block::default();
    for index in 0..CODES + 20 {
        let mut refused = exchange(Method::Get, 403);
        refused.response.code = Some(Box::leak(format!("code_{index}").into_boxed_str()));
        block.record(&refused, &ENDED);
        block.record(&refused, &ENDED);
    }
    let codes = read(&block).codes;
    assert_eq!((codes.len(), codes["code_0"], codes["other"]), (CODES + 1, 2, 40));
}

#[test]
fn only_an_exchange_whose_trace_is_sent_is_an_exemplar() {
    let series = Series((0..2).map(|_| OnceLock::new()).collect());
    series.of(0).record(&exchange(Method::Get, 200), &ENDED);
    assert!(series.exemplars().is_none());
    series.of(1).record(&exchange(Method::Post, 200), &Ended { traced: true, ..ENDED });
    // A tunnel is not timed, so no bucket has it.
    series.of(1).record(&exchange(Method::Put, 101), &Ended { traced: true, timed: false, ..ENDED });
    let found = series.exemplars().unwrap();
    let methods: Vec<_> = METHODS.iter().zip(&found).filter(|(_, found)| found.is_some()).collect();
    assert_eq!(methods.len(), 1);
    let bucket = found[Method::Post as usize].as_ref().unwrap().iter().flatten().next().unwrap();
    assert_eq!(bucket.nanos, ENDED.nanos);
}
