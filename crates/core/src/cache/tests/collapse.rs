//! One request to the origin for many clients.

use std::task::{Context, Poll, Waker};

use super::*;
use crate::cache::{FetchOutcome, Join};

/// Looks up a request that must wait.
fn joins(world: &World, request: &str) -> (Exchange, Join) {
    let mut exchange = world.exchange(request);
    match world.lookup(&mut exchange) {
        Verdict::Join(join) => (exchange, join),
        verdict => panic!("{:?}", got(&exchange, verdict)),
    }
}

fn outcome(join: &Join) -> Option<FetchOutcome> {
    match join.flight.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Returns the verdict of a request that has waited.
fn after(world: &World, (mut exchange, join): (Exchange, Join)) -> Got {
    exchange.cache_visit().joined = outcome(&join);
    let verdict = world.lookup(&mut exchange);
    got(&exchange, verdict)
}

/// Returns the first request for `/`, which the others wait for.
fn leader(world: &World) -> Exchange {
    let mut exchange = world.exchange("GET /");
    assert!(matches!(world.lookup(&mut exchange), Verdict::Continue));
    exchange
}

#[test]
fn those_who_wait_get_the_answer_of_the_first() {
    let world = World::new();
    let mut first = leader(&world);
    let waiting: Vec<_> = (0..3).map(|_| joins(&world, "GET /")).collect();
    assert_eq!(outcome(&waiting[0].1), None);
    world.answer(&mut first, "200", "x");
    for one in waiting {
        assert_eq!(after(&world, one), hit("x"));
    }
}

#[test]
fn when_the_first_goes_exactly_one_takes_over() {
    let world = World::new();
    let mut first = leader(&world);
    let (one, other) = (joins(&world, "GET /"), joins(&world, "GET /"));
    first.reset();
    assert_eq!(outcome(&one.1), Some(FetchOutcome::Abandoned));
    let (mut next, join) = one;
    next.cache_visit().joined = outcome(&join);
    assert!(matches!(world.lookup(&mut next), Verdict::Continue));
    assert_eq!(after(&world, other), Got::Waits);
    world.answer(&mut next, "200", "x");
    assert_eq!(world.ask("GET /"), hit("x"));
}

#[test]
fn when_the_answer_cannot_be_kept_all_go_at_once_and_nobody_waits_next_time() {
    let world = World::new();
    let mut first = leader(&world);
    let waiting = [joins(&world, "GET /"), joins(&world, "GET /")];
    let framing = world.head(&mut first, "200\nCache-Control: private", 1);
    // The head decides already.
    on_response(&mut first, &Arc::from("s"), framing);
    for one in waiting {
        assert_eq!(after(&world, one), miss());
    }
    let mut exchanges = [world.exchange("GET /"), world.exchange("GET /")];
    assert!(exchanges.iter_mut().all(|exchange| matches!(world.lookup(exchange), Verdict::Continue)));
}

#[test]
fn when_it_grows_too_large_all_go_at_once() {
    let world = World::with(CacheRules { max_entry: 5, ..rules() });
    let mut first = leader(&world);
    let waiting = joins(&world, "GET /");
    world.head(&mut first, "200", 9);
    on_response(&mut first, &Arc::from("s"), Framing::Chunked);
    first.cache_visit().copy_body(b"012");
    assert_eq!(outcome(&waiting.1), None);
    first.cache_visit().copy_body(b"345");
    assert_eq!(outcome(&waiting.1), Some(FetchOutcome::Alone));
    first.cache_visit().complete();
    assert_eq!(after(&world, waiting), miss());
}

#[test]
fn when_the_origin_fails_nobody_waits_in_turn() {
    let world = World::new();
    let mut first = leader(&world);
    let waiting = [joins(&world, "GET /"), joins(&world, "GET /")];
    assert!(world.fail(&mut first).is_none());
    for one in waiting {
        assert_eq!(outcome(&one.1), Some(FetchOutcome::Failed));
        assert_eq!(after(&world, one), miss());
    }
}

#[test]
fn when_the_origin_fails_those_who_wait_get_what_is_stale() {
    let mut world = World::new();
    world.fetch("GET /", "200\nCache-Control: max-age=1, stale-if-error=60", "old");
    world.at += 5;
    let mut first = leader(&world);
    let waiting = joins(&world, "GET /");
    assert!(world.fail(&mut first).is_some());
    let stale = Got::Stored { status: 200, body: "old".into(), outcome: CacheOutcome::Stale };
    assert_eq!(after(&world, waiting), stale);
}

#[test]
fn nobody_joins_a_fetch_that_takes_too_long() {
    let mut world = World::new();
    let _first = leader(&world);
    world.at += 5;
    let mut late = world.exchange("GET /");
    assert!(matches!(world.lookup(&mut late), Verdict::Continue));
    let none = World::with(CacheRules { wait: Duration::ZERO, ..rules() });
    let _first = leader(&none);
    assert_eq!(none.ask("GET /"), miss());
}

#[test]
fn requests_that_differ_in_what_vary_names_do_not_wait_for_each_other() {
    let world = World::new();
    world.fetch("GET /\nX-A: 0", "200\nVary: X-A\nCache-Control: max-age=60", "x");
    let mut one = world.exchange("GET /\nX-A: 1");
    let mut other = world.exchange("GET /\nX-A: 2");
    assert!(matches!(world.lookup(&mut one), Verdict::Continue));
    assert!(matches!(world.lookup(&mut other), Verdict::Continue));
    joins(&world, "GET /\nX-A: 1");
}

#[test]
fn an_answer_that_must_be_validated_each_time_is_not_shared_by_waiting() {
    let world = World::new();
    let mut first = leader(&world);
    let waiting = joins(&world, "GET /");
    world.answer(&mut first, "200\nETag: \"1\"\nCache-Control: no-cache", "x");
    assert_eq!(after(&world, waiting), validation("\"1\""));
}

#[test]
fn requests_with_a_range_or_for_the_origin_alone_neither_lead_nor_wait() {
    let world = World::new();
    let _first = leader(&world);
    for request in
        ["GET /\nRange: bytes=0-1", "GET /\nCache-Control: no-cache", "GET /\nCache-Control: no-store", "HEAD /"]
    {
        assert_eq!(world.ask(request), miss(), "{request}");
    }
}
