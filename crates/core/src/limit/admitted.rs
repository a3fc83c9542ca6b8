//! Per-exchange state of limits.

use super::charge::ChargeDecisions;
use super::concurrency::ConcurrencyPermit;
use super::decision::{Decision, Reservation};
use super::limiter::Limiter;
use crate::exchange::Exchange;
use crate::exchange::slots::{Feature, FeatureMemory, FeatureSlot};

/// Decisions of a route's limits on an exchange.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Decision of each of [`Limiter::ALL`]; None if the policy did not run.
    pub by: [Option<bool>; Limiter::ALL.len()],
    /// Permits of concurrency limits, held until the exchange is over.
    pub permits: Vec<ConcurrencyPermit>,
    /// What a limiter has waited for, until it goes on.
    pub awaited: Option<AwaitedCharges>,
}

/// Charges of which some had to wait for a store.
#[derive(Debug)]
pub struct AwaitedCharges {
    /// The decisions of limits that did not wait, and what it takes to give back what they were charged.
    pub own: Vec<(Decision, Reservation)>,
    /// What the store has decided.
    pub shared: ChargeDecisions,
}

impl FeatureMemory for Admitted {
    fn reset(&mut self) {
        self.by = Default::default();
        self.permits.clear();
        self.awaited = None;
    }
}

impl Feature for Admitted {
    const POSITION: FeatureSlot = FeatureSlot::Limit;
}

impl Exchange {
    /// Returns the decisions of limits, if there are any.
    #[inline]
    pub fn admitted(&self) -> Option<&Admitted> {
        self.slots.get()
    }

    /// Returns the decisions of limits for changing, and creates them on first use.
    #[inline]
    pub fn admitted_mut(&mut self) -> &mut Admitted {
        self.slots.get_or_default()
    }
}
