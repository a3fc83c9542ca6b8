//! The exporters of a running engine: one per signal that the plan sends.

use std::sync::Arc;

use parking_lot::Mutex;
use pylae_core::Plan;
use pylae_core::plan::{CollectorPlan, TelemetryPlan};

use super::lanes::Exporter;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// Whom it is about: the attributes of the resource, besides those that the gateway finds out itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) service_name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

/// The exporters that a snapshot uses.
#[derive(Clone, Default)]
pub(crate) struct Exports {
    pub(crate) traces: Option<Arc<Exporter>>,
    pub(crate) metrics: Option<Arc<Exporter>>,
    pub(crate) logs: Option<Arc<Exporter>>,
}

/// The exporters in use. Those whose settings stay the same outlive reloads.
pub(crate) struct Exporters {
    workers: usize,
    open: Mutex<Vec<Arc<Exporter>>>,
}

impl Exporters {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, open: Mutex::default() }
    }

    /// The exporters of a plan: those that there are, or new ones.
    pub(crate) fn open(&self, plan: &Plan) -> Exports {
        let Some(telemetry) = &plan.telemetry else { return Exports::default() };
        let collector = |signal, collector: Option<&CollectorPlan>| Some(self.find(signal, collector?, telemetry));
        Exports {
            traces: collector(Signal::Traces, telemetry.traces.as_ref().map(|traces| &traces.collector)),
            metrics: collector(Signal::Metrics, telemetry.metrics.as_ref().map(|metrics| &metrics.collector)),
            logs: collector(Signal::Logs, telemetry.logs.as_ref().map(|logs| &logs.collector)),
        }
    }

    fn find(&self, signal: Signal, collector: &CollectorPlan, telemetry: &TelemetryPlan) -> Arc<Exporter> {
        let resource = Resource {
            service_name: telemetry.service_name.clone(),
            attributes: telemetry.attributes.clone().into_iter().collect(),
        };
        let mut open = self.open.lock();
        let same =
            |one: &&Arc<Exporter>| one.signal == signal && one.collector == *collector && one.resource == resource;
        if let Some(known) = open.iter().find(same) {
            return Arc::clone(known);
        }
        let exporter = Arc::new(Exporter::new(signal, collector.clone(), resource, self.workers));
        open.push(Arc::clone(&exporter));
        exporter
    }

    /// Forgets the exporters that no snapshot uses.
    pub(crate) fn close_unused(&self) {
        self.open.lock().retain(|exporter| Arc::strong_count(exporter) > 1);
    }
}
