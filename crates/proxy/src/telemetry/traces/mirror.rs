//! The span of a copy that a mirror got.

use pylae_core::plan::ServicePlan;
use pylae_core::service::Instance;
use pylae_core::trace::context::TraceContext;
use pylae_core::{Exchange, Instant};

use super::attempt::describe_target;
use super::span::{SpanHead, SpanKind, attributes, put_described};
use crate::io::clock;

/// The span of a copy, described while the exchange is still there, and written once the copy has its answer.
pub(crate) struct MirrorSpan {
    context: TraceContext,
    began: Instant,
    method: String,
    /// Its attributes, encoded.
    described: Vec<u8>,
}

impl MirrorSpan {
    /// Describes the copy for `instance` that begins now.
    pub(crate) fn begin(exchange: &Exchange, service: &ServicePlan, instance: &Instance) -> Self {
        let mut described = Vec::with_capacity(256);
        let request = &exchange.request;
        let method = request.head.method_span.of(&request.buffer);
        let mut to = attributes(&mut described);
        to.bytes("http.request.method", method);
        describe_target(&mut to, exchange, service, Some(instance));
        to.truth("pylae.mirror", true);
        let (context, method) = (exchange.trace_context, String::from_utf8_lossy(method).into_owned());
        Self { context, began: clock::now(), method, described }
    }

    /// Appends the span of a copy that is over. `answered`: it got an answer.
    pub(crate) fn write(&self, answered: bool, out: &mut Vec<u8>) {
        let (context, offset) = (&self.context, clock::wall_offset());
        let at = |instant: Instant| instant.as_nanos().wrapping_add(offset);
        let head = SpanHead {
            trace_id: context.trace_id,
            span_id: context.attempt_id,
            parent_id: context.span_id,
            remote: false,
            flags: context.sent_flags().byte(),
            state: "",
            kind: SpanKind::Client,
            start: at(self.began),
            end: at(clock::now()),
        };
        put_described(out, head, &[&self.method], !answered, |out| out.extend_from_slice(&self.described));
    }
}
