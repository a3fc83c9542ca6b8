//! What a request that waits for the store shares with those who decide it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::limit::charge::{ChargeDecisions, ChargeVerdict};
use crate::limit::decision::Decision;
use crate::limit::tag::CounterTag;

/// How a cost was admitted, which says how it is given back.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// By the view: the store is told with the next flush.
    Debit,
    /// The store has charged it.
    Taken,
    /// From a lease of this generation, not yet used.
    Leased(u64),
    /// From the share of this node while the store does not answer.
    Share,
    /// Nothing is given back.
    Spent,
}

/// One charge of a request that waits.
#[derive(Debug)]
pub(super) struct TicketPart {
    pub(super) tag: CounterTag,
    pub(super) cost: u32,
    pub(super) decision: Decision,
    /// None: refused, or not yet decided.
    pub(super) grant: Option<Grant>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum TicketPhase {
    /// Charges are missing.
    Waiting,
    /// All charges are decided, and the request does not know it yet.
    Decided,
    /// Nobody waits any more: the request knows the verdict, or is gone.
    Over,
}

#[derive(Debug)]
pub(super) struct TicketState {
    pub(super) parts: Vec<TicketPart>,
    pub(super) missing: usize,
    /// When the request came.
    pub(super) since: u64,
    pub(super) phase: TicketPhase,
    pub(super) waker: Option<Waker>,
}

impl TicketState {
    /// Returns what it has come to, once all is decided.
    pub(super) fn decisions(&self) -> ChargeDecisions {
        let refusing = self.parts.iter().enumerate().filter(|(_, part)| part.grant.is_none());
        let longest = refusing.max_by_key(|(_, part)| part.decision.retry_after);
        ChargeDecisions {
            verdict: longest.map_or(ChargeVerdict::Admitted, |(by, _)| ChargeVerdict::Refused { by }),
            decisions: self.parts.iter().map(|part| part.decision).collect(),
        }
    }
}

/// A request that waits for the store.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Locked before a shard, never while one is locked.
    pub(super) state: Mutex<TicketState>,
    /// The request is gone. It can be read while a shard is locked.
    pub(super) gone: AtomicBool,
}

/// The place of a charge in the queue of its key.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Arc<Ticket>,
    pub(super) part: u8,
    pub(super) cost: u32,
    /// What it takes is held until all is decided, so that it can be given back without trace.
    pub(super) held: bool,
}

impl Waiter {
    pub(super) fn is_gone(&self) -> bool {
        self.ticket.gone.load(Ordering::Acquire)
    }
}

/// What is to be told to a ticket, once no shard is locked.
#[derive(Debug)]
pub(super) struct WaiterOutcome {
    pub(super) waiter: Waiter,
    pub(super) decision: Decision,
    pub(super) grant: Option<Grant>,
}
