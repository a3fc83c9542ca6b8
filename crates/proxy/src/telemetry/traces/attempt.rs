//! The span of an attempt, by the semantic conventions of HTTP clients.

use pylae_core::Exchange;
use pylae_core::plan::ServicePlan;
use pylae_core::service::{AttemptOutcome, Instance};
use pylae_core::trace::AttemptStep;

use super::exchange::{SpanScope, itoa};
use super::span::{SpanHead, put_span};
use crate::telemetry::otlp::attributes::{Attributes, clean};

impl SpanScope<'_> {
    /// Appends the span of an attempt.
    pub(super) fn write_attempt(&self, out: &mut Vec<u8>, head: SpanHead<'_>, attempt: &AttemptStep) {
        let failure = failure(attempt.outcome);
        let method = self.method();
        put_span(out, head, &[method.unwrap_or("HTTP")], failure.is_some(), |to| {
            to.text("http.request.method", method.unwrap_or("_OTHER"));
            if let Some((service, state)) = self.service {
                let instance = state.instances().nth(attempt.instance);
                describe_target(to, self.exchange, service, instance.map(|instance| &**instance));
            }
            // That of a call is what its gRPC status stands for, where breakers and retries look at it.
            if let Some(AttemptOutcome::Status(status)) = attempt.outcome
                && !self.exchange.is_call()
            {
                to.int("http.response.status_code", status.into());
            }
            if let Some(failure) = &failure {
                to.text("error.type", failure);
            }
            if attempt.number > 1 {
                to.int("http.request.resend_count", i64::from(attempt.number) - 1);
            }
            if let Some(connection) = attempt.connection {
                to.text("pylae.connection", connection.name());
            }
        });
    }
}

/// Writes where a request goes. The query is left out.
pub(super) fn describe_target(
    to: &mut Attributes<'_>,
    exchange: &Exchange,
    service: &ServicePlan,
    instance: Option<&Instance>,
) {
    to.text("pylae.service", &service.name);
    let Some(instance) = instance else { return };
    to.text("server.address", instance.host());
    to.int("server.port", instance.port().into());
    let request = &exchange.request;
    let path = if request.forward_path.is_empty() { &request.target.path } else { &request.forward_path };
    to.joined("url.full", [instance.url().trim_end_matches('/'), &clean(path)]);
}

/// Why an attempt failed, for `error.type`; None if it did not.
fn failure(outcome: Option<AttemptOutcome>) -> Option<String> {
    let name = match outcome {
        Some(AttemptOutcome::Status(status)) => return (status >= 400).then(|| itoa(status)),
        Some(AttemptOutcome::ConnectFailed) => "connect_failed",
        Some(AttemptOutcome::Timeout) => "timeout",
        Some(AttemptOutcome::Reset) => "reset",
        Some(AttemptOutcome::Shortage(_)) => "shortage",
        Some(AttemptOutcome::Cancelled) | None => "cancelled",
    };
    Some(name.to_owned())
}
