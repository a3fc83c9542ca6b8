//! What is sent to OpenTelemetry collectors.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Seconds;

/// What is sent to OpenTelemetry collectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryPlan {
    /// The resource attribute `service.name`.
    pub service_name: String,
    /// Further resource attributes. They replace those that the gateway finds out itself.
    pub attributes: BTreeMap<String, String>,
    /// Traces; null if none are sent.
    pub traces: Option<TracesPlan>,
    /// Metrics; null if none are sent.
    pub metrics: Option<ExportedMetricsPlan>,
    /// The access log; null if it is not sent.
    pub logs: Option<ExportedLogsPlan>,
}

/// Traces, and which exchanges have one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesPlan {
    /// Where they are sent.
    pub collector: CollectorPlan,
    /// Share of exchanges that are sampled where no parent decides, from 0 to 1.
    pub ratio: f64,
    /// Whether the parent decides.
    pub parent: ParentDecision,
    /// `ratio` of single routes, by their names.
    pub routes: BTreeMap<String, f64>,
    /// Which exchanges are sent although they were not sampled; null means none.
    pub keep: Option<KeepPlan>,
}

/// Whether the `sampled` flag of a request's `traceparent` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentDecision {
    /// It decides.
    Follow,
    /// It does not.
    Ignore,
}

/// The tail rule: exchanges that are sent although they were not sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepPlan {
    /// Those with a status of 5xx, and those whose answer did not get to the client whole.
    pub errors: bool,
    /// Those that take longer; null means none.
    pub slower_than: Option<Seconds>,
}

/// Metrics that are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedMetricsPlan {
    /// Where they are sent.
    pub collector: CollectorPlan,
    /// Time between two transmissions.
    pub interval: Seconds,
}

/// The access log, if it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedLogsPlan {
    /// Where it is sent.
    pub collector: CollectorPlan,
}

/// An OpenTelemetry collector, and how it is spoken to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectorPlan {
    /// URL: with the path over HTTP, without over gRPC.
    pub endpoint: String,
    /// Protocol.
    pub protocol: OtlpProtocol,
    /// Fields of each request, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How the body is compressed.
    pub compression: OtlpCompression,
    /// Trusted authorities in PEM; null means those that the system trusts.
    pub ca: Option<String>,
    /// Timeout of a request.
    pub timeout: Seconds,
}

/// What OTLP is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// Protocol buffers over HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// How a message of OTLP is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpCompression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

impl fmt::Debug for CollectorPlan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the fields, which are secrets.
        to.debug_struct("CollectorPlan")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}
