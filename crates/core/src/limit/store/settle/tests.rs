use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Instant;
use crate::limit::{Charge, ChargeVerdict, Decision, SlidingWindow, TokenBucket};

const SECOND: u64 = 1_000_000_000;
const ALL: [LimitAlgorithm; 3] =
    [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow, LimitAlgorithm::FixedWindow];

fn at(nanos: u64) -> Clocks {
    Clocks { now: Instant::from_nanos(nanos), wall: Duration::from_nanos(nanos) }
}

fn shape(algorithm: LimitAlgorithm, limit: u32, seconds: u64) -> LimitShape {
    LimitShape::new(algorithm, limit, Duration::from_secs(seconds), None).unwrap().with_settlement()
}

fn reserve(store: &MemoryCounterStore, limit: &Limit, key: &[u8], cost: u32, now: u64) -> (Decision, Reservation) {
    let mut charges = [Charge::new(limit, key, cost)];
    let verdict = store.check_all(&mut charges, at(now));
    assert_eq!(verdict == ChargeVerdict::Admitted, charges[0].decision.admitted);
    (charges[0].decision, charges[0].reservation(at(now)))
}

fn left(store: &MemoryCounterStore, limit: &Limit, key: &[u8], now: u64) -> u32 {
    reserve(store, limit, key, 0, now).0.remaining
}

/// A charge of the model.
#[derive(Clone, Debug)]
struct Made {
    at: u64,
    cost: u32,
}

/// What is left at `now` of a limit that was charged with exactly these, in order, by the definition of the algorithm.
fn ideal(shape: &LimitShape, made: &[Made], now: u64) -> u32 {
    let (limit, per, every, refill) = (shape.limit, shape.per, u128::from(shape.every), u128::from(shape.refill));
    let used = |inside: &dyn Fn(u64) -> bool| made.iter().filter(|one| inside(one.at)).map(|one| one.cost).sum::<u32>();
    match shape.algorithm {
        LimitAlgorithm::SlidingWindow => limit.saturating_sub(used(&|at| now - at < per)),
        LimitAlgorithm::FixedWindow => limit.saturating_sub(used(&|at| at / per == now / per)),
        LimitAlgorithm::TokenBucket => {
            // Debt in `1 / refill` nanoseconds.
            let (mut debt, mut since) = (0_u128, 0);
            for one in made {
                debt = debt.saturating_sub(u128::from(one.at - since) * refill) + u128::from(one.cost) * every;
                since = one.at;
            }
            debt = debt.saturating_sub(u128::from(now - since) * refill);
            ((u128::from(shape.capacity) * every).saturating_sub(debt) / every) as u32
        }
    }
}

/// What is done next: with which key, after how long, whether to reserve or to settle which open reservation, and the
/// cost.
type Step = (u8, u64, bool, prop::sample::Index, u32);

fn steps(most: u32) -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![3 => 0..300_000_000_u64, 1 => 0..4 * SECOND];
    prop::collection::vec((0..3_u8, pause, any::<bool>(), any::<prop::sample::Index>(), 0..=most), 1..150)
}

/// What has become of a key.
#[derive(Default)]
struct Seen {
    /// Its charges, when they were reserved, at their true costs where these are known.
    made: Vec<Made>,
    /// The true costs, when they were told.
    told: Vec<Made>,
    /// Number of those that are not settled.
    open: usize,
    left: u32,
}

/// Runs the steps against a store, with estimates that are upper bounds. Calls `check` after each with what has become
/// of each key.
fn run(
    shape: LimitShape,
    steps: &[Step],
    mut check: impl FnMut(u64, &Seen) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let store = MemoryCounterStore::new(100_000);
    let limit = store.register("limit", shape).unwrap();
    let (mut seen, mut now) = ([0, 1, 2].map(|_| Seen::default()), 1000 * SECOND);
    let mut open: Vec<(u8, usize, Reservation)> = Vec::new();
    for (key, pause, reserves, which, cost) in steps {
        now += pause;
        if *reserves || open.is_empty() {
            let (decision, reservation) = reserve(&store, &limit, &[*key], *cost, now);
            if decision.admitted {
                let seen = &mut seen[usize::from(*key)];
                seen.open += 1;
                open.push((*key, seen.made.len(), reservation));
                seen.made.push(Made { at: now, cost: *cost });
            }
        } else {
            let (key, index, reservation) = open.swap_remove(which.index(open.len()));
            let seen = &mut seen[usize::from(key)];
            seen.open -= 1;
            let cost = seen.made[index].cost.min(*cost);
            seen.made[index].cost = cost;
            seen.told.push(Made { at: now, cost });
            store.settle(&limit, &[key], &reservation, cost, at(now));
        }
        for key in 0..3_u8 {
            let seen = &mut seen[usize::from(key)];
            seen.left = left(&store, &limit, &[key], now);
            check(now, seen)?;
        }
    }
    Ok(())
}

proptest! {
    /// Windows with estimates that are upper bounds are exactly those that were charged the truth at once.
    #[test]
    fn windows_are_as_if_the_truth_had_been_charged(
        sliding in any::<bool>(), limit in 1..40_u32, seconds in 1..8_u64, steps in steps(20),
    ) {
        let algorithm = if sliding { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::FixedWindow };
        let shape = shape(algorithm, limit, seconds);
        run(shape, &steps, |now, seen| {
            prop_assert_eq!(seen.left, ideal(&shape, &seen.made, now));
            Ok(())
        })?;
    }

    /// A token bucket never has more than one that was charged the truth at once, and once all is settled never less
    /// than one that was charged the truth when it was told.
    #[test]
    fn a_token_bucket_has_never_more_than_if_the_truth_had_been_charged(
        limit in 1..40_u32, burst in 1..60_u32, seconds in 1..8_u64, steps in steps(20),
    ) {
        let shape = LimitShape::new(LimitAlgorithm::TokenBucket, limit, Duration::from_secs(seconds), Some(burst)).unwrap();
        let shape = shape.with_settlement();
        run(shape, &steps, |now, seen| {
            let most = ideal(&shape, &seen.made, now);
            prop_assert!(seen.left <= most, "{} {most} {:?} {now}", seen.left, seen.made);
            let least = if seen.open == 0 { ideal(&shape, &seen.told, now) } else { 0 };
            prop_assert!(seen.left >= least, "{} {least} {:?} {now}", seen.left, seen.told);
            Ok(())
        })?;
    }

    /// Everything comes back while nothing was refilled, in whichever order it is settled.
    #[test]
    fn all_comes_back_at_once(
        kind in 0..3_usize, limit in 1..40_u32, costs in prop::collection::vec((0..20_u32, 0..20_u32), 1..20),
        order in any::<prop::sample::Index>(),
    ) {
        let store = MemoryCounterStore::new(1000);
        let limit = store.register("limit", shape(ALL[kind], limit, 10)).unwrap();
        let mut reserved: Vec<_> = costs.iter()
            .map(|(cost, actual)| (reserve(&store, &limit, b"k", *cost, SECOND).1, *actual)).collect();
        let mut used = 0;
        while !reserved.is_empty() {
            let (reservation, actual) = reserved.swap_remove(order.index(reserved.len()));
            let actual = actual.min(reservation.cost());
            store.settle(&limit, b"k", &reservation, actual, at(SECOND));
            used += actual;
        }
        prop_assert_eq!(left(&store, &limit, b"k", SECOND), limit.shape.limit - used);
    }

    /// What was estimated too low is charged when it is settled, and is debt of at most one limit.
    #[test]
    fn more_is_charged_when_it_is_known(
        kind in 0..3_usize, limit in 1..40_u32, seconds in 1..8_u64, steps in steps(60),
    ) {
        let shape = shape(ALL[kind], limit, seconds);
        let store = MemoryCounterStore::new(1000);
        let limit = store.register("limit", shape).unwrap();
        let (mut made, mut now, mut tolerated): (Vec<Made>, _, _) = (Vec::new(), 1000 * SECOND, 0);
        for (_, pause, reserves, _, cost) in steps {
            now += pause;
            let (decision, reservation) = reserve(&store, &limit, b"k", u32::from(reserves), now);
            if decision.admitted && reserves {
                made.push(Made { at: now, cost: 1 });
            }
            let more = reservation.cost() + cost;
            store.settle(&limit, b"k", &reservation, more, at(now));
            made.push(Made { at: now, cost });
            let in_use = |made: &[Made]| {
                let wide = LimitShape { limit: 1_000_000, capacity: 1_000_000, ..shape };
                1_000_000 - ideal(&wide, made, now)
            };
            // Beyond its bound the model forgets the debt too, by whole tokens.
            while in_use(&made) > 2 * shape.limit {
                let excess = in_use(&made) - 2 * shape.limit;
                made.last_mut().unwrap().cost -= excess;
                tolerated = u32::from(kind == 0);
            }
            let (left, ideal) = (left(&store, &limit, b"k", now), ideal(&shape, &made, now));
            prop_assert!(left <= ideal && left + tolerated >= ideal, "{left} {ideal}");
        }
    }

    /// Alone, the algorithms settle as in the store.
    #[test]
    fn settles_as_the_algorithms_alone(limit in 1..40_u32, seconds in 1..8_u64, steps in steps(60)) {
        let store = MemoryCounterStore::new(1000);
        let [tokens, window] = [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow]
            .map(|algorithm| store.register(&format!("{algorithm:?}"), shape(algorithm, limit, seconds)).unwrap());
        let mut bucket = TokenBucket::new(limit, Duration::from_secs(seconds), None).unwrap();
        let mut sliding = SlidingWindow::new(limit, Duration::from_secs(seconds)).unwrap();
        let (mut now, mut open) = (1000 * SECOND, Vec::new());
        for (_, pause, reserves, which, cost) in steps {
            now += pause;
            let instant = Instant::from_nanos(now);
            if reserves || open.is_empty() {
                let (one, two) = (bucket.reserve(instant, cost), sliding.reserve(instant, cost));
                let (first, second) = (reserve(&store, &tokens, b"k", cost, now), reserve(&store, &window, b"k", cost, now));
                prop_assert_eq!((one.0, two.0), (first.0, second.0));
                open.push((one.1, two.1, first.1, second.1));
            } else {
                let (one, two, first, second) = open.swap_remove(which.index(open.len()));
                bucket.settle(instant, &one, cost);
                sliding.settle(instant, &two, cost);
                store.settle(&tokens, b"k", &first, cost, at(now));
                store.settle(&window, b"k", &second, cost, at(now));
            }
            prop_assert_eq!(bucket.check(instant, 0), reserve(&store, &tokens, b"k", 0, now).0);
            prop_assert_eq!(sliding.check(instant, 0), reserve(&store, &window, b"k", 0, now).0);
        }
    }
}

#[test]
fn nothing_comes_back_into_a_window_that_has_passed_or_twice() {
    for algorithm in ALL {
        let store = MemoryCounterStore::new(1000);
        let limit = store.register("limit", shape(algorithm, 10, 10)).unwrap();
        let (_, reservation) = reserve(&store, &limit, b"k", 10, 100 * SECOND);
        // The charge counts no longer, and others have used the limit since.
        assert!(reserve(&store, &limit, b"k", 8, 110 * SECOND).0.admitted);
        store.settle(&limit, b"k", &reservation, 0, at(110 * SECOND));
        assert_eq!(left(&store, &limit, b"k", 110 * SECOND), 2, "{algorithm:?}");
    }
}

#[test]
fn a_key_that_was_forgotten_gets_nothing_back() {
    for algorithm in ALL {
        let store = MemoryCounterStore::new(1000);
        let limit = store.register("limit", shape(algorithm, 20, 10)).unwrap();
        let (_, one) = reserve(&store, &limit, b"k", 10, 100 * SECOND);
        let (_, two) = reserve(&store, &limit, b"k", 10, 100 * SECOND);
        store.settle(&limit, b"k", &one, 0, at(100 * SECOND));
        assert_eq!(left(&store, &limit, b"k", 100 * SECOND), 10);
        assert!(store.reset(&limit, b"k"));
        store.settle(&limit, b"k", &two, 0, at(100 * SECOND));
        assert_eq!(left(&store, &limit, b"k", 100 * SECOND), 20);
        assert_eq!(store.keys(), 0, "nothing is kept for it");
        if algorithm == LimitAlgorithm::TokenBucket {
            assert!(reserve(&store, &limit, b"k", 10, 105 * SECOND).0.admitted);
            store.settle(&limit, b"k", &two, 0, at(105 * SECOND));
            assert_eq!(left(&store, &limit, b"k", 105 * SECOND), 10, "it has nothing to do with that reservation");
        }
    }
}

#[test]
fn debts_of_one_limit_at_most_are_repaid() {
    for (algorithm, free) in ALL.into_iter().zip([20, 11, 10]) {
        let store = MemoryCounterStore::new(1000);
        let limit = store.register("limit", shape(algorithm, 10, 10)).unwrap();
        let (_, reservation) = reserve(&store, &limit, b"k", 1, 100 * SECOND);
        store.settle(&limit, b"k", &reservation, u32::MAX, at(101 * SECOND));
        let (refused, _) = reserve(&store, &limit, b"k", 1, 101 * SECOND);
        assert_eq!((refused.admitted, refused.remaining), (false, 0));
        let wait = refused.retry_after;
        assert!(!reserve(&store, &limit, b"k", 1, 101 * SECOND + wait.as_nanos() as u64 - 1).0.admitted);
        let then = 101 * SECOND + wait.as_nanos() as u64;
        assert!(reserve(&store, &limit, b"k", 1, then).0.admitted, "{algorithm:?}");
        assert_eq!(left(&store, &limit, b"k", 100 * SECOND + free * SECOND + SECOND), 9);
    }
}

#[test]
fn a_reload_keeps_estimates_and_debts() {
    for (before, after) in ALL.into_iter().flat_map(|before| ALL.map(|after| (before, after))) {
        let store = MemoryCounterStore::new(1000);
        let old = store.register("limit", shape(before, 100, 3600)).unwrap();
        let (_, less) = reserve(&store, &old, b"k", 20, SECOND);
        let (_, more) = reserve(&store, &old, b"k", 20, SECOND);
        let new = store.register("limit", shape(after, 1000, 7200)).unwrap();
        assert_eq!(left(&store, &new, b"k", SECOND), 600);
        store.settle(&old, b"k", &less, 0, at(SECOND));
        assert_eq!(left(&store, &new, b"k", SECOND), 600, "{before:?} to {after:?}");
        store.settle(&old, b"k", &more, 30, at(SECOND));
        assert_eq!(left(&store, &new, b"k", SECOND), 500, "{before:?} to {after:?}");
        // In debt, also with other figures.
        store.settle(&old, b"k", &more, 10_000, at(SECOND));
        let last = store.register("limit", shape(after, 500, 7200)).unwrap();
        assert_eq!(left(&store, &last, b"k", SECOND), 0);
        assert!(!reserve(&store, &last, b"k", 1, 600 * SECOND).0.admitted, "{before:?} to {after:?}");
    }
}

#[test]
fn limits_that_are_settled_and_those_that_are_not_carry_over() {
    let store = MemoryCounterStore::new(1000);
    let plain = LimitShape::new(LimitAlgorithm::TokenBucket, 100, Duration::from_secs(7), None).unwrap();
    let first = store.register("limit", plain).unwrap();
    assert!(reserve(&store, &first, b"k", 40, SECOND).0.admitted);
    let second = store.register("limit", plain.with_settlement()).unwrap();
    let (decision, reservation) = reserve(&store, &second, b"k", 40, SECOND);
    assert_eq!(decision.remaining, 20);
    store.settle(&second, b"k", &reservation, 10, at(SECOND));
    assert_eq!(left(&store, &second, b"k", SECOND), 50);
    let third = store.register("limit", plain).unwrap();
    assert_eq!(left(&store, &third, b"k", SECOND), 50);
}

#[test]
fn many_limits_at_once_are_reserved_together() {
    let store = MemoryCounterStore::new(100_000);
    let limits: Vec<Limit> =
        ALL.iter().map(|kind| store.register(&format!("{kind:?}"), shape(*kind, 100, 60)).unwrap()).collect();
    let mut charges: Vec<Charge<'_>> = limits.iter().map(|limit| Charge::new(limit, b"k", 60)).collect();
    assert_eq!(store.check_all(&mut charges, at(SECOND)), ChargeVerdict::Admitted);
    for charge in &charges {
        store.settle(charge.limit(), b"k", &charge.reservation(at(SECOND)), 5, at(2 * SECOND));
    }
    assert!(limits.iter().all(|limit| left(&store, limit, b"k", 2 * SECOND) >= 95));
    let mut again: Vec<Charge<'_>> = limits.iter().map(|limit| Charge::new(limit, b"k", 96)).collect();
    assert_ne!(store.check_all(&mut again, at(2 * SECOND)), ChargeVerdict::Admitted);
    assert!(again.iter().all(|charge| charge.reservation(at(SECOND)).cost() == 0 || charge.decision.admitted));
}
