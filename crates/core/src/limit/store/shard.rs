//! One shard of the store: a table of sets of four slots, each set a pair of cache lines.
//!
//! A key may be in either of two sets, so that the table can run two thirds full. It is put into the first of them while
//! there is room, and there into the line that its tag prefers: five of six keys of a full table are found in the first
//! line that is looked at, and one of fourteen only in the second set.

mod counting;

use super::slot::{Clock, CounterSlot, SlotIndex};
use crate::limit::charge::Limit;
use crate::limit::decision::Clocks;
use crate::limit::fixed_window;
use crate::limit::sliding_window::{AdmissionLog, AdmittedRun, MIN_RUNS};
use crate::limit::tag::CounterTag;

const WAYS: usize = 4;
/// Sets that are searched at most for a key that may go.
const LOOKS: usize = 16;
/// Slots that are moved at most to make room for one. With two, one of some million keys found none in a table two thirds
/// full.
const MOVES: u32 = 3;
/// Sets of a new shard.
const FEW: usize = 16;
/// Least time between two searches of the whole shard for idle slots.
const SWEEP: u64 = 1_000_000_000;

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
    /// Runs that logs have room for beyond the least.
    extra_runs: usize,
    /// One slot for each limit whose new keys once found no place.
    shared: Vec<CounterSlot>,
    next_sweep: u64,
    /// Set at which `trade` looked last.
    hand: usize,
}

impl CounterShard {
    pub(super) fn new(max_keys: usize) -> Self {
        let sets = vec![SlotSet::default(); FEW.min(most_sets(max_keys))];
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
            + self.free_logs.capacity() * size_of::<usize>()
            + self.shared.capacity() * size_of::<CounterSlot>()
            + runs * size_of::<AdmittedRun>()
    }

    /// Moves the shard's clocks on.
    pub(super) fn tick(&mut self, at: Clocks) -> Clock {
        self.latest.now = self.latest.now.max(at.now.as_nanos());
        self.latest.wall = self.latest.wall.max(fixed_window::wall_nanos(at.wall));
        self.latest
    }

    pub(super) fn clock(&self) -> Clock {
        self.latest
    }

    fn homes(&self, tag: CounterTag) -> [usize; 2] {
        let home = |hash: u64| (((hash & 0xffff_ffff) * self.sets.len() as u64) >> 32) as usize;
        [home(tag[0]), home(tag[1])]
    }

    pub(super) fn find(&self, tag: CounterTag) -> SlotIndex {
        for set in self.homes(tag) {
            let slots = &self.sets[set].0;
            for [one, two] in lines(tag) {
                // The slots of a line are compared without a branch, because which one it is can't be predicted.
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

    fn put(&mut self, place: SlotIndex, slot: CounterSlot) {
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

    /// Grows the table before anything is looked up in it, so that places hold from then on.
    pub(super) fn make_room(&mut self, count: usize, clock: Clock) {
        let most = most_sets(self.max_keys);
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
            match self.empty(slot.tag, MOVES) {
                Some((set, way)) => self.sets[set].0[way] = slot,
                // All sets within four steps are full, of a table that is less than two thirds full.
                None => self.forget(slot),
            }
        }
    }

    /// Empties all slots that say nothing any more.
    fn sweep(&mut self, clock: Clock) {
        for set in 0..self.sets.len() {
            for way in 0..WAYS {
                let slot = self.sets[set].0[way];
                if !slot.is_empty() && !slot.is_pinned() && slot.is_idle(clock) {
                    self.sets[set].0[way] = CounterSlot::default();
                    self.forget(slot);
                }
            }
        }
        self.next_sweep = clock.now.saturating_add(SWEEP);
    }

    /// Empties all slots that say nothing any more, as far as the shard knows what time it is.
    pub(super) fn forget_idle(&mut self) {
        let clock = self.latest;
        self.sweep(clock);
        self.shared.retain(|slot| !slot.is_idle(clock));
    }

    /// Ids of the limits that slots were counted by.
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

    fn forget(&mut self, slot: CounterSlot) {
        self.keys -= 1;
        self.free_log(slot);
    }

    /// Forgets what was counted for a tag. Whether there was anything.
    pub(super) fn remove(&mut self, tag: CounterTag) -> bool {
        let SlotIndex::Own { set, way } = self.find(tag) else { return false };
        let gone = std::mem::take(&mut self.sets[set].0[way]);
        self.forget(gone);
        true
    }

    fn free_log(&mut self, slot: CounterSlot) {
        if let Some(index) = slot.log() {
            self.extra_runs -= self.logs[index].room().saturating_sub(MIN_RUNS);
            self.logs[index] = AdmissionLog::default();
            self.free_logs.push(index);
        }
    }

    /// An empty slot in one of the two sets of a tag, made by moving up to `moves` others to their other set if need be.
    fn empty(&mut self, tag: CounterTag, moves: u32) -> Option<(usize, usize)> {
        let now = self.near(tag).find(|&(set, way)| self.sets[set].0[way].is_empty());
        if now.is_some() || moves == 0 {
            return now;
        }
        for (set, way) in self.near(tag) {
            let slot = self.sets[set].0[way];
            if slot.is_pinned() {
                continue;
            }
            if let Some((to, free)) = self.empty(slot.tag, moves - 1) {
                self.sets[to].0[free] = slot;
                self.sets[set].0[way] = CounterSlot::default();
                return Some((set, way));
            }
        }
        None
    }

    /// All slots that a tag may have, in the order in which they are looked at.
    fn near(&self, tag: CounterTag) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.homes(tag).into_iter().flat_map(move |set| lines(tag).into_iter().flatten().map(move |way| (set, way)))
    }

    /// A place for a key that has none; see `MemoryStore` for who has to make room.
    pub(super) fn claim(&mut self, fresh: CounterSlot, limit: &Limit, clock: Clock) -> SlotIndex {
        let mut found = self.vacancy(&fresh, clock);
        if found.is_none() && self.sweep_if_due(clock) {
            found = self.vacancy(&fresh, clock);
        }
        let found = found.or_else(|| self.victim(&fresh, |slot| slot.is_charged_once() && slot.id() == fresh.id()));
        let found = found.or_else(|| self.victim(&fresh, CounterSlot::is_charged_once));
        let found = found.or_else(|| self.trade(&fresh, clock));
        let Some((set, way)) = found else { return self.share(limit) };
        let before = std::mem::replace(&mut self.sets[set].0[way], fresh);
        if !before.is_empty() {
            self.forget(before);
        }
        self.keys += 1;
        SlotIndex::Own { set, way }
    }

    /// A slot of which nothing is lost.
    fn vacancy(&mut self, fresh: &CounterSlot, clock: Clock) -> Option<(usize, usize)> {
        self.victim(fresh, |slot| !slot.is_empty() && slot.is_idle(clock))
            .or_else(|| if self.keys < self.max_keys { self.empty(fresh.tag, MOVES) } else { None })
    }

    /// An empty slot near, while the shard holds as many keys as it may: a key elsewhere that may go makes room for it.
    fn trade(&mut self, fresh: &CounterSlot, clock: Clock) -> Option<(usize, usize)> {
        let place = self.empty(fresh.tag, 0)?;
        for _ in 0..LOOKS {
            self.hand = (self.hand + 1) % self.sets.len();
            let may_go = |slot: &CounterSlot| {
                !slot.is_empty() && !slot.is_pinned() && (slot.is_idle(clock) || slot.is_charged_once())
            };
            if let Some(way) = self.sets[self.hand].0.iter().position(may_go) {
                let gone = std::mem::take(&mut self.sets[self.hand].0[way]);
                self.forget(gone);
                return Some(place);
            }
        }
        None
    }

    /// Of the slots near that may go, the one that would have been idle first.
    fn victim(&self, fresh: &CounterSlot, may_go: impl Fn(&CounterSlot) -> bool) -> Option<(usize, usize)> {
        let near = self.near(fresh.tag);
        near.filter(|&(set, way)| !self.sets[set].0[way].is_pinned() && may_go(&self.sets[set].0[way]))
            .min_by_key(|&(set, way)| self.sets[set].0[way].until)
    }

    /// The slot that keys of this limit share while they have no place.
    fn share(&mut self, limit: &Limit) -> SlotIndex {
        let tag = [limit.salt, 0];
        let known = self.shared.iter().position(|slot| slot.tag == tag);
        SlotIndex::Shared(known.unwrap_or_else(|| {
            self.shared.push(CounterSlot::fresh(tag, limit));
            self.shared.len() - 1
        }))
    }
}

/// The slots of each line of a set, the line that the tag prefers first.
fn lines(tag: CounterTag) -> [[usize; 2]; 2] {
    // Neither the shard nor the sets follow from this bit.
    let first = (tag[0] >> 32 & 1) as usize * 2;
    [[first, first + 1], [first ^ 2, (first ^ 2) + 1]]
}

fn most_sets(max_keys: usize) -> usize {
    (max_keys * 3 / 2).div_ceil(WAYS)
}
