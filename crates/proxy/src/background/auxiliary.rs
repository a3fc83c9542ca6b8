//! The auxiliary thread, which runs health checks, samples metrics, and says when tokens for instances are fetched.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use pylae_policies::PolicyShared;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::background::{health, overload, tokens};
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{INTERVAL, Metrics};
use crate::telemetry::panics::{Duty, supervise, supervise_task};
use crate::thread::{rebuild_runtime, runtime};
use crate::worker::WorkerShared;

/// A handle to the auxiliary thread, which ends when this is dropped.
pub(crate) struct Auxiliary {
    snapshots: Option<watch::Sender<Arc<Snapshot>>>,
    thread: Option<JoinHandle<()>>,
}

impl Auxiliary {
    pub(crate) fn start(
        snapshot: Arc<Snapshot>,
        shared: Arc<WorkerShared>,
        policies: Arc<PolicyShared>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (snapshots, receiver) = watch::channel(snapshot);
        let mut first = Some(runtime()?);
        let thread = std::thread::Builder::new().name("pylae-auxiliary".to_owned()).spawn(move || {
            supervise(Some(&shared.log), Duty::Auxiliary, || {
                let stopped = || receiver.has_changed().is_err();
                let Some(runtime) = first.take().or_else(|| rebuild_runtime(&shared.log, stopped)) else { return };
                run(&runtime, receiver.clone(), &shared, &policies, &metrics);
                runtime.shutdown_background();
            });
        })?;
        Ok(Self { snapshots: Some(snapshots), thread: Some(thread) })
    }

    /// Replaces the snapshot.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.send_replace(snapshot);
        }
    }
}

fn run(
    runtime: &Runtime,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    shared: &Arc<WorkerShared>,
    policies: &Arc<PolicyShared>,
    metrics: &Arc<Metrics>,
) {
    let (metrics, watched, policies) = (Arc::clone(metrics), Arc::clone(shared), Arc::clone(policies));
    let applied = snapshots.clone();
    let (followed, keeping) = (snapshots.clone(), Arc::clone(shared));
    LocalSet::new().block_on(runtime, async {
        supervise_task(Duty::Auxiliary, move || sample(Arc::clone(&metrics)));
        supervise_task(Duty::Auxiliary, move || {
            overload::run(applied.clone(), Arc::clone(&watched), Arc::clone(&policies))
        });
        supervise_task(Duty::Auxiliary, move || tokens::run(followed.clone(), Arc::clone(&keeping)));
        health::run(snapshots, Arc::clone(shared)).await;
    });
}

/// Samples the metrics for the figures of the last minute.
async fn sample(metrics: Arc<Metrics>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        metrics.sample(clock::now());
    }
}

impl Drop for Auxiliary {
    fn drop(&mut self) {
        drop(self.snapshots.take());
        if let Some(thread) = self.thread.take() {
            // Nothing depends on the thread any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
