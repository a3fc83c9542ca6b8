//! Adds security headers to every response that does not carry them already.

use std::fmt::Write;

use pylae_core::plan::Seconds;
use pylae_core::{Exchange, Problem};
use pylae_http::Edits;
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says. `null` sends no header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `X-Content-Type-Options`
    nosniff: bool,
    /// `X-Frame-Options`
    frame_options: Option<String>,
    /// `X-XSS-Protection`
    xss_protection: Option<String>,
    /// `Referrer-Policy`
    referrer_policy: Option<String>,
    /// `Strict-Transport-Security`
    hsts: Hsts,
    /// `Content-Security-Policy`
    csp: Option<String>,
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hsts {
    when: When,
    max_age: Seconds,
    include_subdomains: bool,
    preload: bool,
}

/// When HSTS is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum When {
    /// Only over TLS.
    Auto,
    /// On every listener: for gateways behind a TLS terminator.
    Always,
    /// Never.
    Off,
}

/// The security headers policy.
#[derive(Debug)]
pub struct SecurityHeaders {
    fields: Vec<(&'static str, String)>,
    hsts: String,
    when: When,
}

const HSTS: &str = "Strict-Transport-Security";

impl Policy for SecurityHeaders {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let hsts = hsts_value(&config.hsts);
        let fields = [
            ("nosniff", "X-Content-Type-Options", config.nosniff.then(|| "nosniff".to_owned())),
            ("frame_options", "X-Frame-Options", config.frame_options),
            ("xss_protection", "X-XSS-Protection", config.xss_protection),
            ("referrer_policy", "Referrer-Policy", config.referrer_policy),
            ("csp", "Content-Security-Policy", config.csp),
        ];
        let mut ready = Vec::new();
        let mut problems = Vec::new();
        for (key, header, value) in fields {
            let Some(value) = value else { continue };
            match Edits::default().set(header.as_bytes(), value.as_bytes()) {
                Ok(()) => ready.push((header, value)),
                Err(error) => problems.push(Problem::at(key, error.0)),
            }
        }
        if problems.is_empty() { Ok(Self { fields: ready, hsts, when: config.hsts.when }) } else { Err(problems) }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        for (header, value) in &self.fields {
            set_if_absent(exchange, header, value);
        }
        if self.sends_hsts(exchange) {
            set_if_absent(exchange, HSTS, &self.hsts);
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let hsts = self.sends_hsts(exchange).then_some(HSTS);
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| *name).chain(hsts).collect();
        format!("adds {} to the response", names.join(", "))
    }
}

impl SecurityHeaders {
    fn sends_hsts(&self, exchange: &Exchange) -> bool {
        self.when == When::Always || (self.when == When::Auto && exchange.request.origin.secure)
    }
}

fn hsts_value(hsts: &Hsts) -> String {
    let mut value = format!("max-age={}", hsts.max_age.0.as_secs());
    for (wanted, directive) in [(hsts.include_subdomains, "includeSubDomains"), (hsts.preload, "preload")] {
        if wanted {
            // Writing to a String cannot fail.
            let _ = write!(value, "; {directive}");
        }
    }
    value
}

fn set_if_absent(exchange: &mut Exchange, header: &str, value: &str) {
    if exchange.response.value(header).is_none() {
        // Cannot fail: `build` has validated the value.
        let _ = exchange.response.edits.append(header.as_bytes(), value.as_bytes());
    }
}
