//! The one thread beside the workers, for what takes time and serves no client.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::background::health;
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{INTERVAL, Metrics};
use crate::upstream::dns;

/// The auxiliary thread. It ends when this is dropped.
pub(crate) struct Auxiliary {
    snapshots: Option<watch::Sender<Arc<Snapshot>>>,
    thread: Option<JoinHandle<()>>,
}

impl Auxiliary {
    pub(crate) fn start(snapshot: Arc<Snapshot>, log: Arc<Log>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (snapshots, receiver) = watch::channel(snapshot);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(dns::THREADS).build()?;
        let thread = std::thread::Builder::new().name("pylae-auxiliary".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(sample(metrics));
                health::run(receiver, log).await;
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { snapshots: Some(snapshots), thread: Some(thread) })
    }

    /// Goes on by another snapshot.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.send_replace(snapshot);
        }
    }
}

/// Keeps what is told about the last minute up to date.
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
            // A panic there is told by the runtime's own message; nothing depends on the thread any more.
            let _ = thread.join();
        }
    }
}
