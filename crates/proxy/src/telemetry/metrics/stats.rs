//! Counters and states of the engine, for programs.

use std::collections::BTreeMap;

use pylae_core::cache::Usage;
use pylae_core::service::ServiceStats;
use serde::Serialize;

use super::store::StoreStats;
use super::totals::Totals;
use crate::telemetry::access_log::SinkStats;
use crate::telemetry::log::DroppedRecords;
use crate::telemetry::otlp::ExportStats;

/// The state of a resource that the gateway may run out of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ResourceUse {
    /// `descriptors` or `memory`.
    pub resource: &'static str,
    /// What is done about it, as a number from 0 to 3.
    pub level: u8,
    /// The same as a word: `normal`, `shedding`, `refusing` or `paused`.
    pub state: &'static str,
    /// Open descriptors, or bytes.
    pub used: u64,
    /// Most that there may be, or None if nothing bounds it.
    pub limit: Option<u64>,
}

/// How short the gateway is of what it needs itself, and what it lacked since its start.
#[derive(Clone, Debug, Serialize)]
pub struct OverloadStats {
    /// Descriptors and memory.
    pub resources: [ResourceUse; 2],
    /// Client connections that are admitted: `limits.max_connections`, or fewer if descriptors are few.
    pub max_connections: usize,
    /// Connections to instances that could not be made, by what was lacking.
    pub shortages: BTreeMap<&'static str, u64>,
    /// Failures to accept a connection.
    pub accept_failures: u64,
}

/// Counters and states of the engine.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The totals of all workers.
    pub totals: Totals,
    /// Each service with its instances.
    pub services: Vec<ServiceStats>,
    /// The token of each service that has one of its own.
    pub tokens: Vec<TokenFigures>,
    /// Each output of access logs.
    pub access_logs: Vec<SinkStats>,
    /// Each signal that is sent to a collector, or was.
    pub exports: Vec<ExportStats>,
    /// Records and lines of other logs that were dropped.
    pub log_dropped: DroppedRecords,
    /// The usage of the response cache, if a route has one.
    pub cache: Option<Usage>,
    /// Descriptors and memory.
    pub overload: OverloadStats,
    /// The store of the cluster, if there is one.
    pub store: Option<StoreStats>,
    /// Plans applied, the first included.
    pub applied: u64,
    /// Plans and configurations refused.
    pub refused: u64,
    /// The workers.
    pub workers: WorkerFigures,
    /// Revocations that are held.
    pub revocations: usize,
    /// Session cookies that counted as none, by reason.
    pub no_sessions: BTreeMap<&'static str, u64>,
    /// What the nodes of the cluster tell each other, if there is one.
    pub feed: Option<FeedFigures>,
    /// Tokens in `X-Pylae-Trace` that were not good, by why.
    pub trace_tokens_refused: BTreeMap<&'static str, u64>,
}

/// The token that the instances of a service get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenFigures {
    /// The service.
    pub service: String,
    /// Seconds until it expires, 0 without one; None if the server has not said it.
    pub expires: Option<f64>,
    /// Fetches that have failed.
    pub failures: u64,
}

/// What a node tells the other nodes of its cluster, and learns from them: revocations, and changes of the response
/// cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FeedFigures {
    /// Whether it knows all revocations in force, as of when the store last answered.
    pub current: bool,
    /// Whether the store answers.
    pub available: bool,
    /// Revocations that the store must still be told.
    pub unpublished_revocations: usize,
    /// Changes of the response cache that the store must still be told.
    pub unpublished_changes: usize,
    /// Entries of the stream that were read.
    pub entries_read: u64,
    /// Publications that the store has taken.
    pub entries_published: u64,
    /// How often it may have missed something and read all revocations: at the start, and later.
    pub catch_ups: u64,
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
