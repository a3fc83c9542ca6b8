//! The figures of an engine: as values, as a page for Prometheus, and in short for people.

use std::sync::Arc;

use pylae_core::{Instant, Problem};

use super::{Engine, InForce};
use crate::background::store::StoreThread;
use crate::io::clock;
use crate::telemetry::log::DroppedRecords;
use crate::telemetry::metrics::{
    Costs, ExemplarsByRoute, HookFigures, MetricsReading, MetricsView, Process, Stats, Summary, began_at, expose,
    summarize,
};

impl Engine {
    /// The current counters and states.
    pub fn stats(&self) -> Stats {
        self.figures().0
    }

    /// The current counters, and when the plan in force was applied.
    fn figures(&self) -> (Stats, MetricsReading, Instant) {
        let in_force = self.state.in_force.lock();
        let reading = self.metrics.read(in_force.snapshot.all_series());
        let mut totals = self.workers.totals();
        totals.add(&reading);
        let now = clock::now();
        let services = in_force.snapshot.services.values().map(|service| service.state.snapshot(now)).collect();
        let tokens = in_force.snapshot.token_figures(now);
        let cache = self.policies.cache_if_used().map(|cache| cache.usage());
        let InForce { applied, refused, applied_at, .. } = *in_force;
        let (access_logs, log_dropped) = (self.sinks.stats(), DroppedRecords::read(&self.shared.log));
        let (workers, overload) = (self.workers.figures(), self.shared.overload.stats());
        let (revocations, feed) = self.cluster_figures();
        let stats = Stats {
            totals,
            services,
            tokens,
            access_logs,
            exports: self.exporters.stats(),
            log_dropped,
            cache,
            overload,
            store: self.store.lock().as_ref().map(StoreThread::stats),
            applied,
            refused,
            workers,
            revocations,
            no_sessions: self.policies.identity.no_sessions(),
            feed,
            trace_tokens_refused: self.shared.watches.tokens.refused().into(),
        };
        (stats, reading, applied_at)
    }

    /// All metrics in the Prometheus text format 0.0.4. Does not wait for workers. `hooks` are the counters of Python
    /// hooks.
    pub fn metrics(&self, hooks: &[HookFigures]) -> String {
        self.page(hooks, None)
    }

    /// The same in `OpenMetrics` 1.0, with exemplars, but without its end: other metrics may follow.
    pub fn openmetrics(&self, hooks: &[HookFigures]) -> String {
        self.page(hooks, Some(self.metrics.exemplars()))
    }

    fn page(&self, hooks: &[HookFigures], exemplars: Option<ExemplarsByRoute>) -> String {
        let (stats, reading, applied_at) = self.figures();
        let (now, wall) = (clock::now(), clock::wall().as_secs_f64());
        expose(&MetricsView {
            stats: &stats,
            reading: &reading,
            exemplars,
            process: Process::read(),
            panics: &self.shared.log.panics,
            hooks,
            started: began_at(wall, now, self.started),
            last_applied: began_at(wall, now, applied_at),
        })
    }

    /// The most important figures, for the dashboard and the command line.
    pub fn summary(&self) -> Summary {
        let (stats, reading, _) = self.figures();
        let now = clock::now();
        let window = self.metrics.recently(now, &reading);
        let uptime = now.since(self.started).as_secs_f64();
        let costs = self.metrics.costs(now, &reading);
        summarize(uptime, &stats, &reading, &window, &self.workers.overdue(), &costs)
    }

    /// The warnings about the plan in force, as [`crate::check`] has them.
    pub fn warnings(&self) -> Vec<Problem> {
        let snapshot = Arc::clone(&self.state.in_force.lock().snapshot);
        snapshot.warnings()
    }

    /// What policies and hooks have cost, dearest first.
    pub fn costs(&self) -> Costs {
        let (_, reading, _) = self.figures();
        self.metrics.costs(clock::now(), &reading)
    }

    /// Has the counters of hooks read by `read`, for what they cost. To be called once.
    pub fn watch_hooks(&self, read: Box<dyn Fn() -> Vec<HookFigures> + Send + Sync>) {
        self.metrics.set_hooks(read);
    }
}
