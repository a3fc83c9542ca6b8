//! Nodes and a store in which everything that happens between them is done by hand.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::{CallLoss, Due, OnStoreError, SharedCounterStore, StoreCall, StoreKey};
use crate::clock::Instant;
use crate::limit::ledger::{Ledger, LedgerAnswer, LedgerCall};
use crate::limit::{
    Charge, ChargeDecisions, ChargeOutcome, ChargeVerdict, Clocks, Decision, Limit, LimitAlgorithm, LimitMode,
    LimitShape, PendingCharges,
};

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MILLI;

pub(super) fn shape(algorithm: LimitAlgorithm, limit: u32, seconds: u64) -> LimitShape {
    LimitShape::new(algorithm, limit, Duration::from_secs(seconds), None).unwrap()
}

pub(super) fn bucket(limit: u32, seconds: u64) -> LimitShape {
    shape(LimitAlgorithm::TokenBucket, limit, seconds)
}

/// A request that waits.
pub(super) struct Wait {
    future: PendingCharges,
    charges: Vec<(usize, u8, u32)>,
}

pub(super) struct Node {
    pub(super) store: SharedCounterStore,
    pub(super) limits: Vec<Limit>,
    pub(super) waits: Vec<Wait>,
    /// Its clock is so much ahead.
    ahead: u64,
}

/// A call on its way to the store, or its answer on the way back.
pub(super) struct Sent {
    pub(super) node: usize,
    call: StoreCall,
    at: Instant,
    /// With the time at which it was executed.
    answer: Option<(LedgerAnswer, u64)>,
}

impl Sent {
    pub(super) fn is_executed(&self) -> bool {
        self.answer.is_some()
    }

    pub(super) fn debits(&self) -> u64 {
        self.call.call.debits
    }
}

/// What was admitted of a key of a limit: when and how much.
pub(super) type Admissions = HashMap<(usize, u8), Vec<(u64, u32)>>;

pub(super) struct World {
    /// The store's time, in nanoseconds.
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) ledgers: HashMap<StoreKey, Ledger>,
    pub(super) calls: Vec<Sent>,
    /// Calls that were given up, and that the store may execute nevertheless.
    pub(super) late: Vec<(StoreKey, LedgerCall)>,
    pub(super) admissions: Admissions,
}

impl World {
    pub(super) fn new(nodes: usize, limits: &[(LimitShape, LimitMode)], on_store_error: OnStoreError) -> Self {
        let node = |index: usize| {
            let store = SharedCounterStore::new(1024, Duration::from_millis(20), on_store_error, |_| {});
            store.set_nodes(nodes);
            let limit = |(number, &(shape, mode)): (usize, &(LimitShape, LimitMode))| {
                store.register_with(&format!("limit {number}"), shape, mode, on_store_error)
            };
            let limits = limits.iter().enumerate().map(limit).collect();
            Node { store, limits, waits: Vec::new(), ahead: index as u64 * 977 * SECOND }
        };
        Self {
            now: 1_700_000_000 * SECOND,
            nodes: (0..nodes).map(node).collect(),
            ledgers: HashMap::new(),
            calls: Vec::new(),
            late: Vec::new(),
            admissions: HashMap::new(),
        }
    }

    pub(super) fn at(&self, node: usize) -> Clocks {
        let now = self.now - 1_699_999_999 * SECOND + self.nodes[node].ahead;
        Clocks { now: Instant::from_nanos(now), wall: Duration::from_nanos(self.now + self.nodes[node].ahead) }
    }

    fn admitted(&mut self, charges: &[(usize, u8, u32)], time: u64) {
        for &(limit, key, cost) in charges {
            self.admissions.entry((limit, key)).or_default().push((time, cost));
        }
    }

    /// Checks a request; returns the verdict, if there is one at once.
    pub(super) fn check(&mut self, node: usize, charges: &[(usize, u8, u32)]) -> Option<ChargeDecisions> {
        let at = self.at(node);
        let keys: Vec<[u8; 1]> = charges.iter().map(|(_, key, _)| [*key]).collect();
        let Node { store, limits, waits, .. } = &mut self.nodes[node];
        let each = charges.iter().zip(&keys);
        let mut list: Vec<Charge<'_>> =
            each.map(|((limit, _, cost), key)| Charge::new(&limits[*limit], key, *cost)).collect();
        let outcome = crate::limit::CounterStore::check_all(&*store, &mut list, at);
        match outcome {
            ChargeOutcome::Decided(verdict) => {
                let decisions: Vec<Decision> = list.iter().map(|charge| charge.decision).collect();
                if verdict == ChargeVerdict::Admitted {
                    self.admitted(charges, self.now);
                }
                Some(ChargeDecisions { verdict, decisions })
            }
            ChargeOutcome::Pending(future) => {
                waits.push(Wait { future, charges: charges.to_vec() });
                None
            }
        }
    }

    /// One charge of `cost` to key 0 of limit 0: true or false if it was decided at once.
    pub(super) fn take(&mut self, node: usize, cost: u32) -> Option<bool> {
        self.check(node, &[(0, 0, cost)]).map(|decisions| decisions.verdict == ChargeVerdict::Admitted)
    }

    /// Polls those who wait at a node. What the store has taken was used then, and what it held is used now.
    pub(super) fn poll(&mut self, node: usize, taken: u64) -> Vec<ChargeDecisions> {
        let mut decided = Vec::new();
        for mut wait in std::mem::take(&mut self.nodes[node].waits) {
            match Pin::new(&mut wait.future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => self.nodes[node].waits.push(wait),
                Poll::Ready(decisions) => {
                    if decisions.verdict == ChargeVerdict::Admitted {
                        let time = if wait.charges.len() == 1 { taken } else { self.now };
                        self.admitted(&wait.charges, time);
                    }
                    decided.push(decisions);
                }
            }
        }
        decided
    }

    pub(super) fn collect(&mut self, node: usize, due: Due) -> usize {
        let at = self.at(node);
        let calls = self.nodes[node].store.collect(due, at, 1000);
        let count = calls.len();
        self.calls.extend(calls.into_iter().map(|call| Sent { node, call, at: at.now, answer: None }));
        count
    }

    pub(super) fn execute(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if call.answer.is_none() {
            let ledger = self.ledgers.entry(call.call.key).or_default();
            if call.call.clear {
                *ledger = Ledger::default();
            }
            call.answer = Some((ledger.apply(self.now / 1000, &call.call.call), self.now));
        }
    }

    /// The store executes a call that nobody waits for any more.
    pub(super) fn execute_late(&mut self, index: usize) {
        let (key, call) = self.late.swap_remove(index);
        let _ = self.ledgers.entry(key).or_default().apply(self.now / 1000, &call);
    }

    pub(super) fn arrive(&mut self, index: usize) -> Vec<ChargeDecisions> {
        self.execute(index);
        let Sent { node, call, at: sent, answer } = self.calls.swap_remove(index);
        let (answer, executed) = answer.unwrap();
        let at = self.at(node);
        self.nodes[node].store.answer(call, sent, at, Ok(answer));
        self.poll(node, executed)
    }

    pub(super) fn lose(&mut self, index: usize, loss: CallLoss) -> Vec<ChargeDecisions> {
        let Sent { node, call, at: sent, answer } = self.calls.swap_remove(index);
        if loss == CallLoss::Unanswered && answer.is_none() {
            self.late.push((call.key, call.call.clone()));
        }
        assert!(loss == CallLoss::Unanswered || answer.is_none());
        let at = self.at(node);
        self.nodes[node].store.answer(call, sent, at, Err(loss));
        self.poll(node, self.now)
    }

    /// A flush of a node that nothing disturbs.
    pub(super) fn flush(&mut self, node: usize, due: Due) -> Vec<ChargeDecisions> {
        self.collect(node, due);
        let mut decided = Vec::new();
        while let Some(index) = self.calls.iter().position(|call| call.node == node) {
            decided.extend(self.arrive(index));
        }
        decided
    }

    /// Returns by how much one bucket would have been exceeded, in tokens, rounded up.
    pub(super) fn excess(&self, limit: usize, key: u8) -> u128 {
        let Some(admissions) = self.admissions.get(&(limit, key)) else { return 0 };
        let shape = self.nodes[0].limits[limit].shape();
        let mut admissions = admissions.clone();
        admissions.sort_unstable();
        let (mut debt, mut last, mut most) = (0_u128, 0, 0_u128);
        for (time, cost) in admissions {
            debt = debt.saturating_sub(u128::from(time - last) * u128::from(shape.refill));
            debt += u128::from(cost) * u128::from(shape.every);
            (last, most) = (time, most.max(debt));
        }
        most.saturating_sub(shape.max_debt()).div_ceil(shape.every.into())
    }
}
