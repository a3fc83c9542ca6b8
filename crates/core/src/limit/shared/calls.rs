//! The calls of the store: which are due, and what their answers change.

use std::collections::VecDeque;

use super::name::StoreKey;
use super::table::{Asker, KeyEntry, StateAt, View};
use super::ticket::{Grant, Waiter, WaiterOutcome};
use super::view::{KeyView, ViewStep};
use super::views::Views;
use crate::clock::Instant;
use crate::limit::charge::LimitMode;
use crate::limit::decision::Clocks;
use crate::limit::ledger::{LedgerAnswer, LedgerCall, LedgerShape, LedgerTake};

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
    asker: Asker<Waiter>,
}

impl Views {
    /// Takes over the answer of a call, or its loss. `sent` is the time at which it was sent, `arrived` the present.
    pub(super) fn answer(
        &self,
        call: StoreCall,
        sent: Instant,
        arrived: Clocks,
        result: Result<LedgerAnswer, CallLoss>,
    ) {
        let StoreCall { clear, call, asker, .. } = call;
        let tell = |outcome| self.deliver(outcome, arrived);
        self.keys.answer(asker, arrived, result.is_err(), tell, |entry, waiters, at, outcomes| {
            entry.view.flying = 0;
            match result {
                Ok(answer) => serve(entry, (&call, waiters), sent, &answer, at, outcomes),
                Err(loss) => {
                    entry.view.lose(&call, clear, loss);
                    entry.give_up(waiters, at, outcomes);
                }
            }
        });
    }
}

impl View for KeyView {
    /// Nanoseconds between two flushes.
    type Common = u64;
    type Waiter = Waiter;
    type Call = StoreCall;
    type Outcome = WaiterOutcome;

    fn is_gone(waiter: &Waiter) -> bool {
        waiter.is_gone()
    }

    fn compose(&mut self, asker: Asker<Waiter>, at: &StateAt<'_, KeyView>) -> Option<StoreCall> {
        let (now, waiters) = (at.now(), &asker.waiters);
        let mut call = LedgerCall::new(LedgerShape::from(&self.shape));
        for waiter in waiters {
            match call.takes.last_mut() {
                Some(take) if take.cost == waiter.cost => take.count += 1,
                _ => call.takes.push(LedgerTake { cost: waiter.cost, count: 1 }),
            }
        }
        call.hold = waiters.iter().any(|waiter| waiter.held);
        (call.debits, call.credits) = (self.pending.into(), self.credits.into());
        call.credit_age = now.saturating_sub(self.credits_since).div_ceil(1000);
        let left = self.left(now, at.nodes);
        if let (LimitMode::Exact, Some(lending)) = (self.terms.mode, &mut self.lending) {
            call.share = at.nodes.saturating_mul(2);
            call.used = lending.report(now);
            call.returned = lending.give_up(now);
            call.lease = lending.wanted(now, 3 * at.common, left / call.share);
        }
        let told = call.debits > 0 || call.credits > 0 || !call.used.is_empty() || !call.returned.is_empty();
        if !told && call.takes.is_empty() && call.lease == 0 && !self.clear {
            return None;
        }
        (self.flying, self.pending, self.credits) = (self.pending, 0, 0);
        let clear = std::mem::take(&mut self.clear);
        Some(StoreCall { key: asker.key, clear, call, asker })
    }

    fn decide_waiter(&mut self, waiter: Waiter, at: &StateAt<'_, KeyView>, outcomes: &mut Vec<WaiterOutcome>) {
        let step = self.decide_alone(waiter.cost, at.at, at.nodes);
        outcomes.push(self.outcome(waiter, step, at));
    }

    fn news(&self, nodes: u32, now: u64) -> Option<bool> {
        let urgent = self.clear || self.is_pressing(nodes, now);
        (urgent || self.pending > 0 || self.credits > 0 || self.is_active()).then_some(urgent)
    }

    fn tick(&mut self) {
        if let Some(lending) = &mut self.lending {
            lending.tick();
        }
    }

    /// Leases are looked at with each flush.
    fn is_active(&self) -> bool {
        self.lending.as_ref().is_some_and(|lending| lending.is_live())
    }

    fn retire(&mut self) -> bool {
        self.lending.as_mut().map(|lending| lending.retire()).is_some()
    }

    fn is_replaceable(&self) -> bool {
        self.pending == 0 && self.credits == 0
    }

    fn is_idle(&self, now: u64) -> bool {
        self.is_unused(now)
    }
}

/// Serves those who wait by an answer.
fn serve(
    entry: &mut KeyEntry<KeyView>,
    (call, waiters): (&LedgerCall, VecDeque<Waiter>),
    sent: Instant,
    answer: &LedgerAnswer,
    at: &StateAt<'_, KeyView>,
    outcomes: &mut Vec<WaiterOutcome>,
) {
    let (now, view) = (at.now(), &mut entry.view);
    if LedgerShape::from(&view.shape) != call.shape {
        // Figures have changed meanwhile: those who wait ask again.
        entry.put_back(waiters);
        return;
    }
    view.learn(answer, now);
    let exact = view.terms.mode == LimitMode::Exact;
    if let (true, Some(lending)) = (exact, &mut view.lending) {
        let until = sent.as_nanos().saturating_add(answer.valid_for.saturating_mul(1000));
        lending.add(answer.generation, answer.leased, until, call.lease);
    }
    let mut granted = answer.granted;
    let mut refused: Option<u32> = None;
    let mut again = VecDeque::new();
    for waiter in waiters {
        let step = if granted > 0 {
            granted -= 1;
            ViewStep::Admit(serve_one(view, &waiter, exact, call.hold, answer.generation))
        } else if refused.is_some_and(|least| waiter.cost < least) {
            // It may fit where one before it did not.
            again.push_back(waiter);
            continue;
        } else {
            let first = refused.is_none().then_some(answer.ready_after.saturating_mul(1000));
            refused = Some(refused.map_or(waiter.cost, |least| least.min(waiter.cost)));
            ViewStep::Refuse(view.refuse(waiter.cost, first, now).max(1))
        };
        outcomes.push(view.outcome(waiter, step, at));
    }
    entry.put_back(again);
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

impl KeyView {
    /// Does without an answer. What the store may or may not know is counted on the side of refusing: debits are
    /// charged again, credits, uses and returns are not reported again (the store writes off what it holds).
    fn lose(&mut self, call: &LedgerCall, clear: bool, loss: CallLoss) {
        self.pending = self.pending.saturating_add(call.debits as u32);
        self.clear |= clear;
        if loss == CallLoss::Unsent {
            self.credits = self.credits.saturating_add(call.credits as u32);
            if let Some(lending) = &mut self.lending {
                lending.unreport(&call.used, &call.returned);
            }
        }
    }

    fn outcome(&self, waiter: Waiter, step: ViewStep, at: &StateAt<'_, KeyView>) -> WaiterOutcome {
        let grant = if let ViewStep::Admit(grant) = step { Some(grant) } else { None };
        WaiterOutcome { waiter, decision: self.figures(step, at.now(), at.nodes), grant }
    }
}
