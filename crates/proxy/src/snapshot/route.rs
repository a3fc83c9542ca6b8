//! A route of the snapshot.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::hook::Hooks;
use pylae_core::plan;
use pylae_core::route::Split;
use pylae_core::route::rewrite::PathEdit;
use pylae_core::trace::Ratio;
use pylae_core::{Exchange, Problem};
use pylae_policies::mirror::Mirror;
use pylae_policies::{Chain, Parts};

use super::service::{Service, Services};
use super::split::RouteSplit;
use crate::telemetry::access_log::Sink;
use crate::telemetry::metrics::Series;

/// A route, ready to serve.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) service: Option<Arc<Service>>,
    /// The services that its requests are split over.
    pub(crate) split: Option<RouteSplit>,
    pub(crate) path_edit: Option<PathEdit>,
    pub(crate) chain: Chain,
    /// Its Python hooks.
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    /// The service that receives copies of its requests.
    pub(crate) mirror: Option<Arc<Service>>,
    /// The share of its exchanges that are sampled, if no client decides.
    pub(crate) ratio: Ratio,
    /// The sink of its access log.
    pub(crate) sink: Option<Arc<Sink>>,
    /// Its metrics, in a running engine; of a split, those of exchanges for which no member was chosen.
    pub(crate) series: Option<Arc<Series>>,
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_on: Box<[plan::RetryOn]>,
    pub(crate) preserve_host: Option<bool>,
    /// WebSocket settings, if the route allows WebSocket.
    pub(crate) websocket: Option<plan::WebSocket>,
}

impl Route {
    /// `splits` are the split of the route in the router, and that of the route's predecessor.
    pub(super) fn build(
        route: &plan::RoutePlan,
        services: &Services,
        parts: &Parts<'_>,
        (compiled, previous): (Option<&Split>, Option<&RouteSplit>),
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let service = route.service.as_ref().and_then(|name| {
            let found = services.get(name).cloned();
            if found.is_none() {
                problems.push(Problem::at("service", format!("there is no service `{name}`")));
            }
            found
        });
        if service.is_some() && route.split.is_some() {
            problems.push(Problem::at("split", "a route has either a service or a split"));
        }
        let split = route.split.as_ref().and_then(|plan| {
            RouteSplit::build(plan, compiled, services, previous)
                .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("split"))))
                .ok()
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
            split,
            path_edit,
            chain,
            hooks: None,
            mirror,
            ratio: Ratio::NONE,
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

    /// The service that gets the request in `exchange`: the one that a hook has named, or else that of the chosen
    /// member of the split, or the route's.
    pub(crate) fn target<'s>(&'s self, services: &'s Services, exchange: &Exchange) -> Option<&'s Service> {
        match exchange.hooks().and_then(|hooks| hooks.service.as_deref()) {
            Some(name) => services.get(name).map(AsRef::as_ref),
            None => self.own_target(exchange),
        }
    }

    /// The service that gets the request in `exchange` unless a hook names another.
    pub(crate) fn own_target(&self, exchange: &Exchange) -> Option<&Service> {
        let service = match &self.split {
            None => self.service.as_ref(),
            Some(split) => split.service(exchange),
        };
        service.map(AsRef::as_ref)
    }

    /// The series in which an exchange is counted that goes to `service`, as [`Self::target`] gives it.
    pub(crate) fn series_for(&self, service: Option<&Service>, exchange: &Exchange) -> Option<&Arc<Series>> {
        let of_member = self.split.as_ref().and_then(|split| split.series(service, exchange));
        of_member.or(self.series.as_ref())
    }
}

/// The service that receives copies of requests.
pub(super) fn mirror_of(chain: &Chain, services: &Services) -> Result<Option<Arc<Service>>, Problem> {
    let Some(mirror) = chain.outlet::<Mirror>() else { return Ok(None) };
    let unknown = || Problem::at("mirror.service", format!("there is no service `{}`", mirror.service()));
    services.get(mirror.service()).cloned().map(Some).ok_or_else(unknown)
}
