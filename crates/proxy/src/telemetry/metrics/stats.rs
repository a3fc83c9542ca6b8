//! What the engine counts and sees, for programs.

use pylae_core::cache::Usage;
use pylae_core::service::ServiceStats;
use serde::Serialize;

use super::totals::Totals;
use crate::telemetry::access_log::SinkStats;

/// What the engine counts and sees.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Over all workers.
    pub totals: Totals,
    /// Each service with its instances.
    pub services: Vec<ServiceStats>,
    /// Each output of access logs.
    pub access_logs: Vec<SinkStats>,
    /// What the response cache holds, if a route has one.
    pub cache: Option<Usage>,
    /// Plans applied, the first included.
    pub applied: u64,
    /// Plans and configurations refused.
    pub refused: u64,
}
