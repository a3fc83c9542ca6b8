//! What the engine gives to those who send to collectors.

use std::sync::Arc;

use super::Engine;
use crate::io::clock;
use crate::telemetry::metrics::HookFigures;
use crate::telemetry::otlp::metrics::MetricsPage;

impl Engine {
    /// Has the metrics sent as the plan says. `hooks` are the counters of Python hooks, and `others` are further
    /// metrics in the text format of Prometheus.
    pub fn export_metrics(
        self: &Arc<Self>,
        hooks: impl Fn() -> Vec<HookFigures> + Send + Sync + 'static,
        others: impl Fn() -> String + Send + Sync + 'static,
    ) {
        let engine = Arc::downgrade(self);
        self.export.set_metrics(Box::new(move || {
            let engine = engine.upgrade()?;
            let now = clock::wall();
            let started = now.saturating_sub(clock::now().since(engine.started));
            let text = engine.openmetrics(&hooks()) + &others();
            Some(MetricsPage { text, started, now })
        }));
    }
}
