//! State of a service, and an explanation of its next pick, for people.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::ServiceState;
use super::breaker::{Breaker, BreakerRules, BreakerState};
use super::instance::{DOWN, DRAINING, EJECTED, Instance};
use super::pick::{PickInput, Unavailable};
use crate::clock::Instant as Now;

/// State of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceStats {
    /// Its name.
    pub name: Box<str>,
    /// Its instances by position.
    pub instances: Vec<InstanceStats>,
    /// The breaker of the whole service, if it has one.
    pub breaker: Option<BreakerStats>,
    /// Exchanges in flight; 0 without `max_in_flight`.
    pub entered: u32,
    /// Exchanges in the queue.
    pub waiting: u32,
    /// Retries allowed by the budget since the start.
    pub retries: u64,
    /// Retries refused by the budget since the start.
    pub retries_refused: u64,
}

/// State of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceStats {
    /// As written in the plan.
    pub url: Box<str>,
    /// As written in the plan.
    pub weight: u32,
    /// `up`, `down`, `ejected` or `draining`.
    pub state: &'static str,
    /// Share of its weight that counts now, below 1 in slow start.
    pub readiness: f64,
    /// Exchanges in flight.
    pub in_flight: u64,
    /// Attempts since the start.
    pub attempts: u64,
    /// Failed attempts since the start.
    pub failures: u64,
    /// Smoothed latency in seconds, if the balancer measures it.
    pub latency: Option<f64>,
    /// Breaker of the instance, if it has one.
    pub breaker: Option<BreakerStats>,
}

/// State of a breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStats {
    /// Its state.
    pub state: BreakerState,
    /// Seconds for which it stays open.
    pub open_for: f64,
    /// Why it opened; None while it is closed.
    pub reason: Option<Box<str>>,
}

impl BreakerStats {
    /// Returns why it opened, if it lets nothing through now.
    pub fn open_reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.open_for > 0.0)
    }
}

/// Explanation of a pick.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PickExplanation {
    /// Name of the balancer.
    pub balancer: &'static str,
    /// URL of the instance that would be picked; the next pick may choose another.
    pub picked: Option<Box<str>>,
    /// Why no instance would be picked.
    pub unavailable: Option<String>,
    /// True if health is ignored because too few instances are healthy.
    pub panic: bool,
    /// All instances by position.
    pub candidates: Vec<Candidate>,
}

/// An instance as the pick sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its state.
    #[serde(flatten)]
    pub stats: InstanceStats,
    /// True if it can be picked.
    pub usable: bool,
    /// Why it cannot be picked, or why it is preferred.
    pub note: &'static str,
}

impl ServiceState {
    /// Returns the state of the service and its instances.
    pub fn snapshot(&self, now: Now) -> ServiceStats {
        let (whole, _) = self.rules();
        let (retries, retries_refused) = self.shared.budget.totals();
        ServiceStats {
            name: self.name.clone(),
            instances: (0..self.slots.len()).map(|index| self.instance_stats(index, now)).collect(),
            breaker: whole.map(|_| breaker_stats(&self.shared.breaker, now)),
            entered: self.entered(),
            waiting: self.waiting(),
            retries,
            retries_refused,
        }
    }

    fn instance_stats(&self, index: usize, now: Now) -> InstanceStats {
        let slot = &self.slots[index];
        let instance = &slot.instance;
        let latency = self.balancer.uses_latency().then(|| instance.latency(now) / 1e9);
        InstanceStats {
            url: instance.url().into(),
            weight: slot.weight,
            state: self.state(instance, now),
            readiness: self.ramp.map_or(1.0, |ramp| instance.readiness(ramp, now)),
            in_flight: instance.in_flight(),
            attempts: instance.started.load(Ordering::Relaxed),
            failures: instance.failed.load(Ordering::Relaxed),
            latency,
            breaker: self.rules().1.map(|_| breaker_stats(&instance.breaker, now)),
        }
    }

    fn state(&self, instance: &Instance, now: Now) -> &'static str {
        let bad = |flag| !instance.is_usable(self.mask & flag, now);
        if bad(DRAINING) {
            "draining"
        } else if bad(DOWN) {
            "down"
        } else if bad(EJECTED) {
            "ejected"
        } else {
            "up"
        }
    }

    /// Explains what [`Self::pick`] would do now, without picking.
    pub fn explain_pick(&self, input: &PickInput<'_>) -> PickExplanation {
        let (whole, each) = self.rules();
        let open = whole.and_then(|rules| self.shared.breaker.ready(rules, input.now).err());
        let cursor = AtomicU64::new(self.shared.cursor.load(Ordering::Relaxed));
        let picked = match open {
            Some(retry_after) => Err(Unavailable::BreakerOpen { retry_after }),
            None => self.select(input, each, &cursor).ok_or_else(|| self.unavailable_reason(input.now)),
        };
        let panic = self.in_panic(input.now);
        PickExplanation {
            balancer: self.balancer.name(),
            picked: picked.ok().map(|index| self.slots[index].instance.url().into()),
            unavailable: picked.err().map(|why| why.to_string()),
            panic,
            candidates: (0..self.slots.len()).map(|index| self.candidate(index, input, each, panic)).collect(),
        }
    }

    fn candidate(&self, index: usize, input: &PickInput<'_>, rules: Option<&BreakerRules>, panic: bool) -> Candidate {
        let slot = &self.slots[index];
        let mask = if panic { DRAINING } else { self.mask };
        let ready = rules.is_none_or(|rules| slot.instance.breaker.ready(rules, input.now).is_ok());
        let well = slot.instance.is_usable(mask, input.now);
        let note = if !well {
            self.state(&slot.instance, input.now)
        } else if !ready {
            "its breaker is open"
        } else if input.avoid.contains(index) {
            "tried already: only if there is no other"
        } else if self.sticky && input.sticky == Some(slot.sticky) {
            "the client's cookie names it"
        } else {
            ""
        };
        Candidate { stats: self.instance_stats(index, input.now), usable: well && ready, note }
    }
}

fn breaker_stats(breaker: &Breaker, now: Now) -> BreakerStats {
    let (state, left) = breaker.position(now);
    BreakerStats { state, open_for: left.as_secs_f64(), reason: breaker.reason() }
}

#[cfg(test)]
mod tests;
