//! One shard of the store: a table of sets of four slots, each set a pair of cache lines.
//!
//! A key may be in either of two sets, so that the table can be two thirds full. It goes into the first set while that
//! has room, and there preferably into the cache line that its tag selects: in a full table, five of six keys are in
//! the first line that is searched, and only one of fourteen is in the second set.

mod account;
mod carry;
mod counting;

use super::slot::{Clock, CounterSlot, KeptAccount, SlotIndex};
use crate::limit::charge::Limit;
use crate::limit::decision::{Clocks, wall_nanos};
use crate::limit::sliding_window::{AdmissionLog, AdmittedRun, MIN_RUNS};
use crate::limit::tag::CounterTag;

const WAYS: usize = 4;
/// Largest number of sets that are searched for an evictable key.
const MAX_PROBES: usize = 16;
/// Largest number of slots that are moved to make room for one. With two, one of some million keys found none in a
/// table two thirds full.
const MAX_MOVES: u32 = 3;
/// Number of sets of a new shard.
const INITIAL_SETS: usize = 16;
/// Least time between two searches of the whole shard for idle slots, in nanoseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

#[derive(Clone, Default)]
#[repr(align(128))]
struct SlotSet([CounterSlot; WAYS]);

/// One shard.
pub(super) struct CounterShard {
    /// Latest times seen; the clocks of the shard never go back.
    latest: Clock,
    sets: Vec<SlotSet>,
    keys: usize,
    max_keys: usize,
    logs: Vec<AdmissionLog>,
    free_logs: Vec<usize>,
    /// Capacity of logs beyond the initial one, in runs.
    extra_runs: usize,
    /// One slot for each limit that ever had a new key without a slot.
    shared: Vec<CounterSlot>,
    next_sweep: u64,
    /// What only token buckets that are settled have, one each.
    accounts: Vec<KeptAccount>,
    free_accounts: Vec<usize>,
    /// Number of the latest account.
    account_number: u64,
    /// Set that `evict_elsewhere` has searched last.
    hand: usize,
}

impl CounterShard {
    pub(super) fn new(max_keys: usize) -> Self {
        let sets = vec![SlotSet::default(); INITIAL_SETS.min(max_sets(max_keys))];
        Self {
            latest: Clock::default(),
            sets,
            keys: 0,
            max_keys,
            logs: Vec::new(),
            free_logs: Vec::new(),
            extra_runs: 0,
            shared: Vec::new(),
            next_sweep: 0,
            accounts: Vec::new(),
            free_accounts: Vec::new(),
            account_number: 0,
            hand: 0,
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    pub(super) fn bytes(&self) -> usize {
        let runs = self.extra_runs + MIN_RUNS * (self.logs.len() - self.free_logs.len());
        self.sets.len() * size_of::<SlotSet>()
            + self.logs.capacity() * size_of::<AdmissionLog>()
            + (self.free_logs.capacity() + self.free_accounts.capacity()) * size_of::<usize>()
            + self.accounts.capacity() * size_of::<KeptAccount>()
            + self.shared.capacity() * size_of::<CounterSlot>()
            + runs * size_of::<AdmittedRun>()
    }

    /// Advances the shard's clocks.
    pub(super) fn advance(&mut self, at: Clocks) -> Clock {
        self.latest.now = self.latest.now.max(at.now.as_nanos());
        self.latest.wall = self.latest.wall.max(wall_nanos(at.wall));
        self.latest
    }

    pub(super) fn clock(&self) -> Clock {
        self.latest
    }

    fn candidate_sets(&self, tag: CounterTag) -> [usize; 2] {
        let home = |hash: u64| (((hash & 0xffff_ffff) * self.sets.len() as u64) >> 32) as usize;
        [home(tag[0]), home(tag[1])]
    }

    pub(super) fn find(&self, tag: CounterTag) -> SlotIndex {
        for set in self.candidate_sets(tag) {
            let slots = &self.sets[set].0;
            for [one, two] in lines(tag) {
                // The two slots of a line are compared without a branch, because which one matches is unpredictable.
                let (first, second) = (slots[one].is_of(tag), slots[two].is_of(tag));
                if first | second {
                    return SlotIndex::Own { set, way: one + usize::from(second) };
                }
            }
        }
        SlotIndex::None
    }

    pub(super) fn get(&self, place: SlotIndex) -> Option<CounterSlot> {
        match place {
            SlotIndex::None => None,
            SlotIndex::Own { set, way } => Some(self.sets[set].0[way]),
            SlotIndex::Shared(index) => Some(self.shared[index]),
        }
    }

    pub(super) fn put(&mut self, place: SlotIndex, slot: CounterSlot) {
        match place {
            SlotIndex::None => {}
            SlotIndex::Own { set, way } => self.sets[set].0[way] = slot,
            SlotIndex::Shared(index) => self.shared[index] = slot,
        }
    }

    pub(super) fn pin(&mut self, place: SlotIndex, on: bool) {
        if let Some(mut slot) = self.get(place) {
            slot.pin(on);
            self.put(place, slot);
        }
    }

    /// Grows the table before any search, so that positions stay valid from then on.
    pub(super) fn make_room(&mut self, count: usize, clock: Clock) {
        let most = max_sets(self.max_keys);
        if self.sets.len() >= most || (self.keys + count) * 3 <= self.sets.len() * WAYS * 2 {
            return;
        }
        self.sweep(clock);
        if self.keys * 3 <= self.sets.len() * WAYS {
            return;
        }
        let more = vec![SlotSet::default(); (self.sets.len() * 2).min(most)];
        let old = std::mem::replace(&mut self.sets, more);
        for slot in old.into_iter().flat_map(|set| set.0).filter(|slot| !slot.is_empty()) {
            match self.find_empty(slot.tag, MAX_MOVES) {
                Some((set, way)) => self.sets[set].0[way] = slot,
                // All sets within four steps are full, in a table that is less than two thirds full.
                None => self.release(slot),
            }
        }
    }

    /// Clears all idle slots.
    fn sweep(&mut self, clock: Clock) {
        for set in 0..self.sets.len() {
            for way in 0..WAYS {
                let slot = self.sets[set].0[way];
                if !slot.is_empty() && !slot.is_pinned() && slot.is_idle(clock) {
                    self.sets[set].0[way] = CounterSlot::default();
                    self.release(slot);
                }
            }
        }
        self.next_sweep = clock.now.saturating_add(SWEEP_INTERVAL);
    }

    /// Clears all idle slots by the shard's last known time.
    pub(super) fn forget_idle(&mut self) {
        let clock = self.latest;
        self.sweep(clock);
        self.shared.retain(|slot| !slot.is_idle(clock));
    }

    /// Returns the ids of the limits that have slots.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let own = self.sets.iter().flat_map(|set| &set.0).filter(|slot| !slot.is_empty());
        own.chain(&self.shared).map(CounterSlot::id)
    }

    fn sweep_if_due(&mut self, clock: Clock) -> bool {
        let due = clock.now >= self.next_sweep;
        if due {
            self.sweep(clock);
        }
        due
    }

    fn release(&mut self, slot: CounterSlot) {
        self.keys -= 1;
        self.free_parts(slot);
    }

    /// Clears the counter of a tag. Returns true if there was one.
    pub(super) fn remove(&mut self, tag: CounterTag) -> bool {
        let SlotIndex::Own { set, way } = self.find(tag) else { return false };
        let gone = std::mem::take(&mut self.sets[set].0[way]);
        self.release(gone);
        true
    }

    /// Frees what a slot has besides itself.
    fn free_parts(&mut self, slot: CounterSlot) {
        self.free_accounts.extend(slot.account());
        if let Some(index) = slot.log() {
            self.extra_runs -= self.logs[index].room().saturating_sub(MIN_RUNS);
            self.logs[index] = AdmissionLog::default();
            self.free_logs.push(index);
        }
    }

    /// Finds an empty slot in one of the two sets of a tag, moving up to `moves` others to their other set if needed.
    fn find_empty(&mut self, tag: CounterTag, moves: u32) -> Option<(usize, usize)> {
        let now = self.candidate_slots(tag).find(|&(set, way)| self.sets[set].0[way].is_empty());
        if now.is_some() || moves == 0 {
            return now;
        }
        for (set, way) in self.candidate_slots(tag) {
            let slot = self.sets[set].0[way];
            if slot.is_pinned() {
                continue;
            }
            if let Some((to, free)) = self.find_empty(slot.tag, moves - 1) {
                self.sets[to].0[free] = slot;
                self.sets[set].0[way] = CounterSlot::default();
                return Some((set, way));
            }
        }
        None
    }

    /// All slots that a tag may have, in search order.
    fn candidate_slots(&self, tag: CounterTag) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.candidate_sets(tag)
            .into_iter()
            .flat_map(move |set| lines(tag).into_iter().flatten().map(move |way| (set, way)))
    }

    /// Assigns a slot to a new key; [`MemoryCounterStore`](super::MemoryCounterStore) tells which key it may replace.
    pub(super) fn claim(&mut self, fresh: CounterSlot, limit: &Limit, clock: Clock) -> SlotIndex {
        let mut found = self.free_slot(&fresh, clock);
        if found.is_none() && self.sweep_if_due(clock) {
            found = self.free_slot(&fresh, clock);
        }
        let found = found.or_else(|| self.victim(&fresh, |slot| slot.is_charged_once() && slot.id() == fresh.id()));
        let found = found.or_else(|| self.victim(&fresh, CounterSlot::is_charged_once));
        let found = found.or_else(|| self.evict_elsewhere(&fresh, clock));
        let Some((set, way)) = found else { return self.shared_slot(limit) };
        let before = std::mem::replace(&mut self.sets[set].0[way], fresh);
        if !before.is_empty() {
            self.release(before);
        }
        self.keys += 1;
        SlotIndex::Own { set, way }
    }

    /// Finds a slot that can be taken without loss.
    fn free_slot(&mut self, fresh: &CounterSlot, clock: Clock) -> Option<(usize, usize)> {
        self.victim(fresh, |slot| !slot.is_empty() && slot.is_idle(clock))
            .or_else(|| if self.keys < self.max_keys { self.find_empty(fresh.tag, MAX_MOVES) } else { None })
    }

    /// Finds an empty slot of the tag if the shard is full, and evicts a key from elsewhere in exchange.
    fn evict_elsewhere(&mut self, fresh: &CounterSlot, clock: Clock) -> Option<(usize, usize)> {
        let place = self.find_empty(fresh.tag, 0)?;
        for _ in 0..MAX_PROBES {
            self.hand = (self.hand + 1) % self.sets.len();
            let evictable = |slot: &CounterSlot| {
                !slot.is_empty() && !slot.is_pinned() && (slot.is_idle(clock) || slot.is_charged_once())
            };
            if let Some(way) = self.sets[self.hand].0.iter().position(evictable) {
                let gone = std::mem::take(&mut self.sets[self.hand].0[way]);
                self.release(gone);
                return Some(place);
            }
        }
        None
    }

    /// Of the tag's evictable slots, returns the one that becomes idle first.
    fn victim(&self, fresh: &CounterSlot, evictable: impl Fn(&CounterSlot) -> bool) -> Option<(usize, usize)> {
        let candidates = self.candidate_slots(fresh.tag);
        candidates
            .filter(|&(set, way)| !self.sets[set].0[way].is_pinned() && evictable(&self.sets[set].0[way]))
            .min_by_key(|&(set, way)| self.sets[set].0[way].until)
    }

    /// Returns the slot that keys of this limit share while they have none of their own.
    fn shared_slot(&mut self, limit: &Limit) -> SlotIndex {
        let tag = [limit.salt, 0];
        let known = self.shared.iter().position(|slot| slot.tag == tag);
        SlotIndex::Shared(known.unwrap_or_else(|| {
            self.shared.push(CounterSlot::fresh(tag, limit));
            self.shared.len() - 1
        }))
    }
}

/// Returns the slots of each line of a set, the line that the tag prefers first.
fn lines(tag: CounterTag) -> [[usize; 2]; 2] {
    // Neither the shard nor the sets depend on this bit.
    let first = (tag[0] >> 32 & 1) as usize * 2;
    [[first, first + 1], [first ^ 2, (first ^ 2) + 1]]
}

fn max_sets(max_keys: usize) -> usize {
    (max_keys * 3 / 2).div_ceil(WAYS)
}
