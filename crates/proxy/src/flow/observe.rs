//! Stage: logs and counts an exchange that is over. Counters are per worker and lock-free, and merged when read.

mod costs;
mod trace;
pub(super) mod watched;

use std::time::Duration;

use pylae_core::exchange::timing::{PolicyOutcome, PolicyPart};
use pylae_core::expression::ExpressionPlace;
use pylae_core::request::admit;
use pylae_policies::Outlet;
use pylae_policies::access_log::{AccessLog, Completion};
use tracing::debug;

use crate::flow::Flow;
use crate::io::clock;
use crate::reply::Sent;
use crate::snapshot::Service;
use crate::telemetry::metrics::Ended;
use crate::telemetry::otlp::records::put_record;
use crate::telemetry::traces::SpanRoot;

/// Code of exchanges that were cut off at the end of a drain.
const CUT_OFF: &str = "cut_off";
/// Code of exchanges whose client read the response too slowly.
const CLIENT_TOO_SLOW: &str = "client_too_slow";
/// Status of exchanges that were cut off before their response began.
const CUT_OFF_STATUS: u16 = 503;

impl Flow<'_> {
    /// Logs and counts the exchange exactly once: here, or on drop if a drain timed out and ended its task.
    pub(super) fn observe(&mut self, sent: Sent) {
        self.observed = true;
        // A drain may have ended its task in the early stage.
        self.exchange.set_early(false);
        self.settle();
        if !sent.complete && self.exchange.response.code.is_none() && self.client.is_slow() {
            self.exchange.response.code = Some(CLIENT_TOO_SLOW);
        }
        let mut ended = Ended {
            nanos: clock::now().as_nanos().saturating_sub(self.exchange.times.started.as_nanos()),
            bytes_in: self.client.body.received(),
            bytes_out: self.client.written,
            complete: sent.complete,
            timed: sent.timed,
            traced: false,
        };
        let logged = self.is_logged(&ended);
        let exchange = &*self.exchange;
        debug!(
            id = %exchange.request.id.escape_ascii(), status = exchange.response.status, code = exchange.response.code,
            bytes_in = ended.bytes_in, bytes_out = ended.bytes_out, complete = ended.complete,
            cache = exchange.cache_outcome().map(tracing::field::debug), "exchange over"
        );
        self.log(&ended, logged);
        let completion = self.completion(&ended);
        ended.traced = self.send_trace(&completion, SpanRoot::Request);
        if self.exchange.timed {
            self.count_costs();
            if let Some(watched) = self.watched {
                self.keep_trace(watched, completion);
            }
        }
        self.report_failures();
        let exchange = &*self.exchange;
        let series = match self.route {
            Some(route) if route.split.is_some() => route.series_for(self.target(), exchange),
            Some(route) => route.series.as_ref(),
            None => self.snapshot.series.as_ref(),
        };
        if let Some(series) = series {
            series.of(self.worker.index).record(exchange, &ended);
        }
    }

    /// Settles the limits whose true cost was told after the response's head, by hooks that see bodies, and those of an
    /// exchange that was cut off.
    fn settle(&mut self) {
        let Some(route) = self.route.filter(|route| !route.chain.settled().is_empty()) else { return };
        self.exchange.times.now = clock::now();
        let estimates = route.chain.settle(self.exchange);
        if estimates > 0 {
            debug!(id = %self.exchange.request.id.escape_ascii(), estimates, "the cost is not known: the estimate stays");
        }
    }

    /// Whether the access log of the route, if it has one, has a line about the exchange.
    fn is_logged(&mut self, ended: &Ended) -> bool {
        let chain = self.route.map_or(&self.snapshot.unrouted, |route| &route.chain);
        let Some(access_log) = chain.outlet::<AccessLog>() else { return false };
        access_log.filter(self.exchange, &self.completion(ended)).unwrap_or_else(|told| {
            self.exchange.record_failure(ExpressionPlace::AccessLog, told);
            true
        })
    }

    /// Logs the expressions that could not be evaluated for the exchange.
    fn report_failures(&self) {
        for (place, told) in self.exchange.failures() {
            self.worker.report_failed_expression(place, || {
                let route = self.route.map_or("none", |route| &*route.name);
                let id = self.exchange.request.id.escape_ascii();
                format!(
                    "an expression ({}) of route `{route}` could not be evaluated for request {id}: {told}",
                    place.name()
                )
            });
        }
    }

    /// Adds the exchange to the latest ones and, if it is logged, writes a line to the access log.
    fn log(&mut self, ended: &Ended, logged: bool) {
        let Self { worker, snapshot, route, exchange, .. } = &*self;
        let (chain, sink) = route.map_or((&snapshot.unrouted, &snapshot.sink), |route| (&route.chain, &route.sink));
        worker.recent.keep(|out| snapshot.description.write(exchange, &self.completion(ended), out));
        let Some(access_log) = chain.outlet::<AccessLog>().filter(|_| logged) else { return };
        let began = exchange.timed.then(clock::now);
        if let Some(sink) = sink {
            worker.log_buffer.write(sink, |out| access_log.write(exchange, &self.completion(ended), out));
        }
        if let Some(exporter) = &snapshot.exports.logs {
            let told = (&**exchange, &self.completion(ended));
            worker.exports.write(exporter, 1, |out| put_record(out, access_log, told, clock::wall()));
        }
        if let Some(began) = began {
            let (position, passed) = (AccessLog::POSITION as u8, PolicyOutcome::Passed);
            self.exchange.add_run(position, PolicyPart::Response, passed, (began, clock::now()));
        }
    }

    /// The service that the request went to, or would have gone to.
    fn target(&self) -> Option<&Service> {
        self.route?.target(&self.snapshot.services, self.exchange)
    }

    fn completion(&self, ended: &Ended) -> Completion<'_> {
        let service = self.target();
        let instance = self.exchange.instance.and_then(|index| service?.plan.instances.get(index));
        Completion {
            route: self.route.map(|route| &*route.name),
            service: service.map(|service| &*service.name),
            instance: instance.map(|instance| instance.url.as_str()),
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            complete: ended.complete,
            duration: Duration::from_nanos(ended.nanos),
        }
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        // Nothing was received yet, or a panic left the exchange in an unknown state.
        if self.observed || self.exchange.request.buffer.is_empty() || std::thread::panicking() {
            return;
        }
        let exchange = &mut *self.exchange;
        if exchange.request.id.is_empty() {
            // The head was incomplete.
            admit::assign_id(&mut exchange.request.id, None, self.worker.random());
            (exchange.times.started, exchange.times.wall) = (clock::now(), clock::wall());
        }
        if self.client.written == 0 {
            exchange.response.status = CUT_OFF_STATUS;
        }
        exchange.response.code = Some(CUT_OFF);
        self.observe(Sent::NOTHING);
    }
}
