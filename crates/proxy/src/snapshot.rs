//! The plan in force, ready to serve: immutable, shared by all workers, swapped whole.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::cache::Cache;
use pylae_core::hook::{HookSource, Hooks};
use pylae_core::plan::{self, Plan};
use pylae_core::route::rewrite::PathEdit;
use pylae_core::route::{Router, ServedHosts};
use pylae_core::service::{Instance, ServiceState};
use pylae_core::{Exchange, Problem};
use pylae_http::HeadLimits;
use pylae_policies::access_log::AccessLog;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Admission, Chain, Parts, Shared};

use crate::io::clock;
use crate::io::tls::{Acceptor, Connector};
use crate::telemetry::access_log::Sink;
use crate::telemetry::log::Refusals;
use crate::telemetry::metrics::Series;

/// The plan in force.
pub(crate) struct Snapshot {
    pub(crate) plan: Plan,
    /// In the order of the plan.
    pub(crate) listeners: Box<[Arc<Listener>]>,
    pub(crate) head_limits: HeadLimits,
    /// Hosts that are answered, if not all are.
    pub(crate) hosts: Option<ServedHosts>,
    pub(crate) router: Router,
    pub(crate) routes: Box<[Route]>,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    /// Policies of exchanges that no route takes.
    pub(crate) unrouted: Chain,
    /// Where their lines go.
    pub(crate) sink: Option<Arc<Sink>>,
    /// Their figures, in a running engine.
    pub(crate) series: Option<Arc<Series>>,
    /// How exchanges are described to those who look at the latest ones.
    pub(crate) description: AccessLog,
    /// The response cache, if any route has ever had one.
    pub(crate) cache: Option<Arc<Cache>>,
}

/// A listener, ready to serve.
pub(crate) struct Listener {
    pub(crate) plan: plan::Listener,
    pub(crate) tls: Option<Arc<Acceptor>>,
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
    /// Its figures, in a running engine.
    pub(crate) series: Option<Arc<Series>>,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_on: Box<[plan::RetryOn]>,
    pub(crate) preserve_host: Option<bool>,
    /// WebSocket, if the route allows it.
    pub(crate) websocket: Option<plan::WebSocket>,
}

/// A service, ready to serve.
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) plan: plan::Service,
    pub(crate) state: ServiceState,
    /// For instances that speak TLS.
    pub(crate) tls: Option<Arc<Connector>>,
    /// Handshakes with instances that failed.
    pub(crate) refusals: Refusals,
    /// Kept connections that ended under a request.
    pub(crate) lost: Refusals,
    /// Key of each instance's connection pools: an address that is spoken to in the same way keeps its key over reloads.
    pub(crate) pools: Box<[u64]>,
}

/// Keys of connection pools by address and TLS: they outlive a snapshot, so that connections survive a reload.
#[derive(Clone, Default)]
pub(crate) struct PoolKeys {
    by_address: HashMap<(String, Option<plan::ServiceTls>), u64>,
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
        let listeners = build_listeners(&plan, previous, &mut problems);
        let urls = keys.renewed(&plan);
        let services = build_services(&plan, previous, &urls, &mut problems);
        let hosts = ServedHosts::build(&plan.hosts)
            .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("hosts"))))
            .unwrap_or_default();
        let router = Router::build(&plan.routes).map_err(|found| problems.extend(found)).ok();
        let auth = match Authenticators::build(plan.auth.as_ref(), &shared.identity) {
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
        check_unused(&plan, &services, &auth, &mut problems);
        let chains = routes.iter().map(|route: &Route| &route.chain).chain([&unrouted]);
        let description = AccessLog::plain(&parts, chains.filter_map(Chain::access_log));
        let (Some(router), true) = (router, problems.is_empty()) else { return Err(problems) };
        *keys = urls;
        let limits = &plan.limits;
        let head_limits = HeadLimits { head: limits.max_head, target: limits.max_target, fields: limits.max_fields };
        let cache = shared.cache_in_use().cloned();
        Ok(Self {
            head_limits,
            listeners,
            hosts,
            router,
            routes: routes.into(),
            services,
            unrouted,
            sink: None,
            description,
            series: None,
            cache,
            plan,
        })
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

    /// Where its exchanges are counted.
    pub(crate) fn all_series(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.routes.iter().map(|route| &route.series).chain([&self.series]).flatten()
    }

    /// What is doubtful about the plan.
    pub(crate) fn warnings(&self) -> Vec<Problem> {
        let mut warnings = self.router.warnings().to_vec();
        let admissions: Vec<Admission<'_>> = self.routes.iter().map(|route| route.chain.admission()).collect();
        warnings.extend(self.router.overlaps(&self.plan.routes, |a, b| admissions[a].lets_in_more(&admissions[b])));
        for (index, listener) in self.listeners.iter().enumerate() {
            let found = listener.tls.iter().flat_map(|tls| tls.warnings.iter().cloned());
            warnings.extend(found.map(|problem| problem.under(&format!("listeners[{index}].tls"))));
        }
        warnings
    }

    /// Whether forwarding headers from this peer are believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.plan.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// Reports what is wrong with policies that are built for no exchange. They leave nothing behind.
fn check_unused(
    plan: &Plan,
    services: &BTreeMap<String, Arc<Service>>,
    auth: &Authenticators,
    problems: &mut Vec<Problem>,
) {
    if plan.unused.is_empty() {
        return;
    }
    let shared = Arc::new(Shared::new(1));
    let chain = Chain::build(&plan.unused, &Parts { route: "", params: &[], shared: &shared, auth });
    let found = chain.and_then(|chain| mirror_of(&chain, services).map_err(|problem| vec![problem])).err();
    problems.extend(found.into_iter().flatten().map(|problem| problem.under("unused")));
}

/// The service that gets copies.
fn mirror_of(chain: &Chain, services: &BTreeMap<String, Arc<Service>>) -> Result<Option<Arc<Service>>, Problem> {
    let Some(mirror) = chain.mirror() else { return Ok(None) };
    let unknown = || Problem::at("mirror.service", format!("there is no service `{}`", mirror.service()));
    services.get(mirror.service()).cloned().map(Some).ok_or_else(unknown)
}

fn build_listeners(plan: &Plan, previous: Option<&Snapshot>, problems: &mut Vec<Problem>) -> Box<[Arc<Listener>]> {
    let mut listeners = Vec::with_capacity(plan.listeners.len());
    for (index, plan) in plan.listeners.iter().enumerate() {
        let mut known = previous.into_iter().flat_map(|snapshot| &snapshot.listeners);
        let before = known.find(|listener| listener.plan.address == plan.address);
        let before = before.and_then(|listener| listener.tls.as_ref());
        match plan.tls.as_ref().map(|tls| Acceptor::build(tls, plan.http2, before)).transpose() {
            Ok(tls) => listeners.push(Arc::new(Listener { plan: plan.clone(), tls })),
            Err(found) => {
                let at = format!("listeners[{index}].tls");
                problems.extend(found.into_iter().map(|problem| problem.under(&at)));
            }
        }
    }
    listeners.into()
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
        let known = before.and_then(|service| service.tls.as_ref());
        let tls = service.tls.as_ref().map(|tls| Connector::build(tls, service.protocol, known)).transpose();
        let tls = tls.map_err(|found| {
            let at = format!("services[{index}].tls");
            problems.extend(found.into_iter().map(|problem| problem.under(&at)));
        });
        match ServiceState::build(service, before.map(|service| &service.state), clock::now()) {
            Ok(state) => {
                let pools = service.instances.iter().map(|instance| keys.of(service, instance)).collect();
                let (name, plan) = (service.name.as_str().into(), service.clone());
                let (tls, refusals, lost) = (tls.unwrap_or_default(), Refusals::default(), Refusals::default());
                let ready = Service { name, plan, state, tls, refusals, lost, pools };
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
        let mirror = mirror_of(&chain, services).unwrap_or_else(|problem| {
            problems.push(problem.under("policies"));
            None
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
            series: None,
            timeout: route.timeout.0,
            idle_timeout: route.idle_timeout.0,
            deadline: route.deadline.map(|deadline| deadline.0),
            retries: route.retries,
            retry_on: route.retry_on.clone().into(),
            preserve_host: route.preserve_host,
            websocket: route.websocket,
        })
    }
}

impl Service {
    /// The Host that one of its instances is sent for the request in `exchange`, by what a route says and then the service: the
    /// client's, or the instance's own.
    pub(crate) fn host_for<'a>(&self, instance: &'a Instance, said: Option<bool>, exchange: &'a Exchange) -> &'a [u8] {
        // Over TLS, a server that serves several names may expect the one that it was asked for in the handshake.
        let preserves = said.or(self.plan.preserve_host).unwrap_or(!instance.is_secure());
        if preserves && !exchange.host.is_empty() { &exchange.host } else { instance.authority().as_bytes() }
    }
}

impl PoolKeys {
    /// Keys for the addresses of `plan`: the known ones as they were, further ones new, others forgotten.
    fn renewed(&self, plan: &Plan) -> Self {
        let mut renewed = Self { by_address: HashMap::new(), next: self.next };
        for (service, instance) in
            plan.services.iter().flat_map(|service| service.instances.iter().map(move |instance| (service, instance)))
        {
            let address = address(service, instance);
            let key = self.by_address.get(&address).copied();
            renewed.by_address.entry(address).or_insert_with(|| {
                key.unwrap_or_else(|| {
                    renewed.next += 1;
                    renewed.next
                })
            });
        }
        renewed
    }

    fn of(&self, service: &plan::Service, instance: &plan::Instance) -> u64 {
        self.by_address[&address(service, instance)]
    }
}

/// Where an instance is, and how it is spoken to: a connection that was made on other terms is not the same.
fn address(service: &plan::Service, instance: &plan::Instance) -> (String, Option<plan::ServiceTls>) {
    (instance.url.clone(), service.tls.clone())
}
