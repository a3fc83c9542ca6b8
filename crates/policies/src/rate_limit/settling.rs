//! Settles limits: what was charged by an estimate is corrected once the true cost is known.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::limit::{Clocks, Reservation, ReservedCosts};

use super::settle::{Settle, stated_cost};
use super::{Config, RateLimit};

impl Config {
    /// Returns the paths of all limits that are settled.
    pub(crate) fn settled_paths(&self) -> impl Iterator<Item = String> {
        let limits = self.limits.iter().enumerate().filter(|(_, limit)| limit.settle.is_some());
        limits.map(|(index, _)| format!("limits[{index}].settle"))
    }
}

impl RateLimit {
    /// Returns the names of the limits that are settled.
    pub(crate) fn settled(&self) -> impl Iterator<Item = Box<str>> {
        self.settled.iter().map(|settled| self.limits[settled.limit].name.clone())
    }

    /// Keeps what is needed to settle the limits. `reserved` returns the key of each, and what was charged.
    #[cold]
    pub(super) fn reserve<'k>(&self, exchange: &mut Exchange, reserved: impl Fn(usize) -> (&'k [u8], Reservation)) {
        let reserved = ReservedCosts::new(self.settled.iter().map(|settled| reserved(settled.limit)));
        exchange.admitted_mut().reserved = Some(Arc::new(reserved));
    }

    /// Reads the true costs that an instance's response states. What hooks have told goes before.
    pub(crate) fn read_costs(&self, exchange: &Exchange) {
        let Some(reserved) = exchange.admitted().and_then(|admitted| admitted.reserved.as_ref()) else { return };
        for (index, settled) in self.settled.iter().enumerate() {
            if let Settle::Field(name) = &settled.by
                && let Some(cost) = stated_cost(exchange, name)
            {
                reserved.tell_first(index, cost);
            }
        }
    }

    /// Settles true costs that are known, and all if nothing was sent to an instance. At the end of the exchange,
    /// `last`, the other estimates become the true costs. Returns how many.
    pub(crate) fn settle(&self, exchange: &Exchange, last: bool) -> usize {
        let Some(reserved) = exchange.admitted().and_then(|admitted| admitted.reserved.as_ref()) else { return 0 };
        let times = &exchange.times;
        let at = Clocks { now: times.now, wall: times.wall + times.now.since(times.started) };
        let untold = |estimate| if exchange.sent { last.then_some(estimate) } else { Some(0) };
        let count = reserved.settle(untold, |index, key, reservation, cost| {
            let limit = &self.limits[self.settled[index].limit];
            self.counters_of(limit).settle(&limit.limit, key, reservation, cost, at);
        });
        if exchange.sent { count } else { 0 }
    }

    /// Removes the fields that state costs from the response.
    pub(super) fn hide_costs(&self, exchange: &mut Exchange) {
        for settled in &self.settled {
            if let Settle::Field(name) = &settled.by {
                exchange.response.edits.remove(name.as_bytes());
            }
        }
    }
}
