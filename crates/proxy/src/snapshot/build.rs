//! Builds a snapshot from a plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::plan::{self, Plan};
use pylae_core::route::{Router, ServedHosts};
use pylae_core::trace::{Ratio, Sampling};
use pylae_http::HeadLimits;
use pylae_policies::access_log::AccessLog;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, Parts, PolicyShared};

use super::Snapshot;
use super::collectors::check_collectors;
use super::early::EarlyStage;
use super::listener::{build_admin_tls, build_listeners};
use super::pool_keys::PoolKeys;
use super::route::{Route, mirror_of};
use super::service::{Services, build_services};
use super::split::RouteSplit;
use crate::telemetry::otlp::exporters::Exports;

impl Snapshot {
    /// Builds a snapshot. State is carried over from `previous` by name. Reports all problems.
    pub(crate) fn build(
        mut plan: Plan,
        previous: Option<&Snapshot>,
        keys: &mut PoolKeys,
        shared: &Arc<PolicyShared>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if plan.version != plan::VERSION {
            problems.push(Problem::at("version", format!("this engine reads plans of version {}", plan::VERSION)));
        }
        let listeners = build_listeners(&plan, previous.map_or(&[], |previous| &previous.listeners), &mut problems);
        let admin_tls = build_admin_tls(&plan, previous.and_then(|one| one.admin_tls.as_ref()), &mut problems);
        check_collectors(&plan, &mut problems);
        let pool_keys = keys.for_plan(&plan);
        let services = build_services(&plan, previous.map(|previous| &previous.services), &pool_keys, &mut problems);
        let hosts = ServedHosts::build(&plan.hosts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("hosts"))))
            .unwrap_or_default();
        let router = Router::build(&plan.routes).map_err(|found| problems.extend(found)).ok();
        let auth = build_auth(&plan, shared, &mut problems)?;
        let previous_splits: HashMap<&str, &RouteSplit> = previous.map(split_routes).unwrap_or_default();
        let mut routes = Vec::with_capacity(plan.routes.len());
        for (index, route) in plan.routes.iter().enumerate() {
            let parts = Parts {
                route: &route.name,
                service: route.service.as_deref().unwrap_or_default(),
                params: router.as_ref().map_or(&[], |router| router.params(index)),
                shared,
                auth: &auth,
            };
            let compiled = router.as_ref().and_then(|router| router.split(index));
            let splits = (compiled, previous_splits.get(route.name.as_str()).copied());
            match Route::build(route, &services, &parts, splits) {
                Ok(route) => routes.push(route),
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| problem.under(&format!("routes[{index}]"))));
                }
            }
        }
        let parts = Parts { route: "", service: "", params: &[], shared, auth: &auth };
        let unrouted = Chain::build(&plan.unrouted, &parts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("unrouted"))))
            .unwrap_or_default();
        let early = EarlyStage::build(&plan.early, &parts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("early"))))
            .unwrap_or_default();
        let sampling = connect_sampling(&plan, &mut routes);
        check_unused(&plan, &services, &auth, &mut problems);
        let chains = routes.iter().map(|route: &Route| &route.chain).chain([&unrouted]);
        let description = AccessLog::plain(&parts, chains.filter_map(Chain::outlet));
        let (Some(router), true) = (router, problems.is_empty()) else { return Err(problems) };
        *keys = pool_keys;
        // The chains are made of them, and as JSON they take more memory than all else of a route.
        plan.routes.iter_mut().for_each(|route| route.policies = BTreeMap::new());
        let limits = &plan.limits;
        let head_limits = HeadLimits { head: limits.max_head, target: limits.max_target, fields: limits.max_fields };
        Ok(Self {
            head_limits,
            listeners,
            admin_tls,
            hosts,
            router,
            routes: routes.into(),
            services,
            reserved: reserved_fields(&auth),
            auth,
            early,
            unrouted,
            sink: None,
            sampling,
            description,
            series: None,
            exports: Exports::default(),
            cache: shared.cache_if_used().cloned(),
            plan,
        })
    }
}

/// Builds the authenticators. Without them all problems so far are returned: routes would only report that they are
/// missing.
fn build_auth(plan: &Plan, shared: &PolicyShared, problems: &mut Vec<Problem>) -> Result<Authenticators, Vec<Problem>> {
    Authenticators::build(plan.auth.as_ref(), &shared.identity).map_err(|found| {
        problems.extend(found.into_iter().map(|problem| problem.under("auth")));
        std::mem::take(problems)
    })
}

/// Tells each route its ratio. Returns which exchanges are traced, or None if none are.
fn connect_sampling(plan: &Plan, routes: &mut [Route]) -> Option<Sampling> {
    let traces = plan.telemetry.as_ref()?.traces.as_ref()?;
    let sampling = Sampling::of(traces);
    for route in routes {
        route.ratio = traces.routes.get(&*route.name).map_or(sampling.ratio, |share| Ratio::new(*share));
    }
    Some(sampling)
}

/// The fields that no client may send; None if there are none.
fn reserved_fields(auth: &Authenticators) -> Option<Arc<[Box<str>]>> {
    let names: Vec<Box<str>> = auth.reserved_fields().map(Into::into).collect();
    (!names.is_empty()).then(|| names.into())
}

/// The splits of a snapshot by the names of their routes.
fn split_routes(snapshot: &Snapshot) -> HashMap<&str, &RouteSplit> {
    snapshot.routes.iter().filter_map(|route| Some((&*route.name, route.split.as_ref()?))).collect()
}

/// Checks the policies of the plan that no route uses. They are built and dropped.
fn check_unused(plan: &Plan, services: &Services, auth: &Authenticators, problems: &mut Vec<Problem>) {
    if plan.unused.is_empty() {
        return;
    }
    let shared = Arc::new(PolicyShared::new(1));
    let chain = Chain::build(&plan.unused, &Parts { route: "", service: "", params: &[], shared: &shared, auth });
    let found = chain.and_then(|chain| mirror_of(&chain, services).map_err(|problem| vec![problem])).err();
    problems.extend(found.into_iter().flatten().map(|problem| problem.under("unused")));
}
