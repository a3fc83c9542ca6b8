//! Routes: what they match and how their requests are handled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::condition::ValueMatch;
use super::errors::ErrorPages;
use super::seconds::Seconds;
use super::split::SplitPlan;

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
    /// Unique name.
    pub name: String,
    /// Which requests it matches.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The higher priority wins before anything else is compared.
    pub priority: i32,
    /// Name of the service; null if a policy answers, or the requests are split.
    pub service: Option<String>,
    /// Splits the requests over several services.
    pub split: Option<SplitPlan>,
    /// Timeout of one attempt until the head of the response.
    pub timeout: Seconds,
    /// Longest pause between two pieces of a body.
    pub idle_timeout: Seconds,
    /// Timeout of all attempts until the head of the response.
    pub deadline: Option<Seconds>,
    /// Largest number of attempts after the first.
    pub retries: u32,
    /// What to retry in addition to connect failures and failures of idempotent requests.
    pub retry_on: Vec<RetryOn>,
    /// True if instances get the client's Host, false if they get their own; null leaves it to the service.
    pub preserve_host: Option<bool>,
    /// Prefix that is removed from the path before forwarding.
    pub strip_prefix: Option<String>,
    /// Path template that replaces the path, e.g. `/v2/{id}`.
    pub rewrite: Option<String>,
    /// How to handle `%2F` in the path.
    pub encoded_slash: EncodedSlash,
    /// WebSocket settings, on a route that allows it.
    pub websocket: Option<WebSocket>,
    /// What clients get in place of the gateway's own error bodies; it goes before what the gateway has for all routes.
    pub errors: ErrorPages,
    /// Policies by name; their order is that of the policy table, not of this map.
    pub policies: BTreeMap<String, serde_json::Value>,
}

impl RoutePlan {
    /// Names of the services that get its requests, those of its split included.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let members = self.split.iter().flat_map(|split| &split.members).map(|member| member.service.as_str());
        self.service.as_deref().into_iter().chain(members)
    }
}

/// How to handle `%2F` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// Refuse the request (400).
    Reject,
    /// Keep it as data within its segment.
    Keep,
}

/// Limits of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    /// Longest silence of both sides, and longest time for which one side accepts no pending data.
    pub idle_timeout: Seconds,
    /// Size of a frame's payload in bytes, as sent; null limits it by `max_message` only.
    pub max_frame: Option<u64>,
    /// Size of a message in bytes over all its frames, as sent; null means no limit.
    pub max_message: Option<u64>,
}

/// What may be retried even if the method is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The connection broke before the response head.
    Reset,
    /// The response head did not arrive in time.
    Timeout,
    /// 502, 503 and 504 from the instance.
    GatewayError,
    /// Any 5xx from the instance.
    ServerError,
}

/// Conditions of a route, all of which a request must meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// Methods in upper case; empty matches all.
    pub methods: Vec<String>,
    /// Host names in lower case without port, `*.example.org` for any labels in front; empty matches all.
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
    /// Equal, or continued after a `/`.
    Prefix(String),
    /// Regular expression, anchored at the start of the path.
    Pattern(String),
}
