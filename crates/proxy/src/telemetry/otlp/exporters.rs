//! The exporters of a running engine: one per signal that the plan sends.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pylae_core::Plan;
use pylae_core::plan::CollectorPlan;

use super::figures::{ExportCounters, ExportStats};
use super::lanes::{ExportSettings, Exporter, Signal};
use super::resource::TelemetryResource;

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
    /// What this run of the gateway is told by: `service.instance.id`.
    instance: String,
    signals: [SignalExporters; 3],
}

struct SignalExporters {
    signal: Signal,
    counters: Arc<ExportCounters>,
    /// The latest is the last.
    open: Mutex<Vec<Weak<Exporter>>>,
}

impl Exports {
    /// All exporters.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Exporter>> {
        [&self.traces, &self.metrics, &self.logs].into_iter().flatten()
    }
}

impl Exporters {
    pub(crate) fn new(workers: usize) -> Self {
        let signals = [Signal::Traces, Signal::Metrics, Signal::Logs];
        let signals =
            signals.map(|signal| SignalExporters { signal, counters: Arc::default(), open: Mutex::default() });
        Self { workers, instance: random_uuid(fastrand::u128(..)), signals }
    }

    /// The exporters of a plan: those that there are, or new ones.
    pub(crate) fn open(&self, plan: &Plan) -> Exports {
        let Some(telemetry) = &plan.telemetry else { return Exports::default() };
        let resource = TelemetryResource::new(telemetry, &self.instance);
        let [traces, metrics, logs] = &self.signals;
        let find = |of: &SignalExporters, collector: Option<&CollectorPlan>, interval: Option<f64>| {
            let (collector, resource) = (collector?.clone(), resource.clone());
            let settings = ExportSettings { signal: of.signal, collector, resource, interval };
            Some(of.find(settings, self.workers))
        };
        let interval = telemetry.metrics.as_ref().map(|metrics| metrics.interval.0.as_secs_f64());
        Exports {
            traces: find(traces, telemetry.traces.as_ref().map(|traces| &traces.collector), None),
            metrics: find(metrics, telemetry.metrics.as_ref().map(|metrics| &metrics.collector), interval),
            logs: find(logs, telemetry.logs.as_ref().map(|logs| &logs.collector), None),
        }
    }

    /// The exporter that a signal has now, if it has one.
    pub(crate) fn latest(&self, signal: Signal) -> Option<Arc<Exporter>> {
        let found = self.signals.iter().find(|one| one.signal == signal)?;
        found.open.lock().iter().rev().find_map(Weak::upgrade)
    }

    /// Counters of the signals that are sent, or were.
    pub(crate) fn stats(&self) -> Vec<ExportStats> {
        let of = |one: &SignalExporters| {
            let stats = one.counters.stats(one.signal.name());
            let is_used = !one.open.lock().is_empty();
            is_used.then_some(stats)
        };
        self.signals.iter().filter_map(of).collect()
    }
}

impl SignalExporters {
    fn find(&self, settings: ExportSettings, workers: usize) -> Arc<Exporter> {
        let mut open = self.open.lock();
        open.retain(|one| one.strong_count() > 0);
        if let Some(known) = open.iter().filter_map(Weak::upgrade).find(|one| one.lanes().settings == settings) {
            return known;
        }
        let exporter = Arc::new(Exporter::new(settings, Arc::clone(&self.counters), workers));
        open.push(Arc::downgrade(&exporter));
        exporter
    }
}

/// A UUID of version 4 (RFC 9562 section 5.4).
fn random_uuid(random: u128) -> String {
    let bits = random & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_uuids_of_version_4() {
        assert_eq!(random_uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(random_uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
