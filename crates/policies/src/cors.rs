//! Cross-origin resource sharing (Fetch standard, section 3.3): lets pages of the configured origins call the route.

use std::borrow::Cow;

use pylae_core::exchange::request::Request;
use pylae_core::exchange::response::Response;
use pylae_core::plan::Seconds;
use pylae_core::{Answer, Exchange, Problem, Rejection, Verdict};
use pylae_http::{Method, Name};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://app.example.org`, `https://*.example.org`, or only `*`.
    origins: Vec<String>,
    /// Methods, or only `*` for every method that the route matches.
    methods: Vec<String>,
    /// Request fields, or only `*` for any field.
    headers: Vec<String>,
    /// Response fields that pages may read besides the safelisted ones.
    expose: Vec<String>,
    /// Whether pages may send cookies and other credentials.
    credentials: bool,
    /// How long a browser may cache the answer to a preflight.
    max_age: Seconds,
}

/// The CORS policy. It answers preflights and adds the CORS fields to responses.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    methods: Allowed,
    headers: Allowed,
    expose: String,
    credentials: bool,
    max_age: String,
}

/// The allowed origins.
#[derive(Debug)]
enum Origins {
    All,
    Listed(Vec<Origin>),
}

#[derive(Debug)]
enum Origin {
    Exact(Box<[u8]>),
    /// Scheme with `://`, and the part after `*`, including the port.
    Subdomains {
        scheme: Box<[u8]>,
        parent: Box<[u8]>,
    },
}

/// Methods or fields that a preflight may announce.
#[derive(Debug)]
enum Allowed {
    All,
    Listed { names: Vec<Box<str>>, line: String },
}

/// Fields of the answer to a preflight.
type ResponseFields = Vec<(Cow<'static, str>, Vec<u8>)>;

/// Maximum number of names in a preflight; browsers list a handful.
const MAX_NAMES: usize = 64;

impl Policy for Cors {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let all = config.origins.iter().any(|origin| origin == "*");
        if all && config.credentials {
            problems.push(Problem::at("credentials", "cannot be allowed for every origin: list the `origins`"));
        }
        if config.credentials && config.expose.iter().any(|name| name == "*") {
            problems.push(Problem::at("expose", "browsers ignore `*` together with `credentials`: list the names"));
        }
        let mut listed = Vec::new();
        for (index, origin) in config.origins.iter().enumerate().filter(|_| !all) {
            match Origin::parse(origin) {
                Ok(origin) => listed.push(origin),
                Err(message) => problems.push(Problem::at(format!("origins[{index}]"), message)),
            }
        }
        for (key, names) in [("methods", &config.methods), ("headers", &config.headers), ("expose", &config.expose)] {
            for (index, _) in names.iter().enumerate().filter(|(_, name)| !is_token(name.as_bytes())) {
                problems.push(Problem::at(format!("{key}[{index}]"), "is not a name"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            origins: if all { Origins::All } else { Origins::Listed(listed) },
            methods: Allowed::new(&config.methods),
            headers: Allowed::new(&config.headers),
            expose: config.expose.join(", "),
            credentials: config.credentials,
            max_age: config.max_age.0.as_secs().to_string(),
        })
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        self.judge_origin(exchange);
        if exchange.request.head.method != Method::Options || announced_method(exchange).is_none() {
            return Verdict::Continue;
        }
        match self.preflight(exchange) {
            Ok(headers) => Verdict::Answer(Box::new(Answer { status: 204, headers, body: [].into() })),
            Err(message) => Verdict::Reject(Box::new(Rejection {
                status: 403,
                code: REFUSED,
                message: message.into(),
                headers: vec![("Vary".into(), PREFLIGHT_VARY.to_owned())],
            })),
        }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        // The gateway decides for the instance, whose own CORS fields could contradict it.
        for name in upstream_cors_fields(exchange) {
            exchange.response.edits.remove(name.as_bytes());
        }
        let Exchange { request: Request { head, buffer, .. }, response: Response { edits, .. }, .. } = exchange;
        let origin = self.allowed_origin(head.fields.get(buffer, Name::Origin), head.fields.count(Name::Origin));
        // None of these can fail: the origin matched the configuration, and the other values come from it.
        if let Some(origin) = origin {
            let _ = edits.set_known(Name::AccessControlAllowOrigin, origin);
            if self.credentials {
                let _ = edits.append(b"Access-Control-Allow-Credentials", b"true");
            }
            if !self.expose.is_empty() {
                let _ = edits.append(b"Access-Control-Expose-Headers", self.expose.as_bytes());
            }
        } else {
            edits.remove_known(Name::AccessControlAllowOrigin);
        }
        if matches!(self.origins, Origins::Listed(_)) {
            exchange.response.vary("Origin");
        }
    }

    fn answers_preflights(&self) -> bool {
        true
    }

    fn apply_preview(&self, exchange: &mut Exchange) {
        self.judge_origin(exchange);
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let origin = exchange.request.head.fields.get(&exchange.request.buffer, Name::Origin);
        match self.allowed_origin(origin, exchange.request.head.fields.count(Name::Origin)) {
            _ if exchange.request.head.method == Method::Options && announced_method(exchange).is_some() => {
                match self.preflight(exchange) {
                    Ok(_) => "answers the preflight with 204".to_owned(),
                    Err(message) => format!("refuses the preflight with 403: {message}"),
                }
            }
            Some(_) => "lets the page read the response".to_owned(),
            None if origin.is_some() => "passes; a page of this origin cannot read the response".to_owned(),
            None => "passes: the request names no origin".to_owned(),
        }
    }
}

/// Error code of refused preflights.
pub const REFUSED: &str = "cors_refused";

const PREFLIGHT_VARY: &str = "Access-Control-Request-Method, Access-Control-Request-Headers";

/// Returns the method that a preflight announces, or None if the fields are not those of a preflight. Does not check
/// the request's own method.
pub fn announced_method(exchange: &Exchange) -> Option<&[u8]> {
    let fields = &exchange.request.head.fields;
    let method = fields.get(&exchange.request.buffer, Name::AccessControlRequestMethod)?;
    (fields.has(Name::Origin) && is_token(method)).then_some(method)
}

impl Cors {
    /// Tells later policies whether the page may use the user's cookies.
    fn judge_origin(&self, exchange: &mut Exchange) {
        if self.credentials && exchange.request.head.fields.has(Name::Origin) {
            let Request { head, buffer, .. } = &exchange.request;
            let origin = self.allowed_origin(head.fields.get(buffer, Name::Origin), head.fields.count(Name::Origin));
            exchange.request.origin_trusted = origin.is_some();
        }
    }

    /// Returns the value of Access-Control-Allow-Origin, or None if the origin is not allowed.
    fn allowed_origin<'a>(&self, origin: Option<&'a [u8]>, count: usize) -> Option<&'a [u8]> {
        let origin = origin.filter(|_| count == 1)?;
        match &self.origins {
            Origins::All => Some(b"*"),
            Origins::Listed(listed) => listed.iter().any(|allowed| allowed.matches(origin)).then_some(origin),
        }
    }

    /// Returns the fields that answer a preflight, or why it is refused.
    fn preflight(&self, exchange: &Exchange) -> Result<ResponseFields, &'static str> {
        let fields = &exchange.request.head.fields;
        let origin = fields.get(&exchange.request.buffer, Name::Origin);
        if self.allowed_origin(origin, fields.count(Name::Origin)).is_none() {
            return Err("pages of this origin may not call this path");
        }
        let method = announced_method(exchange).unwrap_or_default();
        let methods = match &self.methods {
            Allowed::All => method.to_vec(),
            Allowed::Listed { names, line } if names.iter().any(|name| name.as_bytes() == method) => {
                line.clone().into()
            }
            Allowed::Listed { .. } => return Err("pages may not use this method on this path"),
        };
        let mut headers: ResponseFields = vec![("Access-Control-Allow-Methods".into(), methods)];
        let mut wanted = Vec::new();
        for line in exchange.request.values("access-control-request-headers") {
            for name in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
                if !is_token(name) || wanted.len() == MAX_NAMES || !self.headers.allows(name) {
                    return Err("pages may not send one of the header fields that the request announces");
                }
                wanted.push(name);
            }
        }
        if !wanted.is_empty() {
            let value = match &self.headers {
                Allowed::All => wanted.join(&b", "[..]),
                Allowed::Listed { line, .. } => line.clone().into(),
            };
            headers.push(("Access-Control-Allow-Headers".into(), value));
        }
        headers.push(("Access-Control-Max-Age".into(), self.max_age.clone().into()));
        headers.push(("Vary".into(), PREFLIGHT_VARY.into()));
        Ok(headers)
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        let Some((scheme, host)) = lower.split_once("://") else {
            return Err("is not an origin; write it like https://app.example.org");
        };
        let (labels, parent) = host.split_once('*').map_or((host, None), |(labels, parent)| (labels, Some(parent)));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        if scheme.is_empty() || host.is_empty() || !plain(scheme) || !plain(labels) || !parent.is_none_or(plain) {
            return Err("is not an origin: write scheme, host and port, and no path");
        }
        match parent {
            None => Ok(Self::Exact(lower.into_bytes().into())),
            Some(parent) if labels.is_empty() && parent.starts_with('.') && parent.len() > 1 => {
                let scheme = format!("{scheme}://");
                Ok(Self::Subdomains { scheme: scheme.into_bytes().into(), parent: parent.as_bytes().into() })
            }
            Some(_) => Err("`*` must replace whole labels at the start of a host, as in https://*.example.org"),
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact[..] == *origin,
            Self::Subdomains { scheme, parent } => {
                let labels = origin.strip_prefix(&scheme[..]).and_then(|host| host.strip_suffix(&parent[..]));
                labels.is_some_and(|labels| {
                    !labels.is_empty()
                        && labels.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte))
                })
            }
        }
    }
}

impl Allowed {
    fn new(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") {
            return Self::All;
        }
        Self::Listed { names: names.iter().map(|name| name.as_str().into()).collect(), line: names.join(", ") }
    }

    fn allows(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Listed { names, .. } => names.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(name)),
        }
    }
}

/// Returns the names of all CORS fields in the instance's response.
fn upstream_cors_fields(exchange: &Exchange) -> Vec<String> {
    let names = exchange.response.head.fields.iter().map(|field| field.name.of(&exchange.response.buffer));
    names
        .filter(|name| name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case(b"access-control-")))
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
