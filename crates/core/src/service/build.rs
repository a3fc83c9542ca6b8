//! Builds the state of a service from its plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::affinity::Affinity;
use super::balance::{Balancer, BalancerRow};
use super::breaker::BreakerRules;
use super::instance::{DOWN, DRAINING, EJECTED, Instance, InstanceSlot};
use super::{MAX_INSTANCES, ServiceShared, ServiceState, sticky};
use crate::clock::Instant as Now;
use crate::plan;
use crate::plan::Problem;

impl ServiceState {
    /// Builds the service that `plan` describes. Instances that `previous` also has keep their state, as do the
    /// breaker, the retry budget and the rotation. `previous` itself is not changed, so a plan that fails elsewhere has
    /// no effect.
    pub fn build(plan: &plan::ServicePlan, previous: Option<&Self>, now: Now) -> Result<Self, Vec<Problem>> {
        let mut problems = check(plan);
        let slots = slots(plan, previous, now, &mut problems);
        let row = balancer(plan, &mut problems);
        let (Some(row), true) = (row, problems.is_empty()) else { return Err(problems) };
        let down = if plan.health_check.is_some() { DOWN } else { 0 };
        let ejected = if plan.passive_health.is_some() { EJECTED } else { 0 };
        Ok(Self {
            name: plan.name.as_str().into(),
            balancer: Balancer::build(row, &slots),
            slots,
            mask: DRAINING | down | ejected,
            ramp: plan.slow_start.map(|span| span.0).filter(|span| !span.is_zero()),
            rules: plan.circuit_breaker.as_ref().map(BreakerRules::from_plan),
            health_check: plan.health_check.clone(),
            passive: plan.passive_health.clone(),
            panic_threshold: plan.panic_threshold,
            budget: plan.retry_budget.clone(),
            sticky: plan.sticky.is_some(),
            affinity: Affinity::build(plan, row),
            max_in_flight: plan.max_in_flight.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            queue: u32::try_from(plan.queue.size).unwrap_or(u32::MAX),
            shared: previous.map_or_else(|| Arc::new(ServiceShared::new(now)), |state| Arc::clone(&state.shared)),
        })
    }
}

/// Builds the instances of `plan`, reusing those of `previous`.
fn slots(
    plan: &plan::ServicePlan,
    previous: Option<&ServiceState>,
    now: Now,
    problems: &mut Vec<Problem>,
) -> Box<[InstanceSlot]> {
    let known: HashMap<_, _> =
        previous.iter().flat_map(|state| state.instances()).map(|instance| (instance.url(), instance)).collect();
    let secret = plan.sticky.as_ref().and_then(|sticky| sticky.secret.as_deref()).unwrap_or_default();
    let mut addresses = HashSet::new();
    let mut slots = Vec::with_capacity(plan.instances.len());
    for (index, wanted) in plan.instances.iter().enumerate() {
        let mut report = |message| problems.push(Problem::at(format!("instances[{index}].url"), message));
        let kept = known.get(wanted.url.as_str()).map(|&instance| Arc::clone(instance));
        let parsed = || Instance::parse(&wanted.url, previous.map(|_| now)).map(Arc::new);
        match kept.map_or_else(parsed, Ok) {
            Ok(instance) if addresses.insert((instance.is_secure(), instance.authority().to_owned())) => {
                let secure = if instance.is_secure() { "https://" } else { "" };
                let sticky = sticky::id(secret, &plan.name, &format!("{secure}{}", instance.authority()));
                slots.push(InstanceSlot { instance, weight: wanted.weight, sticky });
            }
            Ok(_) => report("this address is listed twice"),
            Err(message) => report(message),
        }
    }
    slots.into()
}

fn balancer(plan: &plan::ServicePlan, problems: &mut Vec<Problem>) -> Option<&'static BalancerRow> {
    let row = BalancerRow::of(&plan.load_balancer).map_err(|problem| problems.push(problem)).ok()?;
    if plan.instances.len() <= MAX_INSTANCES && !row.keeps_shares(&plan.instances) {
        let text = "the weights differ by so much that rounding would change the shares; use smaller ones";
        problems.push(Problem::at("instances", text));
    }
    Some(row)
}

fn check(plan: &plan::ServicePlan) -> Vec<Problem> {
    const SHARE: &str = "must be from 0 to 1";
    let mut problems = Vec::new();
    let mut require = |good: bool, path: &str, message: &str| {
        if !good {
            problems.push(Problem::at(path, message));
        }
    };
    require(plan.instances.len() <= MAX_INSTANCES, "instances", "at most 4096 instances");
    for (index, instance) in plan.instances.iter().enumerate() {
        require(instance.weight > 0, &format!("instances[{index}].weight"), "must be at least 1");
    }
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let secure = |instance: &plan::InstancePlan| instance.url.starts_with("https://");
    let spoken = plan.tls.is_some() || !plan.instances.iter().any(secure);
    require(spoken, "tls", "must be there, since an instance is reached over https://");
    require(plan.panic_threshold.is_none_or(share), "panic_threshold", SHARE);
    require(share(plan.retry_budget.ratio), "retry_budget.ratio", SHARE);
    let rate = plan.retry_budget.min_per_second;
    require(rate >= 0.0 && rate.is_finite(), "retry_budget.min_per_second", "must not be negative");
    require(plan.max_in_flight != Some(0), "max_in_flight", "must be at least 1");
    if let Some(check) = &plan.health_check {
        let path = check.path.starts_with('/') && check.path.bytes().all(|byte| byte.is_ascii_graphic());
        require(path, "health_check.path", "must begin with / and have no space or control character");
        require(!check.interval.0.is_zero(), "health_check.interval", "must be longer than 0");
        require(check.healthy_after > 0, "health_check.healthy_after", "must be at least 1");
        require(check.unhealthy_after > 0, "health_check.unhealthy_after", "must be at least 1");
    }
    if let Some(passive) = &plan.passive_health {
        require(passive.failures > 0, "passive_health.failures", "must be at least 1");
        require(share(passive.max_ejected), "passive_health.max_ejected", SHARE);
    }
    if let Some(breaker) = &plan.circuit_breaker {
        require(breaker.failure_threshold > 0, "circuit_breaker.failure_threshold", "must be at least 1");
        require(breaker.half_open_requests > 0, "circuit_breaker.half_open_requests", "must be at least 1");
        require(breaker.failure_rate.is_none_or(share), "circuit_breaker.failure_rate", SHARE);
        let window = breaker.failure_rate.is_none() || !breaker.window.0.is_zero();
        require(window, "circuit_breaker.window", "must be longer than 0");
    }
    problems
}
