//! What a node knows of one key, and how it decides by that.

use std::time::Duration;

use super::lending::Lending;
use super::table::KeyEntry;
use super::terms::{OnStoreError, Terms};
use super::ticket::Grant;
use crate::clock::nanos;
use crate::limit::charge::{Limit, LimitMode};
use crate::limit::decision::{Clocks, Decision, wall_nanos};
use crate::limit::ledger::LedgerAnswer;
use crate::limit::shape::{LimitAlgorithm, LimitShape};

/// For how long a node refuses by an earlier refusal, in nanoseconds. What other nodes hold or have estimated may come
/// back long before the next token is due.
const ASK_AGAIN: u64 = 100_000_000;
/// How long a client should wait if nothing tells how long it takes.
const SOME_TIME: u64 = 1_000_000_000;

/// Where the figures of a view come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Known {
    /// There are none.
    Nothing,
    /// The store's last answer.
    Store,
    /// The share of this node, since the store has stopped answering.
    Share,
}

/// What is decided at once about a cost.
#[derive(Copy, Clone, Debug)]
pub(super) enum ViewStep {
    Admit(Grant),
    /// With the nanoseconds to wait.
    Refuse(u64),
    /// The store has to be asked.
    Ask,
}

/// What a node knows of one key.
#[derive(Debug)]
pub(super) struct KeyView {
    pub(super) shape: LimitShape,
    pub(super) terms: Terms,
    known: Known,
    /// The count is to be cleared in the store.
    pub(super) clear: bool,
    /// When a bucket is full, or a window over, by the clock of this node.
    until: u64,
    /// Of a window: what is left.
    left: u32,
    /// What the next call charges: admitted without asking.
    pub(super) pending: u32,
    /// What the call on its way charges.
    pub(super) flying: u32,
    /// What the next call gives back, and when the oldest of it was charged, or earlier.
    pub(super) credits: u32,
    pub(super) credits_since: u64,
    /// The store has refused as much, and refuses it until `refused_until`, unless something comes back before.
    refused: u32,
    refused_until: u64,
    /// Until then a refusal needs no answer of the store.
    ask_again: u64,
    /// Of exact limits.
    pub(super) lending: Option<Box<Lending>>,
}

impl KeyView {
    pub(super) fn new(limit: &Limit) -> Self {
        Self {
            shape: limit.shape,
            terms: Terms::of(limit),
            known: Known::Nothing,
            clear: false,
            until: 0,
            left: 0,
            pending: 0,
            flying: 0,
            credits: 0,
            credits_since: 0,
            refused: 0,
            refused_until: 0,
            ask_again: 0,
            lending: None,
        }
    }

    /// Adapts to the figures of `limit`, which a reload may have changed. What the store makes of them it has to say.
    pub(super) fn adapt(&mut self, limit: &Limit) {
        let terms = Terms::of(limit);
        if self.shape != limit.shape || self.terms != terms {
            (self.shape, self.terms) = (limit.shape, terms);
            self.distrust();
        }
    }

    /// Forgets what the store has said and what it has leased.
    pub(super) fn distrust(&mut self) {
        self.known = Known::Nothing;
        self.refused_until = 0;
        if let Some(lending) = &mut self.lending {
            lending.drop_leases();
        }
    }

    /// Returns true if the key is not used at all as far as is known.
    pub(super) fn is_unused(&self, now: u64) -> bool {
        self.known != Known::Store || self.until <= now
    }

    fn debits(&self) -> u32 {
        self.pending.saturating_add(self.flying)
    }

    /// What is left by the view, without the debits.
    pub(super) fn left(&self, now: u64, nodes: u32) -> u32 {
        match self.known {
            Known::Nothing => self.shape.capacity,
            Known::Store => self.left_of(&self.shape, now),
            Known::Share => self.left_of(&self.shape.share_of(nodes), now),
        }
    }

    fn left_of(&self, shape: &LimitShape, now: u64) -> u32 {
        let missing = self.until.saturating_sub(now);
        if shape.is_bucket() {
            shape.capacity.saturating_sub(shape.tokens_in(missing))
        } else if missing > 0 {
            self.left
        } else {
            shape.capacity
        }
    }

    /// Decides on `cost` without the store.
    pub(super) fn decide_alone(&mut self, cost: u32, at: Clocks, nodes: u32) -> ViewStep {
        match self.terms.on_store_error {
            OnStoreError::Allow => ViewStep::Admit(Grant::Spent),
            OnStoreError::Deny => ViewStep::Refuse(SOME_TIME),
            OnStoreError::Share => self.decide_by_share(cost, at, nodes),
        }
    }

    fn decide_by_share(&mut self, cost: u32, at: Clocks, nodes: u32) -> ViewStep {
        let share = self.shape.share_of(nodes);
        let now = at.now.as_nanos();
        if self.known != Known::Share {
            self.begin_share(&share, at, nodes);
        }
        if !share.is_bucket() && now >= self.until {
            self.until = now.saturating_add(self.window_from(at));
            self.left = share.limit;
        }
        if cost > self.left_of(&share, now) {
            let wait = if cost <= share.capacity { self.wait_for(cost, &share, now) } else { SOME_TIME };
            return ViewStep::Refuse(wait);
        }
        if share.is_bucket() {
            self.until = self.until.max(now).saturating_add(share.time_for(cost));
        } else {
            self.left -= cost;
        }
        // The store is told when it answers again.
        self.pending = self.pending.saturating_add(cost);
        ViewStep::Admit(Grant::Share)
    }

    fn begin_share(&mut self, share: &LimitShape, at: Clocks, nodes: u32) {
        let now = at.now.as_nanos();
        let left = self.left(now, nodes).saturating_sub(self.debits());
        let left = (left / nodes).clamp(1, share.capacity);
        if let Some(lending) = &mut self.lending {
            lending.drop_leases();
        }
        if share.is_bucket() {
            self.until = now.saturating_add(share.time_for(share.capacity - left));
        } else {
            if self.known != Known::Store || self.until <= now {
                self.until = now.saturating_add(self.window_from(at));
            }
            self.left = left;
        }
        self.known = Known::Share;
    }

    /// How long a window lasts that a node counts alone.
    fn window_from(&self, at: Clocks) -> u64 {
        let wall = wall_nanos(at.wall);
        if self.shape.algorithm == LimitAlgorithm::FixedWindow {
            self.shape.boundary(wall).saturating_sub(wall)
        } else {
            self.shape.per
        }
    }

    /// Returns the nanoseconds until `cost` fits, if nothing else is charged.
    fn wait_for(&self, cost: u32, shape: &LimitShape, now: u64) -> u64 {
        let fits = if shape.is_bucket() {
            self.until.saturating_sub(shape.time_for(shape.capacity.saturating_sub(cost)))
        } else {
            self.until
        };
        fits.saturating_sub(now)
    }

    /// Uses what was admitted from a lease.
    pub(super) fn spend(&mut self, grant: Grant, cost: u32) {
        if let (Grant::Leased(generation), Some(lending)) = (grant, &mut self.lending) {
            lending.spend(generation, cost);
        }
    }

    /// Gives back what was admitted at `since` and is not used.
    pub(super) fn give_back(&mut self, grant: Grant, cost: u32, since: u64, nodes: u32) {
        match grant {
            Grant::Debit | Grant::Taken => self.credit(cost, since),
            Grant::Share => {
                self.credit(cost, since);
                if self.known == Known::Share {
                    let share = self.shape.share_of(nodes);
                    self.until -= if share.is_bucket() { share.time_for(cost).min(self.until) } else { 0 };
                    self.left = self.left.saturating_add(cost).min(share.limit);
                }
            }
            Grant::Leased(generation) => {
                if let Some(lending) = &mut self.lending {
                    lending.put_back(generation, cost);
                }
            }
            Grant::Spent => {}
        }
    }

    /// Lowers what the next call charges, or has it give back the rest, which was charged at `since`.
    pub(super) fn credit(&mut self, cost: u32, since: u64) {
        let unsent = self.pending.min(cost);
        self.pending -= unsent;
        if cost > unsent {
            self.credits_since = if self.credits == 0 { since } else { self.credits_since.min(since) };
            self.credits = self.credits.saturating_add(cost - unsent);
        }
    }

    /// Takes over what the store has answered; `arrived` is the time of this node.
    pub(super) fn learn(&mut self, answer: &LedgerAnswer, arrived: u64) {
        self.known = Known::Store;
        self.left = answer.left;
        self.until = arrived.saturating_add(answer.full_after.saturating_mul(1000));
        self.refused_until = 0;
    }

    /// Notes that the store has refused `cost`, and returns the nanoseconds to wait for it.
    pub(super) fn refuse(&mut self, cost: u32, ready_after: Option<u64>, arrived: u64) -> u64 {
        let wait = ready_after.unwrap_or_else(|| self.wait_for(cost, &self.shape, arrived));
        if arrived >= self.refused_until {
            (self.refused, self.refused_until) = (cost, arrived.saturating_add(wait));
            self.ask_again = arrived.saturating_add(ASK_AGAIN);
        }
        wait
    }

    /// Returns true if the next flush is too late for the debits.
    pub(super) fn is_pressing(&self, nodes: u32, now: u64) -> bool {
        let most = self.shape.most_debits(nodes);
        let debits = self.pending >= 2 && self.pending >= most / 2;
        debits || self.lending.as_ref().is_some_and(|lending| lending.is_low(now))
    }

    /// The figures of a decision.
    pub(super) fn figures(&self, step: ViewStep, now: u64, nodes: u32) -> Decision {
        let admitted = matches!(step, ViewStep::Admit(_));
        let retry_after = match step {
            ViewStep::Refuse(u64::MAX) => Duration::MAX,
            ViewStep::Refuse(wait) => Duration::from_nanos(wait.max(1)),
            _ => Duration::ZERO,
        };
        // A share has its debits already.
        let debits = if self.known == Known::Share { 0 } else { self.debits() };
        let leased = self.lending.as_ref().map_or(0, |lending| lending.unused(now));
        let more = leased.saturating_add(self.credits);
        let remaining = self.left(now, nodes).saturating_sub(debits).saturating_add(more);
        let missing = if self.known == Known::Nothing { 0 } else { self.until.saturating_sub(now) };
        let reset = if self.shape.is_bucket() {
            missing.saturating_add(self.shape.time_for(debits))
        } else if missing == 0 && debits > 0 {
            nanos(self.shape.per())
        } else {
            missing
        };
        Decision {
            admitted,
            remaining: remaining.min(self.shape.capacity),
            retry_after,
            reset: Duration::from_nanos(reset),
        }
    }
}

impl KeyEntry<KeyView> {
    /// Decides on `cost` by what is known here.
    pub(super) fn decide(&mut self, cost: u32, at: Clocks, nodes: u32, available: bool, flush: u64) -> ViewStep {
        let view = &mut self.view;
        if cost == 0 {
            return ViewStep::Admit(Grant::Spent);
        }
        if cost > view.shape.capacity {
            return ViewStep::Refuse(u64::MAX);
        }
        if !available {
            return view.decide_alone(cost, at, nodes);
        }
        let now = at.now.as_nanos();
        match view.terms.mode {
            LimitMode::Fast => {
                let debits = view.debits().saturating_add(cost);
                // A view within the margin may be wrong by what other nodes have not told yet.
                let near = || {
                    let enough = debits.saturating_add(view.shape.margin(nodes));
                    view.known == Known::Store && view.left_of(&view.shape, now) < enough
                };
                if debits <= view.shape.most_debits(nodes) && !near() {
                    view.pending += cost;
                    return ViewStep::Admit(Grant::Debit);
                }
            }
            LimitMode::Exact => {
                let lending = view.lending.get_or_insert_default();
                if let Some(generation) = lending.take(cost, now) {
                    lending.asked(cost);
                    return ViewStep::Admit(Grant::Leased(generation));
                }
            }
        }
        if view.known == Known::Store && now < view.refused_until.min(view.ask_again) && cost >= view.refused {
            let more = if view.shape.is_bucket() { view.shape.time_for(cost - view.refused) } else { 0 };
            return ViewStep::Refuse((view.refused_until - now).saturating_add(more));
        }
        if self.is_crowded() {
            return ViewStep::Refuse(flush);
        }
        if let Some(lending) = &mut self.view.lending {
            lending.asked(cost);
        }
        ViewStep::Ask
    }
}
