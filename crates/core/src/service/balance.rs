//! Load balancing: seven ways to choose among the usable instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::BreakerRules;
use super::hashing::mix;
use super::instance::{Instance, InstanceSlot};
use crate::clock::Instant as Now;
use crate::plan::{self, LoadBalancer};

/// Size limit of the table of turns; larger sums of weights are rounded to it.
const MOST_TURNS: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BalancerKind {
    Turns,
    LeastConnections,
    Random,
    Hash,
    P2c,
}

/// The balancer of one service. It knows positions and weights; the state of the instances comes in with an
/// [`InstanceView`].
#[derive(Debug)]
pub(super) struct Balancer {
    kind: BalancerKind,
    /// Smooth weighted round robin as a table: position by turn. One shared counter over it keeps exact proportions,
    /// however many workers use it.
    turns: Box<[u16]>,
    /// 2⁶⁴ divided by the number of turns, rounded up.
    inverse: u64,
    equal: bool,
    name: &'static str,
}

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

/// The instances as one pick sees them.
#[derive(Clone, Copy)]
pub(super) struct InstanceView<'a> {
    pub(super) slots: &'a [InstanceSlot],
    pub(super) now: Now,
    /// Flags that rule an instance out.
    pub(super) mask: u32,
    pub(super) avoid: &'a Tried,
    pub(super) ramp: Option<Duration>,
    pub(super) rules: Option<&'a BreakerRules>,
    pub(super) random: u64,
}

impl InstanceView<'_> {
    fn instance(&self, index: usize) -> &Instance {
        &self.slots[index].instance
    }

    /// Returns true if the instance may be picked.
    #[inline]
    pub(super) fn allows(&self, index: usize) -> bool {
        let instance = self.instance(index);
        instance.is_usable(self.mask, self.now)
            && !self.avoid.contains(index)
            && self.rules.is_none_or(|rules| instance.breaker.ready(rules, self.now).is_ok())
    }

    /// Returns the share of its weight that counts now.
    pub(super) fn readiness(&self, index: usize) -> f64 {
        self.ramp.map_or(1.0, |ramp| self.instance(index).readiness(ramp, self.now))
    }

    /// Returns true if the instance may be picked and, if it ramps up, `dice` falls within the share of its weight.
    #[inline]
    fn accepts(&self, index: usize, dice: u64) -> bool {
        self.allows(index) && (self.ramp.is_none() || unit(dice) < self.readiness(index))
    }

    pub(super) fn weight(&self, index: usize) -> f64 {
        f64::from(self.slots[index].weight) * self.readiness(index)
    }

    /// Returns the usable instance with the least `cost`; among equals the first from `start` on.
    fn least(&self, start: usize, cost: impl Fn(usize) -> f64) -> Option<usize> {
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

    /// Returns any usable instance, at random by weight.
    fn any_usable(&self) -> Option<usize> {
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

impl Balancer {
    pub(super) fn build(how: &LoadBalancer, instances: &[plan::InstancePlan]) -> Self {
        let weighted: Vec<u32> = instances.iter().map(|instance| instance.weight).collect();
        let (kind, weights) = match how {
            LoadBalancer::RoundRobin => (BalancerKind::Turns, vec![1; instances.len()]),
            LoadBalancer::WeightedRoundRobin => (BalancerKind::Turns, weighted),
            LoadBalancer::LeastConnections => (BalancerKind::LeastConnections, weighted),
            LoadBalancer::Random => (BalancerKind::Random, weighted),
            LoadBalancer::IpHash | LoadBalancer::ConsistentHash { .. } => (BalancerKind::Hash, weighted),
            LoadBalancer::P2c => (BalancerKind::P2c, weighted),
        };
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let turns = smooth(&weights);
        let inverse = (u64::MAX / turns.len().max(1) as u64).wrapping_add(1);
        Self { kind, turns, inverse, equal, name: name(how) }
    }

    /// As written in the plan.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns true if the balancer needs latencies.
    pub(super) fn uses_latency(&self) -> bool {
        self.kind == BalancerKind::P2c
    }

    /// Returns the position of the instance to use.
    pub(super) fn select(&self, view: &InstanceView<'_>, hash: Option<u64>, cursor: &AtomicU64) -> Option<usize> {
        match (self.kind, hash) {
            _ if self.turns.is_empty() => None,
            (BalancerKind::Turns, _) => self.in_turn(view, cursor),
            (BalancerKind::LeastConnections, _) => self.least_connections(view, cursor),
            (BalancerKind::Hash, Some(hash)) => self.by_hash(view, hash),
            (BalancerKind::Random | BalancerKind::Hash, _) => self.at_random(view),
            (BalancerKind::P2c, _) => two_choices(view),
        }
    }

    #[inline]
    fn turn(&self, cursor: &AtomicU64) -> usize {
        // The remainder by two multiplications (Lemire, Kaser and Kurz 2019), because a division would cost more than
        // the rest. It is exact for 32 bits; that the rotation starts over every 2³² turns does not matter.
        let turn = u64::from(cursor.fetch_add(1, Ordering::Relaxed) as u32);
        let turn = below(self.inverse.wrapping_mul(turn), self.turns.len());
        usize::from(self.turns[turn])
    }

    /// A turn of an unusable instance is skipped, so that the others keep their proportions instead of the next in line
    /// getting a double share.
    #[inline]
    fn in_turn(&self, view: &InstanceView<'_>, cursor: &AtomicU64) -> Option<usize> {
        let mut dice = view.random;
        for _ in 0..2 * view.slots.len() + 16 {
            let index = self.turn(cursor);
            if view.accepts(index, dice) {
                return Some(index);
            }
            dice = mix(dice);
        }
        view.any_usable()
    }

    fn least_connections(&self, view: &InstanceView<'_>, cursor: &AtomicU64) -> Option<usize> {
        #[allow(clippy::cast_precision_loss)]
        let cost = |index| view.instance(index).in_flight() as f64 / view.weight(index);
        view.least(self.turn(cursor), cost)
    }

    fn at_random(&self, view: &InstanceView<'_>) -> Option<usize> {
        let mut dice = view.random;
        for _ in 0..8 {
            let index = usize::from(self.turns[below(dice, self.turns.len())]);
            dice = mix(dice);
            if view.accepts(index, dice) {
                return Some(index);
            }
            dice = mix(dice);
        }
        view.any_usable()
    }

    /// Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker 2005): every
    /// key ranks all instances, so an instance that drops out gives away only its own keys, spread over all others.
    fn by_hash(&self, view: &InstanceView<'_>, hash: u64) -> Option<usize> {
        let (mut best, mut warming) = (None, None);
        for index in 0..view.slots.len() {
            if !view.allows(index) {
                continue;
            }
            let score = mix(hash ^ view.instance(index).key);
            // A score is uniform over its range; dividing the logarithm by the weight makes the chance to win
            // proportional to the weight.
            let rank = if self.equal { unit(score) } else { f64::from(view.slots[index].weight) / -unit(score).ln() };
            // While an instance ramps up, a growing part of its keys moves over, each of them once.
            let ready = view.ramp.is_none() || unit(mix(score)) < view.readiness(index);
            let place = if ready { &mut best } else { &mut warming };
            if place.is_none_or(|(_, most)| rank > most) {
                *place = Some((index, rank));
            }
        }
        best.or(warming).map(|(index, _)| index)
    }
}

/// Picks the better of two random instances (Mitzenmacher 2001), by load over weight.
fn two_choices(view: &InstanceView<'_>) -> Option<usize> {
    let count = view.slots.len();
    let cost = |index| view.instance(index).load(view.now) / view.weight(index);
    let mut dice = view.random;
    let mut first = None;
    for _ in 0..8 {
        let index = below(dice, count);
        dice = mix(dice);
        match first {
            _ if !view.allows(index) => {}
            None => first = Some(index),
            Some(other) if other == index => {}
            Some(other) => return Some(if cost(index) < cost(other) { index } else { other }),
        }
    }
    view.least(below(dice, count), cost)
}

/// Returns positions in the order of nginx's smooth weighted round robin: the largest balance goes next and pays the
/// sum of all weights.
fn smooth(weights: &[u32]) -> Box<[u16]> {
    let weights = turns_of(weights);
    let sum: i64 = weights.iter().sum();
    let mut balances = vec![0; weights.len()];
    let next = |_| {
        let mut best = 0;
        for index in 0..weights.len() {
            balances[index] += weights[index];
            if balances[index] > balances[best] {
                best = index;
            }
        }
        balances[best] -= sum;
        best as u16
    };
    if weights.iter().all(|&weight| weight == 1) {
        return (0..weights.len() as u16).collect();
    }
    (0..sum).map(next).collect()
}

/// Returns the number of turns of each instance: its weight, rounded if the sum is too large for the table, and at
/// least one.
fn turns_of(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, b)).max(1);
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    // The limit on the product keeps a reload with thousands of weighted instances fast.
    let most = ((1 << 26) / weights.len().max(1)).clamp(weights.len(), MOST_TURNS.max(weights.len())) as u64;
    let scaled = |&weight: &u32| {
        let weight = u64::from(weight / divisor);
        if sum <= most { weight } else { ((weight * most + sum / 2) / sum).max(1) }.cast_signed()
    };
    weights.iter().map(scaled).collect()
}

/// Returns true if every instance gets its share of the turns within one hundredth of all turns, the most that rounding
/// may shift.
#[allow(clippy::cast_precision_loss)]
pub(super) fn keeps_shares(how: &LoadBalancer, instances: &[plan::InstancePlan]) -> bool {
    if !matches!(how, LoadBalancer::WeightedRoundRobin | LoadBalancer::Random) {
        return true;
    }
    let shares = |of: &[f64]| -> Vec<f64> {
        let all = of.iter().sum::<f64>().max(1.0);
        of.iter().map(|one| one / all).collect()
    };
    let weights: Vec<u32> = instances.iter().map(|instance| instance.weight).collect();
    let turns: Vec<f64> = turns_of(&weights).iter().map(|&turns| turns as f64).collect();
    let wanted: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
    shares(&turns).iter().zip(shares(&wanted)).all(|(has, wants)| (has - wants).abs() <= 0.01)
}

fn name(how: &LoadBalancer) -> &'static str {
    match how {
        LoadBalancer::RoundRobin => "round_robin",
        LoadBalancer::WeightedRoundRobin => "weighted_round_robin",
        LoadBalancer::LeastConnections => "least_connections",
        LoadBalancer::Random => "random",
        LoadBalancer::IpHash => "ip_hash",
        LoadBalancer::ConsistentHash { .. } => "consistent_hash",
        LoadBalancer::P2c => "p2c",
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Maps `random` to a number between 0 and 1, both excluded.
#[allow(clippy::cast_precision_loss)] // 52 bits and a half fit
fn unit(random: u64) -> f64 {
    ((random >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Maps `random` to a position below `count`.
fn below(random: u64, count: usize) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;
