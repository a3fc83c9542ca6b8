//! Answers every request with a fixed response.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use pylae_core::{Answer, Exchange, Problem, Verdict};
use pylae_http::Edits;
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    status: u16,
    /// `Content-Type`, or None for an answer without body.
    content_type: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The prepared answer.
#[derive(Debug)]
pub struct StaticResponse {
    status: u16,
    headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    body: Arc<[u8]>,
}

impl Policy for StaticResponse {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if !(200..=599).contains(&config.status) {
            problems.push(Problem::at("status", "must be 200 to 599"));
        }
        if matches!(config.status, 204 | 205 | 304) && !config.body.is_empty() {
            problems.push(Problem::at("body", format!("a response with status {} has no body", config.status)));
        }
        let mut headers = Vec::new();
        if let Some(value) = config.content_type {
            match Edits::default().set(b"Content-Type", value.as_bytes()) {
                Ok(()) => headers.push(("Content-Type".into(), value.into_bytes())),
                Err(error) => problems.push(Problem::at("content_type", error.0)),
            }
        }
        for (name, value) in config.headers {
            match Edits::default().set(name.as_bytes(), value.as_bytes()) {
                Ok(()) => headers.push((name.into(), value.into_bytes())),
                Err(error) => problems.push(Problem::at(format!("headers[\"{name}\"]"), error.0)),
            }
        }
        if problems.is_empty() {
            Ok(Self { status: config.status, headers, body: config.body.into_bytes().into() })
        } else {
            Err(problems)
        }
    }

    fn on_request(&self, _exchange: &mut Exchange) -> Verdict {
        let (headers, body) = (self.headers.clone(), Arc::clone(&self.body));
        Verdict::Answer(Box::new(Answer { status: self.status, headers, body }))
    }

    fn preview(&self, _exchange: &Exchange) -> String {
        format!("answers with {} and {} bytes", self.status, self.body.len())
    }
}
