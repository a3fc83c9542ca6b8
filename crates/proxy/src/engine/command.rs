//! Commands of operators on the runtime state: breakers, limits and the latest exchanges.

use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::limit::Clocks;
use pylae_core::maintenance::Maintenance;
use pylae_policies::rate_limit::{Holder, Standing};
use serde::Deserialize;

use super::Engine;
use crate::io::clock;
use crate::snapshot::Service;
use crate::telemetry::recent::Exchanges;

/// Names a limit of a route and one of its keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitQuestion {
    route: String,
    /// `rate_limit` or `address_limit`.
    policy: String,
    name: String,
    holder: Holder,
    /// Reset the counters of the key.
    forget: bool,
}

impl Engine {
    /// Closes the breaker of a service, or of one or all of its instances if each has its own. Returns true if that
    /// changed a state, or None if the service has no breaker. `instance` is a URL as the plan writes it.
    pub fn reset_breaker(&self, service: &str, instance: Option<&str>) -> Result<Option<bool>, Problem> {
        let found = self.service(service)?;
        let index = instance.map(|url| found.position(url)).transpose()?;
        let changes = found.state.reset_breaker(index);
        let changed = changes.as_ref().map(|changes| !changes.is_empty());
        self.shared.log.write_changes(changes.into_iter().flatten());
        Ok(changed)
    }

    /// Returns the state of a limit for a key, after a reset if `forget` is set.
    pub fn limit(&self, question: &LimitQuestion) -> Result<Standing, Problem> {
        let LimitQuestion { route, policy, name, holder, forget } = question;
        let snapshot = Arc::clone(&self.state.in_force.lock().snapshot);
        let found = snapshot.routes.iter().find(|known| *known.name == **route);
        let found = found.ok_or_else(|| Problem::at("route", format!("there is no route `{route}`")))?;
        let limits = found.chain.rate_limit(policy);
        let limits = limits.ok_or_else(|| Problem::at("policy", format!("the route has no `{policy}`")))?;
        let at = Clocks { now: clock::now(), wall: clock::wall() };
        limits.standing(name, holder, at, *forget).map_err(|message| Problem::at("", message))
    }

    /// Replaces what is switched to maintenance. When this returns, every request that reaches its route is judged by
    /// these switches.
    pub fn set_maintenance(&self, maintenance: Maintenance) {
        self.shared.maintenance.set(maintenance);
    }

    /// The number of keys in the counter store, and the bytes that they take.
    pub fn limit_usage(&self) -> (usize, usize) {
        (self.policies.counters.keys(), self.policies.counters.bytes())
    }

    /// The latest exchanges after the given cursors, one per worker, or all if a cursor is missing. Returns at most
    /// `most` of each worker. With `watch`, workers keep more exchanges for some seconds.
    pub fn exchanges(&self, cursors: &[u64], most: usize, watch: bool) -> Exchanges {
        self.workers.exchanges(cursors, most, watch.then(clock::second))
    }

    pub(super) fn service(&self, name: &str) -> Result<Arc<Service>, Problem> {
        let snapshot = Arc::clone(&self.state.in_force.lock().snapshot);
        let found = snapshot.services.get(name).map(Arc::clone);
        found.ok_or_else(|| Problem::at("", format!("there is no service `{name}`")))
    }
}
