//! The state of one worker thread. Its loop is in `thread`.

pub(crate) mod connections;
mod cost_sampler;
pub(crate) mod gate;
pub(crate) mod guards;
pub(crate) mod hosts;
pub(crate) mod maintenance;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use pylae_core::expression::ExpressionPlace;
use pylae_core::route::Scratch;
use pylae_core::service::Changes;
use pylae_core::{Halt, Shortage};
use tokio::sync::Notify;

use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::deadline::{Deadline, Wheel};
use crate::io::shortage;
use crate::overload::Overload;
use crate::pool::http1::Pools;
use crate::pool::http2::SharedConnections;
use crate::snapshot::{Listener, Snapshot};
use crate::store::Store;
use crate::telemetry::access_log::LogBuffer;
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::otlp::lanes::ExportBuffer;
use crate::telemetry::recent::RecentExchanges;
use crate::telemetry::watches::Watches;
use crate::worker::connections::ConnectionTable;
use crate::worker::cost_sampler::CostSampler;
use crate::worker::maintenance::MaintenanceSwitches;

/// How long a connection is idle before it is closed for another one. Until then its client is likely to send its next
/// request, which would be lost.
pub(crate) const SETTLED: Duration = Duration::from_secs(1);
/// How often it is looked for connections to close for others.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// Idle connections that are closed when an accept has failed for want of descriptors or memory.
const MOST_PER_FAILURE: usize = 16;

/// State that all workers share.
#[derive(Default)]
pub(crate) struct WorkerShared {
    connections: AtomicUsize,
    pub(crate) overload: Overload,
    pub(crate) log: Arc<Log>,
    pub(crate) maintenance: MaintenanceSwitches,
    /// Who wants to see which exchanges.
    pub(crate) watches: Watches,
    /// The store of the cluster, or None for a gateway of its own.
    pub(crate) store: Option<Arc<Store>>,
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
    failed_expressions: [Refusals; ExpressionPlace::ALL.len()],
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
    /// What is sent to collectors.
    pub(crate) exports: ExportBuffer,
    pub(crate) recent: RecentExchanges,
    /// Which exchanges have their policies timed.
    pub(crate) costs: CostSampler,
    /// Number of mirrored requests in progress.
    pub(crate) mirroring: Rc<Cell<usize>>,
    /// Connections accepted beyond `max_connections` for which no idle one was closed yet.
    owed: Cell<usize>,
    room_owed: Notify,
}

impl WorkerShared {
    pub(crate) fn new(log: Arc<Log>, store: Option<Arc<Store>>) -> Self {
        Self { log, store, ..Self::default() }
    }

    /// Number of client connections that all workers have open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// No longer counts the connections of a worker that was given up.
    pub(crate) fn forget_connections(&self, number: usize) {
        self.connections.fetch_sub(number, Ordering::Relaxed);
    }

    /// Client connections beyond `max_connections`.
    fn excess(&self) -> usize {
        self.connections().saturating_sub(self.overload.max_connections())
    }
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
            failed_expressions: Default::default(),
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
            exports: ExportBuffer::new(index),
            recent,
            costs: CostSampler::default(),
            mirroring: Rc::default(),
            owed: Cell::new(0),
            room_owed: Notify::new(),
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

    fn count_tunnels(&self, tunnels: isize, in_flight: isize) {
        self.tunnels.set(self.tunnels.get().saturating_add_signed(tunnels));
        self.in_flight.set(self.in_flight.get().saturating_add_signed(in_flight));
        self.stats.tunnels.set(self.tunnels.get() as u64);
        self.stats.in_flight.set(self.in_flight.get() as u64);
    }

    /// Fails if the exchange just begun exceeds this worker's share of `max_requests`, which is equal for all workers,
    /// or if the gateway is short of descriptors or memory.
    pub(crate) fn check_capacity(&self, snapshot: &Snapshot) -> Result<(), Halt> {
        let share = snapshot.plan.limits.max_requests.div_ceil(snapshot.plan.workers.max(1));
        if self.shared.overload.is_refusing() {
            self.stats.overload_refused.add(1);
            return Err(Halt::Overloaded);
        }
        if self.in_flight.get() > share { Err(Halt::Overloaded) } else { Ok(()) }
    }

    /// Who wants to see which exchanges.
    #[inline]
    pub(crate) fn watches(&self) -> &Watches {
        &self.shared.watches
    }

    /// What is switched to maintenance.
    pub(crate) fn maintenance(&self) -> &MaintenanceSwitches {
        &self.shared.maintenance
    }

    /// Returns true if the idle connection with this deadline must be closed, because the gateway is stopping or
    /// [`Wheel::wake_idle`] picked it to make room. Otherwise marks it as idle.
    pub(crate) fn should_close_idle(&self, deadline: &Deadline) -> bool {
        self.closing_idle.get() || !deadline.mark_idle()
    }

    /// Whether one more client connection is taken. Beyond `max_connections` an idle one is closed for it, as soon as
    /// there is one.
    pub(crate) fn admit(&self) -> bool {
        let (open, max) = (self.shared.connections(), self.shared.overload.max_connections());
        if open >= max.saturating_add(self.shared.overload.overflow()) {
            return false;
        }
        if open >= max && !self.wheel.wake_any_idle(SETTLED) {
            self.owed.set(self.owed.get() + 1);
            self.room_owed.notify_one();
        }
        true
    }

    /// Returns false if a connection that is about to get its first answer must be closed behind it, because so many
    /// were accepted beyond `max_connections`. Established ones are not given up for new ones unless they are idle.
    pub(crate) fn may_stay(&self) -> bool {
        let owed = self.owed.get();
        let stays = owed == 0 || self.shared.excess() <= self.shared.overload.overflow() / 2;
        if !stays {
            self.owed.set(owed - 1);
        }
        stays
    }

    /// Closes idle connections for those that were accepted while none was idle for long enough. Runs for ever.
    pub(crate) async fn make_room(&self) {
        loop {
            self.room_owed.notified().await;
            while self.owed.get() > 0 {
                tokio::time::sleep(ROOM_INTERVAL).await;
                let owed = self.owed.get().min(self.shared.excess());
                self.owed.set(owed - self.wheel.wake_idle(owed, SETTLED));
            }
        }
    }

    /// Closes idle connections whenever a resource is short: those to instances first, which nobody misses. Runs for
    /// ever.
    pub(crate) async fn shed(&self) {
        loop {
            let count = self.shared.overload.wait_for_shedding().await;
            let upstream = self.close_idle_upstream(count);
            let settled = if self.shared.overload.is_refusing() { Duration::ZERO } else { SETTLED };
            let clients = self.wheel.wake_idle(count - upstream, settled);
            self.stats.shed_upstream.add(upstream as u64);
            self.stats.shed_clients.add(clients as u64);
        }
    }

    /// Closes up to `count` idle connections to instances. Returns how many.
    pub(crate) fn close_idle_upstream(&self, count: usize) -> usize {
        let closed = self.pools.close_idle(count);
        closed + self.shared_connections.close_idle(count - closed)
    }

    /// Makes room after an accept failed for want of something.
    pub(crate) fn report_accept_failure(&self, error: &io::Error) {
        self.shared.overload.report_accept_failure(self.log(), error);
        if shortage::of_system(error).is_some() {
            let upstream = self.close_idle_upstream(MOST_PER_FAILURE);
            self.stats.shed_upstream.add(upstream as u64);
            self.stats.shed_clients.add(self.wheel.wake_idle(MOST_PER_FAILURE - upstream, Duration::ZERO) as u64);
        }
    }

    /// Counts and logs a connection that was refused for want of room.
    pub(crate) fn report_refused_connection(&self) {
        self.stats.connections_refused.add(1);
        self.shared.overload.report_refused_connection(self.log());
    }

    /// Counts and logs that the gateway itself lacked something. `doing`: what it was about to do.
    pub(crate) fn report_shortage(&self, what: Shortage, doing: impl FnOnce() -> String) {
        self.shared.overload.report_shortage(self.log(), what, doing);
    }

    /// Logs that an expression could not be evaluated, but not more often than once a second for each place.
    pub(crate) fn report_failed_expression(&self, place: ExpressionPlace, what: impl FnOnce() -> String) {
        self.failed_expressions[place as usize].report(self.log(), clock::coarse(), "expression_failed", what);
    }

    /// Waits while no connections are accepted.
    pub(crate) async fn wait_until_accepting(&self) {
        self.shared.overload.wait_until_accepting().await;
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
