//! The snapshot: the plan in a form ready to serve. It is immutable, shared by all workers and replaced as a whole.

mod authenticator;
mod build;
mod collectors;
mod early;
#[cfg(test)]
pub(crate) mod fixture;
mod listener;
mod outlets;
mod pool_keys;
mod route;
mod service;
mod split;
mod token;

use std::net::IpAddr;
use std::sync::Arc;

use pylae_core::cache::Cache;
use pylae_core::exchange::request::Request;
use pylae_core::plan::Plan;
use pylae_core::request::admit;
use pylae_core::route::{Router, ServedHosts};
use pylae_core::trace::Sampling;
use pylae_core::{Exchange, Halt, Instant, Problem};
use pylae_http::{HeadLimits, Name};
use pylae_policies::access_log::AccessLog;
use pylae_policies::authentication::Authenticators;
use pylae_policies::{Chain, RouteAccess};

pub(crate) use self::collectors::connector;
pub(crate) use self::early::EarlyStage;
pub(crate) use self::listener::Listener;
pub(crate) use self::outlets::Outlets;
pub(crate) use self::pool_keys::PoolKeys;
pub(crate) use self::route::Route;
pub(crate) use self::service::Service;
use self::service::Services;
pub(crate) use self::split::RouteSplit;
pub(crate) use self::token::{Issue, ServiceToken, TokenChange};
use crate::io::tls::Acceptor;
use crate::telemetry::access_log::Sink;
use crate::telemetry::metrics::{Series, TokenFigures};
use crate::telemetry::otlp::exporters::Exports;

/// A plan, ready to serve.
pub(crate) struct Snapshot {
    pub(crate) plan: Plan,
    /// In the order of the plan.
    pub(crate) listeners: Box<[Arc<Listener>]>,
    /// TLS of the admin address.
    pub(crate) admin_tls: Option<Arc<Acceptor>>,
    pub(crate) head_limits: HeadLimits,
    /// The hosts that are served, or None if all are.
    pub(crate) hosts: Option<ServedHosts>,
    pub(crate) router: Router,
    pub(crate) routes: Box<[Route]>,
    pub(crate) services: Services,
    /// The authenticators that routes refer to.
    auth: Authenticators,
    /// Fields that only authenticators may send to instances.
    pub(crate) reserved: Option<Arc<[Box<str>]>>,
    /// What runs before a route is looked for, if there is anything.
    pub(crate) early: Option<EarlyStage>,
    /// Policies of requests that no route takes.
    pub(crate) unrouted: Chain,
    /// The access log of requests that no route takes.
    pub(crate) sink: Option<Arc<Sink>>,
    /// Which exchanges are traced, or None if traces are switched off.
    pub(crate) sampling: Option<Sampling>,
    /// The metrics of requests that no route takes, in a running engine.
    pub(crate) series: Option<Arc<Series>>,
    /// Where traces, metrics and logs are sent, in a running engine.
    pub(crate) exports: Exports,
    /// The format of the latest exchanges.
    pub(crate) description: AccessLog,
    /// The response cache, if any route had one since the start.
    pub(crate) cache: Option<Arc<Cache>>,
}

impl Snapshot {
    /// Admits a request: see [`admit::admit`]. Fields that only authenticators may send are no part of it, and neither
    /// is the one that asks for a trace.
    pub(crate) fn admit(&self, exchange: &mut Exchange, random: u128) -> Result<(), Halt> {
        let fields = &mut exchange.request.head.fields;
        if fields.has(Name::XPylaeTrace) {
            fields.remove_known(Name::XPylaeTrace);
        }
        if let Some(names) = &self.reserved {
            let Request { head, buffer, .. } = &mut exchange.request;
            head.fields.remove(buffer, names);
        }
        admit::admit(exchange, |peer| self.trusts(peer), random)
    }

    /// The figures of the tokens that instances get, by service.
    pub(crate) fn token_figures(&self, now: Instant) -> Vec<TokenFigures> {
        let figures = |service: &Arc<Service>| {
            let token = service.token.as_ref()?;
            let expires = token.lifetime(now).map(|left| left.as_secs_f64());
            Some(TokenFigures { service: service.name.to_string(), expires, failures: token.failures() })
        };
        self.services.values().filter_map(figures).collect()
    }

    /// The tokens that instances get, each once.
    pub(crate) fn tokens(&self) -> Vec<Arc<ServiceToken>> {
        let mut tokens: Vec<Arc<ServiceToken>> = Vec::new();
        for token in self.services.values().filter_map(|service| service.token.as_ref()) {
            if !tokens.iter().any(|known| Arc::ptr_eq(known, token)) {
                tokens.push(Arc::clone(token));
            }
        }
        tokens
    }

    /// The metrics series of all routes.
    pub(crate) fn all_series(&self) -> impl Iterator<Item = &Arc<Series>> {
        let members = self.routes.iter().filter_map(|route| route.split.as_ref()).flat_map(RouteSplit::all_series);
        let early = self.early.as_ref().and_then(|early| early.series.as_ref());
        self.routes.iter().map(|route| &route.series).chain([&self.series]).flatten().chain(early).chain(members)
    }

    /// The warnings about the plan.
    pub(crate) fn warnings(&self) -> Vec<Problem> {
        let mut warnings = self.router.warnings().to_vec();
        let access: Vec<RouteAccess<'_>> = self.routes.iter().map(|route| route.chain.access()).collect();
        warnings.extend(self.router.overlaps(&self.plan.routes, |a, b| access[a].is_broader_than(&access[b])));
        for (index, listener) in self.listeners.iter().enumerate() {
            let found = listener.tls.iter().flat_map(|tls| tls.warnings.iter().cloned());
            warnings.extend(found.map(|problem| problem.under(&format!("listeners[{index}].tls"))));
        }
        let of_admin = self.admin_tls.iter().flat_map(|tls| tls.warnings.iter().cloned());
        warnings.extend(of_admin.map(|problem| problem.under("admin.tls")));
        warnings
    }

    /// Returns true if forwarding fields from this peer are trusted.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.plan.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
