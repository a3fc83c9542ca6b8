//! Routes: what they match and what becomes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::seconds::Seconds;

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
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
    /// Whether instances are sent the client's Host or their own; none leaves it to the service.
    pub preserve_host: Option<bool>,
    /// Prefix taken off the path before it is sent on.
    pub strip_prefix: Option<String>,
    /// Path template that replaces the path, e.g. `/v2/{id}`.
    pub rewrite: Option<String>,
    /// What becomes of `%2F` in the path.
    pub encoded_slash: EncodedSlash,
    /// WebSocket, on a route that allows it.
    pub websocket: Option<WebSocket>,
    /// Policies by name; order is the policy table's, not this map's.
    pub policies: BTreeMap<String, serde_json::Value>,
}

/// What becomes of `%2F` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// 400.
    Reject,
    /// It is a letter of its segment.
    Keep,
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
