//! How a service is doing and why it would pick what it would pick, for people.

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
    /// Exchanges that hold an entry; 0 without `max_in_flight`.
    pub entered: u32,
    /// Exchanges in the queue.
    pub waiting: u32,
    /// Retries allowed by the budget, from the start.
    pub retries: u64,
    /// Retries refused by the budget, from the start.
    pub retries_refused: u64,
}

/// State of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceStats {
    /// As it stands in the plan.
    pub url: Box<str>,
    /// As it stands in the plan.
    pub weight: u32,
    /// `up`, `down`, `ejected` or `draining`.
    pub state: &'static str,
    /// Share of its weight that it carries, below 1 in slow start.
    pub readiness: f64,
    /// Exchanges under way.
    pub in_flight: u64,
    /// Attempts from the start.
    pub attempts: u64,
    /// Failed attempts from the start.
    pub failures: u64,
    /// Smoothed latency in seconds; none unless the balancer measures it.
    pub latency: Option<f64>,
    /// Its own breaker, if it has one.
    pub breaker: Option<BreakerStats>,
}

/// State of a breaker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStats {
    /// Its state.
    pub state: BreakerState,
    /// Seconds for which it still keeps everything out.
    pub open_for: f64,
    /// Why it opened; none while it is closed.
    pub reason: Option<Box<str>>,
}

impl BreakerStats {
    /// Why it opened, if it lets nothing through now.
    pub fn why_shut(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.open_for > 0.0)
    }
}

/// How a pick would go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PickExplanation {
    /// Name of the balancer.
    pub balancer: &'static str,
    /// URL of what would be picked; others may be picked next.
    pub picked: Option<Box<str>>,
    /// Why nothing would be picked.
    pub unavailable: Option<String>,
    /// Health is ignored, because too few are healthy.
    pub panic: bool,
    /// All instances by position.
    pub candidates: Vec<Candidate>,
}

/// An instance as a pick sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its state.
    #[serde(flatten)]
    pub stats: InstanceStats,
    /// Whether it can be picked.
    pub usable: bool,
    /// Why it cannot be picked, or why it is preferred.
    pub note: &'static str,
}

impl ServiceState {
    /// How the service and its instances are doing.
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
        let bad = |flag| !instance.is_well(self.mask & flag, now);
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

    /// How [`Self::pick`] would go now, without picking anything.
    pub fn explain_pick(&self, input: &PickInput<'_>) -> PickExplanation {
        let (whole, each) = self.rules();
        let open = whole.and_then(|rules| self.shared.breaker.ready(rules, input.now).err());
        let cursor = AtomicU64::new(self.shared.cursor.load(Ordering::Relaxed));
        let picked = match open {
            Some(retry_after) => Err(Unavailable::BreakerOpen { retry_after }),
            None => self.select(input, each, &cursor).ok_or_else(|| self.why_none(input.now)),
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
        let well = slot.instance.is_well(mask, input.now);
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
    BreakerStats { state, open_for: left.as_secs_f64(), reason: breaker.why() }
}

#[cfg(test)]
mod tests;
