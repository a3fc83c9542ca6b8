//! Worker threads: how they are started and controlled, and their loop.

mod accept;
mod run;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use pylae_core::hook::HookSource;
use tokio::sync::mpsc;

pub(crate) use self::accept::Listening;
pub(crate) use self::run::Control;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::recent::{RecentExchanges, RecentRing};
use crate::upstream::dns;
use crate::worker::{Worker, WorkerShared};

/// The engine's handle to a worker.
pub(crate) struct WorkerHandle {
    pub(crate) control: mpsc::UnboundedSender<Control>,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) recent: Arc<RecentRing>,
}

/// Starts the worker at `index`.
pub(crate) fn spawn(
    index: usize,
    snapshot: Arc<Snapshot>,
    shared: Arc<WorkerShared>,
    listeners: Vec<Listening>,
    hooks: Arc<dyn HookSource>,
) -> io::Result<WorkerHandle> {
    let (control, receiver) = mpsc::unbounded_channel();
    let stats = Arc::new(WorkerStats::default());
    let worker_stats = Arc::clone(&stats);
    let recent = Arc::<RecentRing>::default();
    let worker_recent = RecentExchanges::new(Arc::clone(&recent));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(dns::THREADS).build()?;
    let thread = std::thread::Builder::new().name(format!("pylae-worker-{index}")).spawn(move || {
        let mut startup = Some((snapshot, shared, worker_stats, worker_recent, runtime, listeners, receiver));
        hooks.run_worker(&mut || {
            let Some((snapshot, shared, worker_stats, worker_recent, runtime, listeners, receiver)) = startup.take()
            else {
                return;
            };
            let worker = Worker::new(index, snapshot, shared, worker_stats, worker_recent);
            runtime.block_on(run::run(Rc::clone(&worker), listeners, receiver));
            worker.log_buffer.flush();
            // A DNS lookup that hangs must not delay the shutdown.
            runtime.shutdown_background();
        });
    })?;
    Ok(WorkerHandle { control, thread: Mutex::new(Some(thread)), stats, recent })
}
