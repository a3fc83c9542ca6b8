//! Metrics by route and service, from start to stop. Each worker counts in a block of its own, and blocks are merged
//! when read. Series outlive reloads by the names of route and service.

mod costs;
mod counter;
mod decisions;
mod exposition;
mod histogram;
mod names;
mod page;
mod process;
mod recent;
mod registry;
mod series;
mod stats;
mod store;
mod summary;
mod totals;

pub use costs::{Cost, CostKind, Costs, HookFigures, HookState, Spending};
pub(crate) use counter::Counter;
pub(crate) use exposition::{MetricsView, expose};
pub(crate) use histogram::{Durations, Histogram};
pub(crate) use names::{EARLY, GATEWAY, NONE};
pub(crate) use process::{Process, began_at, open_descriptors, resident_memory};
pub(crate) use recent::INTERVAL;
pub(crate) use registry::{ExemplarsByRoute, Metrics, MetricsReading};
pub(crate) use series::{Block, Ended, Series};
pub use stats::{FeedFigures, OverloadStats, ResourceUse, Stats, TokenFigures, WorkerFigures};
pub use store::{NodeStats, StoreStats};
pub(crate) use summary::summarize;
pub use summary::{CacheSummary, Connections, Group, Recently, ServiceSummary, Summary};
pub(crate) use totals::WorkerStats;
pub use totals::{CacheTotals, Totals};
