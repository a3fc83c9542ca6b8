//! Traces: the context of a request, whether its exchange is recorded, and its spans once it is over.

use pylae_core::Instant;
use pylae_core::trace::StepKind;
use pylae_core::trace::context::TraceContext;
use pylae_http::Name;
use pylae_policies::access_log::Completion;
use tracing::debug;

use crate::flow::Flow;
use crate::io::clock;
use crate::snapshot::Route;
use crate::telemetry::metrics::Ended;
use crate::telemetry::traces::{self, SpanRoot, SpanScope};

impl Flow<'_> {
    /// Takes the trace context of the request, if traces are switched on, and records the exchange if it may be sent.
    #[inline]
    pub(crate) fn begin_trace(&mut self) {
        let Some(sampling) = &self.snapshot.sampling else { return };
        let (worker, exchange) = (self.worker, &mut *self.exchange);
        let (fields, buffer) = (&exchange.request.head.fields, &exchange.request.buffer);
        let random = [worker.random(), worker.random()];
        let mut context = if fields.has(Name::Traceparent) {
            let lines = |name: Name| fields.values(buffer, name.as_str());
            TraceContext::receive(lines(Name::Traceparent), lines(Name::Tracestate), random)
        } else {
            TraceContext::begin(random)
        };
        context.sampled = sampling.samples(&context, sampling.ratio);
        exchange.recorded = sampling.may_send(&context);
        exchange.trace_context = context;
    }

    /// Decides by the ratio of the route, now that it is known. What was recorded is forgotten if it will not be sent.
    #[inline]
    pub(crate) fn decide_trace(&mut self, route: &Route) {
        let Some(sampling) = &self.snapshot.sampling else { return };
        let exchange = &mut *self.exchange;
        exchange.trace_context.sampled = sampling.samples(&exchange.trace_context, route.ratio);
        if exchange.recorded && !exchange.trace_context.sampled && !sampling.tail.is_on() && self.watched.is_none() {
            exchange.stop_recording();
        }
    }

    /// The time at which a step begins; costs nothing if the exchange is not recorded.
    #[inline]
    pub(crate) fn step_began(&self) -> Instant {
        traces::step_began(self.exchange)
    }

    /// Adds a step that is over now, if the exchange is recorded.
    #[inline]
    pub(crate) fn step_ended(&mut self, kind: StepKind, began: Instant) {
        traces::step_ended(self.exchange, kind, began);
    }

    /// Adds what the cache has come to.
    pub(crate) fn record_cache(&mut self) {
        if let Some(outcome) = self.exchange.cache_outcome() {
            let now = self.exchange.times.now;
            self.exchange.record_step(StepKind::Cache(outcome), now, now);
        }
    }

    /// Sends the spans of an exchange that is over, if it was sampled or the tail rule keeps it. Returns
    /// whether it sends them.
    #[inline]
    pub(crate) fn send_trace(&self, completion: &Completion<'_>, root: SpanRoot) -> bool {
        self.exchange.recorded && self.write_spans(completion, root)
    }

    fn write_spans(&self, completion: &Completion<'_>, root: SpanRoot) -> bool {
        let (snapshot, exchange) = (self.snapshot, &*self.exchange);
        let (Some(sampling), Some(exporter)) = (&snapshot.sampling, &snapshot.exports.traces) else { return false };
        let is_kept = || sampling.tail.keeps(traces::failure(exchange, completion).is_some(), completion.duration);
        if !exchange.trace_context.sampled && !is_kept() {
            return false;
        }
        debug!(id = %exchange.request.id.escape_ascii(), "spans sent");
        let scope = SpanScope {
            root,
            exchange,
            completion,
            peer: &self.client.info.peer_text,
            route: exchange.route.map(|index| &snapshot.plan.routes[index]),
            service: self.target().map(|service| (&service.plan, &service.state)),
            hooks: self.route.and_then(|route| route.chain.outlet()),
            early_hooks: snapshot.early.as_ref().and_then(|early| early.chain.outlet()),
        };
        let steps = exchange.trace().map_or(0, |trace| trace.steps().len());
        let own = exchange.hooks().map(|hooks| &hooks.spans).filter(|_| exchange.trace_context.sampled);
        let count = 1 + steps as u64 + own.map_or(0, |own| own.count);
        self.worker.exports.write(exporter, count, |out| {
            scope.write(out, || self.worker.random_u64());
            out.extend_from_slice(own.map_or(&[][..], |own| &own.bytes));
        });
        true
    }

    /// Sends the spans of a revalidation, which belongs to the trace of the exchange that has served the stale answer.
    pub(crate) fn send_revalidation(&self) {
        let ended = Ended {
            nanos: clock::now().since(self.exchange.times.started).as_nanos() as u64,
            bytes_in: 0,
            bytes_out: 0,
            complete: true,
            timed: false,
            traced: false,
        };
        self.send_trace(&self.completion(&ended), SpanRoot::Revalidation);
    }
}
