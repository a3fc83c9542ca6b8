//! Counters that do not belong to a route, and the sums over all routes.

use serde::Serialize;

use super::counter::Counter;
use super::registry::MetricsReading;

/// One worker's counters that do not belong to a route.
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
    pub(crate) overload_refused: Counter,
    pub(crate) shed_clients: Counter,
    pub(crate) shed_upstream: Counter,
}

/// The merged counters of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Exchanges answered, by class of status: 1xx … 5xx.
    pub by_class: [u64; 5],
    /// Clients that disconnected before the response (logged as 499).
    pub abandoned: u64,
    /// Responses that could not be sent completely.
    pub incomplete: u64,
    /// Bytes written to clients.
    pub bytes_sent: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Exchanges in flight, without open `WebSockets`.
    pub in_flight: u64,
    /// Open `WebSockets`.
    pub tunnels: u64,
    /// Open client connections.
    pub connections: u64,
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Client connections refused because of `max_connections`.
    pub connections_refused: u64,
    /// Completed TLS handshakes with clients.
    pub handshakes: u64,
    /// Failed TLS handshakes with clients: refused, cut off or too slow.
    pub handshakes_failed: u64,
    /// Idle connections to instances.
    pub idle_upstream: u64,
    /// Mirrored requests.
    pub mirrored: u64,
    /// Requests that could not be mirrored: too many in progress, a body too long, or no instance.
    pub mirrors_dropped: u64,
    /// Requests refused because the gateway is short of descriptors or memory.
    pub overload_refused: u64,
    /// Idle client connections closed for want of descriptors or memory.
    pub shed_clients: u64,
    /// Idle connections to instances closed for want of descriptors or memory.
    pub shed_upstream: u64,
    /// Exchanges of routes with a cache.
    pub cache: CacheTotals,
}

/// How exchanges of routes with a cache were served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheTotals {
    /// From the cache.
    pub hit: u64,
    /// From the cache, stale.
    pub stale: u64,
    /// From the cache, after the service confirmed the response.
    pub revalidated: u64,
    /// From the service.
    pub miss: u64,
    /// From the service, because the request cannot be cached.
    pub bypass: u64,
}

impl Totals {
    /// Adds the counters and gauges of a worker.
    pub(crate) fn merge(&mut self, one: &WorkerStats) {
        self.merge_counters(one);
        self.in_flight += one.in_flight.get();
        self.tunnels += one.tunnels.get();
        self.connections += one.connections.get();
        self.idle_upstream += one.idle_upstream.get();
    }

    /// Adds what a worker has counted that serves no more.
    pub(crate) fn merge_counters(&mut self, one: &WorkerStats) {
        self.retries += one.retries.get();
        self.connections_accepted += one.connections_accepted.get();
        self.connections_refused += one.connections_refused.get();
        self.handshakes += one.handshakes.get();
        self.handshakes_failed += one.handshakes_failed.get();
        self.mirrored += one.mirrored.get();
        self.mirrors_dropped += one.mirrors_dropped.get();
        self.overload_refused += one.overload_refused.get();
        self.shed_clients += one.shed_clients.get();
        self.shed_upstream += one.shed_upstream.get();
    }

    /// Adds the counters of all routes.
    pub(crate) fn add(&mut self, reading: &MetricsReading) {
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
