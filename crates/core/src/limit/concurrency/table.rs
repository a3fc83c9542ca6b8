//! The keys of a node with places of the cluster, and the calls about them.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

use foldhash::fast::FixedState;
use parking_lot::{Mutex, MutexGuard};

use super::places::{PlacesAnswer, PlacesCall};
use super::ticket::PlaceTicket;
use super::view::{FlightStep, PlaceTerms, PlaceView};
use crate::limit::shared::name::name_of;
use crate::limit::shared::reach::KnownReach;
use crate::limit::shared::{Due, OnStoreError, StoreKey, StoreReach};
use crate::limit::tag::{CounterTag, Tagger};

/// One bit of a number each.
const SHARDS: usize = 64;
/// All keys are looked at once in this time, to renew places, in nanoseconds.
const ROUND: u64 = 250_000_000;

/// Identifies a concurrency limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyIdentity {
    identity: Box<str>,
    salt: u64,
}

/// A call of the store about one key. The one who sends it hands it back with its answer.
#[derive(Debug)]
#[must_use = "its key waits for an answer or a loss"]
pub struct PlaceCall {
    /// Names the key in the store.
    pub key: StoreKey,
    /// What is asked.
    pub call: PlacesCall,
    tag: CounterTag,
    waiters: VecDeque<Arc<PlaceTicket>>,
}

#[derive(Debug, Default)]
struct PlaceShard {
    views: HashMap<CounterTag, PlaceView, FixedState>,
    /// Those that the next flush looks at.
    listed: Vec<CounterTag>,
    /// Those that cannot wait for it.
    urgent: Vec<CounterTag>,
}

/// All keys of a node with places.
pub(super) struct PlaceTable {
    tagger: Tagger,
    shards: [Mutex<PlaceShard>; SHARDS],
    /// Most keys of a shard.
    most_keys: usize,
    node: u64,
    /// Number of the last call.
    number: AtomicU64,
    nodes: AtomicU32,
    reach: KnownReach,
    on_store_error: OnStoreError,
    /// Bit by shard, which has urgent keys.
    hurries: AtomicU64,
    /// When all keys are looked at again.
    round_at: AtomicU64,
    wake: Box<dyn Fn(Due) + Send + Sync>,
}

impl std::fmt::Debug for PlaceTable {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("PlaceTable").field("node", &self.node).finish_non_exhaustive()
    }
}

impl PlaceShard {
    fn list(&mut self, tag: CounterTag) {
        if let Some(view) = self.views.get_mut(&tag).filter(|view| !view.lists.flush) {
            view.lists.flush = true;
            self.listed.push(tag);
        }
    }

    /// Returns true if the driver has to be told.
    fn press(&mut self, tag: CounterTag) -> bool {
        let Some(view) = self.views.get_mut(&tag).filter(|view| !view.lists.urgent) else { return false };
        view.lists.urgent = true;
        self.urgent.push(tag);
        true
    }
}

impl PlaceTable {
    pub(super) fn new(
        node: u64,
        max_keys: usize,
        on_store_error: OnStoreError,
        wake: Box<dyn Fn(Due) + Send + Sync>,
    ) -> Self {
        Self {
            tagger: Tagger::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            most_keys: max_keys.div_ceil(SHARDS),
            // Nobody is 0.
            node: node.max(1),
            number: AtomicU64::new(0),
            nodes: AtomicU32::new(1),
            reach: KnownReach::default(),
            on_store_error,
            hurries: AtomicU64::new(0),
            round_at: AtomicU64::new(0),
            wake,
        }
    }

    pub(super) fn register(&self, identity: &str) -> ConcurrencyIdentity {
        ConcurrencyIdentity { identity: identity.into(), salt: self.tagger.salt(identity) }
    }

    fn terms(&self, key: &StoreKey) -> PlaceTerms {
        PlaceTerms {
            nodes: self.nodes.load(Ordering::Relaxed),
            available: self.reach.covers(key),
            on_store_error: self.on_store_error,
        }
    }

    pub(super) fn set_nodes(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    pub(super) fn set_reach(&self, reach: StoreReach, now: u64) {
        self.reach.set(reach);
        self.round_at.store(0, Ordering::Relaxed);
        self.decide_alone(now);
    }

    pub(super) fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().views.len()).sum()
    }

    fn shard(&self, tag: CounterTag) -> (usize, MutexGuard<'_, PlaceShard>) {
        let index = tag[0] as usize % SHARDS;
        (index, self.shards[index].lock())
    }

    fn hurry(&self, shard: usize) {
        if self.hurries.fetch_or(1 << shard, Ordering::AcqRel) == 0 {
            (self.wake)(Due::Urgent);
        }
    }

    pub(super) fn left(&self, of: &ConcurrencyIdentity, key: &[u8], now: u64) -> Option<u32> {
        let tag = self.tagger.tag(of.salt, key);
        self.shard(tag).1.views.get(&tag).map(|view| view.left(now))
    }

    /// Decides on a request, or puts it in the queue of its key: then it returns its ticket.
    pub(super) fn begin(
        &self,
        of: &ConcurrencyIdentity,
        key: &[u8],
        limit: u32,
        now: u64,
    ) -> (CounterTag, Result<Option<u32>, Arc<PlaceTicket>>) {
        let tag = self.tagger.tag(of.salt, key);
        let (index, mut shard) = self.shard(tag);
        let (before, is_full) = (shard.views.len(), shard.views.len() >= self.most_keys);
        let view = match shard.views.entry(tag) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => return (tag, Ok(None)),
            Entry::Vacant(entry) => entry.insert(PlaceView::new(name_of(&of.identity, key), limit)),
        };
        let decided = match view.decide(limit, now, self.terms(&view.key)) {
            FlightStep::Admit(remaining) => Ok(Some(remaining)),
            FlightStep::Refuse => Ok(None),
            FlightStep::Ask => {
                let ticket = Arc::new(PlaceTicket::new());
                view.waiters.push_back(Arc::clone(&ticket));
                Err(ticket)
            }
        };
        shard.list(tag);
        let is_pressing = decided.is_err() && shard.press(tag);
        let is_more = shard.views.len() > before;
        drop(shard);
        if is_pressing {
            self.hurry(index);
        }
        if is_more {
            (self.wake)(Due::All);
        }
        (tag, decided)
    }

    /// Ends an exchange.
    pub(super) fn leave(&self, tag: CounterTag) {
        let (_, mut shard) = self.shard(tag);
        if let Some(view) = shard.views.get_mut(&tag) {
            view.leave();
            shard.list(tag);
        }
    }

    pub(super) fn collect(&self, due: Due, now: u64, most: usize) -> Vec<PlaceCall> {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let mut calls = Vec::new();
        let hurries = self.hurries.swap(0, Ordering::AcqRel);
        if !self.reach.is_whole() {
            self.decide_alone(now);
            if self.reach.is_empty() {
                return calls;
            }
        }
        let is_round = due == Due::All && now >= self.round_at.load(Ordering::Relaxed);
        for index in (0..SHARDS).filter(|index| due == Due::All || hurries & 1 << index != 0) {
            let mut shard = self.shards[index].lock();
            let mut tags = std::mem::take(&mut shard.urgent);
            tags.retain(|tag| shard.views.get_mut(tag).is_some_and(|view| std::mem::take(&mut view.lists.urgent)));
            self.compose(&mut shard, tags, (now, nodes), most, &mut calls);
            if due == Due::All {
                self.flush(&mut shard, is_round, (now, nodes), most, &mut calls);
            }
            if !shard.urgent.is_empty() {
                self.hurry(index);
            }
        }
        if is_round && calls.len() < most {
            self.round_at.store(now.saturating_add(ROUND), Ordering::Relaxed);
        }
        calls
    }

    /// Makes the calls of these keys. Those beyond `most` stay urgent.
    fn compose(
        &self,
        shard: &mut PlaceShard,
        tags: Vec<CounterTag>,
        (now, nodes): (u64, u32),
        most: usize,
        calls: &mut Vec<PlaceCall>,
    ) {
        for tag in tags {
            if calls.len() >= most {
                shard.press(tag);
                continue;
            }
            let Some(view) = shard.views.get_mut(&tag) else { continue };
            if !self.reach.covers(&view.key) {
                if !view.waiters.is_empty() {
                    shard.press(tag);
                }
                continue;
            }
            let Some((call, waiters)) = view.compose(now, nodes) else { continue };
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            let call = PlacesCall { node: self.node, number, ..call };
            calls.push(PlaceCall { key: view.key, call, tag, waiters });
        }
    }

    /// Tells the store of what has changed at the keys of the list, or at all keys.
    fn flush(&self, shard: &mut PlaceShard, all: bool, at: (u64, u32), most: usize, calls: &mut Vec<PlaceCall>) {
        for tag in std::mem::take(&mut shard.listed) {
            let Some(view) = shard.views.get_mut(&tag) else { continue };
            view.lists.flush = false;
            view.tick();
            self.compose(shard, vec![tag], at, most, calls);
            let Some(view) = shard.views.get(&tag) else { continue };
            if view.is_idle() {
                shard.views.remove(&tag);
            } else if view.is_active() {
                shard.list(tag);
            }
        }
        if all {
            let tags = shard.views.iter().filter(|(_, view)| !view.lists.flush).map(|(tag, _)| *tag).collect();
            self.compose(shard, tags, at, most, calls);
        }
    }

    /// Takes over the answer of a call, or its loss (None).
    pub(super) fn answer(&self, call: PlaceCall, sent: u64, now: u64, answer: Option<&PlacesAnswer>) {
        let mut wakers = Vec::new();
        let PlaceCall { key, call, tag, waiters } = call;
        let terms = self.terms(&key);
        let (index, mut shard) = self.shard(tag);
        // A key with a call on its way stays.
        let Some(view) = shard.views.get_mut(&tag) else { return };
        if let Some(answer) = answer {
            view.learn((&call, waiters), answer, (sent, now), &mut wakers);
        } else {
            view.lose();
            view.give_up(waiters, now, terms, &mut wakers);
        }
        let is_awaited = !view.waiters.is_empty();
        shard.list(tag);
        let is_pressing = is_awaited && shard.press(tag);
        drop(shard);
        if is_pressing {
            self.hurry(index);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives back all free places with the next flush.
    pub(super) fn retire(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let tags: Vec<CounterTag> = shard.views.keys().copied().collect();
            for tag in tags {
                if let Some(view) = shard.views.get_mut(&tag) {
                    view.retire();
                }
                shard.list(tag);
            }
        }
    }

    /// Decides without the store all that wait for keys for which it does not answer. Of these keys, those without
    /// exchanges are forgotten: the store gives up their places.
    fn decide_alone(&self, now: u64) {
        if self.reach.is_whole() {
            return;
        }
        let mut wakers = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let shard = &mut *shard;
            for tag in std::mem::take(&mut shard.urgent) {
                let Some(view) = shard.views.get_mut(&tag) else { continue };
                let terms = self.terms(&view.key);
                if terms.available {
                    shard.urgent.push(tag);
                    continue;
                }
                view.lists.urgent = false;
                view.give_up(VecDeque::new(), now, terms, &mut wakers);
            }
            for tag in std::mem::take(&mut shard.listed) {
                let Some(view) = shard.views.get_mut(&tag) else { continue };
                if self.reach.covers(&view.key) {
                    shard.listed.push(tag);
                    continue;
                }
                view.lists.flush = false;
                view.tick();
                view.distrust();
                if view.is_unused() {
                    shard.views.remove(&tag);
                }
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}
