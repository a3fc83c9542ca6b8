//! Asks the split of a route.

use std::sync::atomic::AtomicU64;

use super::condition::MemberConditions;
use super::{Choice, Split};
use crate::exchange::Exchange;
use crate::route::matching::predicate::InHead;
use crate::route::{Router, Scratch};

impl Router {
    /// How the requests of a route are split, if they are.
    pub fn split(&self, route: usize) -> Option<&Split> {
        self.rules[route].split.as_ref()
    }

    /// Chooses a member of a route's split for the request. `turns` counts the choices by weight, and `available` says
    /// whether the service of a member can take a request now. Returns None if the request meets no condition and no
    /// member has a weight. A condition that cannot be told is not met, and the scratch memory has the reason then.
    /// Allocates nothing once `scratch` is warm.
    pub fn choose(
        &self,
        route: usize,
        exchange: &Exchange,
        scratch: &mut Scratch,
        turns: &AtomicU64,
        available: impl Fn(usize) -> bool,
    ) -> Option<Choice> {
        scratch.reset_for(self.id);
        let split = self.split(route)?;
        let meets = |conditions: &MemberConditions| self.meets(exchange, split, conditions, scratch);
        split.choose(exchange, meets, turns, available)
    }

    /// Returns true if the request meets all conditions of a member.
    pub(super) fn meets(
        &self,
        exchange: &Exchange,
        split: &Split,
        conditions: &MemberConditions,
        scratch: &mut Scratch,
    ) -> bool {
        let headers = InHead { fields: &exchange.request.head.fields, buf: &exchange.request.buffer };
        let values = &mut scratch.values;
        if !conditions.predicates.iter().all(|condition| condition.matches(&headers, None, &self.values, values)) {
            return false;
        }
        conditions.meets_expression(exchange, &split.route).unwrap_or_else(|why| {
            scratch.failed = Some(why);
            false
        })
    }
}
