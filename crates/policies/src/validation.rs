//! Refuses invalid requests before the service sees them.

mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jsonschema::{PatternOptions, Validator};
use pylae_core::request::query;
use pylae_core::{Exchange, Problem, Rejection, Verdict};
use pylae_http::{Framing, Method, Name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::media;
use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Maximum bytes of a request body (413), counted as they arrive.
    max_body: u64,
    /// Accepted media types of a body (415); empty accepts all.
    content_types: Vec<String>,
    /// Required header fields (400).
    required_headers: Vec<String>,
    /// Required query parameters (400).
    required_query: Vec<String>,
    /// Rules for JSON bodies.
    json_body: Option<BodyRules>,
}

/// Rules for bodies, which must be JSON (400) and match the schema (422).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyRules {
    /// Maximum bytes. Longer bodies are refused, because a body is parsed as a whole.
    max_size: u64,
    /// Maximum nesting of arrays and objects.
    max_depth: u8,
    /// Maximum number of values, keys included.
    max_values: u32,
    /// JSON Schema, draft 2020-12.
    json_schema: Option<Value>,
}

/// The validation policy.
#[derive(Debug)]
pub struct Validation {
    config: Config,
    schema: Option<Validator>,
}

impl Policy for Validation {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        // The parser itself refuses deeper ones, without saying which bound was exceeded.
        if config.json_body.as_ref().is_some_and(|json| json.max_depth > json::MAX_DEPTH) {
            problems.push(Problem::at("json_body.max_depth", format!("is at most {}", json::MAX_DEPTH)));
        }
        let schema = config.json_body.as_ref().and_then(|json| json.json_schema.as_ref()).and_then(|schema| {
            compile(schema).map_err(|message| problems.push(Problem::at("json_body.json_schema", message))).ok()
        });
        if problems.is_empty() { Ok(Self { config, schema }) } else { Err(problems) }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        exchange.request.max_body = self.config.max_body;
        if let Some(json) = self.config.json_body.as_ref().filter(|json| json.max_size < self.config.max_body) {
            exchange.request.max_body = json.max_size;
        }
        self.check_head(exchange).map_or(Verdict::Continue, |rejection| Verdict::Reject(Box::new(rejection)))
    }

    fn body_limit(&self) -> Option<usize> {
        let json = self.config.json_body.as_ref()?;
        Some(usize::try_from(json.max_size.min(self.config.max_body)).unwrap_or(usize::MAX))
    }

    fn on_body(&self, exchange: &mut Exchange, body: &[u8], _complete: bool) -> Verdict {
        // Always complete: `max_body` refuses a body that is longer than `body_limit`.
        match self.check_body(exchange, body) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(Box::new(rejection)),
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        match self.check_head(exchange) {
            Some(rejection) => format!("refuses with {}: {}", rejection.status, rejection.message),
            None if self.schema.is_some() => "passes if the body fits the schema".to_owned(),
            None if self.config.json_body.is_some() => "passes if the body is JSON".to_owned(),
            None => format!("passes with a body of at most {} bytes", self.config.max_body),
        }
    }
}

/// Compiles the schema. References are never fetched, and every pattern matches in linear time.
fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::meta::validate(schema).map_err(|error| format!("is not a schema: {error}"))?;
    let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| format!("cannot be used: {error}"))
}

impl Validation {
    /// Returns why the head is refused, if it is.
    fn check_head(&self, exchange: &Exchange) -> Option<Rejection> {
        if let Some(name) =
            self.config.required_headers.iter().find(|name| exchange.request.values(name).next().is_none())
        {
            return Some(rejection(400, "missing_header", format!("the request needs the header field {name}")));
        }
        if let Some(name) = self.config.required_query.iter().find(|name| !has_parameter(exchange, name)) {
            return Some(rejection(400, "missing_parameter", format!("the request needs the query parameter {name}")));
        }
        if !has_body(exchange) {
            return None;
        }
        let fields = &exchange.request.head.fields;
        let media = fields.get(&exchange.request.buffer, Name::ContentType).and_then(media::parse);
        // Two Content-Type fields count as none: the service might read the other one.
        let media = media.filter(|_| fields.count(Name::ContentType) == 1);
        let types = &self.config.content_types;
        if !types.is_empty() && !media.is_some_and(|media| types.iter().any(|pattern| media.is(pattern))) {
            let message = format!("the body must be one of: {}", types.join(", "));
            return Some(rejection(415, "unsupported_media_type", message));
        }
        if self.config.json_body.is_some() && fields.has(Name::ContentEncoding) {
            return Some(rejection(415, "encoded_body", "the body must not be compressed: it is looked at"));
        }
        None
    }

    /// Checks the body against the rules.
    fn check_body(&self, exchange: &Exchange, body: &[u8]) -> Result<(), Rejection> {
        let Some(json) = &self.config.json_body else { return Ok(()) };
        if body.is_empty() {
            let expected = matches!(exchange.request.head.method, Method::Post | Method::Put | Method::Patch);
            return if expected {
                Err(rejection(400, "invalid_json", "the request needs a JSON body"))
            } else {
                Ok(())
            };
        }
        let invalid = |message: String| rejection(400, "invalid_json", message);
        json::scan(body, json.max_depth, json.max_values).map_err(|message| invalid(message.to_owned()))?;
        let Some(schema) = &self.schema else { return json::check(body).map_err(invalid) };
        let value = json::parse(body).map_err(invalid)?;
        schema.validate(&value).map_err(|error| {
            // Names the place and the rule, but not the value, which may be large or secret.
            let (place, rule) = (error.instance_path().to_string(), error.schema_path().to_string());
            let place = if place.is_empty() { "the body" } else { &place };
            rejection(422, "schema_mismatch", format!("{place} does not fit the schema ({rule})"))
        })
    }
}

fn rejection(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection { status, code, message: message.into(), headers: Vec::new() }
}

fn has_body(exchange: &Exchange) -> bool {
    !matches!(exchange.request.framing, Framing::None | Framing::Length(0))
}

fn has_parameter(exchange: &Exchange, name: &str) -> bool {
    query::pairs(exchange.request.query().unwrap_or_default())
        .any(|(sent, _)| *query::decoded(sent) == *name.as_bytes())
}
