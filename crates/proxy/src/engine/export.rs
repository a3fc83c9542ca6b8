//! What the engine gives to those who send to collectors.

use std::sync::Arc;

use super::Engine;
use crate::io::clock;
use crate::telemetry::metrics::HookFigures;
use crate::telemetry::otlp::metrics::MetricsPage;

impl Engine {
    /// Has the metrics sent as the plan says. `hooks` are the counters of Python hooks.
    pub fn export_metrics(self: &Arc<Self>, hooks: impl Fn() -> Vec<HookFigures> + Send + Sync + 'static) {
        let engine = Arc::downgrade(self);
        self.export.set_metrics(Box::new(move || {
            let engine = engine.upgrade()?;
            let now = clock::wall();
            let started = now.saturating_sub(clock::now().since(engine.started));
            Some(MetricsPage { text: engine.openmetrics(&hooks()), started, now })
        }));
    }
}
