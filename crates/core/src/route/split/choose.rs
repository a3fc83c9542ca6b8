//! Asks the split of a route.

use std::sync::atomic::AtomicU64;

use super::{Choice, Split};
use crate::exchange::Exchange;
use crate::route::matching::predicate::{InHead, Predicate, ValueScratch};
use crate::route::{Router, Scratch};

impl Router {
    /// How the requests of a route are split, if they are.
    pub fn split(&self, route: usize) -> Option<&Split> {
        self.rules[route].split.as_ref()
    }

    /// Chooses a member of a route's split for the request. `turns` counts the choices by weight, and `available` says
    /// whether the service of a member can take a request now. Returns None if the request meets no condition and no
    /// member has a weight. Allocates nothing once `scratch` is warm.
    pub fn choose(
        &self,
        route: usize,
        exchange: &Exchange,
        scratch: &mut Scratch,
        turns: &AtomicU64,
        available: impl Fn(usize) -> bool,
    ) -> Option<Choice> {
        scratch.reset_for(self.id);
        let meets = |conditions: &[Predicate]| self.meets(exchange, conditions, &mut scratch.values);
        self.split(route)?.choose(exchange, meets, turns, available)
    }

    /// Returns true if the request meets all conditions of a member.
    pub(super) fn meets(&self, exchange: &Exchange, conditions: &[Predicate], values: &mut ValueScratch) -> bool {
        let headers = InHead { fields: &exchange.request.head.fields, buf: &exchange.request.buffer };
        conditions.iter().all(|condition| condition.matches(&headers, None, &self.values, values))
    }
}
