//! A key that nodes share: who waits for it, and what is done with those who wait.

use std::collections::VecDeque;
use std::fmt::Debug;

use crate::limit::decision::Clocks;
use crate::limit::shared::name::StoreKey;
use crate::limit::shared::reach::KnownReach;
use crate::limit::tag::CounterTag;

/// Most requests that wait for one key.
const MOST_WAITERS: usize = 1024;

/// What a node knows of one key: all that tells one kind of limit from another.
pub(in crate::limit) trait View: Debug + Sized {
    /// What all keys of a table have in common.
    type Common;
    /// A request that waits.
    type Waiter: Debug;
    /// What the driver has the store execute.
    type Call;
    /// What is to be told, once no shard is locked.
    type Outcome;

    /// Returns true if the request does not wait any more.
    fn is_gone(waiter: &Self::Waiter) -> bool;

    /// Makes the call of the key for those who wait, None if there is nothing to ask or to tell. There is no other call
    /// about the key on its way.
    fn compose(&mut self, asker: Asker<Self::Waiter>, at: &StateAt<'_, Self>) -> Option<Self::Call>;

    /// Decides on one who waits, without the store.
    fn decide_waiter(&mut self, waiter: Self::Waiter, at: &StateAt<'_, Self>, outcomes: &mut Vec<Self::Outcome>);

    /// Returns whether an answer leaves something to tell the store: None if nothing, true if that cannot wait for the
    /// next flush.
    fn news(&self, nodes: u32, now: u64) -> Option<bool>;

    /// Ends the time between two flushes.
    fn tick(&mut self);

    /// Returns true if the next flush has to look at the key whatever happens.
    fn is_active(&self) -> bool;

    /// Needs nothing for requests to come any more. Returns true if the next flush has to look at the key.
    fn retire(&mut self) -> bool;

    /// Returns true if nothing is lost without the key. After a flush it is forgotten.
    fn is_over(&self) -> bool {
        false
    }

    /// Returns true if nothing but knowledge is lost when another key takes its place.
    fn is_replaceable(&self) -> bool {
        false
    }

    /// Returns true if not even knowledge is lost.
    fn is_idle(&self, _now: u64) -> bool {
        false
    }
}

/// When something happens, and what is known then.
pub(in crate::limit) struct StateAt<'a, V: View> {
    pub(in crate::limit) at: Clocks,
    /// Live nodes, at least 1.
    pub(in crate::limit) nodes: u32,
    pub(in crate::limit) reach: &'a KnownReach,
    pub(in crate::limit) common: &'a V::Common,
}

impl<V: View> StateAt<'_, V> {
    pub(in crate::limit) fn now(&self) -> u64 {
        self.at.now.as_nanos()
    }
}

/// What a call is about, and for whom.
#[derive(Debug)]
pub(in crate::limit) struct Asker<W> {
    pub(in crate::limit) tag: CounterTag,
    pub(in crate::limit) key: StoreKey,
    pub(in crate::limit) waiters: VecDeque<W>,
}

/// The lists of its shard that a key is in.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct ListedIn {
    /// Keys with something to tell at the next flush.
    pub(super) flush: bool,
    /// Keys that cannot wait for it.
    pub(super) urgent: bool,
}

/// Those who wait for a key. Few keys have some, so that they are not stored with it.
#[derive(Debug)]
struct KeyQueue<W>(VecDeque<W>);

/// A key.
#[derive(Debug)]
pub(in crate::limit) struct KeyEntry<V: View> {
    pub(super) tag: CounterTag,
    pub(in crate::limit) key: StoreKey,
    waiters: Option<Box<KeyQueue<V::Waiter>>>,
    pub(super) lists: ListedIn,
    /// A call is on its way.
    pub(super) called: bool,
    pub(in crate::limit) view: V,
}

impl<V: View> KeyEntry<V> {
    pub(in crate::limit) fn new(tag: CounterTag, key: StoreKey, view: V) -> Self {
        Self { tag, key, waiters: None, lists: ListedIn::default(), called: false, view }
    }

    pub(in crate::limit) fn is_awaited(&self) -> bool {
        self.waiters.as_ref().is_some_and(|queue| !queue.0.is_empty())
    }

    /// Returns true if no more requests may wait.
    pub(in crate::limit) fn is_crowded(&self) -> bool {
        self.waiters.as_ref().is_some_and(|queue| queue.0.len() >= MOST_WAITERS)
    }

    /// Returns true if the table has nothing to do with it.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.called && !self.lists.urgent && !self.is_awaited()
    }

    /// Puts a request in the queue.
    pub(in crate::limit) fn push_waiter(&mut self, waiter: V::Waiter) {
        self.waiters.get_or_insert_with(|| Box::new(KeyQueue(VecDeque::new()))).0.push_back(waiter);
    }

    /// Takes all out of the queue.
    pub(in crate::limit) fn take_waiters(&mut self) -> VecDeque<V::Waiter> {
        self.waiters.take().map(|queue| queue.0).unwrap_or_default()
    }

    /// Puts requests in front of the queue.
    pub(in crate::limit) fn put_back(&mut self, mut first: VecDeque<V::Waiter>) {
        if !first.is_empty() {
            first.append(&mut self.take_waiters());
            self.waiters = Some(Box::new(KeyQueue(first)));
        }
    }

    /// Makes the call of the key, if there is something to tell and none is on its way.
    pub(super) fn compose(&mut self, at: &StateAt<'_, V>) -> Option<V::Call> {
        if self.called {
            return None;
        }
        let mut waiters = self.take_waiters();
        waiters.retain(|waiter| !V::is_gone(waiter));
        let call = self.view.compose(Asker { tag: self.tag, key: self.key, waiters }, at);
        self.called = call.is_some();
        call
    }

    /// Decides without the store on those who wait, and before them on those who waited for a call.
    pub(in crate::limit) fn give_up(
        &mut self,
        mut first: VecDeque<V::Waiter>,
        at: &StateAt<'_, V>,
        outcomes: &mut Vec<V::Outcome>,
    ) {
        first.append(&mut self.take_waiters());
        for waiter in first {
            self.view.decide_waiter(waiter, at, outcomes);
        }
    }
}
