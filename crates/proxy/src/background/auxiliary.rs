//! The auxiliary thread, which runs health checks, samples metrics and watches descriptors and memory.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use pylae_policies::PolicyShared;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::background::{health, overload};
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{INTERVAL, Metrics};
use crate::upstream::dns;
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
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(dns::THREADS).build()?;
        let thread = std::thread::Builder::new().name("pylae-auxiliary".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(sample(metrics));
                tokio::task::spawn_local(overload::run(receiver.clone(), Arc::clone(&shared), policies));
                health::run(receiver, shared).await;
            });
            runtime.shutdown_background();
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
            // A panic was reported on standard error, and nothing depends on the thread any more.
            let _ = thread.join();
        }
    }
}
