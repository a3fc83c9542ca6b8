//! Per-exchange state of limits.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::charge::ChargeDecisions;
use super::concurrency::{ConcurrencyPermit, PlaceVerdict};
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
    /// What was charged by estimates, in limits that are settled.
    pub reserved: Option<Arc<ReservedCosts>>,
    /// What came of the place that a limiter has waited for, until it goes on.
    pub awaited_place: Option<PlaceVerdict>,
}

/// Charges of which some had to wait for a store.
#[derive(Debug)]
pub struct AwaitedCharges {
    /// The decisions of limits that did not wait, and what it takes to give back what they were charged.
    pub own: Vec<(Decision, Reservation)>,
    /// What the store has decided.
    pub shared: ChargeDecisions,
}

/// What the limits of a route have charged for an exchange by estimates, and the true costs as far as they are known.
/// Hooks on other threads tell true costs too.
#[derive(Debug, Default)]
pub struct ReservedCosts {
    keys: Box<[u8]>,
    costs: Box<[ReservedCost]>,
}

#[derive(Debug)]
struct ReservedCost {
    key: Range<usize>,
    reservation: Reservation,
    truth: Mutex<TrueCost>,
}

/// What is known of a true cost.
#[derive(Copy, Clone, Debug, Default)]
enum TrueCost {
    #[default]
    Unknown,
    /// The instance or a hook has told it.
    Told(u32),
    /// It is charged.
    Settled,
}

impl ReservedCosts {
    /// Keeps what is needed to settle these reservations of these keys.
    pub fn new<'a>(reservations: impl Iterator<Item = (&'a [u8], Reservation)>) -> Self {
        let mut keys = Vec::new();
        let costs = reservations.map(|(key, reservation)| {
            let start = keys.len();
            keys.extend_from_slice(key);
            ReservedCost { key: start..keys.len(), reservation, truth: Mutex::default() }
        });
        let costs = costs.collect();
        Self { keys: keys.into(), costs }
    }

    /// Sets a true cost, unless it is charged already. `index` is that of the charge; None are all of them.
    pub fn tell(&self, index: Option<usize>, cost: u32) {
        let told = self.costs.iter().enumerate().filter(|(at, _)| index.is_none_or(|index| index == *at));
        for (_, reserved) in told {
            let mut truth = reserved.truth.lock();
            if !matches!(*truth, TrueCost::Settled) {
                *truth = TrueCost::Told(cost);
            }
        }
    }

    /// Sets a true cost that nothing else has told.
    pub fn tell_first(&self, index: usize, cost: u32) {
        if let Some(reserved) = self.costs.get(index) {
            let mut truth = reserved.truth.lock();
            if matches!(*truth, TrueCost::Unknown) {
                *truth = TrueCost::Told(cost);
            }
        }
    }

    /// Calls `settle` with the index, key, reservation and true cost of each charge that is not settled yet. For those
    /// whose true cost nothing has told, `untold` turns the estimate into it, or leaves them open. Returns their
    /// number.
    pub fn settle(
        &self,
        untold: impl Fn(u32) -> Option<u32>,
        mut settle: impl FnMut(usize, &[u8], &Reservation, u32),
    ) -> usize {
        let mut count = 0;
        for (index, reserved) in self.costs.iter().enumerate() {
            let mut truth = reserved.truth.lock();
            let cost = match *truth {
                TrueCost::Settled => continue,
                TrueCost::Told(cost) => Some(cost),
                TrueCost::Unknown => {
                    count += 1;
                    untold(reserved.reservation.cost())
                }
            };
            if let Some(cost) = cost {
                *truth = TrueCost::Settled;
                settle(index, &self.keys[reserved.key.clone()], &reserved.reservation, cost);
            }
        }
        count
    }
}

impl FeatureMemory for Admitted {
    fn reset(&mut self) {
        self.by = Default::default();
        self.permits.clear();
        self.awaited = None;
        self.reserved = None;
        self.awaited_place = None;
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
