//! Services for tests.

use std::time::Duration;

use super::*;
use crate::plan::{LoadBalancer, Queue, RetryBudget, Seconds};

pub(super) const START: u64 = 1_000_000_000;

pub(super) fn seconds(seconds: f64) -> Seconds {
    Seconds(Duration::from_secs_f64(seconds))
}

/// Returns the time `seconds` after the start of the test.
pub(super) fn at(seconds: f64) -> Now {
    Now::from_nanos(START).saturating_add(Duration::from_secs_f64(seconds))
}

/// Returns a plan with instances `http://i0:80`… of these weights and defaults otherwise.
pub(crate) fn plan(load_balancer: LoadBalancer, weights: &[u32]) -> plan::ServicePlan {
    let instance = |(index, &weight)| plan::InstancePlan { url: format!("http://i{index}:80"), weight };
    plan::ServicePlan {
        name: "shop".into(),
        instances: weights.iter().enumerate().map(instance).collect(),
        load_balancer,
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
