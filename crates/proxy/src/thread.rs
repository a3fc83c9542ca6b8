//! Worker threads: how they are started, controlled and watched, and their loop.

mod accept;
mod run;
mod runtime;
mod watch;
mod workers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pylae_core::hook::HookSource;
use tokio::sync::mpsc;

pub(crate) use self::accept::Listening;
use self::run::{Control, Seat};
pub(crate) use self::runtime::{rebuild_runtime, runtime};
pub(crate) use self::watch::{Replacement, Watch};
pub(crate) use self::workers::Workers;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::panics::{Duty, supervise};
use crate::telemetry::recent::RecentRing;
use crate::worker::WorkerShared;
use crate::worker::connections::ConnectionTable;

/// The handle to a worker.
struct WorkerHandle {
    control: mpsc::UnboundedSender<Control>,
    thread: Mutex<Option<JoinHandle<()>>>,
    end: Arc<ThreadEnd>,
    stats: Arc<WorkerStats>,
    recent: Arc<RecentRing>,
    /// Counts up while the worker comes back to its loop.
    heart: Arc<AtomicU64>,
    open: Arc<ConnectionTable>,
    /// True while the worker does not come back to its loop.
    stuck: AtomicBool,
    /// True once its connections were reset and it must end.
    given_up: AtomicBool,
}

/// What a worker is started with.
struct WorkerStart {
    index: usize,
    snapshot: Arc<Snapshot>,
    listeners: Vec<Listening>,
    shared: Arc<WorkerShared>,
    hooks: Arc<dyn HookSource>,
    recent: Arc<RecentRing>,
}

/// Tells whether a thread has ended.
#[derive(Default)]
struct ThreadEnd {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl ThreadEnd {
    fn is_reached(&self) -> bool {
        *self.ended.lock()
    }

    /// Waits for the end, at most for `patience`. Returns true if the thread has ended.
    fn wait(&self, patience: Duration) -> bool {
        let mut ended = self.ended.lock();
        self.changed.wait_while_for(&mut ended, |ended| !*ended, patience);
        *ended
    }
}

/// Reports the end of this thread when dropped, also by a panic.
struct EndGuard(Arc<ThreadEnd>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.ended.lock() = true;
        self.0.changed.notify_all();
    }
}

/// Starts a worker.
fn spawn(start: WorkerStart) -> io::Result<WorkerHandle> {
    let WorkerStart { index, snapshot, listeners, shared, hooks, recent } = start;
    let (control, receiver) = mpsc::unbounded_channel();
    let (stats, heart, open) = (Arc::<WorkerStats>::default(), Arc::<AtomicU64>::default(), Arc::default());
    let (end, stuck, given_up) = (Arc::<ThreadEnd>::default(), AtomicBool::new(false), AtomicBool::new(false));
    let (log, thread_end) = (Arc::clone(&shared.log), Arc::clone(&end));
    let mut seat = Seat {
        index,
        snapshot,
        shared,
        stats: Arc::clone(&stats),
        recent: Arc::clone(&recent),
        heart: Arc::clone(&heart),
        open: Arc::clone(&open),
        listeners,
        control: receiver,
        runtime: Some(runtime()?),
        applied: None,
        stopped: false,
    };
    let thread = std::thread::Builder::new().name(format!("pylae-worker-{index}")).spawn(move || {
        let _end = EndGuard(thread_end);
        // Twice: a panic of the worker must not pass through what hooks have set up around it.
        supervise(Some(&log), Duty::Worker, || {
            hooks.run_worker(index, &mut || supervise(Some(&log), Duty::Worker, || seat.work()));
        });
    })?;
    let thread = Mutex::new(Some(thread));
    Ok(WorkerHandle { control, thread, end, stats, recent, heart, open, stuck, given_up })
}

#[cfg(test)]
pub(crate) mod fixture;
