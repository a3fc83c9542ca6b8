//! Picking an instance for an attempt, and what comes of it.

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

/// What a pick depends on besides the service.
#[derive(Clone, Copy, Debug)]
pub struct PickInput<'a> {
    /// The time.
    pub now: Now,
    /// [`hash`](super::hash) of what the balancer hashes; without it such a balancer spreads at random.
    pub hash: Option<u64>,
    /// What the client's sticky cookie says, by [`parse`](super::sticky::parse).
    pub sticky: Option<u64>,
    /// Instances that are used only if there is no other.
    pub avoid: &'a Tried,
    /// Any number, another for each pick.
    pub random: u64,
}

/// Why no instance can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The service has none.
    #[error("the service has no instance")]
    NoInstance,
    /// All are down or ejected.
    #[error("no instance is healthy")]
    AllUnhealthy,
    /// All that are healthy are draining.
    #[error("all instances are draining")]
    AllDraining,
    /// The circuit breaker is open.
    #[error("the circuit breaker is open")]
    BreakerOpen {
        /// When it may let a probe through; zero while a probe is under way.
        retry_after: Duration,
    },
}

/// An instance picked for an attempt. It counts as in flight until this is dropped; dropped without a report, the attempt
/// counts as [`AttemptOutcome::Cancelled`].
#[derive(Debug)]
pub struct Picked<'s> {
    /// Position of the instance, for [`Tried`].
    pub index: usize,
    service: &'s ServiceState,
    permit: Option<BreakerPermit>,
    /// When it was picked.
    began: Now,
    reported: bool,
    /// Failures in a row, of the instance and of the breaker, before the first report.
    before: (u32, u32),
    moved: bool,
}

/// A pick without its service, for a caller that cannot borrow it. It counts as in flight until it comes back through
/// [`ServiceState::resume`] and is dropped there.
#[must_use = "lost, the instance would count it as in flight for ever"]
#[derive(Debug)]
pub struct SuspendedPick {
    index: usize,
    permit: Option<BreakerPermit>,
    began: Now,
    reported: bool,
    before: (u32, u32),
    moved: bool,
}

impl<'s> Picked<'s> {
    /// The instance.
    pub fn instance(&self) -> &'s Arc<Instance> {
        &self.service.slots[self.index].instance
    }

    /// What the client's sticky cookie must be set to; none when it is right, or the service has none.
    pub fn sticky(&self) -> Option<u64> {
        self.moved.then(|| self.service.slots[self.index].sticky)
    }

    /// Says how the attempt went, `latency` after it began. May be said again, when an answer that began well breaks off.
    #[inline]
    pub fn report(&mut self, now: Now, outcome: AttemptOutcome, latency: Duration) -> Changes {
        if outcome == AttemptOutcome::Cancelled {
            return Changes::new();
        }
        if !self.reported {
            self.reported = true;
            self.before = self.service.failures(self.index);
        } else if outcome == AttemptOutcome::Reset {
            // The good beginning was no success after all: it ends no row of failures.
            self.service.recall(self.index, self.permit.as_ref(), self.began, self.before);
        }
        self.service.report(self.index, self.permit.as_ref(), now, AttemptEnd { began: self.began, outcome, latency })
    }

    /// Lets go of the service, with everything still to be reported.
    pub fn suspend(mut self) -> SuspendedPick {
        let Self { index, began, reported, before, moved, .. } = self;
        let permit = self.permit.take();
        std::mem::forget(self);
        SuspendedPick { index, permit, began, reported, before, moved }
    }

    /// Says how the attempt went and ends it.
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
        self.pick_by(input, &self.shared.cursor)
    }

    /// Picks an instance for a copy of a request. It takes no turn: where requests and copies alternated, each would always
    /// get the same instances.
    pub fn pick_aside(&self, input: &PickInput<'_>) -> Result<Picked<'_>, Unavailable> {
        self.pick_by(input, &AtomicU64::new(mix(input.random)))
    }

    #[inline]
    fn pick_by(&self, input: &PickInput<'_>, cursor: &AtomicU64) -> Result<Picked<'_>, Unavailable> {
        let (whole, each) = self.rules();
        let permit = whole.map(|rules| self.shared.breaker.admit(rules, input.now)).transpose();
        let mut permit = permit.map_err(|retry_after| Unavailable::BreakerOpen { retry_after })?;
        let index = loop {
            let Some(index) = self.select(input, each, cursor) else {
                if let Some(permit) = &permit {
                    self.shared.breaker.release(permit);
                }
                return Err(self.why_none(input.now));
            };
            let Some(rules) = each else { break index };
            // Another worker may have taken the last probe since it was chosen; then it will not be chosen again.
            if let Ok(own) = self.slots[index].instance.breaker.admit(rules, input.now) {
                permit = Some(own);
                break index;
            }
        };
        let slot = &self.slots[index];
        slot.instance.started.fetch_add(1, Ordering::AcqRel);
        let moved = self.sticky && input.sticky != Some(slot.sticky);
        Ok(Picked { index, service: self, permit, began: input.now, reported: false, before: (0, 0), moved })
    }

    /// Takes up a pick of this service again.
    pub fn resume(&self, pick: SuspendedPick) -> Picked<'_> {
        let SuspendedPick { index, permit, began, reported, before, moved } = pick;
        Picked { index, service: self, permit, began, reported, before, moved }
    }

    #[inline]
    pub(super) fn select(
        &self,
        input: &PickInput<'_>,
        rules: Option<&BreakerRules>,
        cursor: &AtomicU64,
    ) -> Option<usize> {
        let mask = if self.in_panic(input.now) { DRAINING } else { self.mask };
        let PickInput { now, avoid, random, .. } = *input;
        let mut view = InstanceView { slots: &self.slots, now, mask, avoid, ramp: self.ramp, rules, random };
        if let Some(wanted) = input.sticky.filter(|_| self.sticky) {
            let found = self.slots.iter().position(|slot| slot.sticky == wanted);
            if let Some(index) = found.filter(|&index| view.allows(index)) {
                return Some(index);
            }
        }
        self.balancer.select(&view, input.hash, cursor).or_else(|| {
            view.avoid = Tried::NONE;
            if avoid.is_empty() { None } else { self.balancer.select(&view, input.hash, cursor) }
        })
    }

    /// Whether so few instances are healthy that sparing the others would only overload these.
    pub(super) fn in_panic(&self, now: Now) -> bool {
        self.panic_threshold.is_some_and(|threshold| {
            let well = self.slots.iter().filter(|slot| slot.instance.is_well(self.mask & !DRAINING, now)).count();
            #[allow(clippy::cast_precision_loss)]
            let panic = (well as f64) < threshold * self.slots.len() as f64;
            panic
        })
    }

    pub(super) fn why_none(&self, now: Now) -> Unavailable {
        let mask = if self.in_panic(now) { DRAINING } else { self.mask };
        let well = |mask| self.slots.iter().filter(move |slot| slot.instance.is_well(mask, now));
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
