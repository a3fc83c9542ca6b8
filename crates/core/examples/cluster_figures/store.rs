//! The store of the simulation: ledgers, one call at a time, with what may go wrong with it.

use std::collections::{HashMap, VecDeque};

use pylae_core::limit::shared::StoreKey;
use pylae_core::limit::{Ledger, LedgerAnswer, LedgerCall};

/// A call as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) key: StoreKey,
    pub(crate) clear: bool,
    pub(crate) call: LedgerCall,
}

/// What the store knew before a call, for a fail-over that loses it.
struct Undo {
    executed: u64,
    key: StoreKey,
    before: Ledger,
    tokens: u64,
}

/// When the simulation begins, by the store's clock.
const START: u64 = 1_700_000_000 * 1_000_000_000;

/// The store: a server, or several between which the keys are divided.
#[derive(Default)]
pub(crate) struct Store {
    ledgers: HashMap<StoreKey, Ledger>,
    undo: VecDeque<Undo>,
    /// How far back a fail-over may go.
    pub(crate) keep: u64,
    /// Until when it does nothing.
    pub(crate) frozen_until: u64,
    /// Until when it refuses connections.
    pub(crate) gone_until: u64,
    busy_until: Vec<u64>,
    /// How much its clock is ahead of the time of the simulation, in nanoseconds.
    ahead: i64,
    /// The same without steps back.
    most_ahead: i64,
    /// How long each server has worked.
    pub(crate) busy: Vec<u64>,
}

impl Store {
    pub(crate) fn new(servers: usize) -> Self {
        Self { busy_until: vec![0; servers], busy: vec![0; servers], ..Self::default() }
    }

    fn server(&self, key: &StoreKey) -> usize {
        usize::from(u16::from_le_bytes([key[0], key[1]])) % self.busy.len()
    }

    /// Returns to how many servers a batch goes.
    pub(crate) fn servers(&self, orders: &[Order]) -> u64 {
        let mut servers: Vec<usize> = orders.iter().map(|order| self.server(&order.key)).collect();
        servers.sort_unstable();
        servers.dedup();
        servers.len() as u64
    }

    /// The store's clock, without its steps back, in microseconds.
    pub(crate) fn time(&self, now: u64) -> u64 {
        (now + START).saturating_add_signed(self.most_ahead) / 1000
    }

    pub(crate) fn is_up(&self, now: u64) -> bool {
        now >= self.frozen_until && now >= self.gone_until
    }

    /// Executes a batch; returns the answers with the times of their execution.
    pub(crate) fn execute(&mut self, now: u64, orders: &[Order], service: u64) -> Vec<(LedgerAnswer, u64)> {
        let mut answers = Vec::with_capacity(orders.len());
        for order in orders {
            let server = self.server(&order.key);
            let at = now.max(self.busy_until[server]).max(self.frozen_until) + service;
            self.busy_until[server] = at;
            self.busy[server] += service;
            let micros = (at + START).saturating_add_signed(self.ahead) / 1000;
            let ledger = self.ledgers.entry(order.key).or_default();
            let before = (self.keep > 0).then(|| ledger.clone());
            if order.clear {
                *ledger = Ledger::default();
            }
            let answer = ledger.apply(micros, &order.call);
            if let Some(before) = before {
                let taken =
                    order.call.takes.iter().map(|take| u64::from(take.cost) * u64::from(take.count)).sum::<u64>();
                let used = order.call.used.iter().map(|report| u64::from(report.count)).sum::<u64>();
                let tokens = taken + used + order.call.debits + u64::from(answer.leased);
                self.undo.push_back(Undo { executed: at, key: order.key, before, tokens });
            }
            answers.push((answer, at));
        }
        while self.undo.front().is_some_and(|undo| undo.executed + self.keep < now) {
            self.undo.pop_front();
        }
        answers
    }

    /// Another server takes over, which lacks what was executed since `since`. Returns the tokens that it lacks.
    pub(crate) fn fail_over(&mut self, since: u64, until: u64, step: i64) -> u64 {
        let mut lost = 0;
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.executed >= since) {
            lost += undo.tokens;
            self.ledgers.insert(undo.key, undo.before);
        }
        self.gone_until = until;
        self.ahead += step;
        self.most_ahead += step.max(0);
        lost
    }

    pub(crate) fn forget(&mut self) {
        self.ledgers.clear();
        self.undo.clear();
    }

    pub(crate) fn keys(&self) -> usize {
        self.ledgers.len()
    }
}
