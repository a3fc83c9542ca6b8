//! Response headers that make browsers careful.

use pylae_core::{Exchange, Problem};
use pylae_http::Edits;
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says. A field that is `null` sends no header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `X-Content-Type-Options`
    content_type_options: Option<String>,
    /// `X-Frame-Options`
    frame_options: Option<String>,
    /// `X-XSS-Protection`
    xss_protection: Option<String>,
    /// `Referrer-Policy`
    referrer_policy: Option<String>,
    /// `Content-Security-Policy`
    content_security_policy: Option<String>,
    /// `Strict-Transport-Security` (RFC 6797)
    strict_transport_security: Option<String>,
    /// When `strict_transport_security` is sent.
    hsts: Hsts,
}

/// When HSTS is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hsts {
    /// On TLS listeners.
    Auto,
    /// On every listener: for gateways behind a TLS terminator.
    Always,
    /// Never.
    Off,
}

/// Sets the headers on every response.
#[derive(Debug)]
pub struct SecurityHeaders {
    always: Vec<(&'static str, String)>,
    on_tls: Option<String>,
}

const HSTS: &str = "Strict-Transport-Security";

impl Policy for SecurityHeaders {
    type Config = Config;

    fn build(config: Config, _parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut always = Vec::new();
        let mut on_tls = None;
        let fields = [
            ("content_type_options", "X-Content-Type-Options", config.content_type_options),
            ("frame_options", "X-Frame-Options", config.frame_options),
            ("xss_protection", "X-XSS-Protection", config.xss_protection),
            ("referrer_policy", "Referrer-Policy", config.referrer_policy),
            ("content_security_policy", "Content-Security-Policy", config.content_security_policy),
            ("strict_transport_security", HSTS, config.strict_transport_security),
        ];
        let mut problems = Vec::new();
        for (key, header, value) in fields {
            let Some(value) = value else { continue };
            if let Err(error) = Edits::default().set(header.as_bytes(), value.as_bytes()) {
                problems.push(Problem::at(key, error.0));
            }
            match (header, config.hsts) {
                (HSTS, Hsts::Off) => {}
                (HSTS, Hsts::Auto) => on_tls = Some(value),
                _ => always.push((header, value)),
            }
        }
        if problems.is_empty() { Ok(Self { always, on_tls }) } else { Err(problems) }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        for (header, value) in &self.always {
            // Cannot fail: `build` has set the very same values once.
            let _ = exchange.response_edits.set(header.as_bytes(), value.as_bytes());
        }
        if let (true, Some(value)) = (exchange.secure, &self.on_tls) {
            let _ = exchange.response_edits.set(HSTS.as_bytes(), value.as_bytes());
        }
    }

    fn preview(&self, exchange: &Exchange) -> String {
        let tls = usize::from(exchange.secure && self.on_tls.is_some());
        format!("sets {} response headers", self.always.len() + tls)
    }
}
