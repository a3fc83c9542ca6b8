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
    /// The instances; at least one unless a registry fills the service.
    pub instances: Vec<InstancePlan>,
    /// How an instance is picked.
    pub load_balancer: LoadBalancer,
    /// An instance that joins or recovers gets its share of load gradually over this time.
    pub slow_start: Option<Seconds>,
    /// TLS towards instances; required if an instance has an https URL.
    pub tls: Option<ServiceTls>,
    /// Keeps a client on one instance by a cookie.
    pub sticky: Option<Sticky>,
    /// Active checks.
    pub health_check: Option<HealthCheck>,
    /// Ejection of instances by the outcomes of exchanges.
    pub passive_health: Option<PassiveHealth>,
    /// Share of healthy instances (0–1) below which health is ignored and all instances get traffic.
    pub panic_threshold: Option<f64>,
    /// Circuit breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Limit on retries over all exchanges of the service.
    pub retry_budget: RetryBudget,
    /// Timeout for connecting to an instance.
    pub connect_timeout: Seconds,
    /// Exchanges in flight to the service; beyond it they queue.
    pub max_in_flight: Option<usize>,
    /// The queue for `max_in_flight`.
    pub queue: Queue,
    /// Protocol towards the instances.
    pub protocol: Protocol,
    /// Concurrent exchanges on one HTTP/2 connection.
    pub max_streams: usize,
    /// True if instances get the client's Host, false if they get their own; null means the client's, but their own
    /// over TLS.
    pub preserve_host: Option<bool>,
    /// Idle connections kept per worker and instance.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Seconds,
    /// How the gateway gets the token that instances get in place of the client's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
}

/// How the gateway gets a token (RFC 6749 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_url: String,
    /// The gateway's name there.
    pub client_id: String,
    /// What it proves its name with.
    pub client_secret: String,
    /// How it does that.
    pub client_auth: ClientAuthentication,
    /// Further parameters of the request, in this order.
    pub parameters: Vec<(String, String)>,
    /// Trusted authorities in PEM; null means those that the system trusts.
    pub ca: Option<String>,
}

/// How a client authenticates at a token endpoint (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// In `Authorization: Basic`.
    Basic,
    /// In the body of the request.
    Post,
}

/// Protocol towards instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: negotiated in the handshake over TLS, otherwise with prior knowledge.
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
    /// True if the certificates of instances are verified.
    pub verify: bool,
    /// Trusted authorities, or certificates of instances; null means those that the system trusts.
    pub ca: Option<String>,
    /// Server name to ask for and to verify; null means each instance's host.
    pub server_name: Option<String>,
    /// The gateway's own certificate, for instances that ask for it.
    pub certificate: Option<CertifiedKey>,
    /// Oldest supported version.
    pub min_version: TlsVersion,
}

/// How an instance is picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// Name of the balancer, of [`BALANCERS`](crate::service::BALANCERS).
    pub kind: String,
    /// The property of the request to hash, for balancers that go by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<HashOn>,
}

/// The key of a balancer that hashes. Exchanges without it are spread at random.
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
    /// `Max-Age` of the cookie; null makes it a session cookie.
    pub ttl: Option<Seconds>,
    /// Key for the ids in cookies, so that nobody can test guesses of an instance's address against them. Gateways that
    /// serve the same clients need the same key; without one, ids are plain hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Path to GET; 200–399 is healthy.
    pub path: String,
    /// Use the gRPC health protocol instead, for the service of this name; empty means the whole server.
    pub grpc: Option<String>,
    /// Time between two checks of one instance, with a jitter of a tenth.
    pub interval: Seconds,
    /// Timeout until the head of the response.
    pub timeout: Seconds,
    /// Consecutive successes after which an instance is up.
    pub healthy_after: u32,
    /// Consecutive failures after which it is down.
    pub unhealthy_after: u32,
}

/// Ejection by the outcomes of exchanges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveHealth {
    /// Consecutive connect failures or 5xx responses after which an instance is ejected.
    pub failures: u32,
    /// Duration of the first ejection; each further ejection is longer by the same time.
    pub ejection: Seconds,
    /// Longest ejection.
    pub max_ejection: Seconds,
    /// Largest share of instances (0–1) that are ejected at the same time.
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
    /// Number of exchanges in `window` from which on `failure_rate` counts.
    pub minimum_requests: u32,
    /// How long it stays open.
    pub timeout: Seconds,
    /// Probes let through while half open.
    pub half_open_requests: u32,
    /// Statuses of responses that count as failures.
    pub failure_statuses: Vec<u16>,
    /// Whether the service has one breaker or each instance its own.
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

/// Limit on retries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries allowed as a share of requests (0–1).
    pub ratio: f64,
    /// Retries per second that are always allowed.
    pub min_per_second: f64,
}

/// Bounded queue of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Exchanges that may wait; beyond it 503.
    pub size: usize,
    /// Longest wait; beyond it 503.
    pub timeout: Seconds,
}
