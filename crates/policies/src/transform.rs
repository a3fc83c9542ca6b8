//! Edits header fields of requests and responses, and normalizes the errors of instances.

use std::collections::BTreeMap;

use pylae_core::exchange::answer::{self, FoundPages};
use pylae_core::plan::FieldChanges;
use pylae_core::{Answer, BodyTransform, Exchange, Halt, Problem, Rejection, Verdict};
use pylae_http::{Edits, Name, encode};
use serde::{Deserialize, Serialize};

use crate::media::{self, Media};
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Changes to requests.
    request: HeadChanges,
    /// Changes to responses.
    response: HeadChanges,
    /// Whether responses carry `X-Response-Time`.
    response_time: bool,
    /// Whether error responses that are not JSON are replaced.
    normalize_errors: bool,
}

/// Changes to one head, applied in the order remove, set, append.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadChanges {
    remove: Vec<String>,
    set: BTreeMap<String, String>,
    append: BTreeMap<String, String>,
}

/// The transform policy.
#[derive(Debug)]
pub struct Transform(Config);

/// Fields that describe the replaced body.
const BODY_FIELDS: &[&str] = &[
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Content-MD5",
    "Content-Range",
    "Content-Digest",
    "Repr-Digest",
    "Digest",
    "ETag",
    "Last-Modified",
];

/// Request fields that the gateway itself writes after this policy, and what to use instead.
const RESERVED_REQUEST_FIELDS: &[(Name, &str)] = &[
    (Name::Host, "`preserve_host` says which Host an instance is sent"),
    (Name::XForwardedFor, "it names the client; `trusted_proxies` says whose addresses are believed"),
    (Name::XForwardedHost, "it is the host that the client asked for"),
    (Name::XForwardedProto, "it says whether the client speaks TLS; `trusted_proxies` says who may say otherwise"),
    (Name::XRequestId, REQUEST_ID),
    (Name::XUserEmail, IDENTITY),
    (Name::XUserId, IDENTITY),
    (Name::XUserRole, IDENTITY),
];
/// Response fields that the gateway itself writes after this policy.
const RESERVED_RESPONSE_FIELDS: &[(Name, &str)] =
    &[(Name::Date, "every answer has one"), (Name::XRequestId, REQUEST_ID)];
const REQUEST_ID: &str = "it is the name of the exchange in every log; use a field of another name";
const IDENTITY: &str = "only an authenticator says who the user is; use a field of another name";

impl Policy for Transform {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        config.request.check("request", RESERVED_REQUEST_FIELDS, &mut problems);
        config.response.check("response", RESERVED_RESPONSE_FIELDS, &mut problems);
        if problems.is_empty() { Ok(Self(config)) } else { Err(problems) }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        self.0.request.apply(&mut exchange.request.edits);
        Verdict::Continue
    }

    fn on_response(&self, exchange: &mut Exchange) {
        if self.0.normalize_errors
            && exchange.response.status >= 400
            && exchange.response.is_relayed()
            && !is_json(exchange)
        {
            normalize_error(exchange);
        }
        if self.0.response_time {
            let micros = exchange.times.now.since(exchange.times.started).as_micros();
            let value = format!("{}.{:03}ms", micros / 1000, micros % 1000);
            // Cannot fail: the value is ASCII digits, a dot and letters.
            let _ = exchange.response.edits.set(b"X-Response-Time", value.as_bytes());
        }
        self.0.response.apply(&mut exchange.response.edits);
    }

    fn preview(&self, _exchange: &Exchange) -> String {
        let mut parts = Vec::new();
        for (side, changes) in [("request", &self.0.request), ("response", &self.0.response)] {
            let names = changes.remove.iter().chain(changes.set.keys()).chain(changes.append.keys());
            let names: Vec<&str> = names.map(String::as_str).collect();
            if !names.is_empty() {
                parts.push(format!("changes {} of the {side}", names.join(", ")));
            }
        }
        if self.0.response_time {
            parts.push("adds X-Response-Time".to_owned());
        }
        if self.0.normalize_errors {
            parts.push("replaces errors that are not JSON".to_owned());
        }
        if parts.is_empty() { "changes nothing".to_owned() } else { parts.join("; ") }
    }
}

/// Checks changes of request fields that are made behind this policy, by its rules. Paths begin with `headers`.
pub fn check_request_changes(changes: &FieldChanges) -> Vec<Problem> {
    let FieldChanges { set, remove } = changes.clone();
    let mut problems = Vec::new();
    HeadChanges { remove, set, append: BTreeMap::new() }.check("headers", RESERVED_REQUEST_FIELDS, &mut problems);
    problems
}

impl HeadChanges {
    /// Checks that every change is valid and has an effect. `reserved` are the fields that the gateway writes after
    /// this policy.
    fn check(&self, side: &str, reserved: &[(Name, &str)], problems: &mut Vec<Problem>) {
        let mut check_field = |path: String, name: &str, value: &str| {
            let known = Name::classify(name.as_bytes());
            if let Some((_, instead)) = reserved.iter().find(|(name, _)| *name == known) {
                let message = format!("the gateway itself writes {} later: {instead}", known.as_str());
                problems.push(Problem::at(path, message));
            } else if let Err(error) = Edits::default().set(name.as_bytes(), value.as_bytes()) {
                problems.push(Problem::at(path, error.0));
            }
        };
        for (kind, pairs) in [("set", &self.set), ("append", &self.append)] {
            for (name, value) in pairs {
                check_field(format!("{side}.{kind}[\"{name}\"]"), name, value);
            }
        }
        for (index, name) in self.remove.iter().enumerate() {
            check_field(format!("{side}.remove[{index}]"), name, "");
        }
    }

    fn apply(&self, edits: &mut Edits) {
        for name in &self.remove {
            edits.remove(name.as_bytes());
        }
        // These cannot fail: `check` has validated every name and value.
        for (name, value) in &self.set {
            let _ = edits.set(name.as_bytes(), value.as_bytes());
        }
        for (name, value) in &self.append {
            let _ = edits.append(name.as_bytes(), value.as_bytes());
        }
    }
}

fn is_json(exchange: &Exchange) -> bool {
    exchange.response.value("content-type").and_then(media::parse).is_some_and(Media::is_json)
}

/// Replaces the body with one in the format of the gateway's own errors, without waiting for the instance's body.
fn normalize_error(exchange: &mut Exchange) {
    let status = exchange.response.status;
    let message = format!("the service answered with {status} {}", encode::reason(status));
    let halt = Halt::Rejected(Box::new(Rejection {
        status,
        code: "service_error",
        message: message.trim_end().to_owned().into(),
        headers: Vec::new(),
    }));
    let wall = exchange.times.wall + exchange.times.now.since(exchange.times.started);
    let Answer { headers, body, .. } = answer::to_halt(&halt, exchange, wall, FoundPages::default());
    for name in BODY_FIELDS {
        exchange.response.edits.remove(name.as_bytes());
    }
    for (name, value) in headers {
        // Cannot fail: these are the gateway's own fields.
        let _ = exchange.response.edits.set(name.as_bytes(), &value);
    }
    exchange.response.body_length = Some(body.len() as u64);
    exchange.response.transforms.install(Box::new(Replace(Some(body))));
}

/// Discards the body and sends this one instead.
struct Replace(Option<std::sync::Arc<[u8]>>);

impl BodyTransform for Replace {
    fn push(&mut self, _input: &[u8], _end: bool, out: &mut Vec<u8>) {
        if let Some(body) = self.0.take() {
            out.extend_from_slice(&body);
        }
    }

    fn is_done(&self) -> bool {
        true
    }
}
