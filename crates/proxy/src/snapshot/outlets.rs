//! Connects a snapshot to the outlets of a running engine: hooks, access logs, metrics and exporters.

use std::sync::Arc;

use pylae_core::Problem;
use pylae_core::hook::{HookCall, HookSource, HookStage, Hooks};
use pylae_policies::Chain;
use pylae_policies::access_log::AccessLog;
use pylae_policies::authentication::IdentityFunction;
use pylae_policies::hooks::Hooked;

use super::Snapshot;
use super::authenticator::HookedFunction;
use crate::telemetry::access_log::{Sink, Sinks};
use crate::telemetry::metrics::{EARLY, GATEWAY, Metrics, NONE};
use crate::telemetry::otlp::exporters::Exporters;

/// The output of an access log that is only sent to a collector.
const ONLY_SENT: &str = "otlp";

/// The outlets of a running engine, which outlive reloads.
pub(crate) struct Outlets<'a> {
    pub(crate) hooks: &'a dyn HookSource,
    pub(crate) sinks: &'a Sinks,
    pub(crate) metrics: &'a Metrics,
    pub(crate) exporters: &'a Exporters,
}

impl Snapshot {
    /// Connects routes to their hooks, access logs to their sinks, routes to their metrics series, and the whole to its
    /// exporters. Reports all
    /// problems of hooks or, if there are none, all problems of sinks.
    pub(crate) fn connect(&mut self, outlets: &Outlets<'_>) -> Result<(), Vec<Problem>> {
        self.connect_hooks(outlets.hooks)?;
        self.connect_logs(|output| outlets.sinks.open(output))?;
        outlets.sinks.close_unused();
        self.connect_series(outlets.metrics);
        self.exports = outlets.exporters.open(&self.plan);
        Ok(())
    }

    fn connect_series(&mut self, metrics: &Metrics) {
        metrics.fold();
        self.series = Some(metrics.series(NONE, NONE));
        if let Some(early) = &mut self.early {
            early.series = Some(metrics.series(EARLY, NONE));
        }
        for route in &mut self.routes {
            let service = route.service.as_ref().map_or(GATEWAY, |service| &service.name);
            route.series = Some(metrics.series(&route.name, service));
            if let Some(split) = &mut route.split {
                split.connect_series(&route.name, metrics);
            }
        }
    }

    /// Connects every access log to its sink. Reports all problems.
    fn connect_logs(&mut self, mut open: impl FnMut(&str) -> Result<Arc<Sink>, String>) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut connect = |chain: &Chain, path: &dyn Fn() -> String| {
            let log = chain.outlet::<AccessLog>()?;
            if log.output() == ONLY_SENT {
                return None;
            }
            open(log.output()).map_err(|what| problems.push(Problem::at(path(), what))).ok()
        };
        self.sink = connect(&self.unrouted, &|| "unrouted.access_log.output".to_owned());
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.sink = connect(&route.chain, &|| format!("routes[{index}].policies.access_log.output"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Connects every route, the early stage and the authenticators to their hooks. Reports all problems.
    fn connect_hooks(&mut self, source: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut compile = |stage: HookStage<'_>, calls: &[HookCall], path: &dyn Fn() -> String| {
            let found = source.compile(stage, calls);
            found.map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under(&path())))).ok()
        };
        for (index, route) in self.routes.iter_mut().enumerate() {
            let Some(hooked) = route.chain.outlet::<Hooked>() else { continue };
            let (params, settled) = (self.router.params(index), route.chain.settled());
            let stage = HookStage::Route { name: &route.name, params, settled };
            let hooks: Option<Arc<dyn Hooks>> =
                compile(stage, hooked.calls(), &|| format!("routes[{index}].policies.hooks"));
            route.hooks = hooks;
        }
        if let Some(early) = &mut self.early
            && let Some(hooked) = early.chain.outlet::<Hooked>()
        {
            early.hooks = compile(HookStage::Early, hooked.calls(), &|| "early.hooks".to_owned());
        }
        self.auth.connect(source.revision(), |index, call, keyed| {
            let stage = HookStage::Authenticator { keyed };
            let hooks = compile(stage, std::slice::from_ref(call), &|| format!("auth.authenticators[{index}]"))?;
            Some(Arc::new(HookedFunction(hooks)) as Arc<dyn IdentityFunction>)
        });
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
