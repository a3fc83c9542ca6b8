//! Counting in a slot by each algorithm.

use super::CounterShard;
use super::carry::Share;
use crate::limit::charge::Limit;
use crate::limit::decision::AbsoluteDecision;
use crate::limit::shape::{LimitAlgorithm, LimitShape};
use crate::limit::sliding_window::{AdmissionLog, AdmittedRun};
use crate::limit::store::slot::{Clock, CounterSlot, SlotIndex};

/// Memory for logs of sliding windows, in bytes for each key that the shard may hold.
const LOG_BYTES: usize = 64;

impl CounterShard {
    /// Decides on a cost, and returns the slot with the cost charged (except for the run of a sliding window, see
    /// `commit`).
    pub(crate) fn check(
        &mut self,
        slot: CounterSlot,
        shape: &LimitShape,
        clock: Clock,
        cost: u32,
    ) -> (AbsoluteDecision, CounterSlot) {
        match shape.algorithm {
            LimitAlgorithm::TokenBucket => {
                let (outcome, level) = shape.token_bucket(self.level(slot), clock.now, cost);
                (outcome, slot.with_level(level))
            }
            LimitAlgorithm::FixedWindow => {
                let (outcome, count) = shape.fixed_window(slot.count(), clock.wall, cost);
                (outcome, slot.with(count.until, count.used))
            }
            LimitAlgorithm::SlidingWindow => {
                let outcome = if let Some(index) = slot.log() {
                    let log = &mut self.logs[index];
                    log.prune(clock.now, shape.per);
                    shape.sliding_window(log.runs(), log.used(), clock.now, cost)
                } else {
                    let run = only_run(slot, shape, clock);
                    shape.sliding_window(run.into_iter(), run.map_or(0, |run| run.count), clock.now, cost)
                };
                (outcome, slot)
            }
        }
    }

    /// Stores the slot that `check` has returned. Returns the number of its account, if it has one.
    pub(crate) fn commit(
        &mut self,
        place: SlotIndex,
        mut slot: CounterSlot,
        limit: &Limit,
        clock: Clock,
        cost: u32,
    ) -> u64 {
        let Some(before) = self.get(place) else { return 0 };
        let mut number = 0;
        match limit.shape.algorithm {
            LimitAlgorithm::SlidingWindow => slot = self.add_run(slot, &limit.shape, clock, cost),
            LimitAlgorithm::TokenBucket if limit.shape.settled => {
                let mut account = self.account(before, clock);
                account.open = account.open.saturating_add(cost.into());
                number = account.number;
                slot = self.keep_account(before, slot.level(), account);
            }
            LimitAlgorithm::TokenBucket | LimitAlgorithm::FixedWindow => {}
        }
        slot.pin(false);
        slot.charged(before.is_idle(clock));
        self.put(place, slot);
        number
    }

    pub(crate) fn add_run(
        &mut self,
        mut slot: CounterSlot,
        shape: &LimitShape,
        clock: Clock,
        cost: u32,
    ) -> CounterSlot {
        let run = AdmittedRun { at: clock.now, count: cost };
        let until = clock.now.saturating_add(shape.per);
        if let Some(index) = slot.log() {
            self.push(index, run, shape, clock);
            slot.until = until;
            return slot;
        }
        match only_run(slot, shape, clock) {
            None => slot.with(until, cost),
            Some(only) if only.at == run.at => slot.with(until, only.count + cost),
            Some(only) => {
                let index = self.new_log();
                self.push(index, only, shape, clock);
                self.push(index, run, shape, clock);
                slot.until = until;
                slot.set_log(index);
                slot
            }
        }
    }

    /// Returns what a slot of a sliding window has in use.
    pub(crate) fn used(&mut self, slot: CounterSlot, shape: &LimitShape, clock: Clock) -> u32 {
        match slot.log() {
            None => only_run(slot, shape, clock).map_or(0, |run| run.count),
            Some(index) => {
                self.logs[index].prune(clock.now, shape.per);
                self.logs[index].used()
            }
        }
    }

    /// Takes up to `count` out of the run of a sliding window that ends at `until`.
    pub(crate) fn take_back(&mut self, slot: CounterSlot, shape: &LimitShape, until: u64, count: u32) -> CounterSlot {
        let Some(index) = slot.log() else {
            let left = slot.used.saturating_sub(if slot.until == until { count } else { 0 });
            // Without a run the slot is idle.
            return if left == 0 { slot.with(0, 0) } else { slot.with(slot.until, left) };
        };
        let Some(at) = until.checked_sub(shape.per) else { return slot };
        self.logs[index].take_back(at, count, shape.per);
        if let Some(last) = self.logs[index].runs().next_back() {
            return slot.with(last.at.saturating_add(shape.per), slot.used);
        }
        self.free_parts(slot);
        slot.without_log()
    }

    fn new_log(&mut self) -> usize {
        self.free_logs.pop().unwrap_or_else(|| {
            self.logs.push(AdmissionLog::default());
            self.logs.len() - 1
        })
    }

    fn push(&mut self, index: usize, run: AdmittedRun, shape: &LimitShape, clock: Clock) {
        let most = self.max_keys * LOG_BYTES / size_of::<AdmittedRun>();
        let mut log = std::mem::take(&mut self.logs[index]);
        log.push(run, shape.per, |more| {
            let fits = self.extra_runs + more <= most;
            let fits = fits || (self.sweep_if_due(clock) && self.extra_runs + more <= most);
            self.extra_runs += if fits { more } else { 0 };
            fits
        });
        self.logs[index] = log;
    }

    /// Converts a slot that was counted with other figures to those of `limit`.
    pub(crate) fn carry_over(
        &mut self,
        place: SlotIndex,
        old: &LimitShape,
        limit: &Limit,
        clock: Clock,
    ) -> CounterSlot {
        let Some(slot) = self.get(place) else { return CounterSlot::default() };
        let fresh = CounterSlot::fresh(slot.tag, limit);
        let new = &limit.shape;
        let mut next = if slot.is_idle(clock) {
            self.free_parts(slot);
            fresh
        } else if old.algorithm == LimitAlgorithm::SlidingWindow && new.algorithm == old.algorithm && new.per == old.per
        {
            self.carry_over_runs(slot, fresh, old, new)
        } else {
            let share = self.share_of(slot, old, clock);
            self.free_parts(slot);
            match new.algorithm {
                LimitAlgorithm::TokenBucket => {
                    let level = share.level(clock.now, new);
                    fresh.with_level(level)
                }
                LimitAlgorithm::FixedWindow => {
                    // The current window continues if it has the same boundaries.
                    let same = old.algorithm == new.algorithm && old.per == new.per;
                    let count = share.count(clock.wall, new);
                    fresh.with(if same { slot.until } else { count.until }, count.used)
                }
                LimitAlgorithm::SlidingWindow => fresh.with(clock.now.saturating_add(new.per), share.used_of(new)),
            }
        };
        next.pin(slot.is_pinned());
        self.put(place, next);
        next
    }

    fn carry_over_runs(
        &mut self,
        slot: CounterSlot,
        fresh: CounterSlot,
        old: &LimitShape,
        new: &LimitShape,
    ) -> CounterSlot {
        if let Some(index) = slot.log() {
            self.logs[index].scale(old.limit, new.limit);
            let mut next = fresh.with(slot.until, 0);
            next.set_log(index);
            return next;
        }
        fresh.with(slot.until, Share::of_count(slot.used, old).used_of(new))
    }

    fn share_of(&mut self, slot: CounterSlot, old: &LimitShape, clock: Clock) -> Share {
        match (old.algorithm, slot.log()) {
            (LimitAlgorithm::TokenBucket, _) => Share::of_level(self.level(slot), clock.now, old),
            (_, None) => Share::of_count(slot.used, old),
            (_, Some(_)) => Share::of_count(self.used(slot, old, clock), old),
        }
    }
}

fn only_run(slot: CounterSlot, shape: &LimitShape, clock: Clock) -> Option<AdmittedRun> {
    (!slot.is_idle(clock)).then(|| AdmittedRun { at: slot.until.saturating_sub(shape.per), count: slot.used })
}
