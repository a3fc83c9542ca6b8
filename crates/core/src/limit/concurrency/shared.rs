//! Exchanges in flight that the nodes of a cluster count together: what a node does, without a socket, a clock or a
//! runtime.
//!
//! A node has places of a key from the store. It admits at once while it has a free one, or else asks: one call for all
//! who wait for that key. What becomes free the store learns with the next flush; keys that are used often keep some
//! free places. Places are good until the store has not heard of the node for [`PLACES_LIFETIME`], so they are renewed.
//!
//! **What is exact.** All nodes together never have more exchanges of a key in flight than the limit, whatever calls
//! and answers are lost or late, with two exceptions. What is admitted by [`OnStoreError`] is counted as soon as the
//! store answers. And exchanges of a node that has lost the store go on, while the others get its places when their
//! time is over. While something is unknown, it counts as used.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::permit::ConcurrencyPermit;
#[cfg(doc)]
use super::places::PLACES_LIFETIME;
use super::places::PlacesAnswer;
use super::table::{ConcurrencyIdentity, PlaceTable};
use super::ticket::PlaceTicket;
use super::view::{PlaceCall, PlaceView};
use crate::clock::Instant;
use crate::limit::decision::Clocks;
use crate::limit::shared::{Due, OnStoreError, StoreReach};
use crate::limit::tag::CounterTag;

/// All keys are looked at once in this time, to renew places, in nanoseconds.
const ROUND: u64 = 250_000_000;

/// The decision on a request that needs a place.
#[derive(Debug)]
pub enum PlaceVerdict {
    /// It may go on.
    Admitted(ConcurrencyPermit),
    /// There is no place.
    Refused,
}

/// What became of a request that needs a place.
#[derive(Debug)]
#[must_use]
pub enum PlaceOutcome {
    /// Decided at once.
    Decided(PlaceVerdict),
    /// To be awaited.
    Pending(PendingPlace),
}

/// Places that this node shares with others. Only keys with exchanges or places are stored, at most `max_keys`;
/// requests for others are refused then.
#[derive(Clone, Debug)]
pub struct SharedInFlight {
    table: Arc<PlaceTable>,
}

impl SharedInFlight {
    /// Creates the places of a node. `node` is unique in the cluster. `wake` is called by any thread: with
    /// [`Due::Urgent`] when calls are due that cannot wait for the next flush, with [`Due::All`] when there may be the
    /// first ones that can. While there are [`keys`](Self::keys), the driver has to [`collect`](Self::collect) with
    /// each flush.
    pub fn new(
        node: u64,
        max_keys: usize,
        on_store_error: OnStoreError,
        wake: impl Fn(Due) + Send + Sync + 'static,
    ) -> Self {
        Self { table: Arc::new(PlaceTable::new(node, max_keys, on_store_error, Box::new(wake))) }
    }

    /// Returns what identifies a limit in [`acquire`](Self::acquire): the same on all nodes for the same text.
    pub fn register(&self, identity: &str) -> ConcurrencyIdentity {
        self.table.identify(identity)
    }

    /// Gets a place for one more exchange of this key, if there are fewer than `limit`.
    pub fn acquire(&self, of: &ConcurrencyIdentity, key: &[u8], limit: u32, now: Instant) -> PlaceOutcome {
        let (tag, decided) = self.table.begin(of, key, limit, now);
        match decided {
            Ok(remaining) => PlaceOutcome::Decided(verdict(&self.table, tag, remaining)),
            Err(ticket) => PlaceOutcome::Pending(PendingPlace { table: Arc::clone(&self.table), tag, ticket }),
        }
    }

    /// Returns how many places of a key are left, as far as it is known here.
    pub fn left(&self, of: &ConcurrencyIdentity, key: &[u8], now: Instant) -> Option<u32> {
        let tag = self.table.tag(of, key);
        let shard = self.table.keys.shard_of(tag);
        shard.find(tag).map(|at| shard.entries[at].view.left(now.as_nanos()))
    }

    /// Returns the calls that are due, at most `most`. Each has to be handed back to [`answer`](Self::answer).
    pub fn collect(&self, due: Due, now: Instant, most: usize) -> Vec<PlaceCall> {
        let PlaceTable { keys, round_at } = &*self.table;
        let is_round = due == Due::All && now.as_nanos() >= round_at.load(Ordering::Relaxed);
        if is_round {
            keys.list_all();
        }
        let calls = keys.collect(due, clocks(now), most, Waker::wake);
        keys.forget(PlaceView::is_left);
        if is_round && calls.len() < most {
            round_at.store(now.as_nanos().saturating_add(ROUND), Ordering::Relaxed);
        }
        calls
    }

    /// Takes over the answer of a call; None if there is none. `sent` is when it was sent, or a little earlier; `now`
    /// is the present.
    pub fn answer(&self, call: PlaceCall, sent: Instant, now: Instant, answer: Option<&PlacesAnswer>) {
        let PlaceCall { call, asker, .. } = call;
        let at = clocks(now);
        self.table.keys.answer(asker, at, answer.is_none(), Waker::wake, |entry, waiters, at, wakers| {
            if let Some(answer) = answer {
                let mut queue = entry.take_waiters();
                entry.view.learn((&call, waiters), &mut queue, answer, (sent, now), wakers);
                entry.put_back(queue);
            } else {
                entry.view.distrust();
                entry.give_up(waiters, at, wakers);
            }
        });
    }

    /// Has the next flush give back all free places, because this node ends. No more requests must come.
    pub fn retire(&self) {
        self.table.keys.retire();
    }

    /// Says how many nodes there are.
    pub fn set_nodes(&self, nodes: usize) {
        self.table.keys.set_nodes(nodes);
    }

    /// Says which keys the store answers for. All who wait for others are decided at once, except those whose call is
    /// on its way. Of these keys, those without exchanges are forgotten: the store gives up their places.
    pub fn set_reach(&self, reach: StoreReach, now: Instant) {
        self.table.round_at.store(0, Ordering::Relaxed);
        self.table.keys.set_reach(reach, clocks(now), Waker::wake);
        self.table.keys.forget(PlaceView::is_left);
    }

    /// Returns the number of keys.
    pub fn keys(&self) -> usize {
        self.table.keys.keys()
    }
}

/// Places know no other clock.
fn clocks(now: Instant) -> Clocks {
    Clocks { now, ..Clocks::default() }
}

fn verdict(table: &Arc<PlaceTable>, tag: CounterTag, remaining: Option<u32>) -> PlaceVerdict {
    let permit = |remaining| PlaceVerdict::Admitted(ConcurrencyPermit::of_cluster(table, tag, remaining));
    remaining.map_or(PlaceVerdict::Refused, permit)
}

/// A request that waits for a place. Dropped, it gives back what it got.
#[derive(Debug)]
pub struct PendingPlace {
    table: Arc<PlaceTable>,
    tag: CounterTag,
    ticket: Arc<PlaceTicket>,
}

impl Future for PendingPlace {
    type Output = PlaceVerdict;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PlaceVerdict> {
        self.ticket.poll(cx.waker()).map(|remaining| verdict(&self.table, self.tag, remaining))
    }
}

impl Drop for PendingPlace {
    fn drop(&mut self) {
        if self.ticket.abandon() {
            self.table.leave(self.tag);
        }
    }
}

#[cfg(test)]
mod tests;
