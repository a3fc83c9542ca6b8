//! The plan in force, ready to serve: immutable, shared by all workers, swapped whole.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::cache::Cache;
use pylae_core::hook::{HookSource, Hooks};
use pylae_core::plan::{self, Plan};
use pylae_core::route::Router;
use pylae_core::route::rewrite::PathEdit;
use pylae_core::service::ServiceState;
use pylae_http::HeadLimits;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, Parts, Shared};
use tokio::sync::Notify;

use crate::clock;
use crate::sink::Sink;

/// The plan in force.
pub(crate) struct Snapshot {
    pub(crate) plan: Plan,
    pub(crate) head_limits: HeadLimits,
    pub(crate) router: Router,
    pub(crate) routes: Box<[Route]>,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    /// Policies of exchanges that no route takes.
    pub(crate) unrouted: Chain,
    /// Where their lines go.
    pub(crate) sink: Option<Arc<Sink>>,
    /// The response cache, if any route has ever had one.
    pub(crate) cache: Option<Arc<Cache>>,
}

/// A route, ready to serve.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) path_edit: Option<PathEdit>,
    pub(crate) chain: Chain,
    /// Its Python hooks.
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    /// The service that gets copies of its requests.
    pub(crate) mirror: Option<Arc<Service>>,
    /// Where the lines of its access log go.
    pub(crate) sink: Option<Arc<Sink>>,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_on: Box<[plan::RetryOn]>,
    pub(crate) preserve_host: bool,
}

/// A service, ready to serve.
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) plan: plan::Service,
    pub(crate) state: ServiceState,
    /// Key of each instance's connection pools: the same address keeps its key over reloads.
    pub(crate) pools: Box<[u64]>,
    /// Wakes those that wait for `max_in_flight`, over all workers and over reloads.
    pub(crate) room: Arc<Notify>,
}

/// Keys of connection pools by address: they outlive a snapshot, so that connections survive a reload.
#[derive(Clone, Default)]
pub(crate) struct PoolKeys {
    by_url: HashMap<String, u64>,
    next: u64,
}

impl Snapshot {
    /// Builds a snapshot. State of what `previous` already had is taken over by name. All problems are reported.
    pub(crate) fn build(
        plan: Plan,
        previous: Option<&Self>,
        keys: &mut PoolKeys,
        shared: &Arc<Shared>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if plan.version != plan::VERSION {
            problems.push(Problem::at("version", format!("this engine reads plans of version {}", plan::VERSION)));
        }
        let urls = keys.renewed(&plan);
        let services = build_services(&plan, previous, &urls, &mut problems);
        let router = Router::build(&plan.routes).map_err(|found| problems.extend(found)).ok();
        let auth = match Authenticators::build(plan.auth.as_ref(), shared) {
            Ok(auth) => auth,
            Err(found) => {
                // Routes would only complain that it is missing.
                problems.extend(found.into_iter().map(|problem| problem.under("auth")));
                return Err(problems);
            }
        };
        let mut routes = Vec::with_capacity(plan.routes.len());
        for (index, route) in plan.routes.iter().enumerate() {
            let parts = Parts {
                route: &route.name,
                params: router.as_ref().map_or(&[], |router| router.params(index)),
                shared,
                auth: &auth,
            };
            match Route::build(route, &services, &parts) {
                Ok(route) => routes.push(route),
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| problem.under(&format!("routes[{index}]"))));
                }
            }
        }
        let parts = Parts { route: "", params: &[], shared, auth: &auth };
        let unrouted = Chain::build(&plan.unrouted, &parts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("unrouted"))))
            .unwrap_or_default();
        let (Some(router), true) = (router, problems.is_empty()) else { return Err(problems) };
        *keys = urls;
        let limits = &plan.limits;
        let head_limits = HeadLimits { head: limits.max_head, target: limits.max_target, fields: limits.max_fields };
        let cache = shared.cache_in_use().cloned();
        Ok(Self { head_limits, router, routes: routes.into(), services, unrouted, sink: None, cache, plan })
    }

    /// Gives every access log its sink. All problems are reported.
    pub(crate) fn connect_logs(
        &mut self,
        mut open: impl FnMut(&str) -> Result<Arc<Sink>, String>,
    ) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut connect = |chain: &Chain, path: &dyn Fn() -> String| {
            let log = chain.access_log()?;
            open(log.output()).map_err(|what| problems.push(Problem::at(path(), what))).ok()
        };
        self.sink = connect(&self.unrouted, &|| "unrouted.access_log.output".to_owned());
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.sink = connect(&route.chain, &|| format!("routes[{index}].policies.access_log.output"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Gives every route its hooks. All problems are reported.
    pub(crate) fn connect_hooks(&mut self, source: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for (index, route) in self.routes.iter_mut().enumerate() {
            let Some(hooked) = route.chain.hooks() else { continue };
            route.hooks = source
                .compile(&route.name, self.router.params(index), hooked.calls())
                .map_err(|found| {
                    let path = format!("routes[{index}].policies.hooks");
                    problems.extend(found.into_iter().map(|problem| problem.under(&path)));
                })
                .ok();
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Whether forwarding headers from this peer are believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.plan.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

fn build_services(
    plan: &Plan,
    previous: Option<&Snapshot>,
    keys: &PoolKeys,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Arc<Service>> {
    let mut services = BTreeMap::new();
    for (index, service) in plan.services.iter().enumerate() {
        let before = previous.and_then(|snapshot| snapshot.services.get(&service.name));
        match ServiceState::build(service, before.map(|service| &service.state), clock::now()) {
            Ok(state) => {
                let pools = service.instances.iter().map(|instance| keys.by_url[&instance.url]).collect();
                let room = before.map(|service| Arc::clone(&service.room)).unwrap_or_default();
                let ready = Service { name: service.name.as_str().into(), plan: service.clone(), state, pools, room };
                if services.insert(service.name.clone(), Arc::new(ready)).is_some() {
                    problems.push(Problem::at(format!("services[{index}].name"), "another service has this name"));
                }
            }
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| problem.under(&format!("services[{index}]"))));
            }
        }
    }
    services
}

impl Route {
    fn build(
        route: &plan::Route,
        services: &BTreeMap<String, Arc<Service>>,
        parts: &Parts<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let service = route.service.as_ref().and_then(|name| {
            let found = services.get(name).cloned();
            if found.is_none() {
                problems.push(Problem::at("service", format!("there is no service `{name}`")));
            }
            found
        });
        let path_edit = PathEdit::build(route.rewrite.as_deref(), route.strip_prefix.as_deref(), parts.params)
            .map_err(|found| problems.extend(found))
            .ok()
            .flatten();
        let chain = Chain::build(&route.policies, parts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("policies"))))
            .unwrap_or_default();
        let mirror = chain.mirror().and_then(|mirror| {
            let found = services.get(mirror.service()).cloned();
            if found.is_none() {
                let message = format!("there is no service `{}`", mirror.service());
                problems.push(Problem::at("policies.mirror.service", message));
            }
            found
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: route.name.as_str().into(),
            service,
            path_edit,
            chain,
            hooks: None,
            mirror,
            sink: None,
            timeout: route.timeout.0,
            idle_timeout: route.idle_timeout.0,
            deadline: route.deadline.map(|deadline| deadline.0),
            retries: route.retries,
            retry_on: route.retry_on.clone().into(),
            preserve_host: route.preserve_host,
        })
    }
}

impl PoolKeys {
    /// Keys for the addresses of `plan`: the known ones as they were, further ones new, others forgotten.
    fn renewed(&self, plan: &Plan) -> Self {
        let mut renewed = Self { by_url: HashMap::new(), next: self.next };
        for instance in plan.services.iter().flat_map(|service| &service.instances) {
            let key = self.by_url.get(&instance.url).copied();
            renewed.by_url.entry(instance.url.clone()).or_insert_with(|| {
                key.unwrap_or_else(|| {
                    renewed.next += 1;
                    renewed.next
                })
            });
        }
        renewed
    }
}
