//! The names in a plan that hooks see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pylae_core::Plan;
use serde::Deserialize;

/// The names of routes and services. A host gets them in the place of the plan, which has secrets.
#[derive(Deserialize)]
#[serde(from = "NamesDocument")]
pub(crate) struct HookNames {
    /// Route names in the order of the plan.
    pub(super) routes: Arc<[Box<str>]>,
    /// Service names by route name.
    pub(super) services_by_route: BTreeMap<Box<str>, Option<Box<str>>>,
    pub(super) services: Arc<BTreeSet<Box<str>>>,
    /// Whether traces are sent to a collector.
    pub(super) has_traces: bool,
}

/// The same as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesDocument {
    /// Each route with its service.
    routes: Vec<(Box<str>, Option<Box<str>>)>,
    services: Vec<Box<str>>,
    traces: bool,
}

impl From<NamesDocument> for HookNames {
    fn from(document: NamesDocument) -> Self {
        Self {
            routes: document.routes.iter().map(|(name, _)| name.clone()).collect(),
            services_by_route: document.routes.into_iter().collect(),
            services: Arc::new(document.services.into_iter().collect()),
            has_traces: document.traces,
        }
    }
}

impl HookNames {
    pub(super) fn of(plan: &Plan) -> Self {
        let routes =
            plan.routes.iter().map(|route| (route.name.as_str().into(), route.service.as_deref().map(Into::into)));
        Self::from(NamesDocument {
            routes: routes.collect(),
            services: plan.services.iter().map(|service| service.name.as_str().into()).collect(),
            traces: plan.telemetry.as_ref().is_some_and(|telemetry| telemetry.traces.is_some()),
        })
    }
}
