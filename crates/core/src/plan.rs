//! The plan: compiled configuration, the one document that crosses from Python to Rust.
//!
//! Python owns defaults, human units and spelling help; here every field is required and an unknown one is an error.
//! Durations are seconds (a JSON number), sizes are bytes (an integer).

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    pub listeners: Vec<Listener>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds and deadlines of the client side.
    pub limits: Limits,
    /// Authenticators, in the shape that `pylae-policies` gives them; none when nobody can be authenticated.
    pub auth: Option<serde_json::Value>,
    /// Named groups of instances.
    pub services: Vec<Service>,
    /// Routes in declaration order.
    pub routes: Vec<Route>,
    /// Policies of exchanges that no route takes, by name; only `access_log` has a meaning there.
    pub unrouted: BTreeMap<String, serde_json::Value>,
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `host:port`; the host is an IP address. Port 0 takes a free one.
    pub address: std::net::SocketAddr,
    /// Whether HTTP/2 is spoken: to clients that choose it in the handshake of TLS, or without TLS to those that begin with it.
    pub http2: bool,
    /// How it speaks TLS; without, it does not.
    pub tls: Option<ListenerTls>,
    /// Proxies in front, each connection of which begins with a header of the PROXY protocol; nobody else may connect. None:
    /// there is no such header.
    pub proxy_protocol: Option<Vec<IpNet>>,
}

/// TLS towards clients. Certificates and keys are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Chosen by the name that a client asks for; the first one is shown to clients that ask for no known name.
    pub certificates: Vec<CertifiedKey>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients are asked for certificates.
    pub client_auth: Option<ClientAuth>,
    /// Whether clients may resume sessions. Tickets are good for this listener alone.
    pub session_tickets: bool,
    /// Total time for a handshake.
    pub handshake_timeout: Seconds,
}

/// A certificate chain and the key of its first certificate.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedKey {
    /// The certificate and those between it and its authority.
    pub cert: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for CertifiedKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertifiedKey").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V13,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Certificates of the authorities that are believed.
    pub ca: String,
    /// Whether a client without a certificate is let in.
    pub mode: ClientAuthMode,
}

/// Whether a client without a certificate is let in. One with a bad certificate never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// No.
    Required,
    /// Yes.
    Optional,
}

/// Bounds and deadlines of the client side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open client connections over all workers; beyond it the oldest idle one is closed, or the new one refused.
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
    /// Slowest average rate, in bytes per second, at which a client may send a body or read an answer, measured after a grace of `body_grace`.
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

/// A named group of instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// The instances, at least one unless a registry fills the service.
    pub instances: Vec<Instance>,
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
pub struct Instance {
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

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Unique name.
    pub name: String,
    /// Which requests it takes.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Higher wins before anything else is compared.
    pub priority: i32,
    /// Name of the service; none when a policy answers.
    pub service: Option<String>,
    /// Time per attempt until the head of the response.
    pub timeout: Seconds,
    /// Longest silence between two pieces of a body.
    pub idle_timeout: Seconds,
    /// Time over all attempts until the head of the response.
    pub deadline: Option<Seconds>,
    /// Most further attempts after the first.
    pub retries: u32,
    /// What is retried besides connect failures and failures of idempotent requests.
    pub retry_on: Vec<RetryOn>,
    /// Send the client's Host instead of the instance's.
    pub preserve_host: bool,
    /// Prefix taken off the path before it is sent on.
    pub strip_prefix: Option<String>,
    /// Path template that replaces the path, e.g. `/v2/{id}`.
    pub rewrite: Option<String>,
    /// WebSocket, on a route that allows it.
    pub websocket: Option<WebSocket>,
    /// Policies by name; order is the policy table's, not this map's.
    pub policies: BTreeMap<String, serde_json::Value>,
}

/// What an open WebSocket may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    /// Longest silence of both sides, and longest time that one side takes nothing of what is there for it.
    pub idle_timeout: Seconds,
    /// Bytes of a frame's payload, as sent; none is only bounded by `max_message`.
    pub max_frame: Option<u64>,
    /// Bytes of a message, over all its frames, as sent; none is unbounded.
    pub max_message: Option<u64>,
}

/// What may be retried although the method is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The connection broke before the head of an answer.
    Reset,
    /// No head in time.
    Timeout,
    /// 502, 503 and 504 from the instance.
    GatewayError,
    /// Any 5xx from the instance.
    ServerError,
}

/// Which requests a route takes: all of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// Methods in upper case; empty takes all.
    pub methods: Vec<String>,
    /// Host names in lower case without port, `*.example.org` for any labels in front; empty takes all.
    pub hosts: Vec<String>,
    /// Request fields.
    pub headers: Vec<ValueMatch>,
    /// Query parameters.
    pub query: Vec<ValueMatch>,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    /// Equal.
    Exact(String),
    /// `/users/{id}`, `{id:int}`, `{rest:path}` (last segment only).
    Template(String),
    /// Equal, or continued behind a `/`.
    Prefix(String),
    /// Regular expression from the start of the path.
    Pattern(String),
}

/// A condition on a field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// Name of the field (case ignored) or parameter.
    pub name: String,
    /// The condition.
    pub value: ValueTest,
}

/// The condition itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueTest {
    /// It is there.
    Present,
    /// One of its values is this.
    Equals(String),
    /// One of its values matches this regular expression from its start.
    Pattern(String),
}

/// A span of time; in the plan a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map(Self).map_err(serde::de::Error::custom)
    }
}
