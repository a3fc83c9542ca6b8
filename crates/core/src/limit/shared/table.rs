//! One shard of the views: a bounded table, with the lists of keys that have something to tell the store.

use super::view::KeyView;
use crate::limit::tag::CounterTag;

/// Slots of a new index.
const FEW: usize = 64;
/// How many views are looked at for one that can be replaced.
const PROBES: usize = 16;

/// Finds views by tag: an open table of positions in `views`, plus one. At most half of it is used.
#[derive(Debug)]
struct TagIndex {
    slots: Vec<u32>,
}

impl TagIndex {
    fn home(&self, tag: CounterTag) -> usize {
        // The upper bits of the tag have chosen the shard.
        tag[1] as usize & (self.slots.len() - 1)
    }

    fn find(&self, tag: CounterTag, views: &[KeyView]) -> Option<usize> {
        let mut slot = self.home(tag);
        loop {
            let at = self.slots[slot].checked_sub(1)? as usize;
            if views[at].tag == tag {
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

    /// Takes out the view at `at`, and moves up those that it was in the way of.
    fn remove(&mut self, at: usize, views: &[KeyView]) {
        let mask = self.slots.len() - 1;
        let mut hole = self.home(views[at].tag);
        while self.slots[hole] != at as u32 + 1 {
            hole = (hole + 1) & mask;
        }
        let mut next = (hole + 1) & mask;
        while let Some(other) = self.slots[next].checked_sub(1) {
            let home = self.home(views[other as usize].tag);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = 0;
    }

    fn grow(&mut self, views: &[KeyView]) {
        self.slots = vec![0; self.slots.len() * 2];
        views.iter().enumerate().for_each(|(at, view)| self.insert(view.tag, at));
    }
}

/// One shard.
#[derive(Debug)]
pub(super) struct ViewShard {
    index: TagIndex,
    pub(super) views: Vec<KeyView>,
    max_keys: usize,
    /// Where the search for a view to replace goes on.
    hand: usize,
    /// Keys with something to tell at the next flush.
    pub(super) listed: Vec<u32>,
    /// Keys that cannot wait for it.
    pub(super) urgent: Vec<u32>,
}

impl ViewShard {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            index: TagIndex { slots: vec![0; FEW] },
            views: Vec::new(),
            max_keys: max_keys.max(1),
            hand: 0,
            listed: Vec::new(),
            urgent: Vec::new(),
        }
    }

    pub(super) fn find(&self, tag: CounterTag) -> Option<usize> {
        self.index.find(tag, &self.views)
    }

    /// Adds a view and returns its position; None if the shard is full of keys that cannot be replaced. `always` adds
    /// it nevertheless.
    pub(super) fn add(&mut self, view: KeyView, now: u64, always: bool) -> Option<usize> {
        if self.views.len() >= self.max_keys {
            if let Some(at) = self.replaceable(now) {
                self.index.remove(at, &self.views);
                self.index.insert(view.tag, at);
                self.views[at] = view;
                return Some(at);
            }
            if !always {
                return None;
            }
        }
        if (self.views.len() + 1) * 2 > self.index.slots.len() {
            self.index.grow(&self.views);
        }
        self.index.insert(view.tag, self.views.len());
        self.views.push(view);
        Some(self.views.len() - 1)
    }

    /// Finds an idle key, or else one that can be asked for again.
    fn replaceable(&mut self, now: u64) -> Option<usize> {
        let mut found = None;
        for _ in 0..PROBES.min(self.views.len()) {
            self.hand = (self.hand + 1) % self.views.len();
            let view = &self.views[self.hand];
            if view.is_replaceable() {
                if view.is_idle(now) {
                    return Some(self.hand);
                }
                found = found.or(Some(self.hand));
            }
        }
        found
    }

    /// Notes that the key has something to tell. Returns true if that cannot wait and was not known.
    pub(super) fn list(&mut self, at: usize, urgent: bool) -> bool {
        let view = &mut self.views[at];
        if !view.lists.flush {
            view.lists.flush = true;
            self.listed.push(at as u32);
        }
        // While a call is on its way, its answer decides when the next one goes.
        if urgent && !view.lists.urgent && !view.in_flight {
            view.lists.urgent = true;
            self.urgent.push(at as u32);
            return true;
        }
        false
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        self.index.slots.capacity() * size_of::<u32>()
            + self.views.capacity() * size_of::<KeyView>()
            + (self.listed.capacity() + self.urgent.capacity()) * size_of::<u32>()
    }
}
