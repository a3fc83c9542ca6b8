//! Telemetry: the log, access logs, metrics, panics, the latest exchanges, and traces of those that somebody waits for.

pub(crate) mod access_log;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod otlp;
pub(crate) mod panics;
pub(crate) mod recent;
pub(crate) mod stderr;
pub(crate) mod subscriber;
pub(crate) mod traces;
pub(crate) mod watches;
