//! The registry of all series of an engine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pylae_core::Instant;

use super::costs::{CostGrowth, Costs, HookFigures, spent};
use super::names::{NONE, Names, REMOVED};
use super::recent::{RecentGrowth, Window};
use super::series::{Figures, Series, SeriesExemplars};

/// The exemplars of the series that have some.
pub(crate) type ExemplarsByRoute = HashMap<Names, SeriesExemplars>;
/// Reads the counters of all Python hooks.
pub(crate) type ReadHooks = Box<dyn Fn() -> Vec<HookFigures> + Send + Sync>;

/// All series, and the sums of those whose routes were removed.
pub(crate) struct Metrics {
    workers: usize,
    kept: Mutex<SeriesTable>,
    recent: Mutex<RecentGrowth>,
    costs: Mutex<CostGrowth>,
    /// Set once there is someone who knows the hooks.
    hooks: OnceLock<ReadHooks>,
}

#[derive(Debug, Default)]
struct SeriesTable {
    series: BTreeMap<Names, Arc<Series>>,
    removed: Figures,
}

/// The figures at one moment.
pub(crate) struct MetricsReading {
    /// The figures of the routes in force, and one entry for all removed routes, if there are any.
    pub(crate) routes: Vec<(Names, Figures)>,
}

impl Metrics {
    pub(crate) fn new(workers: usize, now: Instant) -> Self {
        Self {
            workers,
            kept: Mutex::default(),
            recent: Mutex::new(RecentGrowth::new(now)),
            costs: Mutex::new(CostGrowth::new(now)),
            hooks: OnceLock::new(),
        }
    }

    /// Adds the series that no snapshot uses to the sums of removed routes.
    pub(crate) fn fold(&self) {
        self.kept.lock().fold();
    }

    /// Returns the series of a route and its service: the existing one, or a new one.
    pub(crate) fn series(&self, route: &str, service: &str) -> Arc<Series> {
        let fresh = || Arc::new(Series((0..self.workers).map(|_| OnceLock::new()).collect()));
        Arc::clone(self.kept.lock().series.entry((route.into(), service.into())).or_insert_with(fresh))
    }

    /// Reads the counters of all workers. `in_force` are the series of the snapshot in force.
    pub(crate) fn read<'a>(&self, in_force: impl Iterator<Item = &'a Arc<Series>>) -> MetricsReading {
        let in_force: HashSet<_> = in_force.map(Arc::as_ptr).collect();
        let mut kept = self.kept.lock();
        kept.fold();
        let mut removed = kept.removed.clone();
        let mut routes = Vec::with_capacity(kept.series.len() + 1);
        for (names, series) in &kept.series {
            if in_force.contains(&Arc::as_ptr(series)) {
                routes.push((names.clone(), series.figures()));
            } else {
                removed.merge(&series.figures());
            }
        }
        if removed != Figures::default() {
            routes.push(((REMOVED.into(), NONE.into()), removed));
        }
        MetricsReading { routes }
    }

    /// The exemplars of the series that have some.
    pub(crate) fn exemplars(&self) -> ExemplarsByRoute {
        let kept = self.kept.lock();
        kept.series.iter().filter_map(|(names, series)| Some((names.clone(), series.exemplars()?))).collect()
    }

    /// The figures of the last minute, up to `reading`.
    pub(crate) fn recently(&self, now: Instant, reading: &MetricsReading) -> Window {
        self.recent.lock().window(now, &reading.routes)
    }

    /// Has the costs of hooks read by `read` from now on.
    pub(crate) fn set_hooks(&self, read: ReadHooks) {
        // Called once, by the one that has started the engine.
        let _ = self.hooks.set(read);
    }

    /// What policies and hooks have cost up to `reading`.
    pub(crate) fn costs(&self, now: Instant, reading: &MetricsReading) -> Costs {
        let hooks = self.hooks.get().map_or_else(Vec::new, |read| read());
        self.costs.lock().costs(now, spent(&reading.routes, &hooks), &hooks)
    }

    /// Samples the figures for the last minute. To be called every [`INTERVAL`](super::recent::INTERVAL).
    pub(crate) fn sample(&self, now: Instant) {
        let figures: Vec<_> = {
            let kept = self.kept.lock();
            kept.series.iter().map(|(names, series)| (names.clone(), series.figures())).collect()
        };
        self.recent.lock().sample(now, &figures);
        let hooks = self.hooks.get().map_or_else(Vec::new, |read| read());
        self.costs.lock().sample(now, spent(&figures, &hooks));
    }
}

impl SeriesTable {
    /// Adds the series that no snapshot uses to `removed`: they are never written again.
    fn fold(&mut self) {
        let Self { series, removed } = self;
        series.retain(|_, series| match Arc::get_mut(series) {
            Some(last) => {
                removed.merge(&last.figures());
                false
            }
            None => true,
        });
    }
}

#[cfg(test)]
mod tests;
