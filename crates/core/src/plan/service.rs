//! Services: instances and how they are used.

use serde::{Deserialize, Serialize};

use super::listener::{CertifiedKey, TlsVersion};
use super::seconds::Seconds;

/// A named group of instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePlan {
    /// Unique name.
    pub name: String,
    /// The instances, at least one unless a registry fills the service.
    pub instances: Vec<InstancePlan>,
    /// How an instance is picked.
    pub load_balancer: LoadBalancer,
    /// An instance that joins or recovers gets its share of load gradually over this time.
    pub slow_start: Option<Seconds>,
    /// How TLS is spoken to instances whose URL says so; there must be one then.
    pub tls: Option<ServiceTls>,
    /// Keeps a client on one instance by a cookie.
    pub sticky: Option<Sticky>,
    /// Active checks.
    pub health_check: Option<HealthCheck>,
    /// Ejection of instances by what exchanges see.
    pub passive_health: Option<PassiveHealth>,
    /// Share of healthy instances (0–1) below which health is ignored and all instances get traffic.
    pub panic_threshold: Option<f64>,
    /// Circuit breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound on retries over all exchanges of the service.
    pub retry_budget: RetryBudget,
    /// Time for a connection to an instance to be made.
    pub connect_timeout: Seconds,
    /// Exchanges in flight to the service; beyond it they queue.
    pub max_in_flight: Option<usize>,
    /// The queue behind `max_in_flight`.
    pub queue: Queue,
    /// What is spoken to the instances.
    pub protocol: Protocol,
    /// Exchanges at once on one connection that speaks HTTP/2.
    pub max_streams: usize,
    /// Whether instances are sent the client's Host or their own; none is the client's, and their own over TLS.
    pub preserve_host: Option<bool>,
    /// Idle connections kept per worker and instance.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Seconds,
}

/// What is spoken to instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: chosen in the handshake where TLS is spoken, otherwise with prior knowledge.
    Http2,
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstancePlan {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Share of load relative to the others, at least 1.
    pub weight: u32,
}

/// TLS towards instances. Certificates and keys are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTls {
    /// Whether instances must prove who they are.
    pub verify: bool,
    /// Authorities, or instances' own certificates, that are believed; none: those that the system believes.
    pub ca: Option<String>,
    /// The name that is asked for and verified; none: each instance's host.
    pub server_name: Option<String>,
    /// What the gateway shows of itself to instances that ask for it.
    pub certificate: Option<CertifiedKey>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// How an instance is picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LoadBalancer {
    /// In turn.
    RoundRobin,
    /// In turn by weight, smoothly.
    WeightedRoundRobin,
    /// The one with the fewest exchanges in flight for its weight.
    LeastConnections,
    /// Any, by weight.
    Random,
    /// By client address, consistently.
    IpHash,
    /// By a property of the request, consistently.
    ConsistentHash {
        /// What is hashed.
        on: HashOn,
    },
    /// The less loaded of two random ones, by latency and exchanges in flight.
    P2c,
}

/// What a consistent hash is taken of. An exchange without it is spread at random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HashOn {
    /// The first value of this request field.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The id of the authenticated user.
    User,
}

/// Sticky sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Name of the cookie that the gateway sets.
    pub cookie: String,
    /// `Max-Age` of the cookie; a session cookie without.
    pub ttl: Option<Seconds>,
    /// Keys the ids in cookies, so that nobody can test guesses of an instance's address against them. Gateways that
    /// serve the same clients need the same one; without, ids are plain hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Path that is asked for with GET; 200–399 is healthy.
    pub path: String,
    /// Ask by the health protocol of gRPC instead, for the service of this name; empty is the server as a whole.
    pub grpc: Option<String>,
    /// Time between two checks of one instance, jittered by a tenth.
    pub interval: Seconds,
    /// Time for the answer's head.
    pub timeout: Seconds,
    /// Consecutive successes that bring an instance up.
    pub healthy_after: u32,
    /// Consecutive failures that take it down.
    pub unhealthy_after: u32,
}

/// Ejection by what exchanges see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveHealth {
    /// Consecutive connect failures or 5xx answers that eject an instance.
    pub failures: u32,
    /// How long the first ejection lasts; each further one lasts one more of it.
    pub ejection: Seconds,
    /// Longest ejection.
    pub max_ejection: Seconds,
    /// Largest share of instances (0–1) ejected at once.
    pub max_ejected: f64,
}

/// Circuit breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Consecutive failures that open it.
    pub failure_threshold: u32,
    /// Share of failures (0–1) over `window` that opens it.
    pub failure_rate: Option<f64>,
    /// Window of `failure_rate`.
    pub window: Seconds,
    /// Exchanges that `window` must hold before `failure_rate` counts.
    pub minimum_requests: u32,
    /// How long it stays open.
    pub timeout: Seconds,
    /// Probes let through while half open.
    pub half_open_requests: u32,
    /// Answers that count as failures.
    pub failure_statuses: Vec<u16>,
    /// Whether one breaker serves the service or each instance has its own.
    pub scope: BreakerScope,
}

/// What one breaker protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerScope {
    /// The whole service.
    Service,
    /// One instance.
    Instance,
}

/// Bound on retries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries allowed as a share of requests (0–1).
    pub ratio: f64,
    /// Retries per second allowed whatever the share.
    pub min_per_second: f64,
}

/// Bounded waiting room of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Exchanges that may wait; beyond it 503.
    pub size: usize,
    /// Longest wait; beyond it 503.
    pub timeout: Seconds,
}
