//! Settles charges whose cost was only estimated.

use super::shard::CounterShard;
use super::slot::{Clock, CounterSlot, SlotIndex};
use super::{Limit, MemoryCounterStore};
use crate::limit::decision::{Clocks, Reservation};
use crate::limit::shape::{LimitAlgorithm, LimitShape};

impl MemoryCounterStore {
    /// Replaces the estimated cost of a charge to `key` by the true one.
    ///
    /// **Less** than estimated comes back, as far as the charge still counts: not into a window that has passed, and
    /// not what a token bucket has refilled since. So a key never has more left than if the true cost had been charged
    /// at once. Nothing comes back to a key without a slot of its own, or if the figures of the limit have changed.
    ///
    /// **More** is charged now, whatever is left: it is debt, of one limit at most.
    ///
    /// Each reservation is to be settled: by its estimate if nothing better is known.
    pub fn settle(&self, limit: &Limit, key: &[u8], reservation: &Reservation, cost: u32, at: Clocks) {
        let tag = self.tagger.tag(limit.salt, key);
        let mut shard = self.shards[self.shard_of(tag)].0.lock();
        let clock = shard.advance(at);
        shard.make_room(1, clock);
        let mut place = shard.find(tag);
        if place == SlotIndex::None && cost > reservation.cost {
            place = shard.claim(CounterSlot::fresh(tag, limit), limit, clock);
        }
        let Some(slot) = shard.get(place) else { return };
        if slot.id() == limit.id {
            shard.settle(place, &limit.shape, reservation, cost, clock);
            return;
        }
        // The slot is counted with figures of another configuration, and stays so: the same share of them is charged.
        let known = (slot.id() as usize).checked_sub(1).and_then(|at| self.limits.read().shapes.get(at).copied());
        if let Some(shape) = known.filter(|_| cost > reservation.cost) {
            let more = u64::from(cost - reservation.cost) * u64::from(shape.limit);
            let more = u32::try_from(more.div_ceil(limit.shape.limit.into())).unwrap_or(u32::MAX);
            shard.settle(place, &shape, &Reservation::default(), more, clock);
        }
    }
}

impl CounterShard {
    /// Settles a charge to a slot that is counted with these figures.
    fn settle(&mut self, place: SlotIndex, shape: &LimitShape, reservation: &Reservation, cost: u32, clock: Clock) {
        let Some(before) = self.get(place) else { return };
        let mut slot = before;
        let more = cost.saturating_sub(reservation.cost);
        let was_idle = before.is_idle(clock);
        match shape.algorithm {
            LimitAlgorithm::TokenBucket => {
                let (level, account) = (self.level(before), self.account(before, clock));
                let (level, account) = shape.settle_token_bucket(level, account, clock.now, reservation, cost);
                slot = self.keep_account(before, level, account);
            }
            LimitAlgorithm::FixedWindow => {
                let count = shape.settle_fixed_window(slot.count(), clock.wall, reservation, cost);
                slot = slot.with(count.until, count.used);
            }
            LimitAlgorithm::SlidingWindow if more > 0 => {
                let used = self.used(slot, shape, clock);
                let more = shape.used_with(used, more) - used;
                if more > 0 {
                    slot = self.add_run(slot, shape, clock, more);
                }
            }
            LimitAlgorithm::SlidingWindow if clock.now >= reservation.until => {}
            LimitAlgorithm::SlidingWindow => {
                slot = self.take_back(slot, shape, reservation.until, reservation.cost.saturating_sub(cost));
            }
        }
        if more > 0 {
            slot.charged(was_idle);
        }
        self.put(place, slot);
    }
}

#[cfg(test)]
mod tests;
