//! A route of the snapshot.

use std::sync::Arc;
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::hook::Hooks;
use pylae_core::plan;
use pylae_core::route::rewrite::PathEdit;
use pylae_policies::{Chain, Parts};

use super::service::{Service, Services};
use crate::telemetry::access_log::Sink;
use crate::telemetry::metrics::Series;

/// A route, ready to serve.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) path_edit: Option<PathEdit>,
    pub(crate) chain: Chain,
    /// Its Python hooks.
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    /// The service that receives copies of its requests.
    pub(crate) mirror: Option<Arc<Service>>,
    /// The sink of its access log.
    pub(crate) sink: Option<Arc<Sink>>,
    /// Its metrics, in a running engine.
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
    pub(super) fn build(route: &plan::RoutePlan, services: &Services, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
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

/// The service that receives copies of requests.
pub(super) fn mirror_of(chain: &Chain, services: &Services) -> Result<Option<Arc<Service>>, Problem> {
    let Some(mirror) = chain.mirror() else { return Ok(None) };
    let unknown = || Problem::at("mirror.service", format!("there is no service `{}`", mirror.service()));
    services.get(mirror.service()).cloned().map(Some).ok_or_else(unknown)
}
