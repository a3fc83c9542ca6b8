//! OTLP/HTTP: one POST per request, over a connection that is kept (OTLP specification, "OTLP/HTTP").

use std::time::Duration;

use bytes::Bytes;
use pylae_core::plan::{CollectorPlan, OtlpCompression};
use ureq::Agent;

use super::answer::{ExportOutcome, MAX_ANSWER, of_http};
use crate::background::http_client::{agent, read_body, roots_of, system_roots};

const PROTOBUF: &str = "application/x-protobuf";
/// How the gateway calls itself.
pub(super) const USER_AGENT: &str = concat!("pylae/", env!("CARGO_PKG_VERSION"));

/// A client of one collector.
pub(super) struct HttpTransport {
    agent: Agent,
    /// A connection may be kept, which may have ended by now.
    kept: bool,
}

impl HttpTransport {
    pub(super) fn new(collector: &CollectorPlan) -> Result<Self, String> {
        let roots = match &collector.ca {
            _ if !collector.endpoint.starts_with("https:") => ureq::tls::RootCerts::WebPki,
            None => system_roots(),
            Some(pem) => roots_of(pem).ok_or("`ca` has no certificate")?,
        };
        Ok(Self { agent: agent(roots), kept: false })
    }

    pub(super) fn send(&mut self, collector: &CollectorPlan, body: &Bytes, timeout: Duration) -> ExportOutcome {
        let sent = self.post(collector, body, timeout);
        let is_lost =
            matches!(sent, Err(ureq::Error::Io(_) | ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed));
        let sent = if is_lost && self.kept { self.post(collector, body, timeout) } else { sent };
        self.kept = sent.is_ok();
        match sent {
            Ok(outcome) => outcome,
            Err(ureq::Error::Timeout(_)) => ExportOutcome::again("no answer in time"),
            // Without the URL, whose path may be a secret.
            Err(ureq::Error::BadUri(_)) => ExportOutcome::Refused("this is not an address".to_owned()),
            Err(error) => ExportOutcome::again(error.to_string()),
        }
    }

    fn post(&self, collector: &CollectorPlan, body: &Bytes, timeout: Duration) -> Result<ExportOutcome, ureq::Error> {
        let mut request = self.agent.post(&collector.endpoint).config().timeout_global(Some(timeout)).build();
        for (name, value) in &collector.headers {
            request = request.header(name, value);
        }
        if collector.compression == OtlpCompression::Gzip {
            request = request.header("content-encoding", "gzip");
        }
        let answer = request.header("content-type", PROTOBUF).header("user-agent", USER_AGENT).send(&body[..])?;
        let field = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (status, after, kind) = (answer.status().as_u16(), field("retry-after"), field("content-type"));
        // A request that was taken is not sent again because its answer is odd.
        let body = read_body(answer, MAX_ANSWER).unwrap_or_default();
        Ok(of_http(status, after.as_deref(), kind.as_deref(), &body))
    }
}
