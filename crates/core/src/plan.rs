//! The plan: compiled configuration, the one document that crosses from Python to Rust.
//!
//! Python owns defaults, human units and spelling help; here every field is required and an unknown one is an error.
//! Durations are seconds (a JSON number), sizes are bytes (an integer).

mod listener;
mod route;
mod seconds;
mod service;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use listener::{CertifiedKey, ClientAuth, ClientAuthMode, ListenerPlan, ListenerTls, TlsVersion};
pub use route::{EncodedSlash, Match, PathMatch, RetryOn, RoutePlan, ValueMatch, ValueTest, WebSocket};
pub use seconds::Seconds;
pub use service::{
    BreakerScope, CircuitBreaker, HashOn, HealthCheck, InstancePlan, LoadBalancer, PassiveHealth, Protocol, Queue,
    RetryBudget, ServicePlan, ServiceTls, Sticky,
};

/// The version of this document's shape.
pub const VERSION: u32 = 1;

/// Everything that the data plane is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Shape of the document; must be [`VERSION`].
    pub version: u32,
    /// Number of data-plane threads. Fixed from start to stop.
    pub workers: usize,
    /// Where clients connect.
    pub listeners: Vec<ListenerPlan>,
    /// Peers whose `X-Forwarded-…` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Hosts that are answered at all, in lower case without port, `*.example.org` for any labels in front; empty answers all.
    pub hosts: Vec<String>,
    /// Say in `Via` that messages came through this gateway.
    pub via: bool,
    /// Bounds and deadlines of the client side.
    pub limits: Limits,
    /// Authenticators, in the shape that `pylae-policies` gives them; none when nobody can be authenticated.
    pub auth: Option<serde_json::Value>,
    /// Named groups of instances.
    pub services: Vec<ServicePlan>,
    /// Routes in declaration order.
    pub routes: Vec<RoutePlan>,
    /// Policies of exchanges that no route takes, by name: those that decide by the address alone or shape every answer.
    pub unrouted: BTreeMap<String, serde_json::Value>,
    /// Gateway-wide policies that stand nowhere else, because every route overrides them or switches them off. They are only
    /// checked, so that a mistake does not wait for the route that will use them.
    pub unused: BTreeMap<String, serde_json::Value>,
}

/// Bounds and deadlines of the client side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open client connections over all workers; beyond it an idle one is closed for each that comes, or the new one refused.
    pub max_connections: usize,
    /// Exchanges in flight over all workers; beyond it 503.
    pub max_requests: usize,
    /// Bytes of a request head (431).
    pub max_head: usize,
    /// Number of request fields (431).
    pub max_fields: usize,
    /// Bytes of a request target (414).
    pub max_target: usize,
    /// Bytes of a request body (413), counted, unless a policy of the route says otherwise.
    pub max_body: u64,
    /// Total time for a request head to arrive (408).
    pub head_timeout: Seconds,
    /// How long a connection may stay open between requests.
    pub keep_alive: Seconds,
    /// Slowest average rate, in bytes per second, at which a client may send a body or read an answer, measured after a grace of
    /// `body_grace`. What its kernel has acknowledged is read.
    pub min_rate: u64,
    /// Time before `min_rate` is enforced (408 while sending).
    pub body_grace: Seconds,
    /// Keys of rate limits that are remembered, over all limits. Fixed from start to stop.
    pub max_keys: usize,
    /// Bytes of the response cache, over all routes. Fixed from start to stop.
    pub cache_size: u64,
    /// How long exchanges may take to finish after a stop was asked for.
    pub drain_timeout: Seconds,
    /// Bounds of connections that speak HTTP/2.
    pub http2: Http2Limits,
}

/// Bounds of one client's HTTP/2 connection. The size of a head and the number of its fields have the same bounds as on HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http2Limits {
    /// Streams open at once; beyond it they are refused.
    pub max_streams: u32,
    /// Streams that may be reset at once, by the client or for its mistakes; each served exchange, and time, allow for more.
    pub max_resets: u32,
    /// Frames at once that carry neither a head nor body bytes; what is sent to the client, and time, allow for more.
    pub max_idle_frames: u32,
    /// Bytes of one request body that are held before they are sent on.
    pub stream_window: u32,
    /// The same for all streams of a connection.
    pub connection_window: u32,
}
