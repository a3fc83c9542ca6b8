//! Counters and states of the engine, for programs.

use pylae_core::cache::Usage;
use pylae_core::service::ServiceStats;
use serde::Serialize;

use super::totals::Totals;
use crate::telemetry::access_log::SinkStats;
use crate::telemetry::log::DroppedRecords;

/// Counters and states of the engine.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The totals of all workers.
    pub totals: Totals,
    /// Each service with its instances.
    pub services: Vec<ServiceStats>,
    /// Each output of access logs.
    pub access_logs: Vec<SinkStats>,
    /// Records and lines of other logs that were dropped.
    pub log_dropped: DroppedRecords,
    /// The usage of the response cache, if a route has one.
    pub cache: Option<Usage>,
    /// Plans applied, the first included.
    pub applied: u64,
    /// Plans and configurations refused.
    pub refused: u64,
    /// The workers.
    pub workers: WorkerFigures,
}

/// How many workers there are, and how they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerFigures {
    /// Workers, those that are stuck included.
    pub number: usize,
    /// Workers that do not come back to their loop.
    pub stuck: usize,
    /// Workers whose connections were reset because they were stuck for too long.
    pub given_up: u64,
}
