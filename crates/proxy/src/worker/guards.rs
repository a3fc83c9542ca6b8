//! What a worker has under way, counted as long as it lasts.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::Worker;

/// Counts an exchange as in flight until it is dropped.
pub(crate) struct InFlightGuard<'w>(&'w Worker);

/// Counts an exchange as an open WebSocket instead of as in flight until it is dropped.
pub(crate) struct TunnelGuard<'w>(&'w Worker);

/// Counts a connection as open until it is dropped.
pub(crate) struct ConnectionGuard {
    worker: Rc<Worker>,
    /// Place in the table of open connections. None if the worker was given up.
    place: Option<usize>,
}

impl Worker {
    /// Counts the connection with `peer` as open.
    pub(crate) fn open_connection(self: &Rc<Self>, descriptor: RawFd, peer: SocketAddr) -> ConnectionGuard {
        self.connections.set(self.connections.get() + 1);
        let place = self.open.add(descriptor, peer);
        if place.is_some() {
            self.shared.connections.fetch_add(1, Ordering::Relaxed);
        }
        self.stats.connections.set(self.connections.get() as u64);
        ConnectionGuard { worker: Rc::clone(self), place }
    }

    pub(crate) fn begin_exchange(&self) -> InFlightGuard<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.stats.in_flight.set(self.in_flight.get() as u64);
        InFlightGuard(self)
    }

    /// Counts an exchange in flight as a tunnel from now on.
    pub(crate) fn begin_tunnel(&self) -> TunnelGuard<'_> {
        self.count_tunnels(1, -1);
        TunnelGuard(self)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.stats.in_flight.set(self.0.in_flight.get() as u64);
    }
}

impl Drop for TunnelGuard<'_> {
    fn drop(&mut self) {
        self.0.count_tunnels(-1, 1);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Self { worker, place } = self;
        worker.connections.set(worker.connections.get() - 1);
        if place.is_some_and(|place| worker.open.remove(place)) {
            worker.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
        worker.stats.connections.set(worker.connections.get() as u64);
        if worker.connections.get() == 0 {
            worker.all_closed.notify_one();
        }
    }
}
