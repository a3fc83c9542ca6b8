//! Services for tests.

use std::time::Duration;

use super::hashing::mix;
use super::*;
use crate::plan::{HashOn, LoadBalancer, Queue, RetryBudget, Seconds};

pub(super) const START: u64 = 1_000_000_000;

pub(super) fn seconds(seconds: f64) -> Seconds {
    Seconds(Duration::from_secs_f64(seconds))
}

/// Returns the time `seconds` after the start of the test.
pub(super) fn at(seconds: f64) -> Now {
    Now::from_nanos(START).saturating_add(Duration::from_secs_f64(seconds))
}

/// A balancer by name. One that goes by a key goes by the user.
impl From<&str> for LoadBalancer {
    fn from(kind: &str) -> Self {
        let keyed = BALANCERS.iter().any(|row| row.name == kind && row.has(BalancerRole::Key));
        Self { kind: kind.into(), on: keyed.then_some(HashOn::User) }
    }
}

/// Returns a plan with instances `http://i0:80`… of these weights and defaults otherwise.
pub(crate) fn plan(load_balancer: impl Into<LoadBalancer>, weights: &[u32]) -> plan::ServicePlan {
    let instance = |(index, &weight)| plan::InstancePlan { url: format!("http://i{index}:80"), weight };
    plan::ServicePlan {
        name: "shop".into(),
        instances: weights.iter().enumerate().map(instance).collect(),
        load_balancer: load_balancer.into(),
        slow_start: None,
        tls: None,
        sticky: None,
        health_check: None,
        passive_health: None,
        panic_threshold: None,
        circuit_breaker: None,
        retry_budget: RetryBudget { ratio: 0.2, min_per_second: 0.0 },
        connect_timeout: seconds(5.0),
        max_in_flight: None,
        queue: Queue { size: 0, timeout: seconds(1.0) },
        protocol: plan::Protocol::Http1,
        max_streams: 100,
        preserve_host: None,
        max_idle: 8,
        idle_timeout: seconds(60.0),
        client_credentials: None,
    }
}

pub(crate) fn build(plan: &plan::ServicePlan) -> ServiceState {
    ServiceState::build(plan, None, at(0.0)).unwrap()
}

/// Returns the input of a plain pick.
pub(super) fn input(now: Now, random: u64) -> PickInput<'static> {
    PickInput { now, hash: None, sticky: None, avoid: Tried::NONE, random }
}

/// The textbook breaker.
pub(super) fn breaker(scope: BreakerScope) -> plan::CircuitBreaker {
    plan::CircuitBreaker {
        failure_threshold: 5,
        failure_rate: None,
        window: seconds(10.0),
        minimum_requests: 10,
        timeout: seconds(60.0),
        half_open_requests: 1,
        failure_statuses: vec![500, 502, 503, 504],
        scope,
    }
}

/// Returns a health check that one result decides.
pub(super) fn health_check() -> plan::HealthCheck {
    plan::HealthCheck {
        path: "/health".into(),
        grpc: None,
        interval: seconds(30.0),
        timeout: seconds(5.0),
        healthy_after: 1,
        unhealthy_after: 1,
    }
}

pub(super) fn passive() -> plan::PassiveHealth {
    plan::PassiveHealth { failures: 3, ejection: seconds(10.0), max_ejection: seconds(25.0), max_ejected: 0.5 }
}

/// Runs one attempt that ends with `outcome` and returns the position of its instance.
pub(super) fn exchange(
    service: &ServiceState,
    now: Now,
    outcome: AttemptOutcome,
) -> Result<(usize, Changes), Unavailable> {
    let picked = service.pick(&input(now, now.as_nanos()))?;
    Ok((picked.index, picked.finish(now, outcome, Duration::from_millis(1))))
}

/// Calls `work` with its number in each of `count` threads at once.
pub(crate) fn threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(count);
    let run = |number| {
        start.wait();
        work(number)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..count)
            .map(|number| {
                let run = &run;
                scope.spawn(move || run(number))
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub(super) fn key(number: u64) -> u64 {
    hash(&number.to_le_bytes())
}

/// Returns the instance of a key.
pub(super) fn place(service: &ServiceState, now: Now, key: u64) -> usize {
    service.pick(&PickInput { hash: Some(key), ..input(now, 1) }).unwrap().index
}

/// Returns how many of `picks` picks, divided over `workers`, each instance gets; an exchange ends before the next
/// begins.
pub(super) fn spread(service: &ServiceState, now: Now, picks: u64, workers: usize) -> Vec<u64> {
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
pub(super) fn assert_chi_square(counts: &[u64], weights: &[u32]) {
    let (all, sum) = (counts.iter().sum::<u64>() as f64, f64::from(weights.iter().sum::<u32>()));
    let expected = |weight: u32| all * f64::from(weight) / sum;
    let term = |(&count, &weight): (&u64, &u32)| (count as f64 - expected(weight)).powi(2) / expected(weight);
    let statistic: f64 = counts.iter().zip(weights).map(term).sum();
    let freedom = (weights.len() - 1) as f64;
    // Wilson and Hilferty's approximation of the quantile.
    let bound = freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.72 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    assert!(statistic < bound, "{counts:?} for {weights:?}: {statistic} over {bound}");
}

pub(super) fn checked(balancer: &str, weights: &[u32]) -> plan::ServicePlan {
    plan::ServicePlan { health_check: Some(health_check()), ..plan(balancer, weights) }
}

/// Returns the share of keys that move when `before` becomes `after`, and whether any moved between instances that
/// stayed.
pub(super) fn moved(balancer: &str, before: &[u32], after: &[u32]) -> (f64, bool) {
    let first = build(&plan(balancer, before));
    let second = ServiceState::build(&plan(balancer, after), Some(&first), at(1.0)).unwrap();
    let stays = before.len().min(after.len());
    let (mut count, mut needless) = (0, false);
    for number in 0..20_000 {
        let (from, to) = (place(&first, at(1.0), key(number)), place(&second, at(1.0), key(number)));
        count += u32::from(from != to);
        needless |= from != to && from < stays && to < stays;
    }
    (f64::from(count) / 20_000.0, needless)
}
