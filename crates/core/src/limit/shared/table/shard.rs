//! One shard of a table of keys: bounded, with the lists of keys that have something to tell the store.

use std::collections::VecDeque;

use super::entry::{KeyEntry, StateAt, View};
use crate::limit::shared::reach::KnownReach;
use crate::limit::tag::CounterTag;

/// Slots of a new index.
const FEW: usize = 64;
/// How many keys are looked at for one that can be replaced.
const PROBES: usize = 16;

/// Finds keys by tag: an open table of positions in `entries`, plus one. At most half of it is used.
#[derive(Debug)]
struct TagIndex {
    slots: Vec<u32>,
}

impl TagIndex {
    fn home(&self, tag: CounterTag) -> usize {
        // The upper bits of the tag have chosen the shard.
        tag[1] as usize & (self.slots.len() - 1)
    }

    fn find<V: View>(&self, tag: CounterTag, entries: &[KeyEntry<V>]) -> Option<usize> {
        let mut slot = self.home(tag);
        loop {
            let at = self.slots[slot].checked_sub(1)? as usize;
            if entries[at].tag == tag {
                return Some(at);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, tag: CounterTag, at: usize) {
        let mut slot = self.home(tag);
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = at as u32 + 1;
    }

    /// Takes out the key at `at`, and moves up those that it was in the way of.
    fn remove<V: View>(&mut self, at: usize, entries: &[KeyEntry<V>]) {
        let mask = self.slots.len() - 1;
        let mut hole = self.home(entries[at].tag);
        while self.slots[hole] != at as u32 + 1 {
            hole = (hole + 1) & mask;
        }
        let mut next = (hole + 1) & mask;
        while let Some(other) = self.slots[next].checked_sub(1) {
            let home = self.home(entries[other as usize].tag);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = 0;
    }

    /// Makes room. None of the positions is free.
    fn grow<V: View>(&mut self, entries: &[KeyEntry<V>]) {
        self.slots = vec![0; self.slots.len() * 2];
        entries.iter().enumerate().for_each(|(at, entry)| self.insert(entry.tag, at));
    }
}

/// One shard.
#[derive(Debug)]
pub(in crate::limit) struct KeyShard<V: View> {
    index: TagIndex,
    pub(in crate::limit) entries: Vec<KeyEntry<V>>,
    /// Positions of keys that were forgotten.
    free: Vec<u32>,
    max_keys: usize,
    /// Where the search for a key to replace goes on.
    hand: usize,
    /// Keys with something to tell at the next flush.
    listed: Vec<u32>,
    /// Keys that cannot wait for it.
    urgent: Vec<u32>,
}

impl<V: View> KeyShard<V> {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            index: TagIndex { slots: vec![0; FEW] },
            entries: Vec::new(),
            free: Vec::new(),
            max_keys: max_keys.max(1),
            hand: 0,
            listed: Vec::new(),
            urgent: Vec::new(),
        }
    }

    pub(in crate::limit) fn find(&self, tag: CounterTag) -> Option<usize> {
        self.index.find(tag, &self.entries)
    }

    /// Adds a key and returns its position; None if the shard is full of keys that cannot be replaced. `always` adds it
    /// nevertheless.
    pub(in crate::limit) fn add(&mut self, entry: KeyEntry<V>, now: u64, always: bool) -> Option<usize> {
        let is_full = self.entries.len() >= self.max_keys;
        let at = match self.free.pop() {
            Some(at) => at as usize,
            None if is_full && let Some(at) = self.replaceable(now) => {
                self.index.remove(at, &self.entries);
                at
            }
            None if is_full && !always => return None,
            None => {
                if (self.entries.len() + 1) * 2 > self.index.slots.len() {
                    self.index.grow(&self.entries);
                }
                self.index.insert(entry.tag, self.entries.len());
                self.entries.push(entry);
                return Some(self.entries.len() - 1);
            }
        };
        self.index.insert(entry.tag, at);
        self.entries[at] = entry;
        Some(at)
    }

    /// Finds an idle key, or else one that can be asked for again.
    fn replaceable(&mut self, now: u64) -> Option<usize> {
        let mut found = None;
        for _ in 0..PROBES.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &self.entries[self.hand];
            if entry.view.is_replaceable() && !entry.lists.flush && entry.is_at_rest() {
                if entry.view.is_idle(now) {
                    return Some(self.hand);
                }
                found = found.or(Some(self.hand));
            }
        }
        found
    }

    /// Notes that the key has something to tell. Returns true if that cannot wait and was not known.
    pub(in crate::limit) fn list(&mut self, at: usize, urgent: bool) -> bool {
        let entry = &mut self.entries[at];
        if !entry.lists.flush {
            entry.lists.flush = true;
            self.listed.push(at as u32);
        }
        // While a call is on its way, its answer decides when the next one goes.
        if urgent && !entry.lists.urgent && !entry.called {
            entry.lists.urgent = true;
            self.urgent.push(at as u32);
            return true;
        }
        false
    }

    /// Has the next flush look at the keys that `wanted` returns true of.
    pub(super) fn list_where(&mut self, wanted: impl Fn(&mut KeyEntry<V>) -> bool) {
        for slot in 0..self.index.slots.len() {
            let Some(at) = self.index.slots[slot].checked_sub(1) else { continue };
            if wanted(&mut self.entries[at as usize]) {
                self.list(at as usize, false);
            }
        }
    }

    /// Returns true if the next flush has nothing to look at.
    pub(super) fn is_quiet(&self) -> bool {
        self.listed.is_empty()
    }

    /// Adds the calls that cannot wait for a flush, as long as there are fewer than `most`. Returns true if some are
    /// left.
    pub(super) fn collect_urgent(&mut self, at: &StateAt<'_, V>, most: usize, calls: &mut Vec<V::Call>) -> bool {
        self.urgent.retain(|place| {
            let entry = &mut self.entries[*place as usize];
            entry.lists.urgent = calls.len() >= most;
            if !entry.lists.urgent
                && let Some(call) = entry.compose(at)
            {
                calls.push(call);
            }
            entry.lists.urgent
        });
        !self.urgent.is_empty()
    }

    /// Adds the calls of a flush, as long as there are fewer than `most`.
    pub(super) fn flush(&mut self, at: &StateAt<'_, V>, most: usize, calls: &mut Vec<V::Call>) {
        self.listed.retain(|place| {
            let entry = &mut self.entries[*place as usize];
            if calls.len() >= most || !at.reach.covers(&entry.key) {
                return true;
            }
            entry.view.tick();
            if let Some(call) = entry.compose(at) {
                calls.push(call);
            }
            // A key with a call on its way is listed again by the answer.
            let is_over = entry.view.is_over() && entry.is_at_rest();
            entry.lists.flush = !is_over && entry.view.is_active();
            let is_listed = entry.lists.flush;
            if is_over {
                self.index.remove(*place as usize, &self.entries);
                self.free.push(*place);
            }
            is_listed
        });
    }

    /// Decides without the store on all that wait for keys for which it does not answer.
    pub(super) fn decide_alone(&mut self, at: &StateAt<'_, V>, outcomes: &mut Vec<V::Outcome>) {
        self.urgent.retain(|place| {
            let entry = &mut self.entries[*place as usize];
            entry.lists.urgent = at.reach.covers(&entry.key);
            if !entry.lists.urgent {
                entry.give_up(VecDeque::new(), at, outcomes);
            }
            entry.lists.urgent
        });
    }

    /// Takes the keys for which the store does not answer out of the list of the next flush, and forgets those without
    /// which nothing is lost, as `is_over` says.
    pub(super) fn forget_listed(&mut self, reach: &KnownReach, is_over: impl Fn(&mut V) -> bool) {
        self.listed.retain(|place| {
            let entry = &mut self.entries[*place as usize];
            entry.lists.flush = reach.covers(&entry.key);
            let is_listed = entry.lists.flush;
            if !is_listed && is_over(&mut entry.view) && entry.is_at_rest() {
                self.index.remove(*place as usize, &self.entries);
                self.free.push(*place);
            }
            is_listed
        });
    }

    pub(super) fn keys(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        let positions = [&self.index.slots, &self.free, &self.listed, &self.urgent].map(Vec::capacity);
        positions.iter().sum::<usize>() * size_of::<u32>() + self.entries.capacity() * size_of::<KeyEntry<V>>()
    }
}
