//! Health of instances: up or down by active checks, ejected for a while by the outcomes of attempts.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::ServiceState;
use super::breaker::{BreakerPermit, BreakerState, Cause, Transition};
use super::instance::{DOWN, DRAINING, EJECTED, Instance};
use super::outcome::{AttemptEnd, AttemptOutcome};
use crate::clock::Instant as Now;

/// Changes made by a call. Almost always empty, which allocates nothing.
pub type Changes = Vec<Change>;

/// A change of state; each makes one line in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Name of the service.
    pub service: Box<str>,
    /// URL of the instance; None for the breaker of the whole service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Box<str>>,
    /// What changed.
    pub event: Event,
    /// Why.
    pub reason: String,
}

/// What can happen to an instance or a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Active checks found it healthy again.
    Up,
    /// Active checks found it unhealthy.
    Down,
    /// It gets no requests for a while.
    Ejected,
    /// Its ejection is over.
    Returned,
    /// An operator has set it to drain.
    Draining,
    /// An operator has resumed it.
    Resumed,
    /// The breaker lets nothing through.
    BreakerOpened,
    /// The breaker lets probes through.
    BreakerHalfOpen,
    /// The breaker lets everything through.
    BreakerClosed,
}

impl Event {
    /// Returns true if capacity is lost.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Down | Self::Ejected | Self::BreakerOpened)
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, instance, event, reason } = self;
        match instance {
            Some(instance) => write!(to, "{service}: {instance} {event}: {reason}"),
            None => write!(to, "{service}: {event}: {reason}"),
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Returned => "returned",
            Self::Draining => "draining",
            Self::Resumed => "resumed",
            Self::BreakerOpened => "breaker opened",
            Self::BreakerHalfOpen => "breaker half open",
            Self::BreakerClosed => "breaker closed",
        })
    }
}

impl ServiceState {
    /// Records the outcome of an attempt at the instance at `index`.
    pub(super) fn report(&self, index: usize, permit: Option<&BreakerPermit>, now: Now, end: AttemptEnd) -> Changes {
        let AttemptEnd { began, outcome, latency } = end;
        let mut changes = Changes::new();
        let instance = &self.slots[index].instance;
        let failed = !matches!(outcome, AttemptOutcome::Status(..500));
        if failed {
            instance.failed.fetch_add(1, Ordering::Relaxed);
        }
        if self.balancer.uses_latency() {
            instance.observe(latency, failed, now);
        }
        if let (Some(rules), Some(permit)) = (&self.rules, permit) {
            let ok = match outcome {
                AttemptOutcome::Status(status) => !rules.is_failure(status),
                _ => false,
            };
            let breaker = self.breaker(index);
            let transition = breaker.record(rules, permit, now, ok);
            // Half open is reported before the state that follows it.
            changes.extend(self.half_open_change(index));
            changes.extend(transition.map(|transition| {
                let mut change = self.breaker_change(index, transition);
                if transition.to == BreakerState::Open {
                    let why = match transition.cause {
                        Cause::ProbeFailed => format!("{}: {outcome}", transition.cause),
                        cause => format!("{cause}, the last: {outcome}"),
                    };
                    change.reason = format!("{why}; for {} s", rules.timeout().as_secs_f64());
                    breaker.set_reason(why);
                }
                change
            }));
        }
        // An attempt that began before the last change says nothing about the instance's current state.
        if self.passive.is_some() && instance.is_current(began) {
            if failed {
                self.passive_failure(instance, now, outcome, &mut changes);
            } else if instance.streak.load(Ordering::Relaxed) != 0 {
                instance.streak.store(0, Ordering::Relaxed);
            }
        }
        changes
    }

    /// Returns the consecutive failures that are counted: of the instance at `index`, and of its breaker.
    #[inline]
    pub(super) fn failures(&self, index: usize) -> (u32, u32) {
        let streak = |_| self.slots[index].instance.streak.load(Ordering::Relaxed);
        (self.passive.as_ref().map_or(0, streak), self.rules.as_ref().map_or(0, |_| self.breaker(index).failures()))
    }

    /// Restores failure counts that a reported success has reset.
    pub(super) fn restore_failures(
        &self,
        index: usize,
        permit: Option<&BreakerPermit>,
        began: Now,
        (streak, failures): (u32, u32),
    ) {
        let instance = &self.slots[index].instance;
        if instance.is_current(began) {
            instance.streak.fetch_max(streak, Ordering::AcqRel);
        }
        if let Some(permit) = permit {
            self.breaker(index).restore_failures(permit, failures);
        }
    }

    fn passive_failure(&self, instance: &Instance, now: Now, outcome: AttemptOutcome, changes: &mut Changes) {
        let Some(rules) = &self.passive else { return };
        if instance.flags.load(Ordering::Acquire) & EJECTED != 0 {
            let Some(change) = self.end_ejection(instance, now) else { return };
            changes.push(change);
        }
        let streak = instance.streak.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if streak < rules.failures {
            return;
        }
        let _changing = self.shared.changing.lock();
        if instance.flags.load(Ordering::Acquire) & EJECTED != 0 || !self.may_eject(rules.max_ejected, now) {
            return;
        }
        let before = Now::from_nanos(instance.ejected_until.load(Ordering::Relaxed));
        // An instance without ejection for the longest ejection time starts over.
        let earlier =
            if now.since(before) > rules.max_ejection.0 { 0 } else { instance.ejections.load(Ordering::Relaxed) };
        let times = earlier.saturating_add(1);
        instance.ejections.store(times, Ordering::Relaxed);
        let span = rules.ejection.0.saturating_mul(times).min(rules.max_ejection.0);
        instance.ejected_until.store(now.saturating_add(span).as_nanos(), Ordering::Release);
        instance.flags.fetch_or(EJECTED, Ordering::AcqRel);
        instance.streak.store(0, Ordering::Relaxed);
        let reason = format!("{streak} failures in a row, the last: {outcome}; for {} s", span.as_secs_f64());
        changes.push(self.change(Some(instance), Event::Ejected, reason));
    }

    /// Returns true if one more instance may be ejected. The caller holds `changing`.
    fn may_eject(&self, share: f64, now: Now) -> bool {
        let out = |instance: &&std::sync::Arc<Instance>| !instance.is_usable(EJECTED, now);
        let ejected = self.instances().filter(out).count();
        #[allow(clippy::cast_precision_loss)]
        let within = (ejected + 1) as f64 <= share * self.slots.len() as f64;
        within
    }

    fn end_ejection(&self, instance: &Instance, now: Now) -> Option<Change> {
        let _changing = self.shared.changing.lock();
        let flags = instance.flags.load(Ordering::Acquire);
        if flags & EJECTED == 0 || !instance.is_usable(EJECTED, now) {
            return None;
        }
        instance.flags.fetch_and(!EJECTED, Ordering::AcqRel);
        instance.streak.store(0, Ordering::Relaxed);
        Some(self.change(Some(instance), Event::Returned, "the ejection is over".into()))
    }

    /// Records an active check of the instance at `index`; `reason` describes its result.
    pub fn active_result(&self, index: usize, now: Now, ok: bool, reason: &str) -> Option<Change> {
        let rules = self.health_check.as_ref()?;
        let instance = &self.slots.get(index)?.instance;
        let _changing = self.shared.changing.lock();
        let before = instance.checks.load(Ordering::Relaxed);
        let checks = if ok { before.max(0).saturating_add(1) } else { before.min(0).saturating_sub(1) };
        instance.checks.store(checks, Ordering::Relaxed);
        let down = instance.flags.load(Ordering::Acquire) & DOWN != 0;
        if ok && down && checks.unsigned_abs() >= rules.healthy_after {
            instance.mark_ready(now);
            instance.flags.fetch_and(!DOWN, Ordering::AcqRel);
            return Some(self.change(Some(instance), Event::Up, format!("{checks} good checks, the last: {reason}")));
        }
        if !ok && !down && checks.unsigned_abs() >= rules.unhealthy_after {
            instance.flags.fetch_or(DOWN, Ordering::AcqRel);
            let reason = format!("{} failed checks, the last: {reason}", checks.unsigned_abs());
            return Some(self.change(Some(instance), Event::Down, reason));
        }
        None
    }

    /// Starts or ends draining of the instance at `index`: a draining instance finishes its exchanges and gets no new
    /// ones.
    pub fn set_draining(&self, index: usize, now: Now, draining: bool) -> Option<Change> {
        let instance = &self.slots.get(index)?.instance;
        let _changing = self.shared.changing.lock();
        if instance.is_draining() == draining {
            return None;
        }
        let event = if draining {
            instance.flags.fetch_or(DRAINING, Ordering::AcqRel);
            Event::Draining
        } else {
            instance.mark_ready(now);
            instance.flags.fetch_and(!DRAINING, Ordering::AcqRel);
            Event::Resumed
        };
        Some(self.change(Some(instance), event, "by request".into()))
    }

    /// Closes the breaker of the service, or of the instance at `index`, or of all instances. Returns None if there is
    /// no breaker.
    pub fn reset_breaker(&self, index: Option<usize>) -> Option<Changes> {
        let each = match self.rules() {
            (None, None) => return None,
            (_, each) => each.is_some(),
        };
        let those = match index {
            Some(index) if each => index..index + 1,
            _ => 0..if each { self.slots.len() } else { 1 },
        };
        let reset = |index: usize| {
            let breaker = if each { &self.slots[index].instance.breaker } else { &self.shared.breaker };
            breaker.reset().map(|transition| self.breaker_change(index, transition))
        };
        Some(those.filter_map(reset).collect())
    }

    /// Reports changes caused by the passing of time. The caller runs it about once a second and logs the changes;
    /// picks do not depend on it.
    pub fn tick(&self, now: Now) -> Changes {
        let mut changes = Changes::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.instance.flags.load(Ordering::Acquire) & self.mask & EJECTED != 0 {
                changes.extend(self.end_ejection(&slot.instance, now));
            }
            if self.rules().1.is_some() {
                changes.extend(self.half_open_change(index));
            }
        }
        if self.rules().0.is_some() {
            changes.extend(self.half_open_change(0));
        }
        changes
    }

    fn half_open_change(&self, index: usize) -> Option<Change> {
        self.breaker(index).take_half_open().map(|transition| self.breaker_change(index, transition))
    }

    fn breaker_change(&self, index: usize, transition: Transition) -> Change {
        let event = match transition.to {
            BreakerState::Closed => Event::BreakerClosed,
            BreakerState::Open => Event::BreakerOpened,
            BreakerState::HalfOpen => Event::BreakerHalfOpen,
        };
        let instance = self.rules().1.is_some().then(|| &*self.slots[index].instance);
        self.change(instance, event, transition.cause.to_string())
    }

    fn change(&self, instance: Option<&Instance>, event: Event, reason: String) -> Change {
        Change { service: self.name.clone(), instance: instance.map(|instance| instance.url().into()), event, reason }
    }
}

#[cfg(test)]
mod tests;
