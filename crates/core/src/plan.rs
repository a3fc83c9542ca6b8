//! The plan: the compiled configuration, and the only document that Python passes to Rust.
//!
//! Python handles defaults, human units and spelling help; here every field is required and an unknown one is an error.
//! Durations are seconds (a JSON number), sizes are bytes (an integer).

mod cluster;
mod condition;
mod errors;
mod listener;
mod problem;
mod route;
mod seconds;
mod service;
mod split;
mod telemetry;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use cluster::{ClusterPlan, StoreKind, StoreServer};
pub use condition::{ValueMatch, ValueTest};
pub use errors::{ErrorPage, ErrorPages, PageKey, PagePart, PageTemplate, PageValue};
pub use listener::{AdminPlan, CertifiedKey, ClientAuth, ClientAuthMode, ListenerPlan, ListenerTls, TlsVersion};
pub use problem::Problem;
pub use route::{EncodedSlash, Match, PathMatch, RetryOn, RoutePlan, WebSocket};
pub use seconds::Seconds;
pub use service::{
    BreakerScope, CircuitBreaker, ClientAuthentication, ClientCredentials, HashOn, HealthCheck, InstancePlan,
    LoadBalancer, PassiveHealth, Protocol, Queue, RetryBudget, ServicePlan, ServiceTls, Sticky,
};
pub use split::{FieldChanges, MemberPlan, SplitPlan, WhenPlan};
pub use telemetry::{
    CollectorPlan, ExportedLogsPlan, ExportedMetricsPlan, KeepPlan, OtlpCompression, OtlpProtocol, ParentDecision,
    TelemetryPlan, TracesPlan,
};

/// Version of the document's schema.
pub const VERSION: u32 = 1;

/// The whole configuration of the data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Schema version; must be [`VERSION`].
    pub version: u32,
    /// Number of data-plane threads. Fixed from start to stop.
    pub workers: usize,
    /// Addresses that clients connect to.
    pub listeners: Vec<ListenerPlan>,
    /// The address of the admin API; null where the configuration does not say.
    pub admin: Option<AdminPlan>,
    /// Peers whose `X-Forwarded-…` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Hosts that are served, in lower case without port, `*.example.org` for any labels in front; empty serves all.
    pub hosts: Vec<String>,
    /// Adds the gateway to `Via`.
    pub via: bool,
    /// The nodes that share limits with this one, and their store; null for a gateway of its own. Fixed from start to
    /// stop.
    pub cluster: Option<ClusterPlan>,
    /// What is sent to OpenTelemetry collectors; null if nothing is.
    pub telemetry: Option<TelemetryPlan>,
    /// Limits and timeouts of the client side.
    pub limits: Limits,
    /// Authenticators, in the form that `pylae-policies` defines; null if there are none.
    pub auth: Option<serde_json::Value>,
    /// Named groups of instances.
    pub services: Vec<ServicePlan>,
    /// Routes in declaration order.
    pub routes: Vec<RoutePlan>,
    /// What clients get in place of the gateway's own error bodies.
    pub errors: ErrorPages,
    /// What runs before a route is looked for, by name: early `hooks`, and before them the gateway-wide `ip_access` and
    /// `address_limit`, which no route has then. Empty without early hooks.
    pub early: BTreeMap<String, serde_json::Value>,
    /// Policies of exchanges without a route, by name: those that decide by the address alone or change every response.
    pub unrouted: BTreeMap<String, serde_json::Value>,
    /// Gateway-wide policies that no route uses, because every route overrides or disables them. They are only
    /// validated, so that a mistake shows before a route uses them.
    pub unused: BTreeMap<String, serde_json::Value>,
}

/// Limits and timeouts of the client side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open client connections over all workers; beyond it an idle one is closed for each new one, or else the new one
    /// is refused. They are fewer if the limit on file descriptors has no room for them.
    pub max_connections: usize,
    /// Exchanges in flight over all workers; beyond it 503.
    pub max_requests: usize,
    /// Size of a request head in bytes (431).
    pub max_head: usize,
    /// Number of request fields (431).
    pub max_fields: usize,
    /// Size of a request target in bytes (414).
    pub max_target: usize,
    /// Size of a request body in bytes (413), unless a policy of the route sets another.
    pub max_body: u64,
    /// Total time for a request head to arrive (408).
    pub head_timeout: Seconds,
    /// How long a connection may stay open between requests.
    pub keep_alive: Seconds,
    /// Slowest average rate, in bytes per second, at which a client may send a body or read a response, enforced after
    /// `body_grace`. Data counts as read once the client's kernel has acknowledged it.
    pub min_rate: u64,
    /// Time before `min_rate` is enforced (408 while sending).
    pub body_grace: Seconds,
    /// Number of keys of rate limits that are remembered, over all limits. Fixed from start to stop.
    pub max_keys: usize,
    /// Size of the response cache in bytes, over all routes. Fixed from start to stop.
    pub cache_size: u64,
    /// Bytes of memory near which the gateway sheds load, or null for the limit of its control group, if it has one.
    pub max_memory: Option<u64>,
    /// How long exchanges may take to finish once the gateway stops.
    pub drain_timeout: Seconds,
    /// How long a worker may be stuck before its connections are reset and another thread takes its place.
    pub stuck_timeout: Seconds,
    /// Limits of HTTP/2 connections.
    pub http2: Http2Limits,
}

/// Limits of one client's HTTP/2 connection. The size of a head and the number of its fields have the same limits as on
/// HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http2Limits {
    /// Concurrent streams; further ones are refused.
    pub max_streams: u32,
    /// Burst of stream resets, by the client or for its errors; served exchanges and time refill it.
    pub max_resets: u32,
    /// Burst of frames with neither a head nor body bytes; data sent to the client and time refill it.
    pub max_idle_frames: u32,
    /// Bytes of one request body that are buffered before they are forwarded.
    pub stream_window: u32,
    /// Bytes of request bodies that are buffered for all streams of a connection.
    pub connection_window: u32,
}
