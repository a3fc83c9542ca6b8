//! What a balancer sees of the instances and of the request.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::clock::Instant as Now;
use crate::service::breaker::BreakerRules;
use crate::service::hashing::mix;
use crate::service::instance::{Instance, InstanceSlot};

/// Positions of the instances that an exchange has tried; keeps the last eight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    last: [u16; 8],
    count: u8,
}

impl Tried {
    /// No instance was tried.
    pub const NONE: &'static Self = &Self { last: [0; 8], count: 0 };

    /// Adds the instance at `index`.
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

    /// Returns true if the instance at `index` was tried.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.last[..usize::from(self.count)].contains(&(index as u16))
    }

    /// Returns true if no instance was tried.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The instances as one pick sees them, and what it goes by.
#[derive(Clone, Copy)]
pub(crate) struct InstanceView<'a> {
    pub(crate) slots: &'a [InstanceSlot],
    pub(crate) now: Now,
    /// Flags that rule an instance out.
    pub(crate) mask: u32,
    pub(crate) avoid: &'a Tried,
    pub(crate) ramp: Option<Duration>,
    pub(crate) rules: Option<&'a BreakerRules>,
    /// A random number, different for each pick.
    pub(crate) random: u64,
    /// Hash of the balancer's key, if the request has it.
    pub(crate) hash: Option<u64>,
    /// Counts turns, over all workers and plans.
    pub(crate) cursor: &'a AtomicU64,
}

impl InstanceView<'_> {
    pub(super) fn instance(&self, index: usize) -> &Instance {
        &self.slots[index].instance
    }

    /// Returns true if the instance may be picked.
    #[inline]
    pub(crate) fn allows(&self, index: usize) -> bool {
        let instance = self.instance(index);
        instance.is_usable(self.mask, self.now)
            && !self.avoid.contains(index)
            && self.rules.is_none_or(|rules| instance.breaker.ready(rules, self.now).is_ok())
    }

    /// Returns the share of its weight that counts now.
    fn readiness(&self, index: usize) -> f64 {
        self.ramp.map_or(1.0, |ramp| self.instance(index).readiness(ramp, self.now))
    }

    /// Returns true if the instance may be picked and, if it ramps up, `dice` falls within the share of its weight.
    #[inline]
    pub(super) fn accepts(&self, index: usize, dice: u64) -> bool {
        self.allows(index) && self.is_ready(index, dice)
    }

    /// Returns true unless the instance ramps up and `dice` falls outside of the share of its weight.
    #[inline]
    pub(super) fn is_ready(&self, index: usize, dice: u64) -> bool {
        self.ramp.is_none() || unit(dice) < self.readiness(index)
    }

    /// Returns the weight of the instance that counts now.
    pub(super) fn weight(&self, index: usize) -> f64 {
        f64::from(self.slots[index].weight) * self.readiness(index)
    }

    /// Returns the usable instance with the least `cost`; among equals the first from `start` on.
    pub(super) fn least(&self, start: usize, cost: impl Fn(usize) -> f64) -> Option<usize> {
        let mut best = None;
        for index in (start..self.slots.len()).chain(0..start) {
            if self.allows(index) {
                let cost = cost(index);
                if best.is_none_or(|(_, least)| cost < least) {
                    best = Some((index, cost));
                }
            }
        }
        best.map(|(index, _)| index)
    }

    /// Returns a usable instance at random: each as often as `positions` has it.
    pub(super) fn at_random(&self, positions: &[u16]) -> Option<usize> {
        let mut dice = self.random;
        for _ in 0..8 {
            let index = usize::from(positions[below(dice, positions.len())]);
            dice = mix(dice);
            if self.accepts(index, dice) {
                return Some(index);
            }
            dice = mix(dice);
        }
        self.any_usable()
    }

    /// Returns any usable instance, at random by weight.
    pub(super) fn any_usable(&self) -> Option<usize> {
        let usable = || (0..self.slots.len()).filter(|&index| self.allows(index));
        let mut left = unit(mix(self.random)) * usable().map(|index| self.weight(index)).sum::<f64>();
        let mut last = None;
        for index in usable() {
            left -= self.weight(index);
            last = Some(index);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// Maps `random` to a number between 0 and 1, both excluded.
#[allow(clippy::cast_precision_loss)] // 52 bits and a half fit
pub(super) fn unit(random: u64) -> f64 {
    ((random >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Maps `random` to a position below `count`.
pub(super) fn below(random: u64, count: usize) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}
