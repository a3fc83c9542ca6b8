//! Stage: what is counted when an exchange is over. Per worker, without locks; merged when read.

use std::time::Duration;

use pylae_core::Exchange;
use pylae_core::request::admit;
use pylae_policies::access_log::Ending;
use tracing::debug;

use crate::client::{After, Client};
use crate::flow::respond::Sent;
use crate::io::clock;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::metrics::Ended;
use crate::worker::Worker;

/// An exchange under way, which is observed once, however it ends: at its [`end`](Self::end), or when its task is dropped in the middle
/// because the time for a drain is over.
pub(crate) struct Passage<'a> {
    worker: &'a Worker,
    snapshot: &'a Snapshot,
    /// Its route, once there is one.
    pub(crate) matched: Option<&'a Route>,
    pub(crate) client: &'a mut Client,
    pub(crate) exchange: &'a mut Exchange,
    over: bool,
}

/// Code of exchanges that the end of a drain has cut off.
const CUT_OFF: &str = "cut_off";
/// Code of exchanges whose answer the client did not read fast enough.
const CLIENT_TOO_SLOW: &str = "client_too_slow";
/// Their status where no answer had begun.
const CUT_OFF_STATUS: u16 = 503;

impl<'a> Passage<'a> {
    pub(crate) fn begin(
        worker: &'a Worker,
        snapshot: &'a Snapshot,
        client: &'a mut Client,
        exchange: &'a mut Exchange,
    ) -> Self {
        Self { worker, snapshot, matched: None, client, exchange, over: false }
    }

    /// Logs and counts it.
    pub(crate) fn end(&mut self, sent: Sent) {
        self.over = true;
        if !sent.complete && self.exchange.code.is_none() && self.client.is_slow() {
            self.exchange.code = Some(CLIENT_TOO_SLOW);
        }
        observe(self.worker, self.snapshot, self.matched, self.client, self.exchange, sent);
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // Nothing was said yet, or a panic has left the exchange in who knows what state.
        if self.over || self.exchange.buffer.is_empty() || std::thread::panicking() {
            return;
        }
        let exchange = &mut *self.exchange;
        if exchange.id.is_empty() {
            // Its head was still on its way.
            admit::name(&mut exchange.id, None, self.worker.random());
            (exchange.started, exchange.wall) = (clock::now(), clock::wall());
        }
        if self.client.written == 0 {
            exchange.status = CUT_OFF_STATUS;
        }
        exchange.code = Some(CUT_OFF);
        self.end(Sent { after: After::Abort, complete: false, timed: true });
    }
}

/// Logs and counts an exchange that is over.
fn observe(
    worker: &Worker,
    snapshot: &Snapshot,
    route: Option<&Route>,
    client: &Client,
    exchange: &Exchange,
    sent: Sent,
) {
    let ended = Ended {
        nanos: clock::now().as_nanos().saturating_sub(exchange.started.as_nanos()),
        bytes_in: client.body.taken(),
        bytes_out: client.written,
        complete: sent.complete,
        timed: sent.timed,
    };
    debug!(
        id = %exchange.id.escape_ascii(), status = exchange.status, code = exchange.code, bytes_in = ended.bytes_in,
        bytes_out = ended.bytes_out, complete = ended.complete,
        cache = exchange.cache.outcome.map(tracing::field::debug), "exchange over"
    );
    describe(worker, snapshot, route, exchange, &ended);
    if let Some(series) = route.map_or(&snapshot.series, |route| &route.series) {
        series.of(worker.index).record(exchange, &ended);
    }
}

/// Tells of it: one line in the access log, if there is one for this exchange, and the latest exchanges.
fn describe(worker: &Worker, snapshot: &Snapshot, route: Option<&Route>, exchange: &Exchange, ended: &Ended) {
    let (chain, sink) = route.map_or((&snapshot.unrouted, &snapshot.sink), |route| (&route.chain, &route.sink));
    worker.recent.keep(|out| snapshot.description.write(exchange, &ending(route, exchange, ended), out));
    if let (Some(access_log), Some(sink)) = (chain.access_log(), sink) {
        worker.lines.write(sink, |out| access_log.write(exchange, &ending(route, exchange, ended), out));
    }
}

fn ending<'a>(route: Option<&'a Route>, exchange: &Exchange, ended: &Ended) -> Ending<'a> {
    let service = route.and_then(|route| route.service.as_deref());
    Ending {
        route: route.map(|route| &*route.name),
        service: service.map(|service| &*service.name),
        instance: exchange
            .instance
            .and_then(|index| service?.plan.instances.get(index))
            .map(|instance| instance.url.as_str()),
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
        complete: ended.complete,
        duration: Duration::from_nanos(ended.nanos),
    }
}
