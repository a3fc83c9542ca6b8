//! A service at run time: its instances, and every decision about which of them an exchange goes to, whether it may go
//! at all and what its outcome means. Shared by all workers; nothing here waits, reads a clock or opens a socket.

mod admission;
mod affinity;
mod balance;
pub mod breaker;
mod build;
mod explain;
mod health;
mod instance;
pub mod retry;
pub mod sticky;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use admission::{Admission, Entry, Place};
pub use affinity::Tie;
pub use explain::{BreakerStats, Candidate, Explanation, InstanceStats, ServiceStats};
pub use health::{Change, Changes, Event};
pub use instance::Instance;

use crate::clock::Instant as Now;
use crate::plan::{self, BreakerScope};
use affinity::Affinity;
use balance::{Balancer, View};
use breaker::{Breaker, Permit, Rules};
use instance::DRAINING;
use retry::Budget;

/// Most instances of one service.
pub const MAX_INSTANCES: usize = 4096;

/// A service in force. It is built anew for every plan; what must outlive a reload is shared with its predecessor.
#[derive(Debug)]
pub struct ServiceState {
    name: Box<str>,
    slots: Box<[Slot]>,
    balancer: Balancer,
    /// Flags of instances that this plan heeds.
    mask: u32,
    ramp: Option<Duration>,
    rules: Option<Rules>,
    health_check: Option<plan::HealthCheck>,
    passive: Option<plan::PassiveHealth>,
    panic_threshold: Option<f64>,
    budget: plan::RetryBudget,
    sticky: bool,
    affinity: Affinity,
    max_in_flight: Option<u32>,
    queue: u32,
    shared: Arc<Shared>,
}

/// An instance and what this plan says about it.
#[derive(Debug)]
struct Slot {
    instance: Arc<Instance>,
    weight: u32,
    /// What a sticky cookie says for it.
    sticky: u64,
}

/// What a service hands over at a reload, besides its instances.
#[derive(Debug)]
struct Shared {
    cursor: AtomicU64,
    breaker: Breaker,
    budget: Budget,
    gate: admission::Gate,
    /// Held while the health of an instance changes, so that the bound on ejections holds.
    changing: parking_lot::Mutex<()>,
}

impl Shared {
    fn new(now: Now) -> Self {
        Self {
            cursor: AtomicU64::new(0),
            breaker: Breaker::default(),
            budget: Budget::new(now),
            gate: admission::Gate::default(),
            changing: parking_lot::Mutex::new(()),
        }
    }
}

/// Positions of the instances that an exchange has tried. It remembers the last eight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    last: [u16; 8],
    count: u8,
}

impl Tried {
    /// Nothing tried yet.
    pub const NONE: &'static Self = &Self { last: [0; 8], count: 0 };

    /// Remembers the instance at `index`.
    pub fn insert(&mut self, index: usize) {
        if self.contains(index) {
            return;
        }
        if usize::from(self.count) == self.last.len() {
            self.last.rotate_left(1);
            self.count -= 1;
        }
        self.last[usize::from(self.count)] = index as u16;
        self.count += 1;
    }

    /// Whether the instance at `index` is remembered.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.last[..usize::from(self.count)].contains(&(index as u16))
    }

    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What a pick depends on besides the service.
#[derive(Clone, Copy, Debug)]
pub struct PickInput<'a> {
    /// The time.
    pub now: Now,
    /// [`hash`] of what the balancer hashes; without it such a balancer spreads at random.
    pub hash: Option<u64>,
    /// What the client's sticky cookie says, by [`sticky::parse`].
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

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No connection could be made.
    ConnectFailed,
    /// No head of an answer in time.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Reset,
    /// The head of an answer.
    Status(u16),
    /// The gateway gave it up for a reason that says nothing about the instance.
    Cancelled,
}

/// An instance picked for an attempt. It counts as in flight until this is dropped; dropped without a report, the attempt
/// counts as [`Outcome::Cancelled`].
#[derive(Debug)]
pub struct Picked<'s> {
    /// Position of the instance, for [`Tried`].
    pub index: usize,
    service: &'s ServiceState,
    permit: Option<Permit>,
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
pub struct Suspended {
    index: usize,
    permit: Option<Permit>,
    began: Now,
    reported: bool,
    before: (u32, u32),
    moved: bool,
}

/// How an attempt that began at `began` ended, and how long it took.
#[derive(Clone, Copy, Debug)]
struct End {
    began: Now,
    outcome: Outcome,
    latency: Duration,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConnectFailed => to.write_str("no connection"),
            Self::Timeout => to.write_str("no answer in time"),
            Self::Reset => to.write_str("connection broke"),
            Self::Status(status) => write!(to, "status {status}"),
            Self::Cancelled => to.write_str("cancelled"),
        }
    }
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
    pub fn report(&mut self, now: Now, outcome: Outcome, latency: Duration) -> Changes {
        if outcome == Outcome::Cancelled {
            return Changes::new();
        }
        if !self.reported {
            self.reported = true;
            self.before = self.service.failures(self.index);
        } else if outcome == Outcome::Reset {
            // The good beginning was no success after all: it ends no row of failures.
            self.service.recall(self.index, self.permit.as_ref(), self.began, self.before);
        }
        self.service.report(self.index, self.permit.as_ref(), now, End { began: self.began, outcome, latency })
    }

    /// Lets go of the service, with everything still to be reported.
    pub fn suspend(mut self) -> Suspended {
        let Self { index, began, reported, before, moved, .. } = self;
        let permit = self.permit.take();
        std::mem::forget(self);
        Suspended { index, permit, began, reported, before, moved }
    }

    /// Says how the attempt went and ends it.
    #[inline]
    pub fn finish(mut self, now: Now, outcome: Outcome, latency: Duration) -> Changes {
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
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instances by position.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Arc<Instance>> {
        self.slots.iter().map(|slot| &slot.instance)
    }

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
    pub fn resume(&self, pick: Suspended) -> Picked<'_> {
        let Suspended { index, permit, began, reported, before, moved } = pick;
        Picked { index, service: self, permit, began, reported, before, moved }
    }

    /// The rules of the breaker of the service and of those of its instances; at most one of the two.
    fn rules(&self) -> (Option<&Rules>, Option<&Rules>) {
        match &self.rules {
            Some(rules) if rules.scope == BreakerScope::Service => (Some(rules), None),
            Some(rules) => (None, Some(rules)),
            None => (None, None),
        }
    }

    fn breaker(&self, index: usize) -> &Breaker {
        if self.rules().1.is_some() { &self.slots[index].instance.breaker } else { &self.shared.breaker }
    }

    #[inline]
    fn select(&self, input: &PickInput<'_>, rules: Option<&Rules>, cursor: &AtomicU64) -> Option<usize> {
        let mask = if self.in_panic(input.now) { DRAINING } else { self.mask };
        let PickInput { now, avoid, random, .. } = *input;
        let mut view = View { slots: &self.slots, now, mask, avoid, ramp: self.ramp, rules, random };
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
    fn in_panic(&self, now: Now) -> bool {
        self.panic_threshold.is_some_and(|threshold| {
            let well = self.slots.iter().filter(|slot| slot.instance.is_well(self.mask & !DRAINING, now)).count();
            #[allow(clippy::cast_precision_loss)]
            let panic = (well as f64) < threshold * self.slots.len() as f64;
            panic
        })
    }

    fn why_none(&self, now: Now) -> Unavailable {
        let mask = if self.in_panic(now) { DRAINING } else { self.mask };
        let well = |mask| self.slots.iter().filter(move |slot| slot.instance.is_well(mask, now));
        let refused = |slot: &Slot| self.rules().1.and_then(|rules| slot.instance.breaker.ready(rules, now).err());
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

/// A stable hash of `bytes` for the balancers: the same in every worker and every gateway (FNV-1a, then mixed).
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |state: u64, &byte: &u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Spreads every bit over all (the finalizer of splitmix64); a number to a next, unrelated one.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
