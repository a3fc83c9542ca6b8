//! The head of a request as an instance gets it.

use pylae_core::Exchange;
use pylae_core::request::forwarding;
use pylae_http::Framing;
use pylae_http::encode::{self, RequestLine, TraceFields, Via};

use crate::io::clock;
use crate::snapshot::Service;

/// What the head of a request for an instance does not take from the client's.
pub(crate) struct ForwardedHead<'a> {
    pub(crate) service: &'a Service,
    pub(crate) host: &'a [u8],
    pub(crate) framing: Framing,
}

impl ForwardedHead<'_> {
    /// Appends the head of the request in `exchange`, with a Via field if `via`. If the service has a token of its own,
    /// the client's credentials are never sent, even if there is no token now. If traces are switched on, it carries
    /// the context of the present attempt.
    pub(crate) fn encode(&self, exchange: &Exchange, via: bool, out: &mut Vec<u8>) {
        let path = if exchange.request.forward_path.is_empty() {
            &exchange.request.target.path
        } else {
            &exchange.request.forward_path
        };
        let token = self.service.token.as_ref().map(|token| token.current(clock::coarse()));
        let issued = token.as_ref().map(|token| token.as_ref().and_then(|token| token.as_ref()));
        let context = &exchange.trace_context;
        let parent = context.is_known().then(|| context.traceparent(context.attempt_id));
        let line = RequestLine {
            method: exchange.request.head.method_span.of(&exchange.request.buffer),
            path,
            query: exchange.request.sent_query(),
            host: self.host,
            upgrade: exchange.request.upgrades,
            via: via.then(|| Via::of(exchange.request.head.version, exchange.request.origin.on_stream)),
            authorization: issued.map(|issued| issued.map_or(&[][..], |issued| &issued.authorization)),
            trace: parent.as_ref().map(|parent| TraceFields { parent, keeps_state: !context.drops_state }),
        };
        encode::request(out, line, exchange.request.fields(forwarding::dropped_fields(exchange)), self.framing);
    }
}
