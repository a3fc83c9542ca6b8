//! What is counted by route and service, from start to stop: one block per worker, merged when read, handed over at a
//! reload by the names of route and service.

mod counter;
mod exposition;
mod histogram;
mod hooks;
mod process;
mod recent;
mod series;
mod summary;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pylae_core::Instant;

pub(crate) use counter::Counter;
pub(crate) use exposition::{View, expose};
pub use hooks::HookFigures;
pub(crate) use process::{Process, began_at};
pub(crate) use recent::INTERVAL;
pub(crate) use series::{Block, Ended};
pub(crate) use summary::summarize;
pub use summary::{CacheSummary, Connections, Group, Recently, ServiceSummary, Summary};

use crate::snapshot::Snapshot;
use recent::{Recent, Window};
use series::Figures;

/// Stands for the route and the service of an exchange that no route took.
const NONE: &str = "(none)";
/// Stands for the service of a route that has none: policies answer.
const GATEWAY: &str = "(gateway)";
/// Stands for all routes that have left the plan.
const REMOVED: &str = "(removed)";

/// Names of a route and its service.
type Names = (Box<str>, Box<str>);

/// The figures of one route and the service behind it: a block per worker, made when it counts the first exchange, so that
/// routes nobody uses take next to no memory.
#[derive(Debug)]
pub(crate) struct Series(Box<[OnceLock<Box<Block>>]>);

impl Series {
    /// What the worker at `index` writes.
    #[inline]
    pub(crate) fn of(&self, index: usize) -> &Block {
        self.0[index].get_or_init(Box::default)
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.0.iter().filter_map(OnceLock::get).for_each(|block| figures.add(block));
        figures
    }
}

/// All series, and what is left of those whose routes are gone.
#[derive(Debug)]
pub(crate) struct Metrics {
    workers: usize,
    kept: Mutex<Kept>,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Kept {
    series: BTreeMap<Names, Arc<Series>>,
    removed: Figures,
}

/// What was read at one moment.
pub(crate) struct Reading {
    /// Those of the plan in force, and one for all that have left it, if any have.
    pub(crate) routes: Vec<(Names, Figures)>,
}

impl Metrics {
    pub(crate) fn new(workers: usize, now: Instant) -> Self {
        Self { workers, kept: Mutex::default(), recent: Mutex::new(Recent::new(now)) }
    }

    /// Gives every route of `snapshot` its series: what it had in the plan before, or a new one.
    pub(crate) fn connect(&self, snapshot: &mut Snapshot) {
        self.kept.lock().fold();
        snapshot.series = Some(self.series(NONE, NONE));
        for route in &mut snapshot.routes {
            let service = route.service.as_ref().map_or(GATEWAY, |service| &service.name);
            route.series = Some(self.series(&route.name, service));
        }
    }

    fn series(&self, route: &str, service: &str) -> Arc<Series> {
        let fresh = || Arc::new(Series((0..self.workers).map(|_| OnceLock::new()).collect()));
        Arc::clone(self.kept.lock().series.entry((route.into(), service.into())).or_insert_with(fresh))
    }

    /// What all workers have counted by now; `in_force` are the series of the snapshot in force.
    pub(crate) fn read<'a>(&self, in_force: impl Iterator<Item = &'a Arc<Series>>) -> Reading {
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
        Reading { routes }
    }

    /// What came within the last minute, up to the moment of `reading`.
    pub(crate) fn recently(&self, now: Instant, reading: &Reading) -> Window {
        self.recent.lock().window(now, &reading.routes)
    }

    /// Remembers the figures of this moment for what is told about the last minute. To be called every few seconds.
    pub(crate) fn sample(&self, now: Instant) {
        let figures: Vec<_> = {
            let kept = self.kept.lock();
            kept.series.iter().map(|(names, series)| (names.clone(), series.figures())).collect()
        };
        self.recent.lock().sample(now, &figures);
    }
}

impl Kept {
    /// Sums up what no snapshot has any more: nobody writes it again.
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
