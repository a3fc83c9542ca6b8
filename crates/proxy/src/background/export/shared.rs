//! What the threads that send share.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use crate::telemetry::log::Log;
use crate::telemetry::otlp::exporters::Exporters;
use crate::telemetry::otlp::metrics::MetricsPage;

/// Where metrics come from. There are none once the engine is gone.
pub(crate) type MetricsSource = Box<dyn Fn() -> Option<MetricsPage> + Send + Sync>;

/// What the threads share.
pub(super) struct ExportShared {
    pub(super) log: Arc<Log>,
    pub(super) exporters: Arc<Exporters>,
    pub(super) metrics: RwLock<Option<MetricsSource>>,
    /// When the last transmissions must be over, once the gateway stops.
    pub(super) end: Mutex<Option<Instant>>,
}
