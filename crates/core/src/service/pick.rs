//! Picks the instance for an attempt and reports the attempt's outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ServiceState;
use super::balance::{InstanceView, Tried};
use super::breaker::{BreakerPermit, BreakerRules};
use super::hashing::mix;
use super::health::Changes;
use super::instance::{DRAINING, Instance, InstanceSlot};
use super::outcome::{AttemptEnd, AttemptOutcome};
use crate::clock::Instant as Now;

/// Input of a pick.
#[derive(Clone, Copy, Debug)]
pub struct PickInput<'a> {
    /// The current time.
    pub now: Now,
    /// [`hash`](super::hash) of the balancer's key; without it a hashing balancer picks at random.
    pub hash: Option<u64>,
    /// The id in the client's sticky cookie, from [`parse`](super::sticky::parse).
    pub sticky: Option<u64>,
    /// Instances to use only if there is no other.
    pub avoid: &'a Tried,
    /// A random number, different for each pick.
    pub random: u64,
}

/// Why no instance is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The service has no instances.
    #[error("the service has no instance")]
    NoInstance,
    /// All instances are down or ejected.
    #[error("no instance is healthy")]
    AllUnhealthy,
    /// All healthy instances are draining.
    #[error("all instances are draining")]
    AllDraining,
    /// The circuit breaker is open.
    #[error("the circuit breaker is open")]
    BreakerOpen {
        /// Time until it may let a probe through; zero while a probe is in flight.
        retry_after: Duration,
    },
}

/// An instance picked for an attempt. It counts as in flight until this is dropped. Dropped without a report, the
/// attempt counts as [`AttemptOutcome::Cancelled`].
#[derive(Debug)]
pub struct Picked<'s> {
    /// Position of the instance, for [`Tried`].
    pub index: usize,
    service: &'s ServiceState,
    permit: Option<BreakerPermit>,
    /// When it was picked.
    began: Now,
    reported: bool,
    /// Consecutive failures of the instance and of the breaker before the first report.
    previous_failures: (u32, u32),
    cookie_outdated: bool,
}

/// A pick without its service, for a caller that cannot borrow the service. The attempt stays in flight until
/// [`ServiceState::resume`] turns it back into a [`Picked`] that is dropped.
#[must_use = "lost, the instance would count it as in flight for ever"]
#[derive(Debug)]
pub struct SuspendedPick {
    index: usize,
    permit: Option<BreakerPermit>,
    began: Now,
    reported: bool,
    previous_failures: (u32, u32),
    cookie_outdated: bool,
}

impl<'s> Picked<'s> {
    /// The picked instance.
    pub fn instance(&self) -> &'s Arc<Instance> {
        &self.service.slots[self.index].instance
    }

    /// Returns the id to set in the client's sticky cookie, or None if the cookie is right or the service has none.
    pub fn sticky(&self) -> Option<u64> {
        self.cookie_outdated.then(|| self.service.slots[self.index].sticky)
    }

    /// Reports the outcome of the attempt, `latency` after it began. May be called again when a response that began
    /// well breaks off.
    #[inline]
    pub fn report(&mut self, now: Now, outcome: AttemptOutcome, latency: Duration) -> Changes {
        if outcome.is_unrelated() {
            return Changes::new();
        }
        if !self.reported {
            self.reported = true;
            self.previous_failures = self.service.failures(self.index);
        } else if outcome == AttemptOutcome::Reset {
            // The reported success was none: the failures before it still count.
            self.service.restore_failures(self.index, self.permit.as_ref(), self.began, self.previous_failures);
        }
        self.service.report(self.index, self.permit.as_ref(), now, AttemptEnd { began: self.began, outcome, latency })
    }

    /// Detaches the pick from the service; its outcome can still be reported later.
    pub fn suspend(mut self) -> SuspendedPick {
        let Self { index, began, reported, previous_failures, cookie_outdated, .. } = self;
        let permit = self.permit.take();
        std::mem::forget(self);
        SuspendedPick { index, permit, began, reported, previous_failures, cookie_outdated }
    }

    /// Reports the outcome of the attempt and ends it.
    #[inline]
    pub fn finish(mut self, now: Now, outcome: AttemptOutcome, latency: Duration) -> Changes {
        self.report(now, outcome, latency)
    }
}

impl Drop for Picked<'_> {
    #[inline]
    fn drop(&mut self) {
        let instance = &self.service.slots[self.index].instance;
        instance.finished.fetch_add(1, Ordering::AcqRel);
        if let Some(permit) = self.permit.as_ref().filter(|_| !self.reported) {
            self.service.breaker(self.index).release(permit);
        }
    }
}

impl ServiceState {
    /// Picks an instance for one attempt.
    #[inline]
    pub fn pick(&self, input: &PickInput<'_>) -> Result<Picked<'_>, Unavailable> {
        self.pick_with(input, &self.shared.cursor)
    }

    /// Picks an instance for a mirrored request. It uses no turn of the rotation: if requests and copies alternated,
    /// each kind would always get the same instances.
    pub fn pick_for_mirror(&self, input: &PickInput<'_>) -> Result<Picked<'_>, Unavailable> {
        self.pick_with(input, &AtomicU64::new(mix(input.random)))
    }

    #[inline]
    fn pick_with(&self, input: &PickInput<'_>, cursor: &AtomicU64) -> Result<Picked<'_>, Unavailable> {
        let (whole, each) = self.rules();
        let permit = whole.map(|rules| self.shared.breaker.admit(rules, input.now)).transpose();
        let mut permit = permit.map_err(|retry_after| Unavailable::BreakerOpen { retry_after })?;
        let index = loop {
            let Some(index) = self.select(input, each, cursor) else {
                if let Some(permit) = &permit {
                    self.shared.breaker.release(permit);
                }
                return Err(self.unavailable_reason(input.now));
            };
            let Some(rules) = each else { break index };
            // Another worker may have taken the last probe since then; the instance is not selected again in that case.
            if let Ok(own) = self.slots[index].instance.breaker.admit(rules, input.now) {
                permit = Some(own);
                break index;
            }
        };
        let slot = &self.slots[index];
        slot.instance.started.fetch_add(1, Ordering::AcqRel);
        let cookie_outdated = self.sticky && input.sticky != Some(slot.sticky);
        Ok(Picked {
            index,
            service: self,
            permit,
            began: input.now,
            reported: false,
            previous_failures: (0, 0),
            cookie_outdated,
        })
    }

    /// Returns true if [`Self::pick`] would find an instance now.
    pub fn is_available(&self, now: Now) -> bool {
        let (whole, each) = self.rules();
        let mask = if self.in_panic(now) { DRAINING } else { self.mask };
        let open = |slot: &InstanceSlot| each.is_some_and(|rules| slot.instance.breaker.ready(rules, now).is_err());
        whole.is_none_or(|rules| self.shared.breaker.ready(rules, now).is_ok())
            && self.slots.iter().any(|slot| slot.instance.is_usable(mask, now) && !open(slot))
    }

    /// Resumes a suspended pick of this service.
    pub fn resume(&self, pick: SuspendedPick) -> Picked<'_> {
        let SuspendedPick { index, permit, began, reported, previous_failures, cookie_outdated } = pick;
        Picked { index, service: self, permit, began, reported, previous_failures, cookie_outdated }
    }

    #[inline]
    pub(super) fn select(
        &self,
        input: &PickInput<'_>,
        rules: Option<&BreakerRules>,
        cursor: &AtomicU64,
    ) -> Option<usize> {
        let mask = if self.in_panic(input.now) { DRAINING } else { self.mask };
        let PickInput { now, hash, avoid, random, .. } = *input;
        let ramp = self.ramp;
        let mut view = InstanceView { slots: &self.slots, now, mask, avoid, ramp, rules, random, hash, cursor };
        if let Some(wanted) = input.sticky.filter(|_| self.sticky) {
            let found = self.slots.iter().position(|slot| slot.sticky == wanted);
            if let Some(index) = found.filter(|&index| view.allows(index)) {
                return Some(index);
            }
        }
        self.balancer.select(&view).or_else(|| {
            view.avoid = Tried::NONE;
            if avoid.is_empty() { None } else { self.balancer.select(&view) }
        })
    }

    /// Returns true if so few instances are healthy that avoiding the others would overload them.
    pub(super) fn in_panic(&self, now: Now) -> bool {
        self.panic_threshold.is_some_and(|threshold| {
            let well = self.slots.iter().filter(|slot| slot.instance.is_usable(self.mask & !DRAINING, now)).count();
            #[allow(clippy::cast_precision_loss)]
            let panic = (well as f64) < threshold * self.slots.len() as f64;
            panic
        })
    }

    pub(super) fn unavailable_reason(&self, now: Now) -> Unavailable {
        let mask = if self.in_panic(now) { DRAINING } else { self.mask };
        let well = |mask| self.slots.iter().filter(move |slot| slot.instance.is_usable(mask, now));
        let refused =
            |slot: &InstanceSlot| self.rules().1.and_then(|rules| slot.instance.breaker.ready(rules, now).err());
        if self.slots.is_empty() {
            Unavailable::NoInstance
        } else if well(mask).next().is_some() {
            let retry_after = well(mask).filter_map(refused).min().unwrap_or_default();
            Unavailable::BreakerOpen { retry_after }
        } else if well(mask & !DRAINING).next().is_some() {
            Unavailable::AllDraining
        } else {
            Unavailable::AllUnhealthy
        }
    }
}
