use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proptest::prelude::*;

use super::smooth;
use crate::clock::Instant as Now;
use crate::plan::{self, HashOn, LoadBalancer};
use crate::service::fixture::{at, build, exchange, health_check, input, plan, seconds, threads};
use crate::service::hashing::{hash, mix};
use crate::service::{AttemptOutcome, PickInput, ServiceState, Tried, Unavailable};

fn on_user() -> LoadBalancer {
    LoadBalancer::ConsistentHash { on: HashOn::User }
}

fn all() -> [LoadBalancer; 7] {
    [
        LoadBalancer::RoundRobin,
        LoadBalancer::WeightedRoundRobin,
        LoadBalancer::LeastConnections,
        LoadBalancer::Random,
        LoadBalancer::IpHash,
        on_user(),
        LoadBalancer::P2c,
    ]
}

fn key(number: u64) -> u64 {
    hash(&number.to_le_bytes())
}

/// Returns the instance of a key.
fn place(service: &ServiceState, now: Now, key: u64) -> usize {
    service.pick(&PickInput { hash: Some(key), ..input(now, 1) }).unwrap().index
}

/// Returns how many of `picks` picks, divided over `workers`, each instance gets; an exchange ends before the next
/// begins.
fn spread(service: &ServiceState, now: Now, picks: u64, workers: usize) -> Vec<u64> {
    let work = |worker| {
        let mut counts = vec![0; service.slots.len()];
        for number in 0..picks / workers as u64 {
            let random = mix(number * 16 + worker as u64);
            let picked = service.pick(&PickInput { hash: Some(key(random)), ..input(now, random) }).unwrap();
            counts[picked.index] += 1;
            picked.finish(now, AttemptOutcome::Status(200), Duration::from_millis(1));
        }
        counts
    };
    let add = |sum: Vec<u64>, one: Vec<u64>| sum.iter().zip(one).map(|(a, b)| a + b).collect();
    threads(workers, work).into_iter().fold(vec![0; service.slots.len()], add)
}

/// Pearson's test that `counts` come from `weights`; it fails by chance about once in 10 000 times.
#[allow(clippy::cast_precision_loss)]
fn assert_chi_square(counts: &[u64], weights: &[u32]) {
    let (all, sum) = (counts.iter().sum::<u64>() as f64, f64::from(weights.iter().sum::<u32>()));
    let expected = |weight: u32| all * f64::from(weight) / sum;
    let term = |(&count, &weight): (&u64, &u32)| (count as f64 - expected(weight)).powi(2) / expected(weight);
    let statistic: f64 = counts.iter().zip(weights).map(term).sum();
    let freedom = (weights.len() - 1) as f64;
    // Wilson and Hilferty's approximation of the quantile.
    let bound = freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.72 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    assert!(statistic < bound, "{counts:?} for {weights:?}: {statistic} over {bound}");
}

#[test]
fn smooth_turns_are_those_of_nginx() {
    assert_eq!(&*smooth(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(&*smooth(&[4, 2]), [0, 1, 0], "weights are reduced");
    assert_eq!(&*smooth(&[7, 7, 7]), [0, 1, 2]);
    assert!(smooth(&[]).is_empty());
}

#[test]
fn weights_whose_shares_rounding_would_change_are_refused() {
    let many = |heavy: u32, light: u32| [vec![heavy], vec![light; 4000]].concat();
    let problem = |how, weights: &[u32]| ServiceState::build(&plan(how, weights), None, at(0.0)).err();
    for how in [LoadBalancer::WeightedRoundRobin, LoadBalancer::Random] {
        let found = problem(how.clone(), &many(1_000_000, 1)).unwrap();
        assert_eq!((found.len(), &*found[0].path), (1, "instances"));
        assert_eq!(problem(how.clone(), &many(10_000, 1)), None);
        assert_eq!(problem(how.clone(), &[1_000_000_007, 500_000_003, 1]), None);
        assert_eq!(problem(how, &[0; 3]).unwrap().len(), 3, "told once");
    }
    // Balancers that use the weight itself have no table.
    assert_eq!(problem(LoadBalancer::LeastConnections, &many(1_000_000, 1)), None);
}

#[test]
fn copies_take_no_turns() {
    let service = build(&plan(LoadBalancer::RoundRobin, &[1, 1]));
    let mut counts = [[0; 2]; 2];
    for number in 0..2000 {
        let request = service.pick(&input(at(0.0), mix(number))).unwrap();
        let copy = service.pick_for_mirror(&input(at(0.0), mix(number ^ 0x5555))).unwrap();
        counts[0][request.index] += 1;
        counts[1][copy.index] += 1;
    }
    assert_eq!(counts[0], [1000, 1000]);
    assert!(counts[1].iter().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn huge_weights_are_rounded_to_a_bounded_table() {
    let turns = smooth(&[1_000_000_007, 500_000_003, 1]);
    let count = |wanted: u16| turns.iter().filter(|&&index| index == wanted).count();
    assert!(turns.len() <= super::MOST_TURNS + 1);
    assert!(count(0).abs_diff(2 * count(1)) <= 3);
    assert_eq!(count(2), 1, "nobody is left out");
}

#[test]
fn turns_are_remainders() {
    for count in [1_u32, 2, 3, 7, 64, 1000, 4096] {
        let service = build(&plan(LoadBalancer::RoundRobin, &vec![1; count as usize]));
        for turn in [0, 1, 2, 63, 64, 4095, 4096, 12_345_678, u32::MAX - 1, u32::MAX] {
            let cursor = AtomicU64::new(turn.into());
            assert_eq!(service.balancer.turn(&cursor), (turn % count) as usize, "{turn} of {count}");
        }
    }
}

#[test]
fn round_robin_is_exact_over_workers() {
    for workers in [1, 2, 4] {
        let service = build(&plan(LoadBalancer::RoundRobin, &[1, 5, 1]));
        assert_eq!(spread(&service, at(0.0), 12_000, workers), [4000, 4000, 4000], "weights are ignored");
    }
}

#[test]
fn weighted_round_robin_is_exact_over_workers() {
    for workers in [1, 2, 4] {
        let service = build(&plan(LoadBalancer::WeightedRoundRobin, &[5, 2, 1]));
        assert_eq!(spread(&service, at(0.0), 16_000, workers), [10_000, 4000, 2000]);
    }
}

#[test]
fn weighted_round_robin_is_within_one_percent_at_any_time() {
    let weights = [17, 13, 5, 2];
    let service = build(&plan(LoadBalancer::WeightedRoundRobin, &weights));
    for picks in [5003, 7001, 9999] {
        for (count, weight) in spread(&service, at(0.0), picks, 1).into_iter().zip(weights.map(u64::from)) {
            assert!((count * 37).abs_diff(picks * weight) <= picks * weight / 100 + 37);
        }
    }
}

#[test]
fn random_follows_weights() {
    for workers in [1, 2, 4] {
        let service = build(&plan(LoadBalancer::Random, &[3, 2, 2, 1]));
        assert_chi_square(&spread(&service, at(0.0), 40_000, workers), &[3, 2, 2, 1]);
    }
}

#[test]
fn hashes_follow_weights() {
    for balancer in [LoadBalancer::IpHash, on_user()] {
        for weights in [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]] {
            for workers in [1, 2, 4] {
                let service = build(&plan(balancer.clone(), &weights));
                assert_chi_square(&spread(&service, at(0.0), 40_000, workers), &weights);
            }
        }
    }
}

#[test]
fn a_hash_balancer_without_a_key_spreads_at_random() {
    let service = build(&plan(on_user(), &[1, 2]));
    let mut counts = [0; 2];
    for number in 0..10_000 {
        counts[service.pick(&input(at(0.0), mix(number))).unwrap().index] += 1;
    }
    assert_chi_square(&counts, &[1, 2]);
}

#[test]
fn p2c_is_even_among_equals() {
    let service = build(&plan(LoadBalancer::P2c, &[1, 1, 1, 1]));
    // The first few measure how fast the instances are.
    spread(&service, at(0.0), 16, 1);
    assert_chi_square(&spread(&service, at(0.0), 20_000, 1), &[1; 4]);
}

#[test]
fn p2c_counts_the_exchanges_of_all_workers() {
    for workers in [1, 2, 4] {
        let service = build(&plan(LoadBalancer::P2c, &[1, 1, 1, 1]));
        spread(&service, at(0.0), 16, 1);
        let hold = |worker: usize| {
            let random = |number| mix((number * 4 + worker) as u64);
            (0..2000 / workers).map(|number| service.pick(&input(at(0.0), random(number))).unwrap()).collect::<Vec<_>>()
        };
        let held = threads(workers, hold);
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 2000);
        assert!(service.instances().all(|instance| instance.in_flight().abs_diff(500) < 20));
    }
}

#[test]
fn p2c_prefers_the_faster() {
    let service = build(&plan(LoadBalancer::P2c, &[1, 1, 1, 1]));
    let mut counts = [0_u32; 4];
    for number in 0..4000_u32 {
        let now = at(f64::from(number) / 1000.0);
        let picked = service.pick(&input(now, mix(u64::from(number)))).unwrap();
        counts[picked.index] += 1;
        let latency = Duration::from_millis(if picked.index == 2 { 50 } else { 5 });
        picked.finish(now, AttemptOutcome::Status(200), latency);
    }
    assert!(counts[2] < 100, "{counts:?}");
    assert!([0, 1, 3].iter().all(|&other| counts[other] > 900), "{counts:?}");
}

#[test]
fn p2c_is_not_attracted_by_fast_failures() {
    let service = build(&plan(LoadBalancer::P2c, &[1, 1]));
    let mut failed = 0_u32;
    for number in 0..1000_u32 {
        let now = at(f64::from(number) / 1000.0);
        let picked = service.pick(&input(now, mix(u64::from(number)))).unwrap();
        let bad = picked.index == 1;
        failed += u32::from(bad);
        let (outcome, millis) = if bad { (AttemptOutcome::Reset, 0) } else { (AttemptOutcome::Status(200), 5) };
        picked.finish(now, outcome, Duration::from_millis(millis));
    }
    assert!(failed < 50, "{failed}");
}

#[test]
fn an_unmeasured_instance_gets_one_exchange_until_it_answers() {
    let service = build(&plan(LoadBalancer::P2c, &[1, 1]));
    for index in [0, 1] {
        let mut picked = service.pick(&input(at(0.0), 1)).unwrap();
        picked.report(at(0.0), AttemptOutcome::Status(200), Duration::from_millis(1));
        assert!(picked.index < 2, "{index}");
    }
    let joined = ServiceState::build(&plan(LoadBalancer::P2c, &[1, 1, 1]), Some(&service), at(1.0)).unwrap();
    let held: Vec<_> = (0..100).map(|number| joined.pick(&input(at(1.0), mix(number))).unwrap()).collect();
    assert_eq!(held.iter().filter(|picked| picked.index == 2).count(), 1);
}

#[test]
fn least_connections_counts_the_exchanges_of_all_workers() {
    for workers in [1, 2, 4] {
        let service = build(&plan(LoadBalancer::LeastConnections, &[1, 2, 3]));
        let hold = |_| (0..240 / workers).map(|_| service.pick(&input(at(0.0), 0)).unwrap()).collect::<Vec<_>>();
        let held = threads(workers, hold);
        for (instance, wanted) in service.instances().zip([40_u64, 80, 120]) {
            // Two workers at the same time may both pick the same one.
            assert!(instance.in_flight().abs_diff(wanted) <= 2 * (workers as u64 - 1), "{}", instance.in_flight());
        }
        drop(held);
        assert!(service.instances().all(|instance| instance.in_flight() == 0));
    }
}

#[test]
fn least_connections_is_by_weight_when_idle() {
    let service = build(&plan(LoadBalancer::LeastConnections, &[3, 1]));
    assert_eq!(spread(&service, at(0.0), 4000, 1), [3000, 1000]);
}

fn checked(balancer: LoadBalancer, weights: &[u32]) -> plan::ServicePlan {
    plan::ServicePlan { health_check: Some(health_check()), ..plan(balancer, weights) }
}

#[test]
fn turns_of_a_lost_instance_go_to_all_others() {
    for workers in [1, 2, 4] {
        let service = build(&checked(LoadBalancer::RoundRobin, &[1, 1, 1, 1]));
        service.active_result(1, at(0.0), false, "refused");
        let counts = spread(&service, at(0.0), 12_000, workers);
        assert_eq!(counts, [4000, 0, 4000, 4000]);
        service.active_result(1, at(0.0), true, "200");
        assert_eq!(spread(&service, at(0.0), 12_000, workers), [3000; 4]);
    }
}

#[test]
fn the_rest_keeps_its_proportions_when_the_heaviest_is_lost() {
    for balancer in [LoadBalancer::WeightedRoundRobin, LoadBalancer::Random] {
        let service = build(&checked(balancer, &[100_000, 1, 2]));
        service.active_result(0, at(0.0), false, "refused");
        assert_chi_square(&spread(&service, at(0.0), 9000, 2)[1..], &[1, 2]);
    }
}

/// Returns the share of keys that move when `before` becomes `after`, and whether any moved between instances that
/// stayed.
fn moved(balancer: &LoadBalancer, before: &[u32], after: &[u32]) -> (f64, bool) {
    let first = build(&plan(balancer.clone(), before));
    let second = ServiceState::build(&plan(balancer.clone(), after), Some(&first), at(1.0)).unwrap();
    let stays = before.len().min(after.len());
    let (mut count, mut needless) = (0, false);
    for number in 0..20_000 {
        let (from, to) = (place(&first, at(1.0), key(number)), place(&second, at(1.0), key(number)));
        count += u32::from(from != to);
        needless |= from != to && from < stays && to < stays;
    }
    (f64::from(count) / 20_000.0, needless)
}

#[test]
fn few_keys_move_when_an_instance_joins_or_leaves() {
    for balancer in [LoadBalancer::IpHash, on_user()] {
        for count in [1_u32, 2, 3, 5, 10, 30] {
            let (few, many) = (vec![1; count as usize], vec![1; count as usize + 1]);
            for (before, after) in [(&few, &many), (&many, &few)] {
                let (share, needless) = moved(&balancer, before, after);
                assert!(share <= 1.0 / f64::from(count + 1) + 0.05, "{share} of {count}");
                assert!(!needless);
            }
        }
        let (share, needless) = moved(&balancer, &[2, 3, 1], &[2, 3, 1, 2]);
        assert!(share <= 0.25 + 0.05 && !needless, "{share}");
    }
}

#[test]
fn keys_of_a_lost_instance_move_and_come_back_and_no_others() {
    for weights in [[1, 1, 1, 1], [4, 3, 2, 1]] {
        let service = build(&checked(LoadBalancer::IpHash, &weights));
        let places = || (0..5000).map(|number| place(&service, at(0.0), key(number))).collect::<Vec<_>>();
        let before = places();
        service.active_result(2, at(0.0), false, "refused");
        let during = places();
        assert!(before.iter().zip(&during).all(|(&before, &during)| during != 2 && (before == 2 || before == during)));
        let heirs = |heir| before.iter().zip(&during).filter(|&(&from, &to)| from == 2 && to == heir).count() as u64;
        let rest: Vec<_> = [0, 1, 3].into_iter().map(|heir| weights[heir]).collect();
        assert_chi_square(&[heirs(0), heirs(1), heirs(3)], &rest);
        service.active_result(2, at(0.0), true, "200");
        assert_eq!(places(), before);
    }
}

#[test]
fn order_in_the_plan_does_not_matter_to_keys() {
    let straight = plan(LoadBalancer::IpHash, &[1, 1, 1]);
    let mut turned = straight.clone();
    turned.instances.reverse();
    let (first, second) = (build(&straight), build(&turned));
    assert!((0..1000).all(|number| place(&first, at(0.0), key(number)) == 2 - place(&second, at(0.0), key(number))));
}

#[test]
fn slow_start_ramps() {
    for balancer in all() {
        let slow =
            |weights: &[u32]| plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan(balancer.clone(), weights) };
        let first = build(&slow(&[1]));
        spread(&first, at(0.0), 10, 1);
        let service = ServiceState::build(&slow(&[1, 1]), Some(&first), at(0.0)).unwrap();
        let share = |now| f64::from(spread(&service, now, 20_000, 1)[1] as u32) / 20_000.0;
        let shares = [0.0, 2.5, 5.0, 7.5, 10.0, 20.0].map(|time| share(at(time)));
        for (part, measured) in [0.1, 0.25, 0.5, 0.75, 1.0, 1.0].into_iter().zip(shares) {
            let wanted = match balancer {
                // These compare load, not turns; when idle, the ramp only breaks ties.
                LoadBalancer::P2c => continue,
                LoadBalancer::LeastConnections => 0.5,
                LoadBalancer::IpHash | LoadBalancer::ConsistentHash { .. } => part / 2.0,
                _ => part / (1.0 + part),
            };
            assert!(f64::abs(measured - wanted) < 0.02, "{balancer:?}: {measured} at {part}");
        }
        assert!(shares.is_sorted_by(|a, b| *a <= b + 0.02), "{shares:?}");
    }
}

#[test]
fn slow_start_weighs_load() {
    for balancer in [LoadBalancer::LeastConnections, LoadBalancer::P2c] {
        let slow =
            |weights: &[u32]| plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan(balancer.clone(), weights) };
        let first = build(&slow(&[1]));
        let service = ServiceState::build(&slow(&[1, 1]), Some(&first), at(0.0)).unwrap();
        let mut open: Vec<_> = (0..2).map(|number| service.pick(&input(at(0.0), mix(number))).unwrap()).collect();
        for picked in &mut open {
            picked.report(at(0.0), AttemptOutcome::Status(200), Duration::from_millis(1));
        }
        drop(open);
        let held: Vec<_> = (0..300).map(|number| service.pick(&input(at(5.0), mix(number))).unwrap()).collect();
        let young = held.iter().filter(|picked| picked.index == 1).count();
        assert!((90..=110).contains(&young), "{balancer:?}: {young}");
    }
}

#[test]
fn nothing_ramps_when_the_service_starts() {
    let plan = plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan(LoadBalancer::RoundRobin, &[1, 1]) };
    assert_eq!(spread(&build(&plan), at(0.0), 1000, 1), [500, 500]);
}

#[test]
fn a_service_without_instances_says_so() {
    for balancer in all() {
        let error = exchange(&build(&plan(balancer, &[])), at(0.0), AttemptOutcome::Status(200)).unwrap_err();
        assert_eq!(error, Unavailable::NoInstance);
    }
}

proptest! {
    /// Whatever is down or was tried, a usable instance is found, an untried one if there is any.
    #[test]
    fn a_usable_instance_is_always_found(
        kind in 0_usize..7,
        instances in prop::collection::vec((1_u32..2000, any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
        slow in any::<bool>(),
        random in any::<u64>(),
        hash in any::<Option<u64>>(),
    ) {
        let weights: Vec<_> = instances.iter().map(|instance| instance.0).collect();
        let mut wanted = checked(all()[kind].clone(), &weights);
        wanted.slow_start = slow.then(|| seconds(10.0));
        let service = build(&wanted);
        let mut avoid = Tried::default();
        for (index, &(_, down, tried, young)) in instances.iter().enumerate() {
            if down || young {
                service.active_result(index, at(0.0), false, "refused");
            }
            if young && !down {
                service.active_result(index, at(0.0), true, "200");
            }
            if tried {
                avoid.insert(index);
            }
        }
        let up = |index: usize| !instances[index].1;
        let fresh = |index: usize| up(index) && !instances[index].2;
        let input = PickInput { hash, avoid: &avoid, ..input(at(0.5), random) };
        match service.pick(&input) {
            Ok(picked) => {
                prop_assert!(up(picked.index));
                prop_assert!(fresh(picked.index) || !(0..instances.len()).any(fresh));
            }
            Err(error) => {
                prop_assert_eq!(error, Unavailable::AllUnhealthy);
                prop_assert!(!(0..instances.len()).any(up));
            }
        }
    }
}
