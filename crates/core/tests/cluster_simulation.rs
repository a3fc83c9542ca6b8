//! Limits that nodes share, over a simulated network with all its faults: the bounds hold with every seed.
//!
//! `PYLAE_CLUSTER_SEEDS` says how many seeds there are for each test.

#![allow(dead_code, reason = "the command that prints figures uses the rest")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "all figures are far below 2^52"
)]

#[path = "../examples/cluster_figures/events.rs"]
mod events;
#[path = "../examples/cluster_figures/excess.rs"]
mod excess;
#[path = "../examples/cluster_figures/node.rs"]
mod node;
#[path = "../examples/cluster_figures/setup.rs"]
mod setup;
#[path = "../examples/cluster_figures/simulation.rs"]
mod simulation;
#[path = "../examples/cluster_figures/store.rs"]
mod store;

use std::time::Duration;

use pylae_core::limit::{LimitAlgorithm, LimitMode, OnStoreError};

use self::setup::{Fault, Keys, MILLI, SECOND, Setup, Summary, bucket, shape};
use self::simulation::run;

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let wanted = std::env::var("PYLAE_CLUSTER_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    1..=wanted.unwrap_or(count)
}

/// A cluster with any number of nodes, rates, figures, latencies and costs.
fn any(seed: u64, mode: LimitMode) -> Setup {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let nodes = random.usize(1..7);
    let limit = 1 << random.u32(0..10);
    let burst = (limit * (1 << random.u32(0..4)) / 4).max(1);
    let figures = bucket(limit, Duration::from_millis(random.u64(50..1500)), burst);
    let rate = f64::from(limit) / figures.per().as_secs_f64();
    // From a tenth of the limit to ten times as much, and one node may have nearly all.
    let offered = (rate * 10.0_f64.powf(random.f64().mul_add(2.0, -1.0))).min(3000.0);
    let mut rates: Vec<f64> = (0..nodes).map(|_| random.f64().powi(3) + 0.02).collect();
    let sum: f64 = rates.iter().sum();
    for rate in &mut rates {
        *rate *= offered / sum;
    }
    Setup {
        seed,
        keys: if random.bool() { Keys::Even(1) } else { Keys::Zipf(20) },
        most_cost: if random.bool() { 1 } else { burst.min(5) },
        duration: random.u64(SECOND / 2..3 * SECOND),
        latency: random.u64(50_000..5 * MILLI),
        ..Setup::new(figures, mode, rates)
    }
}

/// Adds faults with which nothing is lost that the store has acknowledged.
fn with_faults(mut setup: Setup) -> Setup {
    let mut random = fastrand::Rng::with_seed(setup.seed);
    setup.loss = if random.bool() { random.f64() * 0.1 } else { 0.0 };
    for _ in 0..random.u32(0..4) {
        let fault = match random.u32(0..4) {
            0 => Fault::Freeze(random.u64(MILLI..800 * MILLI)),
            1 => Fault::Partition { nodes: random.usize(1..=setup.nodes()), time: random.u64(MILLI..SECOND) },
            2 => Fault::Death,
            _ => Fault::ClockStep(random.i64(-3600..3600) * SECOND as i64),
        };
        setup.faults.push((random.u64(0..setup.duration), fault));
    }
    setup
}

/// What all nodes together may admit in `fast` mode before the store has acknowledged it.
fn debits(setup: &Setup) -> u64 {
    let (nodes, capacity) = (setup.nodes() as u64, u64::from(setup.shape.capacity()));
    (capacity / 10).max(nodes).min((capacity / 2).max(nodes))
}

fn check(setup: &Setup, most: impl Fn(&Summary) -> u64) {
    let summary = run(setup.clone());
    let most = most(&summary);
    assert!(summary.excess <= most, "{} more than the limit, at most {most}: {setup:?}", summary.excess);
}

#[test]
fn exact_is_one_bucket_whatever_happens() {
    for seed in seeds(2000) {
        check(&with_faults(any(seed, LimitMode::Exact)), |_| 0);
    }
}

#[test]
fn exact_is_one_window_whatever_happens() {
    for seed in seeds(700) {
        let mut setup = with_faults(any(seed, LimitMode::Exact));
        let algorithm = if seed % 2 == 0 { LimitAlgorithm::SlidingWindow } else { LimitAlgorithm::FixedWindow };
        setup.shape = shape(algorithm, setup.shape.limit().max(5), Duration::from_millis(700), None);
        check(&setup, |_| 0);
    }
}

#[test]
fn fast_is_at_most_the_debits_more_whatever_happens() {
    for seed in seeds(2000) {
        let setup = with_faults(any(seed, LimitMode::Fast));
        let deaths = setup.faults.iter().filter(|(_, fault)| matches!(fault, Fault::Death)).count() as u64;
        // What a dead node has not told is never charged.
        check(&setup, |_| debits(&setup) * (1 + deaths));
    }
}

#[test]
fn a_fail_over_costs_what_it_loses() {
    for (seed, mode) in seeds(1000).zip([LimitMode::Exact, LimitMode::Fast].into_iter().cycle()) {
        let mut setup = any(seed, mode);
        let (lag, step) = (seed % 7 * 10 * MILLI, (seed % 5) as i64 * SECOND as i64 - 2 * SECOND as i64);
        setup.faults.push((setup.duration / 2, Fault::FailOver { lag, outage: 300 * MILLI, step }));
        let debits = if mode == LimitMode::Fast { debits(&setup) } else { 0 };
        check(&setup, |summary| debits + summary.lost);
    }
}

#[test]
fn a_store_that_forgets_everything_costs_one_more_limit() {
    for (seed, mode) in seeds(700).zip([LimitMode::Exact, LimitMode::Fast].into_iter().cycle()) {
        let mut setup = any(seed, mode);
        setup.faults.push((setup.duration / 2, Fault::Forget));
        let debits = if mode == LimitMode::Fast { debits(&setup) } else { 0 };
        check(&setup, |_| debits + u64::from(setup.shape.capacity()));
    }
}

#[test]
fn nodes_without_the_store_have_their_shares() {
    for (seed, mode) in seeds(700).zip([LimitMode::Exact, LimitMode::Fast].into_iter().cycle()) {
        let mut setup = any(seed, mode);
        setup.on_store_error = OnStoreError::Share;
        setup.duration = 3 * SECOND;
        setup.faults.push((SECOND, Fault::Partition { nodes: setup.nodes(), time: SECOND }));
        let debits = debits(&setup);
        let nodes = setup.nodes() as u64;
        // A key that a node has not seen may be used up.
        check(&setup, |_| debits + nodes + u64::from(setup.shape.capacity()));
    }
}

#[test]
fn nearly_all_of_a_limit_can_be_used() {
    for mode in [LimitMode::Exact, LimitMode::Fast] {
        for parts in [[1.0, 1.0, 1.0], [0.85, 0.1, 0.05]] {
            let offered = 4000.0 / parts.iter().sum::<f64>();
            let rates = parts.iter().map(|part| part * offered).collect();
            let mut setup = Setup::new(bucket(1000, Duration::from_secs(1), 1000), mode, rates);
            setup.duration = 5 * SECOND;
            let summary = run(setup);
            let usable = summary.tokens as f64 / 6000.0;
            assert!(usable > 0.99, "{mode:?} {parts:?}: {usable}");
            assert!(summary.longest_wait < 20 * MILLI);
        }
    }
}

#[test]
fn far_from_the_limit_fast_limits_do_not_wait() {
    let mut setup = Setup::new(bucket(100_000, Duration::from_secs(10), 100_000), LimitMode::Fast, vec![1000.0; 3]);
    setup.duration = 10 * SECOND;
    let summary = run(setup);
    assert_eq!((summary.waited, summary.excess), (0, 0));
    assert!(summary.writes * 20 <= summary.requests + 60, "{} writes", summary.writes);
}

#[test]
#[ignore = "takes a minute: make test-long"]
fn the_rate_of_ten_minutes_is_that_of_the_limit() {
    for mode in [LimitMode::Exact, LimitMode::Fast] {
        let mut setup = Setup::new(bucket(100, Duration::from_secs(1), 100), mode, vec![200.0, 60.0, 40.0]);
        (setup.warm_up, setup.duration) = (10 * SECOND, 610 * SECOND);
        let rate = run(setup.clone()).tokens as f64 / 600.0;
        assert!((rate - 100.0).abs() < 0.1, "{mode:?}: {rate} a second");
        // Beside keys that are far from their limits.
        setup.keys = Keys::Zipf(1000);
        setup.rates = vec![1000.0; 3];
        let summary = run(setup.clone());
        assert!(summary.excess <= if mode == LimitMode::Fast { debits(&setup) } else { 0 });
    }
}
