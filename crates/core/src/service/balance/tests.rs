use std::time::Duration;

use proptest::prelude::*;

use crate::plan::{self, HashOn, LoadBalancer};
use crate::service::fixture::{assert_chi_square, at, build, checked, exchange, input, plan, seconds, spread};
use crate::service::hashing::mix;
use crate::service::{AttemptOutcome, BALANCERS, BalancerRole, PickInput, ServiceState, Tried, Unavailable};

#[test]
fn weights_whose_shares_rounding_would_change_are_refused() {
    let many = |heavy: u32, light: u32| [vec![heavy], vec![light; 4000]].concat();
    let problem = |how, weights: &[u32]| ServiceState::build(&plan(how, weights), None, at(0.0)).err();
    for how in ["weighted_round_robin", "random", "maglev"] {
        let found = problem(how, &many(1_000_000, 1)).unwrap();
        assert_eq!((found.len(), &*found[0].path), (1, "instances"));
        assert_eq!(problem(how, &many(10_000, 1)), None);
        assert_eq!(problem(how, &[1_000_000_007, 500_000_003, 1]), None);
        assert_eq!(problem(how, &[0; 3]).unwrap().len(), 3, "told once");
    }
    // Balancers that use the weight itself have no table.
    assert_eq!(problem("least_connections", &many(1_000_000, 1)), None);
}

#[test]
fn the_rest_keeps_its_proportions_when_the_heaviest_is_lost() {
    for balancer in ["weighted_round_robin", "random"] {
        let service = build(&checked(balancer, &[100_000, 1, 2]));
        service.active_result(0, at(0.0), false, "refused");
        assert_chi_square(&spread(&service, at(0.0), 9000, 2)[1..], &[1, 2]);
    }
}

#[test]
fn slow_start_ramps() {
    for balancer in [
        "round_robin",
        "weighted_round_robin",
        "least_connections",
        "random",
        "ip_hash",
        "consistent_hash",
        "p2c",
        "maglev",
    ] {
        let slow = |weights: &[u32]| plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan(balancer, weights) };
        let first = build(&slow(&[1]));
        spread(&first, at(0.0), 10, 1);
        let service = ServiceState::build(&slow(&[1, 1]), Some(&first), at(0.0)).unwrap();
        let share = |now| f64::from(spread(&service, now, 20_000, 1)[1] as u32) / 20_000.0;
        let shares = [0.0, 2.5, 5.0, 7.5, 10.0, 20.0].map(|time| share(at(time)));
        for (part, measured) in [0.1, 0.25, 0.5, 0.75, 1.0, 1.0].into_iter().zip(shares) {
            let wanted = match balancer {
                // These compare load, not turns; when idle, the ramp only breaks ties.
                "p2c" => continue,
                "least_connections" => 0.5,
                "ip_hash" | "consistent_hash" | "maglev" => part / 2.0,
                _ => part / (1.0 + part),
            };
            assert!(f64::abs(measured - wanted) < 0.02, "{balancer}: {measured} at {part}");
        }
        assert!(shares.is_sorted_by(|a, b| *a <= b + 0.02), "{shares:?}");
    }
}

#[test]
fn slow_start_weighs_load() {
    for balancer in ["least_connections", "p2c"] {
        let slow = |weights: &[u32]| plan::ServicePlan { slow_start: Some(seconds(10.0)), ..plan(balancer, weights) };
        let first = build(&slow(&[1]));
        let service = ServiceState::build(&slow(&[1, 1]), Some(&first), at(0.0)).unwrap();
        let mut open: Vec<_> = (0..2).map(|number| service.pick(&input(at(0.0), mix(number))).unwrap()).collect();
        for picked in &mut open {
            picked.report(at(0.0), AttemptOutcome::Status(200), Duration::from_millis(1));
        }
        drop(open);
        let held: Vec<_> = (0..300).map(|number| service.pick(&input(at(5.0), mix(number))).unwrap()).collect();
        let young = held.iter().filter(|picked| picked.index == 1).count();
        assert!((90..=110).contains(&young), "{balancer}: {young}");
    }
}

#[test]
fn a_service_without_instances_says_so() {
    for balancer in BALANCERS {
        let error = exchange(&build(&plan(balancer.name, &[])), at(0.0), AttemptOutcome::Status(200)).unwrap_err();
        assert_eq!(error, Unavailable::NoInstance);
    }
}

proptest! {
    /// Whatever is down or was tried, a usable instance is found, an untried one if there is any.
    #[test]
    fn a_usable_instance_is_always_found(
        kind in 0..BALANCERS.len(),
        instances in prop::collection::vec((1_u32..2000, any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
        slow in any::<bool>(),
        random in any::<u64>(),
        hash in any::<Option<u64>>(),
    ) {
        let weights: Vec<_> = instances.iter().map(|instance| instance.0).collect();
        let mut wanted = checked(BALANCERS[kind].name, &weights);
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

#[test]
fn a_balancer_that_is_unknown_or_set_wrongly_is_refused() {
    let problem = |how: LoadBalancer| {
        let found = ServiceState::build(&plan(how, &[1]), None, at(0.0)).unwrap_err();
        assert_eq!(found.len(), 1);
        (found[0].path.clone(), found[0].message.clone())
    };
    let named = |kind: &str, on| LoadBalancer { kind: kind.into(), on };
    let (path, text) = problem(named("p2k", None));
    assert_eq!(path, "load_balancer.kind");
    assert!(BALANCERS.iter().all(|row| text.contains(row.name)), "{text}");
    for row in BALANCERS {
        let keyed = row.has(BalancerRole::Key);
        let (path, _) = problem(named(row.name, (!keyed).then_some(HashOn::User)));
        assert_eq!(path, "load_balancer.on");
        assert_eq!(BALANCERS.iter().filter(|other| other.name == row.name).count(), 1);
    }
}
