//! Stage: what is counted when an exchange is over. Per worker, without locks; merged when read.

use std::time::Duration;

use pylae_core::Exchange;
use pylae_core::request::admit;
use pylae_policies::access_log::Ending;
use serde::Serialize;
use tracing::debug;

use crate::client::{After, Client};
use crate::flow::respond::Sent;
use crate::io::clock;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::metrics::{Counter, Ended, Reading};
use crate::worker::Worker;

/// What one worker counts besides what it counts by route.
#[derive(Debug, Default)]
pub(crate) struct WorkerStats {
    pub(crate) retries: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) tunnels: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) idle_upstream: Counter,
    pub(crate) mirrored: Counter,
    pub(crate) mirrors_dropped: Counter,
}

/// What all workers have counted, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Exchanges answered, by class of status: 1xx … 5xx.
    pub by_class: [u64; 5],
    /// Clients that went away before they were answered (logged as 499).
    pub abandoned: u64,
    /// Answers that could not be sent completely.
    pub incomplete: u64,
    /// Bytes written to clients.
    pub bytes_sent: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Exchanges in flight, open `WebSockets` apart.
    pub in_flight: u64,
    /// Open `WebSockets`.
    pub tunnels: u64,
    /// Open client connections.
    pub connections: u64,
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Client connections refused for want of room.
    pub connections_refused: u64,
    /// TLS handshakes with clients that came to their end.
    pub handshakes: u64,
    /// TLS handshakes with clients that did not: refused, cut off, or too slow.
    pub handshakes_failed: u64,
    /// Idle connections to instances.
    pub idle_upstream: u64,
    /// Copies of requests that were sent.
    pub mirrored: u64,
    /// Copies that were not: too many under way, a body too long, or no instance.
    pub mirrors_dropped: u64,
    /// Exchanges of routes with a cache.
    pub cache: CacheTotals,
}

/// How exchanges of routes with a cache were served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheTotals {
    /// From memory.
    pub hit: u64,
    /// From memory, no longer fresh.
    pub stale: u64,
    /// From memory, after the service said that it still holds.
    pub revalidated: u64,
    /// By the service.
    pub miss: u64,
    /// By the service, because a cache does not answer such requests.
    pub bypass: u64,
}

impl Totals {
    pub(crate) fn merge(&mut self, one: &WorkerStats) {
        self.retries += one.retries.get();
        self.in_flight += one.in_flight.get();
        self.tunnels += one.tunnels.get();
        self.connections += one.connections.get();
        self.connections_accepted += one.connections_accepted.get();
        self.connections_refused += one.connections_refused.get();
        self.handshakes += one.handshakes.get();
        self.handshakes_failed += one.handshakes_failed.get();
        self.idle_upstream += one.idle_upstream.get();
        self.mirrored += one.mirrored.get();
        self.mirrors_dropped += one.mirrors_dropped.get();
    }

    /// Adds what was counted by route.
    pub(crate) fn add(&mut self, reading: &Reading) {
        for (_, figures) in &reading.routes {
            for (_, tally) in figures.by_method() {
                for (total, count) in self.by_class.iter_mut().zip(tally.by_class) {
                    *total += count;
                }
                self.abandoned += tally.abandoned();
                self.bytes_sent += tally.bytes_out;
            }
            self.incomplete += figures.incomplete;
            let cache = &mut self.cache;
            let totals = [&mut cache.hit, &mut cache.stale, &mut cache.revalidated, &mut cache.miss, &mut cache.bypass];
            for (total, count) in totals.into_iter().zip(figures.cache) {
                *total += count;
            }
        }
    }
}

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
