//! The split of a route in the snapshot.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pylae_core::expression::ExpressionPlace;
use pylae_core::plan::SplitPlan;
use pylae_core::route::{Choice, Member, Router, Scratch, Split};
use pylae_core::{Exchange, Instant, Problem};
use pylae_policies::transform;

use super::service::{Service, Services};
use crate::telemetry::metrics::{Metrics, Series};

/// The members of a route's split, ready to serve.
pub(crate) struct RouteSplit {
    members: Box<[Branch]>,
    /// Counts the choices by weight, over all workers and reloads.
    turns: Arc<AtomicU64>,
}

/// A member, its service, and what is counted about the two.
struct Branch {
    member: Arc<Member>,
    service: Arc<Service>,
    series: Option<Arc<Series>>,
}

impl RouteSplit {
    /// `compiled` is the same split in the router, which has none if it could not be built. `previous` is the split
    /// that this one replaces.
    pub(super) fn build(
        plan: &SplitPlan,
        compiled: Option<&Split>,
        services: &Services,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut found = Vec::with_capacity(plan.members.len());
        for (index, member) in plan.members.iter().enumerate() {
            let at = format!("members[{index}]");
            let wrong = transform::check_request_changes(&member.headers);
            problems.extend(wrong.into_iter().map(|problem| problem.under(&at)));
            if let Some(service) = services.get(&member.service) {
                found.push(Arc::clone(service));
            } else {
                let message = format!("there is no service `{}`", member.service);
                problems.push(Problem::at(format!("{at}.service"), message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let members = compiled.map_or(&[][..], Split::members).iter().zip(found);
        let branch = |(member, service)| Branch { member: Arc::clone(member), service, series: None };
        let turns = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.turns));
        Ok(Self { members: members.map(branch).collect(), turns })
    }

    /// Chooses the member for the request in `exchange`, which the router has given to `route`.
    pub(crate) fn choose(&self, router: &Router, route: usize, scratch: &mut Scratch, exchange: &mut Exchange) {
        let now = exchange.times.now;
        let choice = router.choose(route, exchange, scratch, &self.turns, |index| self.is_available(index, now));
        if let Some(told) = scratch.take_failure() {
            exchange.record_failure(ExpressionPlace::Split, told);
        }
        if let Some(choice) = choice {
            self.set(choice, exchange);
        }
    }

    /// Gives the request in `exchange` to a member.
    pub(crate) fn set(&self, choice: Choice, exchange: &mut Exchange) {
        exchange.set_member(&self.members[choice.index].member, choice);
    }

    /// Returns true if the service of a member can take a request now.
    pub(crate) fn is_available(&self, index: usize, now: Instant) -> bool {
        self.members[index].service.state.is_available(now)
    }

    /// The service of the chosen member.
    pub(super) fn service(&self, exchange: &Exchange) -> Option<&Arc<Service>> {
        self.chosen(exchange).map(|branch| &branch.service)
    }

    /// Returns true if `service` is that of the chosen member, and not one that a hook has named in its place.
    pub(crate) fn has_chosen(&self, service: &Service, exchange: &Exchange) -> bool {
        self.chosen(exchange).is_some_and(|branch| branch.is_of(service))
    }

    /// Makes the changes of the member to a request that goes to `service`. If a hook has named the service of another
    /// member, these are the changes of that member.
    pub(crate) fn apply_changes(&self, service: &Service, exchange: &mut Exchange) {
        if let Some(branch) = self.branch(service, exchange) {
            branch.member.apply(&mut exchange.request.edits);
        }
    }

    /// The series in which an exchange that goes to `service` is counted.
    pub(super) fn series(&self, service: Option<&Service>, exchange: &Exchange) -> Option<&Arc<Series>> {
        let named = service.and_then(|service| self.branch(service, exchange));
        named.or_else(|| self.chosen(exchange))?.series.as_ref()
    }

    /// The series of all members.
    pub(super) fn all_series(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.members.iter().filter_map(|branch| branch.series.as_ref())
    }

    pub(super) fn connect_series(&mut self, route: &str, metrics: &Metrics) {
        for branch in &mut self.members {
            branch.series = Some(metrics.series(route, &branch.service.name));
        }
    }

    fn chosen(&self, exchange: &Exchange) -> Option<&Branch> {
        self.members.get(exchange.choice()?.index)
    }

    /// The chosen member if it has this service, or else the first that has.
    fn branch(&self, service: &Service, exchange: &Exchange) -> Option<&Branch> {
        let chosen = self.chosen(exchange).filter(|branch| branch.is_of(service));
        chosen.or_else(|| self.members.iter().find(|branch| branch.is_of(service)))
    }
}

impl Branch {
    fn is_of(&self, service: &Service) -> bool {
        ptr::eq(&raw const *self.service, &raw const *service)
    }
}
