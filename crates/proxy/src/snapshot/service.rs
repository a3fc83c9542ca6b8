//! A service of the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use pylae_core::plan::{self, Plan};
use pylae_core::service::{Instance, ServiceState};
use pylae_core::{Exchange, Problem};

use super::pool_keys::PoolKeys;
use super::token::ServiceToken;
use crate::io::clock;
use crate::io::tls::Connector;
use crate::telemetry::log::Refusals;

/// The services of a plan, by name.
pub(crate) type Services = BTreeMap<String, Arc<Service>>;

/// A service, ready to serve.
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) plan: plan::ServicePlan,
    pub(crate) state: ServiceState,
    /// TLS settings for instances that speak TLS.
    pub(crate) tls: Option<Arc<Connector>>,
    /// Rate-limits the log of failed handshakes with instances.
    pub(crate) refusals: Refusals,
    /// Rate-limits the log of kept connections that ended during a request.
    pub(crate) lost_connections: Refusals,
    /// The token that instances get in place of the client's credentials.
    pub(crate) token: Option<Arc<ServiceToken>>,
    /// The pool key of each instance. The same address with the same TLS settings keeps its key over reloads.
    pub(crate) pools: Box<[u64]>,
}

impl Service {
    /// Index of the instance with this URL, as the plan writes it.
    pub(crate) fn position(&self, url: &str) -> Result<usize, Problem> {
        let found = self.state.instances().position(|known| known.url() == url);
        found.ok_or_else(|| Problem::at("", format!("service `{}` has no instance `{url}`", self.name)))
    }

    /// The Host field for `instance`: the client's if `preserve_host` of the route, or else of the service, says so, or
    /// the instance's own.
    pub(crate) fn host_for<'a>(
        &self,
        instance: &'a Instance,
        preserve_host: Option<bool>,
        exchange: &'a Exchange,
    ) -> &'a [u8] {
        // Over TLS, an instance that serves several names may expect the one from the handshake (SNI).
        let preserves = preserve_host.or(self.plan.preserve_host).unwrap_or(!instance.is_secure());
        if preserves && !exchange.request.host.is_empty() {
            &exchange.request.host
        } else {
            instance.authority().as_bytes()
        }
    }
}

pub(super) fn build_services(
    plan: &Plan,
    previous: Option<&Services>,
    keys: &PoolKeys,
    problems: &mut Vec<Problem>,
) -> Services {
    let mut services = Services::new();
    for (index, service) in plan.services.iter().enumerate() {
        let before = previous.and_then(|services| services.get(&service.name));
        let previous_tls = before.and_then(|service| service.tls.as_ref());
        let tls =
            service.tls.as_ref().map(|tls| Connector::build(tls, Some(service.protocol), previous_tls)).transpose();
        let tls = tls.map_err(|found| {
            let at = format!("services[{index}].tls");
            problems.extend(found.into_iter().map(|problem| problem.under(&at)));
        });
        match ServiceState::build(service, before.map(|service| &service.state), clock::now()) {
            Ok(state) => {
                let pools = service.instances.iter().map(|instance| keys.get(service, instance)).collect();
                let token = token_of(service, previous, &services);
                let (name, plan) = (service.name.as_str().into(), service.clone());
                let (tls, refusals, lost_connections) =
                    (tls.unwrap_or_default(), Refusals::default(), Refusals::default());
                let ready = Service { name, plan, state, tls, refusals, lost_connections, token, pools };
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

/// Returns the token of a service: the same one for all services with the same settings, before a reload and after it.
fn token_of(service: &plan::ServicePlan, previous: Option<&Services>, built: &Services) -> Option<Arc<ServiceToken>> {
    let settings = service.client_credentials.as_ref()?;
    let known = built.values().chain(previous.into_iter().flat_map(Services::values));
    let mut tokens = known.filter_map(|service| service.token.as_ref());
    let same = tokens.find(|token| token.settings() == settings).cloned();
    Some(same.unwrap_or_else(|| Arc::new(ServiceToken::new(settings.clone(), clock::now()))))
}
