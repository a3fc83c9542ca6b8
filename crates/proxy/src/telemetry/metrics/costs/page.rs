//! What the policies of each route cost, on the page for Prometheus.

use std::collections::BTreeMap;

use pylae_policies::TABLE;

use super::super::names::Names;
use super::super::page::{COUNTER, Page};
use super::super::series::Figures;
use super::policies::PolicyFigures;

/// The figures of each policy by route and name, over all services of the route.
pub(super) fn by_route(routes: &[(Names, Figures)]) -> BTreeMap<(&str, &'static str), PolicyFigures> {
    let mut found = BTreeMap::<_, PolicyFigures>::new();
    for ((route, _), figures) in routes {
        for (position, one) in &figures.policies {
            if let Some(row) = TABLE.get(*position) {
                found.entry((&**route, row.name)).or_default().merge(one);
            }
        }
    }
    found
}

impl Page {
    /// Policies by route.
    pub(crate) fn policies(&mut self, routes: &[(Names, Figures)]) {
        let found = by_route(routes);
        let what = "Requests that a policy has seen, estimated from a sample of exchanges.";
        self.policy("pylae_policy_runs_total", what, &found, |one| count(one.runs));
        let what = "Time that workers spent in a policy, estimated from a sample of exchanges.";
        self.policy("pylae_policy_seconds_total", what, &found, |one| seconds(one.nanos));
        let what = "Time that exchanges waited for what a policy needs from elsewhere, estimated like the above.";
        self.policy("pylae_policy_wait_seconds_total", what, &found, |one| seconds(one.waited));
        let what = "Requests that a policy refused with 4xx.";
        self.policy("pylae_policy_rejections_total", what, &found, |one| count(one.rejections));
        let what = "Requests that a policy ended with 5xx, or for which it waited too long.";
        self.policy("pylae_policy_failures_total", what, &found, |one| count(one.failures));
    }

    /// A family with a sample for each policy. Zeros are left out.
    fn policy(
        &mut self,
        name: &str,
        help: &str,
        found: &BTreeMap<(&str, &'static str), PolicyFigures>,
        value: impl Fn(&PolicyFigures) -> f64,
    ) {
        self.family(name, COUNTER, help);
        for ((route, policy), one) in found {
            let value = value(one);
            if value > 0.0 {
                self.sample(name, &[("route", route), ("policy", policy)], value);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page has doubles anyway")]
fn count(count: u64) -> f64 {
    count as f64
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}
