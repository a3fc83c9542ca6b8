//! The calls of the store: which are due, and what their answers change.

use std::collections::VecDeque;

use super::name::StoreKey;
use super::table::ViewShard;
use super::terms::{ClusterState, Due};
use super::ticket::{Grant, Waiter};
use super::view::{KeyView, ViewStep};
use super::views::{Views, WaiterOutcome};
use crate::clock::Instant;
use crate::limit::charge::LimitMode;
use crate::limit::decision::Clocks;
use crate::limit::ledger::{LedgerAnswer, LedgerCall, LedgerShape, LedgerTake};
use crate::limit::tag::CounterTag;

/// Why a call has no answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CallLoss {
    /// It was not sent, so the store has not executed it.
    Unsent,
    /// The store may have executed it, or may execute it later.
    Unanswered,
}

/// A call of the store about one key. The one who sends it hands it back with its answer.
#[derive(Debug)]
#[must_use = "its key waits for an answer or a loss"]
pub struct StoreCall {
    /// Names the key in the store.
    pub key: StoreKey,
    /// The key is deleted before the call.
    pub clear: bool,
    /// What the ledger is to do.
    pub call: LedgerCall,
    tag: CounterTag,
    waiters: VecDeque<Waiter>,
}

/// When something happens, and how many nodes there are then.
#[derive(Copy, Clone, Debug)]
struct StateAt {
    at: Clocks,
    nodes: u32,
}

impl Views {
    /// Returns the calls that are due, at most `most`; what is left comes with the next ones.
    pub(super) fn collect(&self, due: Due, at: Clocks, most: usize) -> Vec<StoreCall> {
        let urgent = self.take_urgent();
        let mut calls = Vec::new();
        if !self.reach.is_whole() {
            self.decide_alone(at);
            if self.reach.is_empty() {
                return calls;
            }
        }
        let all = self.shards_in_turn();
        for index in all.filter(|index| due == Due::All || urgent & 1 << index != 0) {
            let mut shard = self.shard(index);
            let left = most.saturating_sub(calls.len());
            collect_shard(&mut shard, due, at.now.as_nanos(), self, left, &mut calls);
            if !shard.urgent.is_empty() {
                self.hurry(index);
            }
        }
        calls
    }

    /// Takes over the answer of a call, or its loss. `sent` is the time at which it was sent, `arrived` the present.
    pub(super) fn answer(
        &self,
        call: StoreCall,
        sent: Instant,
        arrived: Clocks,
        result: Result<LedgerAnswer, CallLoss>,
    ) {
        let moment = StateAt { at: arrived, nodes: self.nodes() };
        let index = self.shard_of(call.tag);
        let (mut outcomes, mut is_first) = (Vec::new(), false);
        let mut shard = self.shard(index);
        if let Some(place) = shard.find(call.tag) {
            let view = &mut shard.views[place];
            view.in_flight = false;
            view.flying = 0;
            let state = self.state(&view.key);
            // What was refused at once would be refused again. Nobody waits for it any more.
            let is_lost = result.is_err();
            match result {
                Ok(answer) => serve(view, call, sent, &answer, moment, &mut outcomes),
                Err(loss) => lose(view, call, loss, moment, &mut outcomes),
            }
            let pressing = view.clear || view.is_pressing(state.nodes, arrived.now.as_nanos());
            let urgent = view.is_awaited() || pressing && !is_lost;
            if urgent || view.has_news() {
                is_first = shard.listed.is_empty();
                let urgent = shard.list(place, urgent);
                if urgent && state.available {
                    self.hurry(index);
                }
            }
        }
        drop(shard);
        if is_first {
            self.begin_flush();
        }
        for outcome in outcomes {
            self.deliver(outcome, arrived);
        }
    }

    /// Gives back all leases with the next flush.
    pub(super) fn retire(&self) {
        for index in 0..self.shards() {
            let mut shard = self.shard(index);
            for place in 0..shard.views.len() {
                if let Some(lending) = &mut shard.views[place].lending {
                    lending.retire();
                    shard.list(place, false);
                }
            }
        }
    }

    /// Decides without the store all that wait for keys for which it does not answer.
    pub(super) fn decide_alone(&self, at: Clocks) {
        if self.reach.is_whole() {
            return;
        }
        let nodes = self.nodes();
        for index in 0..self.shards() {
            let mut outcomes = Vec::new();
            let mut shard = self.shard(index);
            for place in std::mem::take(&mut shard.urgent) {
                let view = &mut shard.views[place as usize];
                if self.reach.covers(&view.key) {
                    shard.urgent.push(place);
                    continue;
                }
                view.lists.urgent = false;
                give_up(view, VecDeque::new(), StateAt { at, nodes }, &mut outcomes);
            }
            drop(shard);
            for outcome in outcomes {
                self.deliver(outcome, at);
            }
        }
    }
}

fn collect_shard(shard: &mut ViewShard, due: Due, now: u64, views: &Views, most: usize, calls: &mut Vec<StoreCall>) {
    let before = calls.len();
    for place in std::mem::take(&mut shard.urgent) {
        let view = &mut shard.views[place as usize];
        if calls.len() - before >= most {
            shard.urgent.push(place);
            continue;
        }
        view.lists.urgent = false;
        calls.extend(compose(view, now, &views.state(&view.key)));
    }
    if due == Due::Urgent {
        return;
    }
    for place in std::mem::take(&mut shard.listed) {
        let view = &mut shard.views[place as usize];
        let state = views.state(&view.key);
        if calls.len() - before >= most || !state.available {
            shard.listed.push(place);
            continue;
        }
        if let Some(lending) = &mut view.lending {
            lending.tick();
        }
        view.lists.flush = false;
        calls.extend(compose(view, now, &state));
        // Leases are looked at with each flush. A key with a call on its way is listed again by the answer.
        if view.lending.as_ref().is_some_and(|lending| lending.is_live()) {
            shard.list(place as usize, false);
        }
    }
}

/// Makes the call of a key, if there is something to tell and none is on its way.
fn compose(view: &mut KeyView, now: u64, state: &ClusterState) -> Option<StoreCall> {
    if view.in_flight {
        return None;
    }
    let mut waiters = view.waiters.take().map(|queue| queue.0).unwrap_or_default();
    waiters.retain(|waiter| !waiter.is_gone());
    let mut call = LedgerCall::new(LedgerShape::from(&view.shape));
    for waiter in &waiters {
        match call.takes.last_mut() {
            Some(take) if take.cost == waiter.cost => take.count += 1,
            _ => call.takes.push(LedgerTake { cost: waiter.cost, count: 1 }),
        }
    }
    call.hold = waiters.iter().any(|waiter| waiter.held);
    (call.debits, call.credits) = (view.pending.into(), view.credits.into());
    call.credit_age = now.saturating_sub(view.credits_since).div_ceil(1000);
    let left = view.left(now, state.nodes);
    if let (LimitMode::Exact, Some(lending)) = (view.terms.mode, &mut view.lending) {
        call.share = state.nodes.saturating_mul(2);
        call.used = lending.report(now);
        call.returned = lending.give_up(now);
        call.lease = lending.wanted(now, 3 * state.flush, left / call.share);
    }
    let told = call.debits > 0 || call.credits > 0 || !call.used.is_empty() || !call.returned.is_empty();
    if !told && call.takes.is_empty() && call.lease == 0 && !view.clear {
        return None;
    }
    view.in_flight = true;
    (view.flying, view.pending, view.credits) = (view.pending, 0, 0);
    let clear = std::mem::take(&mut view.clear);
    Some(StoreCall { key: view.key, clear, call, tag: view.tag, waiters })
}

/// Serves those who wait by an answer.
fn serve(
    view: &mut KeyView,
    call: StoreCall,
    sent: Instant,
    answer: &LedgerAnswer,
    moment: StateAt,
    outcomes: &mut Vec<WaiterOutcome>,
) {
    let StateAt { at: arrived, nodes } = moment;
    let now = arrived.now.as_nanos();
    if LedgerShape::from(&view.shape) != call.call.shape {
        // Figures have changed meanwhile: those who wait ask again.
        requeue(view, call.waiters);
        return;
    }
    view.learn(answer, now);
    let exact = view.terms.mode == LimitMode::Exact;
    if let (true, Some(lending)) = (exact, &mut view.lending) {
        let until = sent.as_nanos().saturating_add(answer.valid_for.saturating_mul(1000));
        lending.add(answer.generation, answer.leased, until, call.call.lease);
    }
    let mut granted = answer.granted;
    let mut refused: Option<u32> = None;
    let mut again = VecDeque::new();
    for waiter in call.waiters {
        let step = if granted > 0 {
            granted -= 1;
            ViewStep::Admit(serve_one(view, &waiter, exact, call.call.hold, answer.generation))
        } else if refused.is_some_and(|least| waiter.cost < least) {
            // It may fit where one before it did not.
            again.push_back(waiter);
            continue;
        } else {
            let first = refused.is_none().then_some(answer.ready_after.saturating_mul(1000));
            refused = Some(refused.map_or(waiter.cost, |least| least.min(waiter.cost)));
            ViewStep::Refuse(view.refuse(waiter.cost, first, now).max(1))
        };
        let decision = view.figures(step, now, nodes);
        let grant = if let ViewStep::Admit(grant) = step { Some(grant) } else { None };
        outcomes.push(WaiterOutcome { waiter, decision, grant });
    }
    requeue(view, again);
}

/// Returns how a granted take is given back.
fn serve_one(view: &mut KeyView, waiter: &Waiter, exact: bool, hold: bool, generation: u64) -> Grant {
    match (exact, hold) {
        (false, _) => Grant::Taken,
        (true, false) => Grant::Spent,
        (true, true) if waiter.held => Grant::Leased(generation),
        (true, true) => {
            view.spend(Grant::Leased(generation), waiter.cost);
            Grant::Spent
        }
    }
}

/// Puts requests in front of the queue.
fn requeue(view: &mut KeyView, mut first: VecDeque<Waiter>) {
    if first.is_empty() {
        return;
    }
    let queue = view.waiters.get_or_insert_default();
    first.append(&mut queue.0);
    queue.0 = first;
}

/// Does without an answer. What the store may or may not know is counted on the side of refusing: debits are charged
/// again, credits, uses and returns are not reported again (the store writes off what it holds).
fn lose(view: &mut KeyView, call: StoreCall, loss: CallLoss, moment: StateAt, outcomes: &mut Vec<WaiterOutcome>) {
    view.pending = view.pending.saturating_add(call.call.debits as u32);
    view.clear |= call.clear;
    if loss == CallLoss::Unsent {
        view.credits = view.credits.saturating_add(call.call.credits as u32);
        if let Some(lending) = &mut view.lending {
            lending.unreport(&call.call.used, &call.call.returned);
        }
    }
    give_up(view, call.waiters, moment, outcomes);
}

/// Decides those who wait without the store.
fn give_up(view: &mut KeyView, mut waiters: VecDeque<Waiter>, moment: StateAt, outcomes: &mut Vec<WaiterOutcome>) {
    if let Some(mut queue) = view.waiters.take() {
        waiters.append(&mut queue.0);
    }
    let StateAt { at, nodes } = moment;
    for waiter in waiters {
        let step = view.decide_alone(waiter.cost, at, nodes);
        let grant = if let ViewStep::Admit(grant) = step { Some(grant) } else { None };
        let decision = view.figures(step, at.now.as_nanos(), nodes);
        outcomes.push(WaiterOutcome { waiter, decision, grant });
    }
}
