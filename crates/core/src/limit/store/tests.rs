use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{FixedWindow, LimitAlgorithm, SlidingWindow, TokenBucket};
use super::*;
use crate::clock::Instant;

const SECOND: u64 = 1_000_000_000;

fn at(nanos: u64) -> Clocks {
    Clocks { now: Instant::from_nanos(nanos), wall: Duration::from_secs(1_700_000_000) + Duration::from_nanos(nanos) }
}

fn shape(algorithm: LimitAlgorithm, limit: u32, seconds: u64) -> LimitShape {
    LimitShape::new(algorithm, limit, Duration::from_secs(seconds), None).unwrap()
}

fn bucket(limit: u32) -> LimitShape {
    shape(LimitAlgorithm::TokenBucket, limit, 60)
}

fn take(store: &MemoryCounterStore, limit: &Limit, key: &[u8], cost: u32, at: Clocks) -> Decision {
    let mut charges = [Charge::new(limit, key, cost)];
    let verdict = store.check_all(&mut charges, at);
    assert_eq!(verdict == ChargeVerdict::Admitted, charges[0].decision.admitted);
    charges[0].decision
}

proptest! {
    /// In the table, with several keys, every algorithm decides as it does alone.
    #[test]
    fn decides_as_the_algorithms_alone(
        limit in 1..20_u32,
        steps in prop::collection::vec((0..5_usize, -2..20_i64, 0..4_u32), 1..300),
    ) {
        let store = MemoryCounterStore::new(1000);
        let per = Duration::from_secs(7);
        let [token, sliding, fixed] = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow]
            .map(|algorithm| store.register(&format!("{algorithm:?}"), shape(algorithm, limit, 7)).unwrap());
        let mut tokens = vec![TokenBucket::new(limit, per, None).unwrap(); 5];
        let mut slidings = vec![SlidingWindow::new(limit, per).unwrap(); 5];
        let mut fixeds = vec![FixedWindow::new(limit, per).unwrap(); 5];
        let (mut now, mut latest) = (1000 * SECOND, 0);
        for (key, step, cost) in steps {
            now = now.saturating_add_signed(step * 100_000_000);
            latest = now.max(latest);
            // The store's clock is shared by all keys of a shard and never goes back.
            for ((token, sliding), fixed) in tokens.iter_mut().zip(&mut slidings).zip(&mut fixeds) {
                token.check(at(latest).now, 0);
                sliding.check(at(latest).now, 0);
                fixed.check(at(latest).wall, 0);
            }
            let (name, reading) = ([key as u8], at(now));
            prop_assert_eq!(take(&store, &token, &name, cost, reading), tokens[key].check(reading.now, cost));
            prop_assert_eq!(take(&store, &sliding, &name, cost, reading), slidings[key].check(reading.now, cost));
            prop_assert_eq!(take(&store, &fixed, &name, cost, reading), fixeds[key].check(reading.wall, cost));
        }
    }

    /// Charges are made all or none.
    #[test]
    fn several_limits_are_all_or_nothing(
        limits in prop::collection::vec((1..12_u32, 0..3_usize), 2..6),
        steps in prop::collection::vec((0..3_u8, 0..30_u64, 0..4_u32), 1..200),
        max_keys in prop_oneof![Just(100_000_usize), Just(5000)],
    ) {
        let store = MemoryCounterStore::new(max_keys);
        let kinds = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow];
        let known: Vec<Limit> = limits.iter().enumerate()
            .map(|(index, (limit, kind))| store.register(&index.to_string(), shape(kinds[*kind], *limit, 5)).unwrap())
            .collect();
        // The model has a store for each limit and asks all of them before it charges any.
        let alone: Vec<MemoryCounterStore> = limits.iter().map(|_| MemoryCounterStore::new(100)).collect();
        let lone: Vec<Limit> = known.iter().zip(&alone)
            .map(|(limit, store)| store.register("x", *limit.shape()).unwrap()).collect();
        let mut now = SECOND;
        for (key, step, cost) in steps {
            now += step * SECOND / 10;
            let key = [key];
            let free: Vec<u32> = alone.iter().zip(&lone).map(|(store, limit)| take(store, limit, &key, 0, at(now)).remaining).collect();
            let mut charges: Vec<Charge<'_>> = known.iter().map(|limit| Charge::new(limit, &key, cost)).collect();
            let verdict = store.check_all(&mut charges, at(now));
            let fits = free.iter().all(|free| *free >= cost);
            prop_assert_eq!(verdict == ChargeVerdict::Admitted, fits);
            for (index, charge) in charges.iter().enumerate() {
                prop_assert_eq!(charge.decision.admitted, free[index] >= cost);
                prop_assert_eq!(charge.decision.remaining, free[index] - if fits { cost } else { 0 });
                if fits {
                    take(&alone[index], &lone[index], &key, cost, at(now));
                }
            }
            if let ChargeVerdict::Refused { by } = verdict {
                let wait = charges[by].decision.retry_after;
                prop_assert!(charges.iter().all(|charge| charge.decision.retry_after <= wait));
                prop_assert!(!charges[by].decision.admitted);
            }
        }
    }
}

#[test]
fn exactly_n_of_a_burst_over_threads() {
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let store = MemoryCounterStore::new(100_000);
        let [one, two] = ["one", "two"].map(|name| store.register(name, shape(algorithm, 1000, 86_400)).unwrap());
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (store, one, two, admitted) = (&store, &one, &two, &admitted);
                scope.spawn(move || {
                    for turn in 0..1250_u64 {
                        // The workers' clocks differ, by too little to give back a token.
                        let reading = at(100 * SECOND + (thread * 7919 + turn * 13) % 1_000_000);
                        let mut charges = [Charge::new(one, b"k", 1), Charge::new(two, b"other", 1)];
                        let charges = if turn % 2 == 0 { &mut charges[..] } else { &mut charges[..1] };
                        if thread % 2 == 1 && charges.len() == 2 {
                            charges.reverse();
                        }
                        if store.check_all(charges, reading) == ChargeVerdict::Admitted {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1000, "{algorithm:?}");
    }
}

/// Invents `keys` keys while one client continues; returns what the client got.
fn flood(store: &MemoryCounterStore, flooded: &Limit, active: &Limit, keys: u64, uses: u32) -> u32 {
    let mut got = 0;
    for key in 0..keys {
        let now = at(SECOND + key * 10);
        for _ in 0..uses {
            take(store, flooded, &key.to_le_bytes(), 1, now);
        }
        if key % 100 == 0 {
            got += u32::from(take(store, active, b"active", 1, now).admitted);
        }
    }
    got
}

#[test]
fn a_flood_of_invented_keys_displaces_itself() {
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        for uses in [1, 2] {
            let store = MemoryCounterStore::new(10_000);
            let limit = store.register("flooded", shape(algorithm, 50, 86_400)).unwrap();
            let got = flood(&store, &limit, &limit, 300_000 / u64::from(uses), uses);
            assert_eq!(got, 50, "{algorithm:?}: the bucket of an active client is intact");
            assert!(store.keys() <= 10_000);
            assert!(store.bytes() <= 10_000 * (48 + 64 + 112) + 64 * 1024, "{}", store.bytes());
        }
    }
}

#[test]
fn new_keys_share_one_allowance_while_all_places_are_held() {
    let store = MemoryCounterStore::new(100);
    let limit = store.register("limit", bucket(10)).unwrap();
    let admitted = (0..1000_u32)
        .map(|key| (0..10).filter(|_| take(&store, &limit, &key.to_le_bytes(), 1, at(SECOND)).admitted).count())
        .collect::<Vec<_>>();
    assert!(store.keys() <= 100);
    let own = admitted.iter().filter(|count| **count == 10).count();
    assert!((90..=101).contains(&own), "{own}");
    assert!(admitted.iter().sum::<usize>() <= 101 * 10 + 10);
    // Once keys are idle, their slots are free.
    assert!((5000..5050_u32).all(|key| take(&store, &limit, &key.to_le_bytes(), 10, at(100 * SECOND)).admitted));
    assert!(store.keys() <= 100);
}

#[test]
fn keys_are_kept_while_the_table_grows() {
    let store = MemoryCounterStore::new(50_000);
    let limit = store.register("limit", bucket(2)).unwrap();
    for turn in 0..3 {
        for key in 0..40_000_u32 {
            assert_eq!(take(&store, &limit, &key.to_le_bytes(), 1, at(SECOND)).admitted, turn < 2, "{key} {turn}");
        }
    }
    assert_eq!(store.keys(), 40_000);
    // All are idle; the slot is reused.
    for key in 50_000..100_000_u32 {
        assert!(take(&store, &limit, &key.to_le_bytes(), 2, at(1000 * SECOND)).admitted);
    }
    assert!(store.keys() <= 50_000);
}

#[test]
fn a_reload_keeps_the_share_used() {
    let kinds = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow];
    for (before, after) in kinds.into_iter().flat_map(|before| kinds.map(|after| (before, after))) {
        let store = MemoryCounterStore::new(1000);
        let old = store.register("route/rate_limit/0", shape(before, 100, 3600)).unwrap();
        for _ in 0..5 {
            take(&store, &old, b"k", 9, at(SECOND));
        }
        let same = store.register("route/rate_limit/0", shape(before, 100, 3600)).unwrap();
        assert_eq!(take(&store, &same, b"k", 0, at(SECOND)).remaining, 55);
        for (limit, seconds, left) in [(200, 3600, 110), (20, 3600, 11), (100, 60, 55), (1000, 7200, 550)] {
            let new = store.register("route/rate_limit/0", shape(after, limit, seconds)).unwrap();
            let decision = take(&store, &new, b"k", 0, at(SECOND));
            assert_eq!(decision.remaining, left, "{before:?} to {after:?} {limit}");
        }
        let other = store.register("other/rate_limit/0", shape(after, 20, 60)).unwrap();
        assert_eq!(take(&store, &other, b"k", 0, at(SECOND)).remaining, 20);
    }
}

#[test]
fn a_sliding_window_keeps_its_times_over_a_reload() {
    let store = MemoryCounterStore::new(1000);
    let old = store.register("limit", shape(LimitAlgorithm::SlidingWindow, 10, 60)).unwrap();
    for second in 1..=8 {
        take(&store, &old, b"k", 1, at(second * SECOND));
    }
    let new = store.register("limit", shape(LimitAlgorithm::SlidingWindow, 20, 60)).unwrap();
    assert_eq!(take(&store, &new, b"k", 0, at(8 * SECOND)).remaining, 4);
    assert_eq!(take(&store, &new, b"k", 0, at(61 * SECOND)).remaining, 6);
    assert_eq!(take(&store, &new, b"k", 0, at(64 * SECOND)).remaining, 12);
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let store = MemoryCounterStore::new(1000);
    let limits: Vec<Limit> = (0..=MAX_CHARGES).map(|i| store.register(&i.to_string(), bucket(1)).unwrap()).collect();
    let mut charges: Vec<Charge<'_>> = limits.iter().map(|limit| Charge::new(limit, b"k", 1)).collect();
    assert_eq!(store.check_all(&mut charges, at(0)), ChargeVerdict::Refused { by: 0 });
    assert_eq!(store.check_all(&mut charges[..MAX_CHARGES], at(0)), ChargeVerdict::Admitted);
    assert_eq!(store.check_all(&mut [], at(0)), ChargeVerdict::Admitted);
}

#[test]
fn a_key_that_is_forgotten_has_its_whole_allowance_and_the_others_what_they_had() {
    let store = MemoryCounterStore::new(100);
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow] {
        let limit = store.register(&format!("{algorithm:?}"), shape(algorithm, 4, 60)).unwrap();
        for (step, key) in [(0, b"a"), (1, b"a"), (2, b"b")] {
            assert!(take(&store, &limit, key, 2, at(1000 * SECOND + step)).admitted);
        }
        let now = at(1001 * SECOND);
        let (keys, bytes) = (store.keys(), store.bytes());
        assert!(store.reset(&limit, b"a"));
        assert!(!store.reset(&limit, b"a"));
        assert!(store.bytes() <= bytes, "its log is free again");
        assert_eq!(store.keys(), keys - 1);
        assert_eq!(take(&store, &limit, b"a", 0, now).remaining, 4);
        assert_eq!(take(&store, &limit, b"b", 0, now).remaining, 2);
        assert!(take(&store, &limit, b"a", 4, now).admitted);
    }
}

#[test]
fn limits_that_nobody_has_and_nothing_was_counted_by_are_forgotten() {
    let store = MemoryCounterStore::new(1000);
    let kept = store.register("kept", bucket(10)).unwrap();
    let counted = store.register("counted", bucket(10)).unwrap();
    assert!(take(&store, &kept, b"k", 3, at(SECOND)).admitted && take(&store, &counted, b"k", 5, at(SECOND)).admitted);
    drop(counted);
    // Like a gateway that is reloaded again and again.
    for number in 0..20 * FEW_LIMITS {
        let passing = store.register(&format!("route/{number}"), bucket(10)).unwrap();
        assert!(take(&store, &passing, b"k", 1, at(number as u64 * 60 * SECOND / 1000)).admitted);
    }
    let registered = store.limits.read();
    assert!(registered.shapes.len() <= 4 * FEW_LIMITS, "{} shapes", registered.shapes.len());
    assert!(registered.ids.len() <= registered.shapes.len());
    drop(registered);
    assert_eq!(store.register("kept", bucket(10)).unwrap().id, kept.id);
}

#[test]
fn counts_outlive_limits_that_nobody_has() {
    let store = MemoryCounterStore::new(10_000);
    for (identity, limit) in [("tokens", bucket(10)), ("window", shape(LimitAlgorithm::SlidingWindow, 10, 60))] {
        let first = store.register(identity, limit).unwrap();
        assert_eq!(take(&store, &first, b"k", 5, at(SECOND)).remaining, 5);
    }
    for number in 0..4 * FEW_LIMITS {
        drop(store.register(&format!("route/{number}"), bucket(number as u32 + 1)).unwrap());
    }
    for (identity, limit) in [("tokens", bucket(100)), ("window", shape(LimitAlgorithm::SlidingWindow, 100, 60))] {
        let next = store.register(identity, limit).unwrap();
        assert_eq!(take(&store, &next, b"k", 0, at(SECOND)).remaining, 50, "the share used stays");
    }
}
