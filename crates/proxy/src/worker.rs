//! The state of one worker thread. Its loop is in `thread`.

pub(crate) mod connections;
pub(crate) mod gate;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use pylae_core::Halt;
use pylae_core::route::Scratch;
use pylae_core::service::Changes;
use tokio::sync::Notify;

use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::deadline::{Deadline, Wheel};
use crate::pool::http1::Pools;
use crate::pool::http2::SharedConnections;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::recent::RecentExchanges;
use crate::worker::connections::ConnectionTable;

/// State that all workers share.
#[derive(Debug, Default)]
pub(crate) struct WorkerShared {
    pub(crate) connections: AtomicUsize,
    pub(crate) log: Arc<Log>,
}

/// The snapshot in force. The outer `Rc` lets an exchange hold it without touching the atomic counter of the `Arc`.
pub(crate) type CurrentSnapshot = Rc<Arc<Snapshot>>;

/// The state of one worker thread.
pub(crate) struct Worker {
    /// Position among the workers.
    pub(crate) index: usize,
    snapshot: RefCell<CurrentSnapshot>,
    shared: Arc<WorkerShared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) buffers: Buffers,
    pub(crate) pools: Pools,
    /// HTTP/2 connections to instances, shared by exchanges.
    pub(crate) shared_connections: SharedConnections,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) refusals: Refusals,
    pub(crate) draining: Cell<bool>,
    closing_idle: Cell<bool>,
    in_flight: Cell<usize>,
    tunnels: Cell<usize>,
    connections: Cell<usize>,
    /// The same connections, for other threads.
    open: Arc<ConnectionTable>,
    all_closed: Notify,
    random: RefCell<fastrand::Rng>,
    date: RefCell<(u64, Rc<str>)>,
    pub(crate) log_buffer: LogBuffer,
    pub(crate) recent: RecentExchanges,
    /// Number of mirrored requests in progress.
    pub(crate) mirroring: Rc<Cell<usize>>,
}

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
    pub(crate) fn new(
        index: usize,
        snapshot: Arc<Snapshot>,
        shared: Arc<WorkerShared>,
        stats: Arc<WorkerStats>,
        recent: RecentExchanges,
        open: Arc<ConnectionTable>,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            snapshot: RefCell::new(Rc::new(snapshot)),
            shared,
            stats,
            wheel: Wheel::new(clock::coarse()),
            buffers: Buffers::default(),
            pools: Pools::default(),
            shared_connections: SharedConnections::default(),
            scratch: RefCell::default(),
            refusals: Refusals::default(),
            draining: Cell::new(false),
            closing_idle: Cell::new(false),
            in_flight: Cell::new(0),
            tunnels: Cell::new(0),
            connections: Cell::new(0),
            open,
            all_closed: Notify::new(),
            random: RefCell::new(fastrand::Rng::new()),
            date: RefCell::new((0, "".into())),
            log_buffer: LogBuffer::new(index),
            recent,
            mirroring: Rc::default(),
        })
    }

    /// The listener at `address` in the plan in force.
    pub(crate) fn listener(&self, address: SocketAddr) -> Option<Arc<Listener>> {
        self.snapshot.borrow().listeners.iter().find(|listener| listener.plan.address == address).cloned()
    }

    /// Replaces the snapshot for exchanges that begin from now on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(Rc::new(snapshot));
    }

    /// Closes all idle connections, now and from now on.
    pub(crate) fn close_idle(&self) {
        self.closing_idle.set(true);
        self.wheel.wake_all();
    }

    /// Number of client connections that this worker has open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Waits until no client connection is open.
    pub(crate) async fn wait_all_closed(&self) {
        while self.connections.get() > 0 {
            self.all_closed.notified().await;
        }
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> CurrentSnapshot {
        Rc::clone(&self.snapshot.borrow())
    }

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

    fn count_tunnels(&self, tunnels: isize, in_flight: isize) {
        self.tunnels.set(self.tunnels.get().saturating_add_signed(tunnels));
        self.in_flight.set(self.in_flight.get().saturating_add_signed(in_flight));
        self.stats.tunnels.set(self.tunnels.get() as u64);
        self.stats.in_flight.set(self.in_flight.get() as u64);
    }

    /// Fails if the exchange just begun exceeds this worker's share of `max_requests`, which is equal for all workers.
    pub(crate) fn check_capacity(&self, snapshot: &Snapshot) -> Result<(), Halt> {
        let share = snapshot.plan.limits.max_requests.div_ceil(snapshot.plan.workers.max(1));
        if self.in_flight.get() > share { Err(Halt::Overloaded) } else { Ok(()) }
    }

    /// Returns true if the idle connection with this deadline must be closed, because the gateway is stopping or
    /// [`Wheel::wake_idle`] picked it to make room. Otherwise marks it as idle.
    pub(crate) fn should_close_idle(&self, deadline: &Deadline) -> bool {
        self.closing_idle.get() || !deadline.mark_idle()
    }

    /// Returns true if more client connections are open than `max_connections`.
    pub(crate) fn exceeds_max_connections(&self) -> bool {
        let (open, max) = self.connection_load();
        open > max
    }

    /// Number of client connections that all workers have open, and `max_connections`.
    pub(crate) fn connection_load(&self) -> (usize, usize) {
        (self.shared.connections.load(Ordering::Relaxed), self.snapshot.borrow().plan.limits.max_connections)
    }

    pub(crate) fn random(&self) -> u128 {
        self.random.borrow_mut().u128(..)
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// The current time as a Date field.
    pub(crate) fn date(&self) -> Rc<str> {
        let second = clock::wall().as_secs();
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second)).into());
        }
        Rc::clone(&date.1)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Logs one line for each change of a service's state.
    pub(crate) fn log_changes(&self, changes: Changes) {
        self.shared.log.write_changes(changes);
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
