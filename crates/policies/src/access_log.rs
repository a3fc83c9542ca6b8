//! Formats one line per exchange. Another thread writes the lines, so that no request waits for a disk or a pipe.

#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::time::Duration;

use pylae_core::expression::{Conclusion, Expression, ExpressionMoment, ExpressionScope, ExpressionUse, RouteNames};
use pylae_core::request::query;
use pylae_core::{Exchange, Problem};
use pylae_http::{Name, Version};
use serde::{Deserialize, Serialize};

use self::write::{CommonTime, Json, Quoted, TextSink, json_string, number, seconds, timestamp};
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `stdout`, `stderr` or the path of a file.
    output: String,
    format: Format,
    /// Additional request fields to log, in JSON.
    request_headers: Vec<String>,
    /// Additional response fields to log, in JSON.
    response_headers: Vec<String>,
    /// Fields and query parameters to mask, besides those that are always masked.
    mask: Vec<String>,
    /// Which exchanges have a line; null for all.
    filter: Option<Expression>,
}

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// A JSON object.
    Json,
    /// NCSA common log format.
    Common,
    /// NCSA common log format with referrer and user agent.
    Combined,
}

/// The access log policy.
#[derive(Debug)]
pub struct AccessLog {
    config: Config,
    /// Names whose values are masked, in lower case.
    masked: BTreeSet<Box<[u8]>>,
    /// Whether the two fields that every line has are masked.
    hides_agent: bool,
    hides_referer: bool,
}

/// What is known only after an exchange is over and is not part of the exchange itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Completion<'a> {
    /// Name of the route.
    pub route: Option<&'a str>,
    /// Name of the service.
    pub service: Option<&'a str>,
    /// URL of the instance of the last attempt.
    pub instance: Option<&'a str>,
    /// Bytes read of the request body.
    pub bytes_in: u64,
    /// Bytes written to the client, including heads.
    pub bytes_out: u64,
    /// Whether the whole response was sent.
    pub complete: bool,
    /// From the complete request head to the last byte of the response.
    pub duration: Duration,
}

/// Fields that carry credentials, and query parameters that usually do.
const ALWAYS_MASKED: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api_key",
    "apikey",
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "client_secret",
    "secret",
    "password",
    "signature",
];
const MASK: &[u8] = b"***";
/// Fields of a message that are described, and bytes of a value.
const MOST_FIELDS: usize = 100;
const LONGEST_VALUE: usize = 1024;

impl Policy for AccessLog {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        if config.output.is_empty() || config.output.contains('\0') {
            return Err(vec![Problem::at("output", "must be `stdout`, `stderr` or the path of a file")]);
        }
        if let Some(Err(mistakes)) =
            config.filter.as_ref().map(|one| one.check(ExpressionMoment::Over, ExpressionUse::Condition))
        {
            return Err(mistakes.iter().map(|mistake| Problem::at("filter", mistake.to_string())).collect());
        }
        let masked = always_masked(parts).chain(config.mask.iter().map(|name| lowercase(name))).collect();
        Ok(Self::new(config, masked))
    }

    fn preview(&self, _exchange: &Exchange) -> String {
        match &self.config.filter {
            None => format!("writes a line to {}", self.config.output),
            Some(filter) => format!("writes a line to {} if `{}`", self.config.output, filter.text()),
        }
    }
}

impl AccessLog {
    /// Creates an access log that formats the default fields as JSON, for viewing exchanges without a configured log.
    /// It masks everything that any of `logs` masks.
    pub fn plain<'a>(parts: &Parts<'_>, logs: impl Iterator<Item = &'a Self>) -> Self {
        let hidden = logs.flat_map(|log| log.masked.iter().cloned());
        let masked = always_masked(parts).chain(hidden).collect();
        let none = Vec::new;
        let config = Config {
            output: String::new(),
            format: Format::Json,
            request_headers: none(),
            response_headers: none(),
            mask: none(),
            filter: None,
        };
        Self::new(config, masked)
    }

    fn new(config: Config, masked: BTreeSet<Box<[u8]>>) -> Self {
        let hides = |name: &str| masked.contains(name.as_bytes());
        Self { hides_agent: hides("user-agent"), hides_referer: hides("referer"), config, masked }
    }

    /// Returns where lines go: `stdout`, `stderr` or the path of a file.
    pub fn output(&self) -> &str {
        &self.config.output
    }

    /// Returns true if the exchange has a line. One for which the filter cannot be told has one: the failure is what is
    /// returned then.
    #[inline]
    pub fn filter(&self, exchange: &Exchange, completion: &Completion<'_>) -> Result<bool, String> {
        let Some(filter) = &self.config.filter else { return Ok(true) };
        let names =
            RouteNames { route: completion.route.unwrap_or_default(), service: completion.service.unwrap_or_default() };
        let conclusion = Some(Conclusion { complete: completion.complete, duration: completion.duration });
        let scope = ExpressionScope { exchange, names, conclusion };
        filter.is_met(&scope).map_err(|failure| filter.tell(&failure))
    }

    /// Appends the line of a completed exchange.
    pub fn write(&self, exchange: &Exchange, completion: &Completion<'_>, out: &mut Vec<u8>) {
        match self.config.format {
            Format::Json => self.json(exchange, completion, out),
            Format::Common => self.common(exchange, completion, out),
            Format::Combined => {
                self.common(exchange, completion, out);
                for (name, hidden) in [("referer", self.hides_referer), ("user-agent", self.hides_agent)] {
                    out.extend_from_slice(b" \"");
                    match exchange.request.values(name).next() {
                        Some(_) if hidden => out.extend_from_slice(MASK),
                        Some(value) => self.text(value, &mut Quoted(out)),
                        None => out.push(b'-'),
                    }
                    out.push(b'"');
                }
            }
        }
        out.push(b'\n');
    }

    fn json(&self, exchange: &Exchange, completion: &Completion<'_>, out: &mut Vec<u8>) {
        let asked = exchange.attempts > 0;
        out.extend_from_slice(b"{\"timestamp\":\"");
        timestamp(out, exchange.times.wall);
        out.extend_from_slice(b"\",\"request_id\":");
        json_string(out, Some(&exchange.request.id));
        out.extend_from_slice(b",\"client\":\"");
        write::address(out, exchange.request.origin.client);
        out.extend_from_slice(b"\",\"user\":");
        json_string(out, exchange.request.user.as_ref().map(|user| user.id.as_bytes()));
        out.extend_from_slice(b",\"method\":");
        json_string(out, non_empty(exchange.request.head.method_span.of(&exchange.request.buffer)));
        out.extend_from_slice(b",\"host\":");
        json_string(out, non_empty(&exchange.request.host));
        out.extend_from_slice(b",\"path\":");
        json_string(out, non_empty(exchange.request.asked_path()));
        if !exchange.request.client_path.is_empty() {
            out.extend_from_slice(b",\"routed_path\":");
            json_string(out, Some(&exchange.request.target.path));
        }
        out.extend_from_slice(b",\"query\":");
        self.json_masked(out, exchange.request.query(), Self::query);
        for (key, value) in [
            (&b",\"route\":"[..], completion.route),
            (b",\"service\":", completion.service),
            (b",\"instance\":", completion.instance.filter(|_| asked)),
        ] {
            out.extend_from_slice(key);
            json_string(out, value.map(str::as_bytes));
        }
        out.extend_from_slice(b",\"status\":");
        number(out, exchange.response.status.into());
        out.extend_from_slice(b",\"code\":");
        json_string(out, exchange.response.code.map(str::as_bytes));
        for (key, value) in [
            (&b",\"bytes_in\":"[..], completion.bytes_in),
            (b",\"bytes_out\":", completion.bytes_out),
            (b",\"retries\":", u64::from(exchange.attempts.saturating_sub(1))),
        ] {
            out.extend_from_slice(key);
            number(out, value);
        }
        out.extend_from_slice(if completion.complete { b",\"complete\":true" } else { b",\"complete\":false" });
        out.extend_from_slice(b",\"duration\":");
        seconds(out, Some(completion.duration));
        out.extend_from_slice(b",\"upstream_time\":");
        seconds(out, Some(exchange.times.upstream).filter(|_| asked));
        out.extend_from_slice(b",\"protocol\":\"");
        out.extend_from_slice(protocol(exchange));
        out.extend_from_slice(b"\",\"user_agent\":");
        let agent = exchange.request.head.fields.get(&exchange.request.buffer, Name::UserAgent);
        self.json_masked(out, agent.map(|agent| if self.hides_agent { MASK } else { agent }), Self::text);
        out.extend_from_slice(b",\"referer\":");
        let referer = exchange.request.values("referer").next();
        self.json_masked(out, referer.map(|referer| if self.hides_referer { MASK } else { referer }), Self::text);
        let trace = &exchange.trace_context;
        if trace.is_known() {
            out.extend_from_slice(b",\"trace_id\":\"");
            out.extend_from_slice(&trace.trace_digits());
            out.extend_from_slice(b"\",\"span_id\":\"");
            out.extend_from_slice(&trace.span_digits());
            out.push(b'"');
        }
        self.headers(exchange, out);
        out.push(b'}');
    }

    fn json_masked(&self, out: &mut Vec<u8>, value: Option<&[u8]>, write: fn(&Self, &[u8], &mut dyn TextSink)) {
        match value {
            Some(value) => {
                out.push(b'"');
                write(self, value, &mut Json(out));
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Appends the additional fields that the plan names.
    fn headers(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let wanted = [
            (&b",\"request_headers\":{"[..], &self.config.request_headers),
            (b",\"response_headers\":{", &self.config.response_headers),
        ];
        for (index, (key, names)) in wanted.into_iter().enumerate().filter(|(_, (_, names))| !names.is_empty()) {
            out.extend_from_slice(key);
            for (place, name) in names.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                json_string(out, Some(name.as_bytes()));
                out.push(b':');
                let value =
                    if index == 0 { exchange.request.values(name).next() } else { exchange.response.value(name) };
                let masked = self.is_masked(name.as_bytes());
                self.json_masked(out, value.map(|value| if masked { MASK } else { value }), Self::text);
            }
            out.push(b'}');
        }
    }

    fn common(&self, exchange: &Exchange, completion: &Completion<'_>, out: &mut Vec<u8>) {
        write::address(out, exchange.request.origin.client);
        out.extend_from_slice(b" - ");
        match &exchange.request.user {
            // A space would shift the fields after it.
            Some(user) => Quoted(out).put(user.id.replace(' ', "%20").as_bytes()),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        CommonTime(exchange.times.wall).write(out);
        out.extend_from_slice(b"] \"");
        Quoted(out).put(exchange.request.head.method_span.of(&exchange.request.buffer));
        out.push(b' ');
        Quoted(out).put(exchange.request.asked_path());
        if let Some(query) = exchange.request.query() {
            out.push(b'?');
            self.query(query, &mut Quoted(out));
        }
        out.push(b' ');
        out.extend_from_slice(protocol(exchange));
        out.extend_from_slice(b"\" ");
        number(out, exchange.response.status.into());
        out.push(b' ');
        number(out, completion.bytes_out);
    }

    /// Writes a query with the values of masked parameters replaced.
    fn query(&self, query: &[u8], out: &mut dyn TextSink) {
        for (index, part) in query.split(|byte| *byte == b'&').enumerate() {
            if index > 0 {
                out.put(b"&");
            }
            match self.visible_prefix(part) {
                Some(shown) => {
                    out.put(&part[..shown]);
                    out.put(MASK);
                }
                None => out.put(part),
            }
        }
    }

    /// Returns the length of the visible prefix of a query parameter, or None if nothing is masked. A value may be a
    /// URL with a query or fragment of its own, and some parsers also split at `;`.
    fn visible_prefix(&self, part: &[u8]) -> Option<usize> {
        let mut start = 0;
        for piece in part.split(|byte| b"?#;".contains(byte)) {
            let equals = piece.iter().position(|byte| *byte == b'=');
            if let Some(equals) = equals.filter(|equals| self.is_masked(&query::decoded(&piece[..*equals]))) {
                return Some(start + equals + 1);
            }
            start += piece.len() + 1;
        }
        None
    }

    /// Writes a URL or any other text, with masked parameters in its query or fragment replaced.
    fn text(&self, text: &[u8], out: &mut dyn TextSink) {
        let (front, query) = text.split_at(text.iter().position(|byte| b"?#".contains(byte)).unwrap_or(text.len()));
        out.put(front);
        if let Some((mark, query)) = query.split_first() {
            out.put(&[*mark]);
            self.query(query, out);
        }
    }

    /// Appends fields as a JSON list of pairs, with masked values replaced and long ones cut.
    pub fn write_fields<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, out: &mut Vec<u8>) {
        out.push(b'[');
        for (place, (name, value)) in fields.take(MOST_FIELDS).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.push(b'[');
            json_string(out, Some(name));
            out.push(b',');
            let value = if self.is_masked(name) { MASK } else { &value[..value.len().min(LONGEST_VALUE)] };
            self.json_masked(out, Some(value), Self::text);
            out.push(b']');
        }
        out.push(b']');
    }

    fn is_masked(&self, name: &[u8]) -> bool {
        self.masked.iter().any(|masked| masked.eq_ignore_ascii_case(name))
    }
}

fn always_masked<'a>(parts: &'a Parts<'_>) -> impl Iterator<Item = Box<[u8]>> + 'a {
    ALWAYS_MASKED.iter().copied().chain(parts.auth.credential_names()).map(lowercase)
}

fn lowercase(name: &str) -> Box<[u8]> {
    name.to_ascii_lowercase().into_bytes().into()
}

fn non_empty(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

fn protocol(exchange: &Exchange) -> &'static [u8] {
    match exchange.request.head.version {
        // The head of a stream is translated to HTTP/1.1.
        _ if exchange.request.origin.on_stream => b"HTTP/2.0",
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}
