//! The places of one key at a node: which it has, which are used, and what it asks of the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use super::places::{PLACES_LIFETIME, PlacesAnswer, PlacesCall};
use super::ticket::PlaceTicket;
use crate::clock::Instant;
use crate::limit::shared::table::{Asker, StateAt, View};
use crate::limit::shared::{OnStoreError, StoreKey};

/// A free place is not used in the last part of its time: what is decided now takes effect a little later.
const GRACE: u64 = 60_000_000;
/// A node renews its places when so much of their time is over, in nanoseconds.
const RENEWAL: u64 = PLACES_LIFETIME * 1000 / 5;

/// A call of the store about one key. The one who sends it hands it back with its answer.
#[derive(Debug)]
#[must_use = "its key waits for an answer or a loss"]
pub struct PlaceCall {
    /// Names the key in the store.
    pub key: StoreKey,
    /// What is asked.
    pub call: PlacesCall,
    pub(super) asker: Asker<Arc<PlaceTicket>>,
}

/// What all keys of a node have in common.
#[derive(Debug)]
pub(super) struct PlaceTerms {
    node: u64,
    /// Number of the last call.
    number: AtomicU64,
    on_store_error: OnStoreError,
}

impl PlaceTerms {
    pub(super) fn new(node: u64, on_store_error: OnStoreError) -> Self {
        // Nobody is 0.
        Self { node: node.max(1), number: AtomicU64::new(0), on_store_error }
    }
}

/// What a node knows of the places of one key.
#[derive(Debug)]
pub(super) struct PlaceView {
    limit: u32,
    in_flight: u32,
    /// Places that the store has given this node, or those that it keeps while a call is on its way.
    held: u32,
    /// When free places must not be used any more, in nanoseconds.
    until: u64,
    called_at: u64,
    /// The store may count something else than `held`.
    unsure: bool,
    /// The store has given all that was wanted.
    plenty: bool,
    /// Left for everybody at the last answer.
    left: u32,
    /// Requests since the last flush.
    recent: u32,
    /// Requests between two flushes, lately.
    rate: u32,
}

impl PlaceView {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            in_flight: 0,
            held: 0,
            until: 0,
            called_at: 0,
            unsure: false,
            plenty: false,
            left: limit,
            recent: 0,
            rate: 0,
        }
    }

    /// Places that an exchange can have at once.
    fn free(&self, now: u64) -> u32 {
        if now < self.until { self.held.min(self.limit).saturating_sub(self.in_flight) } else { 0 }
    }

    /// What is left of the limit as far as it is known here.
    pub(super) fn left(&self, now: u64) -> u32 {
        self.left.saturating_add(self.free(now)).min(self.limit)
    }

    fn enter(&mut self, now: u64) -> Option<u32> {
        if self.free(now) == 0 {
            return None;
        }
        self.in_flight += 1;
        Some(self.left(now))
    }

    /// Decides on a request: returns how many more are free, or None for a refusal. Pending: the store has to be asked.
    pub(super) fn decide(
        &mut self,
        limit: u32,
        may_enter: bool,
        at: &StateAt<'_, PlaceView>,
        available: bool,
    ) -> Poll<Option<u32>> {
        self.limit = limit;
        self.recent = self.recent.saturating_add(1);
        let at_once = if may_enter { self.enter(at.now()) } else { None };
        match at_once {
            None if available => Poll::Pending,
            None => Poll::Ready(self.decide_alone(at)),
            at_once => Poll::Ready(at_once),
        }
    }

    /// Decides without the store. Returns how many more are free, or None for a refusal.
    fn decide_alone(&mut self, at: &StateAt<'_, PlaceView>) -> Option<u32> {
        if let Some(remaining) = self.enter(at.now()) {
            return Some(remaining);
        }
        let most = match at.common.on_store_error {
            OnStoreError::Share => (self.limit / at.nodes).max(1).min(self.limit),
            OnStoreError::Allow => u32::MAX,
            OnStoreError::Deny => 0,
        };
        if self.in_flight >= most {
            return None;
        }
        self.in_flight += 1;
        Some((most - self.in_flight).min(self.limit))
    }

    /// Ends an exchange.
    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Free places that should be at hand: those of one flush, if the key is used often.
    fn target(&self) -> u32 {
        if self.rate > 1 { self.rate } else { 0 }
    }

    /// Goes on without the store, which is told of the key again. Returns true if nothing but places of the store would
    /// be lost without it.
    pub(super) fn is_left(&mut self) -> bool {
        self.tick();
        self.distrust();
        self.in_flight == 0
    }

    /// Takes over an answer to a call that was sent at `sent`, and serves those who wait: for the call, or in the queue
    /// by now.
    pub(super) fn learn(
        &mut self,
        (call, waiters): (&PlacesCall, VecDeque<Arc<PlaceTicket>>),
        queue: &mut VecDeque<Arc<PlaceTicket>>,
        answer: &PlacesAnswer,
        (sent, now): (Instant, Instant),
        wakers: &mut Vec<Waker>,
    ) {
        let now = now.as_nanos();
        self.left = answer.left;
        let time = answer.valid_for.saturating_mul(1000).saturating_sub(GRACE);
        (self.held, self.until) = (answer.total, sent.as_nanos().saturating_add(time));
        let wanted = call.keep.saturating_add(call.need).saturating_add(call.extra);
        self.plenty = answer.valid_for > 0 && answer.total >= wanted;
        for waiter in waiters {
            let remaining = self.enter(now);
            self.tell(&waiter, remaining, wakers);
        }
        // Exchanges have ended meanwhile.
        while self.free(now) > 0
            && let Some(waiter) = queue.pop_front()
        {
            let remaining = self.enter(now);
            self.tell(&waiter, remaining, wakers);
        }
    }

    fn tell(&mut self, waiter: &PlaceTicket, remaining: Option<u32>, wakers: &mut Vec<Waker>) {
        if !waiter.decide(remaining, wakers) && remaining.is_some() {
            self.leave();
        }
    }

    /// Does without an answer: the store may count what was asked for. It is told again with the next flush.
    pub(super) fn distrust(&mut self) {
        self.unsure = true;
    }
}

impl View for PlaceView {
    type Common = PlaceTerms;
    type Waiter = Arc<PlaceTicket>;
    type Call = PlaceCall;
    type Outcome = Waker;

    fn is_gone(waiter: &Self::Waiter) -> bool {
        waiter.is_gone()
    }

    /// Until there is an answer, only what the call keeps is used.
    fn compose(&mut self, asker: Asker<Self::Waiter>, at: &StateAt<'_, PlaceView>) -> Option<PlaceCall> {
        let (now, terms) = (at.now(), at.common);
        let need = u32::try_from(asker.waiters.len()).unwrap_or(u32::MAX);
        let target = self.target();
        let spare = self.free(now).min(target);
        let keep = self.in_flight.saturating_add(spare);
        let hungry = need > 0 || self.plenty && spare < target.div_ceil(2);
        let extra = if hungry { target - spare } else { 0 };
        let renew = keep > 0 && now >= self.called_at.saturating_add(RENEWAL);
        if need == 0 && extra == 0 && keep == self.held && !self.unsure && !renew {
            return None;
        }
        (self.held, self.called_at, self.unsure) = (keep, now, false);
        let number = terms.number.fetch_add(1, Ordering::Relaxed) + 1;
        let share = at.nodes.saturating_mul(2);
        let call = PlacesCall { node: terms.node, number, limit: self.limit, keep, need, extra, share };
        Some(PlaceCall { key: asker.key, call, asker })
    }

    fn decide_waiter(&mut self, waiter: Self::Waiter, at: &StateAt<'_, PlaceView>, wakers: &mut Vec<Waker>) {
        let remaining = self.decide_alone(at);
        self.tell(&waiter, remaining, wakers);
    }

    fn news(&self, _nodes: u32, _now: u64) -> Option<bool> {
        Some(false)
    }

    fn tick(&mut self) {
        self.rate = if self.recent > self.rate { self.recent } else { self.rate.midpoint(self.recent) };
        self.recent = 0;
    }

    fn is_active(&self) -> bool {
        self.rate > 0 || self.unsure || self.held != self.in_flight
    }

    fn retire(&mut self) -> bool {
        (self.recent, self.rate) = (0, 0);
        true
    }

    fn is_over(&self) -> bool {
        self.in_flight == 0 && self.held == 0 && !self.unsure
    }
}
