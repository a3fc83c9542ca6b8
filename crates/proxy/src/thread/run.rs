//! The loop of a worker: accepts, applies plans and drains.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::debug;

use super::accept::{Accepting, Listening};
use super::runtime::rebuild_runtime;
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::panics::{Duty, supervise_task};
use crate::telemetry::recent::{RecentExchanges, RecentRing};
use crate::worker::connections::ConnectionTable;
use crate::worker::{Worker, WorkerShared};

/// How long a stop waits for requests that are in transit on idle connections.
const IN_TRANSIT: Duration = Duration::from_millis(500);

/// Interval between two beats of a worker's heart.
pub(super) const BEAT: Duration = Duration::from_millis(100);

/// Commands of the engine to a worker.
pub(crate) enum Control {
    /// Use this snapshot, listen on the `added` sockets and no longer on the `removed` addresses. Signals `done`.
    Apply { snapshot: Arc<Snapshot>, added: Vec<Listening>, removed: Vec<SocketAddr>, done: SyncSender<()> },
    /// Stop accepting, drop `closed`, and drain within this time, or end at once if None, also during a drain.
    Stop { drain: Option<Duration>, closed: Option<SyncSender<()>> },
}

/// What a worker starts with, the first time and after a panic.
pub(super) struct Seat {
    pub(super) index: usize,
    /// The snapshot in force.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) recent: Arc<RecentRing>,
    /// Counts up while the worker comes back to its loop.
    pub(super) heart: Arc<AtomicU64>,
    pub(super) open: Arc<ConnectionTable>,
    /// The sockets by their address in the plan.
    pub(super) listeners: Vec<Listening>,
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    /// For the next start.
    pub(super) runtime: Option<Runtime>,
    /// Signals that the snapshot is in force.
    pub(super) applied: Option<SyncSender<()>>,
    /// The engine asked for the end.
    pub(super) stopped: bool,
}

impl Seat {
    /// Runs a worker until a stop is complete. After a panic this can be called again: the connections of the worker
    /// are gone then, and all else goes on.
    pub(super) fn work(&mut self) {
        if self.stopped {
            return;
        }
        let log = Arc::clone(&self.shared.log);
        let built = self.runtime.take().or_else(|| rebuild_runtime(&log, || self.is_stopped()));
        let Some(runtime) = built else { return };
        let recent = RecentExchanges::new(Arc::clone(&self.recent));
        let (snapshot, shared) = (Arc::clone(&self.snapshot), Arc::clone(&self.shared));
        let (stats, open) = (Arc::clone(&self.stats), Arc::clone(&self.open));
        let worker = Worker::new(self.index, snapshot, shared, stats, recent, open);
        let tasks = LocalSet::new();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(tasks.run_until(run(Rc::clone(&worker), self)));
        }));
        // Not while a panic unwinds: another one of a task that is dropped would end the process.
        let context = runtime.enter();
        drop(tasks);
        drop(context);
        worker.log_buffer.flush();
        worker.exports.flush();
        // A DNS lookup that hangs must not delay the shutdown.
        runtime.shutdown_background();
        if let Err(cause) = ended {
            resume_unwind(cause);
        }
    }

    /// Takes over the snapshot and the sockets of an apply. If the worker panics from now on it starts again with them.
    fn take_over(
        &mut self,
        snapshot: Arc<Snapshot>,
        added: Vec<Listening>,
        removed: &[SocketAddr],
        done: SyncSender<()>,
    ) {
        self.applied = Some(done);
        self.listeners.retain(|(address, _)| !removed.contains(address));
        self.listeners.extend(added);
        self.snapshot = snapshot;
    }

    /// Signals that the snapshot is in force.
    fn confirm(&mut self) {
        if let Some(done) = self.applied.take() {
            // The engine may not wait any more. The snapshot is in force nevertheless.
            let _ = done.send(());
        }
    }

    /// Nothing starts again from now on.
    fn stop(&mut self) {
        self.stopped = true;
        self.listeners.clear();
    }

    /// Reads what the engine sent meanwhile. Returns true if it asked for the end.
    fn is_stopped(&mut self) -> bool {
        while let Ok(message) = self.control.try_recv() {
            match message {
                Control::Apply { snapshot, added, removed, done } => self.take_over(snapshot, added, &removed, done),
                Control::Stop { .. } => self.stop(),
            }
        }
        self.stopped
    }
}

/// Runs until a stop is complete. Must run within a `LocalSet`.
async fn run(worker: Rc<Worker>, seat: &mut Seat) {
    let (wheel, swept) = (Rc::clone(&worker.wheel), Rc::clone(&worker));
    supervise_task(Duty::Wheel, move || Rc::clone(&wheel).run());
    supervise_task(Duty::Sweep, move || sweep(Rc::clone(&swept)));
    let (heart, crowded, short) = (Arc::clone(&seat.heart), Rc::clone(&worker), Rc::clone(&worker));
    supervise_task(Duty::Sweep, move || beat(Arc::clone(&heart)));
    supervise_task(Duty::Sweep, move || make_room(Rc::clone(&crowded)));
    supervise_task(Duty::Sweep, move || shed(Rc::clone(&short)));
    let mut accepting: Vec<Accepting> = Vec::new();
    accepting.extend(seat.listeners.iter().filter_map(|listening| Accepting::start(&worker, listening)));
    seat.confirm();
    while let Some(message) = seat.control.recv().await {
        match message {
            Control::Apply { snapshot, added, removed, done } => {
                seat.take_over(snapshot, added, &removed, done);
                worker.set_snapshot(Arc::clone(&seat.snapshot));
                for listener in &accepting {
                    listener.update(&worker);
                }
                for listener in accepting.extract_if(.., |listener| removed.contains(&listener.address)) {
                    listener.stop().await;
                }
                let known = |address| accepting.iter().any(|listener| listener.address == address);
                let added: Vec<_> = seat.listeners.iter().filter(|(address, _)| !known(*address)).collect();
                accepting.extend(added.into_iter().filter_map(|listening| Accepting::start(&worker, listening)));
                seat.confirm();
            }
            Control::Stop { drain: time, closed } => {
                seat.stop();
                for listener in accepting {
                    listener.stop().await;
                }
                drop(closed);
                return drain(&worker, time, &mut seat.control).await;
            }
        }
    }
}

/// Waits for exchanges in flight. A stop at once ends the wait.
async fn drain(worker: &Rc<Worker>, time: Option<Duration>, control: &mut mpsc::UnboundedReceiver<Control>) {
    worker.draining.set(true);
    // Wakes open WebSockets to send a Close frame, and HTTP/2 connections to send a GOAWAY.
    worker.wheel.wake_all();
    let Some(time) = time else { return };
    debug!(connections = worker.connections(), ?time, "drain begun");
    let finished = async {
        // A request may be in transit on a connection that looks idle. It is served with `Connection: close`.
        if tokio::time::timeout(IN_TRANSIT, worker.wait_all_closed()).await.is_err() {
            worker.close_idle();
            worker.wait_all_closed().await;
        }
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(time) => {}
        () = stop_at_once(control) => {}
    }
    debug!(cut_off = worker.connections(), "drain ended");
}

/// Returns when the worker must end without a drain.
async fn stop_at_once(control: &mut mpsc::UnboundedReceiver<Control>) {
    while let Some(message) = control.recv().await {
        if matches!(message, Control::Stop { drain: None, .. }) {
            return;
        }
    }
}

async fn make_room(worker: Rc<Worker>) {
    worker.make_room().await;
}

async fn shed(worker: Rc<Worker>) {
    worker.shed().await;
}

/// Tells the watch that the worker comes back to its loop.
async fn beat(heart: Arc<AtomicU64>) {
    loop {
        heart.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(BEAT).await;
    }
}

/// Periodic work, once a second: closes idle connections, flushes logs and exports, and updates gauges.
async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.pools.sweep(clock::coarse());
        worker.shared_connections.sweep(clock::coarse());
        worker.log_buffer.flush();
        worker.exports.flush();
        worker.recent.refill(clock::second());
        worker.costs.adapt();
        worker.stats.idle_upstream.set((worker.pools.len() + worker.shared_connections.idle()) as u64);
    }
}

#[cfg(test)]
mod tests;
