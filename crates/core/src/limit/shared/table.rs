//! The keys that a node shares with others, whatever the nodes count of them: who waits, which calls are due, what
//! happens without the store. What is counted, and how, a [`View`] knows.

mod entry;
mod shard;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::name::StoreKey;
use super::reach::{KnownReach, StoreReach};
use super::terms::Due;
use crate::limit::decision::Clocks;
use crate::limit::tag::{CounterTag, Tagger};

pub(in crate::limit) use self::entry::{Asker, KeyEntry, StateAt, View};
pub(in crate::limit) use self::shard::KeyShard;

/// Wakes the driver.
pub(in crate::limit) type Wake = Box<dyn Fn(Due) + Send + Sync>;

/// Keeps the locks of different shards on different cache lines.
#[repr(align(128))]
struct PaddedKeyShard<V: View>(Mutex<KeyShard<V>>);

/// All keys of a node. A lock of one shard is held at a time.
pub(in crate::limit) struct KeyTable<V: View> {
    pub(in crate::limit) tagger: Tagger,
    pub(in crate::limit) common: V::Common,
    shards: Box<[PaddedKeyShard<V>]>,
    nodes: AtomicU32,
    reach: KnownReach,
    /// Bit by shard, which has urgent keys.
    urgent: AtomicU64,
    /// The shard that the last collection began with.
    first: AtomicUsize,
    wake: Wake,
}

impl<V: View> std::fmt::Debug for KeyTable<V> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("KeyTable").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl<V: View> KeyTable<V> {
    pub(in crate::limit) fn new(max_keys: usize, common: V::Common, wake: Wake) -> Self {
        let shards = (max_keys / 1024).max(1).next_power_of_two().min(64);
        let shard = || PaddedKeyShard(Mutex::new(KeyShard::new(max_keys / shards)));
        Self {
            tagger: Tagger::default(),
            common,
            shards: (0..shards).map(|_| shard()).collect(),
            nodes: AtomicU32::new(1),
            reach: KnownReach::default(),
            urgent: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            wake,
        }
    }

    pub(in crate::limit) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Returns true if the store answers for the key.
    pub(in crate::limit) fn reaches(&self, key: &StoreKey) -> bool {
        self.reach.covers(key)
    }

    pub(in crate::limit) fn state_at(&self, at: Clocks) -> StateAt<'_, V> {
        StateAt { at, nodes: self.nodes(), reach: &self.reach, common: &self.common }
    }

    pub(in crate::limit) fn set_nodes(&self, nodes: usize) {
        self.nodes.store(u32::try_from(nodes).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
    }

    /// Says which keys the store answers for.
    pub(in crate::limit) fn set_reach(&self, reach: StoreReach, at: Clocks, tell: impl Fn(V::Outcome)) {
        self.reach.set(reach);
        self.decide_alone(at, tell);
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, KeyShard<V>>> {
        self.shards.iter().map(|shard| shard.0.lock())
    }

    /// Returns the shard of a key.
    pub(in crate::limit) fn shard_of(&self, tag: CounterTag) -> MutexGuard<'_, KeyShard<V>> {
        self.shards[self.index(tag)].0.lock()
    }

    fn index(&self, tag: CounterTag) -> usize {
        // Their number is a power of two.
        (tag[0] >> 56) as usize & (self.shards.len() - 1)
    }

    /// Notes that a shard has urgent keys. The driver is woken once until it has looked.
    fn hurry(&self, shard: usize) {
        if self.urgent.fetch_or(1 << shard, Ordering::AcqRel) == 0 {
            (self.wake)(Due::Urgent);
        }
    }

    /// Calls `then` with the shard of a key and its number. What it returns besides says whether there is something
    /// that cannot wait. The driver is woken too if there may be the first news for the next flush.
    pub(in crate::limit) fn change<T>(
        &self,
        tag: CounterTag,
        then: impl FnOnce(&mut KeyShard<V>, usize) -> (T, bool),
    ) -> T {
        let index = self.index(tag);
        let mut shard = self.shards[index].0.lock();
        let was_quiet = shard.is_quiet();
        let (value, urgent) = then(&mut shard, index);
        let is_first = was_quiet && !shard.is_quiet();
        drop(shard);
        if urgent {
            self.hurry(index);
        }
        if is_first {
            (self.wake)(Due::All);
        }
        value
    }

    /// Has the next flush look at all keys for which the store answers.
    pub(in crate::limit) fn list_all(&self) {
        self.shards().for_each(|mut shard| shard.list_where(|entry| self.reach.covers(&entry.key)));
    }

    /// Has the next flush give back all that is kept for requests to come.
    pub(in crate::limit) fn retire(&self) {
        self.shards().for_each(|mut shard| shard.list_where(|entry| entry.view.retire()));
    }

    /// Returns true if there is something to look at with the next flush.
    pub(in crate::limit) fn has_news(&self) -> bool {
        self.shards().any(|shard| !shard.is_quiet())
    }

    /// Returns the calls that are due, at most `most`; what is left comes with the next ones. Outcomes are told when no
    /// shard is locked.
    pub(in crate::limit) fn collect(
        &self,
        due: Due,
        at: Clocks,
        most: usize,
        tell: impl Fn(V::Outcome),
    ) -> Vec<V::Call> {
        let urgent = self.urgent.swap(0, Ordering::AcqRel);
        let mut calls = Vec::new();
        self.decide_alone(at, tell);
        if self.reach.is_empty() {
            return calls;
        }
        let state = self.state_at(at);
        // Beginning with another one each time.
        let (first, count) = (self.first.fetch_add(1, Ordering::Relaxed), self.shards.len());
        let all = (0..count).map(|index| first.wrapping_add(index) & (count - 1));
        for index in all.filter(|index| due == Due::All || urgent & 1 << index != 0) {
            let mut shard = self.shards[index].0.lock();
            if shard.collect_urgent(&state, most, &mut calls) {
                self.hurry(index);
            }
            if due == Due::All {
                shard.flush(&state, most, &mut calls);
            }
        }
        calls
    }

    /// Takes over the answer of a call, or its loss: `learn` does it.
    pub(in crate::limit) fn answer(
        &self,
        asker: Asker<V::Waiter>,
        at: Clocks,
        is_lost: bool,
        tell: impl Fn(V::Outcome),
        learn: impl FnOnce(&mut KeyEntry<V>, VecDeque<V::Waiter>, &StateAt<'_, V>, &mut Vec<V::Outcome>),
    ) {
        let state = self.state_at(at);
        let mut outcomes = Vec::new();
        self.change(asker.tag, |shard, _| {
            let Some(place) = shard.find(asker.tag) else { return ((), false) };
            let entry = &mut shard.entries[place];
            entry.called = false;
            learn(entry, asker.waiters, &state, &mut outcomes);
            let news = entry.view.news(state.nodes, at.now.as_nanos());
            // What was refused at once would be refused again. Nobody waits for it any more.
            let urgent = entry.is_awaited() || !is_lost && news == Some(true);
            let told = (urgent || news.is_some()) && shard.list(place, urgent);
            ((), told && self.reaches(&asker.key))
        });
        outcomes.into_iter().for_each(tell);
    }

    /// Decides without the store all that wait for keys for which it does not answer.
    fn decide_alone(&self, at: Clocks, tell: impl Fn(V::Outcome)) {
        if self.reach.is_whole() {
            return;
        }
        for index in 0..self.shards.len() {
            let mut outcomes = Vec::new();
            self.shards[index].0.lock().decide_alone(&self.state_at(at), &mut outcomes);
            outcomes.into_iter().for_each(&tell);
        }
    }

    /// Of the keys for which the store does not answer and of which it should be told something, forgets those of which
    /// `is_over` returns true.
    pub(in crate::limit) fn forget(&self, is_over: impl Fn(&mut V) -> bool) {
        if !self.reach.is_whole() {
            self.shards().for_each(|mut shard| shard.forget_listed(&self.reach, &is_over));
        }
    }

    pub(in crate::limit) fn keys(&self) -> usize {
        self.shards().map(|shard| shard.keys()).sum()
    }

    /// Returns the memory of the tables, in bytes.
    pub(in crate::limit) fn bytes(&self) -> usize {
        self.shards().map(|shard| shard.bytes()).sum()
    }
}
