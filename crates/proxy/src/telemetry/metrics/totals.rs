//! What is counted besides what is counted by route, and the sums over all routes.

use serde::Serialize;

use super::counter::Counter;
use super::registry::MetricsReading;

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
