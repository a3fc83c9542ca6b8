//! A listener of the snapshot.

use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::plan::{self, Plan};

use crate::io::tls::Acceptor;

/// A listener, ready to serve.
pub(crate) struct Listener {
    pub(crate) plan: plan::ListenerPlan,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

pub(super) fn build_listeners(
    plan: &Plan,
    previous: &[Arc<Listener>],
    problems: &mut Vec<Problem>,
) -> Box<[Arc<Listener>]> {
    let mut listeners = Vec::with_capacity(plan.listeners.len());
    for (index, plan) in plan.listeners.iter().enumerate() {
        let before = previous.iter().find(|listener| listener.plan.address == plan.address);
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

/// TLS of the admin address, if it has any.
pub(super) fn build_admin_tls(
    plan: &Plan,
    previous: Option<&Arc<Acceptor>>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Acceptor>> {
    let tls = plan.admin.as_ref()?.tls.as_ref()?;
    Acceptor::build(tls, false, previous)
        .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under("admin.tls"))))
        .ok()
}
