//! What one data-plane thread has of its own, and need not share. Its loop is in `thread`.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
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

/// What all workers share.
#[derive(Debug, Default)]
pub(crate) struct WorkerShared {
    pub(crate) connections: AtomicUsize,
    pub(crate) log: Arc<Log>,
}

/// The snapshot in force: shared by the workers, and held by each exchange without touching the counter that they share.
pub(crate) type CurrentSnapshot = Rc<Arc<Snapshot>>;

/// One data-plane thread's own things.
pub(crate) struct Worker {
    /// Its place among all.
    pub(crate) index: usize,
    snapshot: RefCell<CurrentSnapshot>,
    shared: Arc<WorkerShared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) buffers: Buffers,
    pub(crate) pools: Pools,
    /// Connections that exchanges share.
    pub(crate) shared_connections: SharedConnections,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) refusals: Refusals,
    pub(crate) draining: Cell<bool>,
    closing_idle: Cell<bool>,
    in_flight: Cell<usize>,
    tunnels: Cell<usize>,
    connections: Cell<usize>,
    all_closed: Notify,
    random: RefCell<fastrand::Rng>,
    date: RefCell<(u64, Rc<str>)>,
    pub(crate) log_buffer: LogBuffer,
    pub(crate) recent: RecentExchanges,
    /// Copies of requests under way.
    pub(crate) mirroring: Rc<Cell<usize>>,
}

/// Counts an exchange as in flight until it is dropped.
pub(crate) struct InFlightGuard<'w>(&'w Worker);

/// Counts an exchange as an open WebSocket, and not as in flight, until it is dropped.
pub(crate) struct TunnelGuard<'w>(&'w Worker);

/// Counts a connection as open until it is dropped.
pub(crate) struct ConnectionGuard(Rc<Worker>);

impl Worker {
    pub(crate) fn new(
        index: usize,
        snapshot: Arc<Snapshot>,
        shared: Arc<WorkerShared>,
        stats: Arc<WorkerStats>,
        recent: RecentExchanges,
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
            all_closed: Notify::new(),
            random: RefCell::new(fastrand::Rng::new()),
            date: RefCell::new((0, "".into())),
            log_buffer: LogBuffer::new(index),
            recent,
            mirroring: Rc::default(),
        })
    }

    /// What the plan in force says about a listener.
    pub(crate) fn listener(&self, address: SocketAddr) -> Option<Arc<Listener>> {
        self.snapshot.borrow().listeners.iter().find(|listener| listener.plan.address == address).cloned()
    }

    /// Serves new exchanges by `snapshot` from now on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(Rc::new(snapshot));
    }

    /// Has idle connections closed as soon as they are looked at.
    pub(crate) fn close_idle(&self) {
        self.closing_idle.set(true);
        self.wheel.wake_all();
    }

    /// Client connections that this worker has open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Waits until no client's connection is open.
    pub(crate) async fn wait_all_closed(&self) {
        while self.connections.get() > 0 {
            self.all_closed.notified().await;
        }
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> CurrentSnapshot {
        Rc::clone(&self.snapshot.borrow())
    }

    pub(crate) fn open_connection(self: &Rc<Self>) -> ConnectionGuard {
        self.connections.set(self.connections.get() + 1);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.stats.connections.set(self.connections.get() as u64);
        ConnectionGuard(Rc::clone(self))
    }

    pub(crate) fn begin_exchange(&self) -> InFlightGuard<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.stats.in_flight.set(self.in_flight.get() as u64);
        InFlightGuard(self)
    }

    /// Says that an exchange in flight has become a WebSocket.
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

    /// Whether there is room for the exchange just entered: each worker has an equal share of `max_requests`.
    pub(crate) fn check_capacity(&self, snapshot: &Snapshot) -> Result<(), Halt> {
        let share = snapshot.plan.limits.max_requests.div_ceil(snapshot.plan.workers.max(1));
        if self.in_flight.get() > share { Err(Halt::Overloaded) } else { Ok(()) }
    }

    /// Whether the idle connection that asks, whose deadline this is, is to be closed: the gateway is stopping, or others need its
    /// room. If not, it may be dismissed from now on.
    pub(crate) fn closes_idle(&self, deadline: &Deadline) -> bool {
        self.closing_idle.get() || !deadline.mark_idle()
    }

    /// Whether there are more connections than there should be.
    pub(crate) fn exceeds_max_connections(&self) -> bool {
        let (open, max) = self.connection_load();
        open > max
    }

    /// Client connections that all workers have open, and how many there should be at most.
    pub(crate) fn connection_load(&self) -> (usize, usize) {
        (self.shared.connections.load(Ordering::Relaxed), self.snapshot.borrow().plan.limits.max_connections)
    }

    pub(crate) fn random(&self) -> u128 {
        self.random.borrow_mut().u128(..)
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Now, as the Date field writes it.
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

    /// One line for each change of state of a service.
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
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.stats.connections.set(self.0.connections.get() as u64);
        if self.0.connections.get() == 0 {
            self.0.all_closed.notify_one();
        }
    }
}
