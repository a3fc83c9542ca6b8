//! The places of one key at a node: which it has, which are used, and what it asks of the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::places::{PLACES_LIFETIME, PlacesAnswer, PlacesCall};
use super::ticket::PlaceTicket;
use crate::limit::shared::{OnStoreError, StoreKey};

/// A free place is not used in the last part of its time: what is decided now takes effect a little later.
const GRACE: u64 = 60_000_000;
/// A node renews its places when so much of their time is over, in nanoseconds.
const RENEWAL: u64 = PLACES_LIFETIME * 1000 / 5;
/// Most requests that wait for places of one key.
pub(super) const MOST_WAITERS: usize = 1024;

/// What a node knows of its cluster.
#[derive(Copy, Clone, Debug)]
pub(super) struct PlaceTerms {
    /// Live nodes, at least 1.
    pub(super) nodes: u32,
    pub(super) available: bool,
    pub(super) on_store_error: OnStoreError,
}

/// What is to be done with a request.
pub(super) enum FlightStep {
    /// It has a place; so many more are free.
    Admit(u32),
    Refuse,
    /// It has to wait for the store.
    Ask,
}

/// The lists of its shard that a key is in.
#[derive(Debug, Default)]
pub(super) struct FlightLists {
    /// Those that a flush goes through.
    pub(super) flush: bool,
    /// Those that cannot wait for a flush.
    pub(super) urgent: bool,
}

#[derive(Debug)]
pub(super) struct PlaceView {
    pub(super) key: StoreKey,
    pub(super) limit: u32,
    in_flight: u32,
    /// Places that the store has given this node, or those that it keeps while a call is on its way.
    held: u32,
    /// When free places must not be used any more, in nanoseconds.
    until: u64,
    called_at: u64,
    calling: bool,
    /// The store may count something else than `held`.
    unsure: bool,
    /// The store has given all that was wanted.
    plenty: bool,
    /// Left for everybody at the last answer.
    left: u32,
    pub(super) waiters: VecDeque<Arc<PlaceTicket>>,
    /// Requests since the last flush.
    recent: u32,
    /// Requests between two flushes, lately.
    rate: u32,
    pub(super) lists: FlightLists,
}

impl PlaceView {
    pub(super) fn new(key: StoreKey, limit: u32) -> Self {
        Self {
            key,
            limit,
            in_flight: 0,
            held: 0,
            until: 0,
            called_at: 0,
            calling: false,
            unsure: false,
            plenty: false,
            left: limit,
            waiters: VecDeque::new(),
            recent: 0,
            rate: 0,
            lists: FlightLists::default(),
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

    /// Decides on a request.
    pub(super) fn decide(&mut self, limit: u32, now: u64, terms: PlaceTerms) -> FlightStep {
        self.limit = limit;
        self.recent = self.recent.saturating_add(1);
        // Nobody overtakes those who wait.
        let at_once = if self.waiters.is_empty() { self.enter(now) } else { None };
        match at_once {
            Some(remaining) => FlightStep::Admit(remaining),
            None if !terms.available => self.decide_alone(now, terms).map_or(FlightStep::Refuse, FlightStep::Admit),
            None if self.waiters.len() >= MOST_WAITERS => FlightStep::Refuse,
            None => FlightStep::Ask,
        }
    }

    /// Decides without the store. Returns how many more are free, or None for a refusal.
    fn decide_alone(&mut self, now: u64, terms: PlaceTerms) -> Option<u32> {
        if let Some(remaining) = self.enter(now) {
            return Some(remaining);
        }
        let most = match terms.on_store_error {
            OnStoreError::Share => (self.limit / terms.nodes).max(1).min(self.limit),
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

    /// Ends the time between two flushes.
    pub(super) fn tick(&mut self) {
        self.rate = if self.recent > self.rate { self.recent } else { self.rate.midpoint(self.recent) };
        self.recent = 0;
    }

    /// Needs no free places any more.
    pub(super) fn retire(&mut self) {
        (self.recent, self.rate) = (0, 0);
    }

    /// Free places that should be at hand: those of one flush, if the key is used often.
    fn target(&self) -> u32 {
        if self.rate > 1 { self.rate } else { 0 }
    }

    /// Returns true if nothing would be lost without it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.held == 0 && !self.calling && !self.unsure && self.waiters.is_empty()
    }

    /// Returns true if nothing but places of the store would be lost without it.
    pub(super) fn is_unused(&self) -> bool {
        self.in_flight == 0 && !self.calling && self.waiters.is_empty()
    }

    /// Returns true if the next flush has to look at it.
    pub(super) fn is_active(&self) -> bool {
        self.rate > 0 || self.unsure || self.held != self.in_flight || self.is_idle()
    }

    /// Has the store told of it again.
    pub(super) fn distrust(&mut self) {
        self.unsure = true;
    }

    /// Makes the call, if there is something to ask or to tell and none is on its way. The node and the number are the
    /// caller's business. Until there is an answer, only what the call keeps is used.
    pub(super) fn compose(&mut self, now: u64, nodes: u32) -> Option<(PlacesCall, VecDeque<Arc<PlaceTicket>>)> {
        if self.calling {
            return None;
        }
        self.waiters.retain(|waiter| !waiter.is_gone());
        let need = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        let target = self.target();
        let spare = self.free(now).min(target);
        let keep = self.in_flight.saturating_add(spare);
        let hungry = need > 0 || self.plenty && spare < target.div_ceil(2);
        let extra = if hungry { target - spare } else { 0 };
        let renew = keep > 0 && now >= self.called_at.saturating_add(RENEWAL);
        if need == 0 && extra == 0 && keep == self.held && !self.unsure && !renew {
            return None;
        }
        (self.held, self.called_at, self.calling, self.unsure) = (keep, now, true, false);
        let share = nodes.saturating_mul(2);
        let call = PlacesCall { node: 0, number: 0, limit: self.limit, keep, need, extra, share };
        Some((call, std::mem::take(&mut self.waiters)))
    }

    /// Takes over an answer to a call that was sent at `sent`, and serves those who wait.
    pub(super) fn learn(
        &mut self,
        (call, waiters): (&PlacesCall, VecDeque<Arc<PlaceTicket>>),
        answer: &PlacesAnswer,
        (sent, now): (u64, u64),
        wakers: &mut Vec<Waker>,
    ) {
        self.calling = false;
        self.left = answer.left;
        let time = answer.valid_for.saturating_mul(1000).saturating_sub(GRACE);
        (self.held, self.until) = (answer.total, sent.saturating_add(time));
        let wanted = call.keep.saturating_add(call.need).saturating_add(call.extra);
        self.plenty = answer.valid_for > 0 && answer.total >= wanted;
        for waiter in waiters {
            let remaining = self.enter(now);
            self.tell(&waiter, remaining, wakers);
        }
        // Exchanges have ended meanwhile.
        while self.free(now) > 0
            && let Some(waiter) = self.waiters.pop_front()
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
    pub(super) fn lose(&mut self) {
        (self.calling, self.unsure) = (false, true);
    }

    /// Decides those who wait without the store.
    pub(super) fn give_up(
        &mut self,
        mut first: VecDeque<Arc<PlaceTicket>>,
        now: u64,
        terms: PlaceTerms,
        wakers: &mut Vec<Waker>,
    ) {
        first.append(&mut self.waiters);
        for waiter in first {
            let remaining = self.decide_alone(now, terms);
            self.tell(&waiter, remaining, wakers);
        }
    }
}
