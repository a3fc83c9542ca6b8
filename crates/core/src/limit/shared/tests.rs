mod model;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use self::world::{MILLI, SECOND, World, bucket, shape};
use super::*;
use crate::limit::{ChargeVerdict, LimitAlgorithm};

const FAST: LimitMode = LimitMode::Fast;
const EXACT: LimitMode = LimitMode::Exact;

fn world(nodes: usize, limit: u32, mode: LimitMode) -> World {
    World::new(nodes, &[(bucket(limit, limit.into()), mode)], OnStoreError::Deny)
}

#[test]
fn far_from_the_limit_nothing_waits_and_one_flush_tells_all() {
    let mut world = world(4, 100_000, FAST);
    for _ in 0..1000 {
        assert_eq!(world.take(0, 1), Some(true));
    }
    assert_eq!(world.collect(0, Due::All), 1);
    assert_eq!(world.calls[0].debits(), 1000);
    assert_eq!(world.take(0, 1), Some(true));
    world.arrive(0);
    let state = world.nodes[0].store.peek(&world.nodes[0].limits[0], &[0], world.at(0)).unwrap();
    assert_eq!((state.remaining, state.reset), (98_999, Duration::from_secs(1001)));
    assert_eq!(world.collect(0, Due::All), 1, "the debit that came meanwhile");
    world.arrive(0);
    assert_eq!(world.collect(0, Due::All), 0);
}

#[test]
fn debits_stay_within_the_part_of_a_node() {
    let mut world = world(4, 1000, FAST);
    let admitted = (0..200).filter(|_| world.take(0, 1) == Some(true)).count();
    assert_eq!(admitted, 25, "a tenth of the limit, by four nodes");
    assert_eq!(world.collect(0, Due::Urgent), 1, "half of them are enough to hurry");
    let decided = world.flush(0, Due::Urgent);
    assert_eq!(decided.iter().filter(|decided| decided.verdict == ChargeVerdict::Admitted).count(), 175);
    assert_eq!(world.take(0, 1), Some(true));
}

#[test]
fn near_the_limit_one_call_takes_for_all_who_wait() {
    let mut world = world(1, 100, FAST);
    for _ in 0..9 {
        (0..10).for_each(|_| assert_eq!(world.take(0, 1), Some(true)));
        world.flush(0, Due::All);
    }
    assert!((0..20).all(|_| world.take(0, 1).is_none()));
    assert_eq!(world.collect(0, Due::Urgent), 1);
    let decided = world.arrive(0);
    assert!(decided[..10].iter().all(|decided| decided.verdict == ChargeVerdict::Admitted));
    assert_eq!(decided[10].verdict, ChargeVerdict::Refused { by: 0 });
    assert_eq!(decided[10].decisions[0].retry_after, Duration::from_secs(1));
    assert_eq!(world.take(0, 1), Some(false), "until the next token is due");
    world.now += SECOND;
    assert_eq!(world.take(0, 1), None);
    assert_eq!(world.flush(0, Due::Urgent)[0].verdict, ChargeVerdict::Admitted);
    assert_eq!(world.excess(0, 0), 0);
}

#[test]
fn exact_limits_wait_at_first_and_use_leases_then() {
    let mut world = world(2, 100_000, EXACT);
    let (mut waited, mut decided) = (0, 0);
    for milli in 0..200 {
        for _ in 0..5 {
            match world.take(0, 1) {
                None => waited += 1,
                Some(admitted) => decided += u32::from(admitted),
            }
        }
        world.now += MILLI;
        world.flush(0, if milli % 20 == 0 { Due::All } else { Due::Urgent });
    }
    assert_eq!(waited + decided, 1000);
    assert!(waited <= 105, "{waited} waited");
    let calls = world.ledgers.len();
    assert_eq!(calls, 1);
    assert_eq!(world.excess(0, 0), 0);
}

#[test]
fn unused_leases_are_returned() {
    let mut world = world(2, 100_000, EXACT);
    for milli in 0..100 {
        (0..5).for_each(|_| _ = world.take(0, 1));
        world.now += MILLI;
        world.flush(0, if milli % 20 == 0 { Due::All } else { Due::Urgent });
    }
    for _ in 0..20 {
        world.now += 20 * MILLI;
        world.flush(0, Due::All);
    }
    assert_eq!(world.collect(0, Due::All), 0, "an unused key has nothing to tell");
    assert_eq!(world.take(1, 1), None);
    let left = world.flush(1, Due::Urgent)[0].decisions[0].remaining;
    assert!(left >= 99_499, "{left} left, 500 were used");
}

#[test]
fn a_node_that_ends_returns_its_leases_at_once() {
    let mut world = world(2, 100_000, EXACT);
    for milli in 0..100 {
        (0..5).for_each(|_| _ = world.take(0, 1));
        world.now += MILLI;
        world.flush(0, if milli % 20 == 0 { Due::All } else { Due::Urgent });
    }
    assert_eq!(world.collect(0, Due::All), 1);
    world.nodes[0].store.retire();
    world.arrive(0);
    assert!(world.nodes[0].store.has_news());
    world.flush(0, Due::All);
    world.flush(0, Due::All);
    assert!(!world.nodes[0].store.has_news());
    assert_eq!(world.take(1, 1), None);
    assert_eq!(world.flush(1, Due::Urgent)[0].decisions[0].remaining, 99_499, "500 were used");
}

#[test]
fn the_driver_is_woken_for_the_first_debit_that_waits() {
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    let wake = move |due| _ = count.fetch_add(if due == Due::All { 1 } else { 100 }, Ordering::Relaxed);
    let store = SharedCounterStore::new(100, Duration::from_millis(20), OnStoreError::Deny, wake);
    let limit = store.register_with("limit", bucket(1000, 1000), FAST, OnStoreError::Deny);
    let at = Clocks { now: Instant::from_nanos(SECOND), wall: Duration::from_secs(1) };
    for round in 1..3 {
        assert!(!store.has_news());
        for key in [b"a", b"b", b"a"] {
            let _ = store.check_all(&mut [Charge::new(&limit, key, 1)], at);
        }
        assert!(store.has_news());
        assert_eq!(woken.load(Ordering::Relaxed), round);
        for call in store.collect(Due::All, at, 10) {
            let answer = crate::limit::Ledger::default().apply(1_000_000, &call.call);
            store.answer(call, at.now, at, Ok(answer));
        }
    }
}

#[test]
fn limits_of_one_request_are_decided_together() {
    for mode in [FAST, EXACT] {
        let limits = [(bucket(10, 10), mode), (bucket(3, 3), mode)];
        let mut world = World::new(2, &limits, OnStoreError::Deny);
        let mut admitted = 0;
        for _ in 0..10 {
            let at_once = world.check(0, &[(0, 0, 1), (1, 0, 1)]);
            let decided = at_once.or_else(|| world.flush(0, Due::Urgent).pop()).unwrap();
            admitted += u32::from(decided.verdict == ChargeVerdict::Admitted);
            if admitted == 3 && decided.verdict != ChargeVerdict::Admitted {
                assert_eq!(decided.verdict, ChargeVerdict::Refused { by: 1 });
                assert_eq!(decided.decisions[0].remaining, 7, "{mode:?}: nothing is charged by a refused request");
            }
        }
        assert_eq!(admitted, 3);
        (0..40).for_each(|_| _ = world.flush(0, Due::All));
        let mut left = 0;
        while world.take(1, 1).unwrap_or_else(|| {
            let decided = world.flush(1, Due::Urgent);
            decided[0].verdict == ChargeVerdict::Admitted
        }) {
            left += 1;
            world.flush(1, Due::All);
        }
        assert_eq!(left, 7, "{mode:?}");
    }
}

#[test]
fn a_request_that_is_gone_gives_back_what_it_got() {
    let mut world = World::new(1, &[(bucket(10, 10), FAST), (bucket(1000, 10), FAST)], OnStoreError::Deny);
    world.take(0, 9);
    world.flush(0, Due::All);
    assert_eq!(world.check(0, &[(0, 0, 1), (1, 0, 1)]), None);
    world.nodes[0].waits.clear();
    world.flush(0, Due::All);
    let left = |world: &World, limit: usize| {
        world.nodes[0].store.peek(&world.nodes[0].limits[limit], &[0], world.at(0)).unwrap().remaining
    };
    assert_eq!((left(&world, 0), left(&world, 1)), (1, 1000));
    // The same while the call is on its way.
    assert_eq!(world.check(0, &[(0, 0, 1), (1, 0, 1)]), None);
    world.collect(0, Due::Urgent);
    world.nodes[0].waits.clear();
    world.arrive(0);
    world.flush(0, Due::All);
    assert_eq!((left(&world, 0), left(&world, 1)), (1, 1000));
}

#[test]
fn what_waits_for_a_lost_call_is_decided_without_the_store() {
    for (error, expected) in [(OnStoreError::Allow, 5), (OnStoreError::Deny, 0), (OnStoreError::Share, 2)] {
        let mut world = World::new(2, &[(bucket(4, 4000), EXACT)], error);
        assert!((0..5).all(|_| world.take(0, 1).is_none()));
        world.collect(0, Due::Urgent);
        let decided = world.lose(0, CallLoss::Unanswered);
        let admitted = decided.iter().filter(|decided| decided.verdict == ChargeVerdict::Admitted).count();
        assert_eq!(admitted, expected, "{error:?}");
        if error == OnStoreError::Share {
            world.flush(0, Due::All);
            assert_eq!(world.take(1, 1), None);
            assert_eq!(world.flush(1, Due::Urgent)[0].decisions[0].remaining, 1, "the store was told");
        }
    }
}

#[test]
fn without_the_store_a_node_has_its_share_of_what_was_left() {
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let mut world = World::new(2, &[(shape(algorithm, 100, 3600), FAST)], OnStoreError::Share);
        let admit = |world: &mut World, wanted: u32| (0..wanted).filter(|_| world.take(0, 1) == Some(true)).count();
        for _ in 0..12 {
            assert_eq!(admit(&mut world, 5), 5);
            world.flush(0, Due::All);
        }
        let at = world.at(0);
        world.nodes[0].store.set_reach(false.into(), at);
        assert_eq!(admit(&mut world, 100), 20, "{algorithm:?}: 40 were left");
        assert_eq!(world.collect(0, Due::All), 0);
        world.now += 4000 * SECOND;
        assert_eq!(admit(&mut world, 100), 50, "{algorithm:?}: half of the limit");
        let at = world.at(0);
        world.nodes[0].store.set_reach(true.into(), at);
        assert_eq!(world.take(0, 1), None, "strict at once");
        let decided = world.flush(0, Due::All);
        assert_eq!(decided[0].decisions[0].remaining, 29, "{algorithm:?}: the store was told what was admitted");
    }
}

#[test]
fn those_who_wait_when_the_store_goes_are_decided_at_once() {
    let mut world = World::new(2, &[(bucket(4, 4000), EXACT)], OnStoreError::Share);
    assert!((0..3).all(|_| world.take(0, 1).is_none()));
    let at = world.at(0);
    world.nodes[0].store.set_reach(false.into(), at);
    let decided = world.poll(0, world.now);
    assert_eq!(decided.iter().filter(|decided| decided.verdict == ChargeVerdict::Admitted).count(), 2);
}

#[test]
fn a_part_of_the_store_that_is_gone_concerns_its_keys_only() {
    for mode in [FAST, EXACT] {
        let mut world = World::new(2, &[(bucket(100, 100_000), mode)], OnStoreError::Share);
        let decided = world.check(0, &[(0, 0, 98)]);
        assert!(decided.is_some() || world.flush(0, Due::Urgent)[0].verdict == ChargeVerdict::Admitted);
        world.flush(0, Due::All);
        let lost = *world.ledgers.keys().next().unwrap();
        assert!(world.take(0, 1).is_none(), "{mode:?}: near the limit");
        let at = world.at(0);
        world.nodes[0].store.set_reach(StoreReach::Some(Arc::new(move |key| *key != lost)), at);
        assert_eq!(world.poll(0, world.now).len(), 1, "{mode:?}: who waits is decided");
        assert_eq!(world.take(0, 1), Some(false), "{mode:?}: its share is used up");
        assert_eq!(world.collect(0, Due::All), 0, "{mode:?}: the store cannot be told of it");
        let other = world.check(0, &[(0, 1, 95)]);
        assert!(other.is_some() || world.flush(0, Due::Urgent)[0].verdict == ChargeVerdict::Admitted);
        world.flush(0, Due::All);
        assert!(world.check(0, &[(0, 1, 1)]).is_none(), "{mode:?}: the store is asked");
        assert!(world.check(0, &[(0, 1, 1), (0, 0, 1)]).is_none_or(|decided| !decided.decisions[1].admitted));
        assert_eq!(world.flush(0, Due::Urgent)[0].decisions[0].remaining, 4, "{mode:?}");
        let at = world.at(0);
        world.nodes[0].store.set_reach(StoreReach::All, at);
        world.flush(0, Due::All);
        assert_eq!(world.take(0, 1), None, "{mode:?}: strict again");
        assert_eq!(world.flush(0, Due::Urgent)[0].decisions[0].remaining, 0, "{mode:?}: the store was told");
    }
}

#[test]
fn what_the_store_has_refused_waits_for_the_next_flush() {
    let mut world = world(1, 100, FAST);
    (0..9).for_each(|_| assert_eq!(world.take(0, 1), Some(true)));
    assert_eq!(world.collect(0, Due::Urgent), 1, "half of the margin");
    world.lose(0, CallLoss::Unsent);
    assert_eq!(world.collect(0, Due::Urgent), 0, "asking at once would not end while it refuses");
    assert_eq!(world.collect(0, Due::All), 1);
    assert_eq!(world.calls[0].debits(), 9);
}

#[test]
fn a_clearing_that_is_lost_comes_with_the_next_flush() {
    for loss in [CallLoss::Unsent, CallLoss::Unanswered] {
        let mut world = world(1, 100, FAST);
        assert_eq!(world.take(0, 5), Some(true));
        world.flush(0, Due::All);
        let limit = world.nodes[0].limits[0].clone();
        assert!(world.nodes[0].store.reset(&limit, &[0]));
        assert_eq!(world.collect(0, Due::All), 1);
        world.lose(0, loss);
        assert_eq!(world.collect(0, Due::Urgent), 0);
        assert_eq!(world.collect(0, Due::All), 1, "{loss:?}");
    }
}

#[test]
fn what_was_reserved_is_settled() {
    for mode in [FAST, EXACT] {
        let mut world = World::new(1, &[(bucket(1000, 1_000_000), mode)], OnStoreError::Deny);
        let since = world.at(0).now;
        let reserved = |cost| {
            let charged = Decision { admitted: true, ..Decision::default() };
            Reservation::new(cost, &charged, since, since.as_nanos())
        };
        let decided = world.take(0, 300);
        assert!(decided == Some(true) || world.flush(0, Due::Urgent)[0].verdict == ChargeVerdict::Admitted);
        let (limit, at) = (world.nodes[0].limits[0].clone(), world.at(0));
        world.nodes[0].store.settle(&limit, &[0], &reserved(300), 100, at);
        (0..40).for_each(|_| _ = world.flush(0, Due::All));
        assert_eq!(world.nodes[0].store.peek(&limit, &[0], at).unwrap().remaining, 900);
        world.nodes[0].store.settle(&limit, &[0], &reserved(100), 1400, at);
        world.flush(0, Due::All);
        assert_eq!(world.nodes[0].store.peek(&limit, &[0], at).unwrap().remaining, 0);
        let later = crate::limit::Clocks { now: at.now.saturating_add(Duration::from_secs(399_000)), ..at };
        assert_eq!(world.nodes[0].store.peek(&limit, &[0], later).unwrap().remaining, 0, "debt");
    }
}

#[test]
fn a_count_that_is_cleared_is_cleared_in_the_store() {
    let mut world = world(2, 100, EXACT);
    assert_eq!(world.take(0, 100), None);
    world.flush(0, Due::Urgent);
    assert_eq!(world.take(0, 1), None);
    assert_eq!(world.flush(0, Due::Urgent)[0].verdict, ChargeVerdict::Refused { by: 0 });
    let limit = world.nodes[1].limits[0].clone();
    assert!(!world.nodes[1].store.reset(&limit, &[0]), "it was not known there");
    world.flush(1, Due::Urgent);
    world.now += SECOND;
    assert_eq!(world.take(0, 50), None);
    assert_eq!(world.flush(0, Due::Urgent)[0].verdict, ChargeVerdict::Admitted);
}

#[test]
fn a_cheaper_request_is_not_refused_because_of_an_expensive_one() {
    let mut world = world(1, 10, EXACT);
    assert_eq!(world.take(0, 8), None);
    world.flush(0, Due::Urgent);
    assert!([5, 1].into_iter().all(|cost| world.take(0, cost).is_none()));
    assert_eq!(world.flush(0, Due::Urgent)[0].verdict, ChargeVerdict::Refused { by: 0 });
    assert_eq!(world.flush(0, Due::Urgent)[0].verdict, ChargeVerdict::Admitted);
    assert_eq!(world.take(0, 11), Some(false));
}

#[test]
fn the_table_is_bounded_and_keeps_what_is_not_told() {
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    let wake = move |due| _ = count.fetch_add(u32::from(due == Due::Urgent), Ordering::Relaxed);
    let store = SharedCounterStore::new(100, Duration::from_millis(20), OnStoreError::Deny, wake);
    let limit = store.register_with("limit", bucket(1000, 1000), FAST, OnStoreError::Deny);
    let at = |milli: u64| Clocks { now: Instant::from_nanos(SECOND + milli * MILLI), wall: Duration::from_secs(1) };
    for key in 0..10_000_u32 {
        let key = key.to_le_bytes();
        let mut charge = [Charge::new(&limit, &key, 1)];
        let outcome = store.check_all(&mut charge, at(0));
        assert_eq!(
            matches!(outcome, ChargeOutcome::Decided(ChargeVerdict::Admitted)),
            u32::from_le_bytes(key) < 200,
            "{key:?}"
        );
    }
    assert_eq!(store.keys(), 101, "one counter for those without a place");
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    let calls = store.collect(Due::All, at(20), 1000);
    assert_eq!(calls.len(), 101);
    for call in calls {
        let answer = crate::limit::Ledger::default().apply(1_000_000, &call.call);
        store.answer(call, at(20).now, at(21), Ok(answer));
    }
    for key in 20_000..20_100_u32 {
        let key = key.to_le_bytes();
        let mut charge = [Charge::new(&limit, &key, 1)];
        assert!(matches!(store.check_all(&mut charge, at(2000)), ChargeOutcome::Decided(ChargeVerdict::Admitted)));
    }
    assert!(store.keys() <= 101);
}

#[test]
fn what_comes_back_before_the_next_token_is_due_is_found() {
    let mut world = World::new(2, &[(bucket(100, 100_000_000), EXACT)], OnStoreError::Deny);
    for (node, cost) in [(0, 100), (1, 1)] {
        assert_eq!(world.take(node, cost), None);
        world.flush(node, Due::Urgent);
    }
    assert_eq!(world.take(1, 1), Some(false), "by the refusal before");
    let (limit, at) = (world.nodes[0].limits[0].clone(), world.at(0));
    let charged = Decision { admitted: true, ..Decision::default() };
    let reserved = Reservation::new(100, &charged, at.now, at.now.as_nanos());
    world.nodes[0].store.settle(&limit, &[0], &reserved, 10, at);
    world.flush(0, Due::All);
    world.now += 100 * MILLI;
    assert_eq!(world.take(1, 1), None, "asked again");
    assert_eq!(world.flush(1, Due::Urgent)[0].verdict, ChargeVerdict::Admitted);
}

#[test]
fn a_key_that_is_used_now_and_then_costs_one_call() {
    let mut world = world(3, 1000, EXACT);
    let mut calls = 0;
    for flush in 0..100 {
        if flush % 10 == 0 {
            assert_eq!(world.take(0, 1), None, "it waits for the store");
        }
        world.collect(0, Due::All);
        calls += world.calls.len();
        world.flush(0, Due::All);
    }
    assert_eq!(calls, 10);
}

#[test]
fn what_is_less_than_a_request_needs_is_not_leased() {
    let mut world = World::new(3, &[(bucket(500, 100_000_000), EXACT)], OnStoreError::Deny);
    for _ in 0..20 {
        for node in 0..3 {
            let _ = (world.take(node, 100), world.flush(node, Due::Urgent), world.flush(node, Due::All));
        }
        world.now += 20 * MILLI;
    }
    let left: Vec<_> = (0..3)
        .map(|node| world.nodes[node].store.peek(&world.nodes[node].limits[0], &[0], world.at(node)).unwrap().remaining)
        .collect();
    assert_eq!(left, [0; 3], "all five requests that fit were admitted");
}
