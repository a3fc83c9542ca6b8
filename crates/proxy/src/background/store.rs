//! The thread that drives the store of the cluster.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::background::counters::ClusterCounters;
use crate::background::feed::ClusterFeed;
use crate::store::Store;
use crate::telemetry::metrics::StoreStats;
use crate::telemetry::panics::{Duty, supervise, supervise_task};
use crate::thread::{rebuild_runtime, runtime};

/// How long a start waits for the store, and then for what it says. A gateway starts without it as well.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long probes are told that the node is joining, unless it must not serve without the revocations of the cluster.
const JOIN: Duration = Duration::from_secs(5);

/// A handle to the thread, which ends when this is dropped.
pub(crate) struct StoreThread {
    store: Arc<Store>,
    counters: Arc<ClusterCounters>,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the thread, and waits until the store is connected or cannot be for now. Only gateways have a feed.
    pub(crate) fn start(
        store: Arc<Store>,
        counters: Arc<ClusterCounters>,
        feed: Option<Arc<ClusterFeed>>,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(());
        let (attempted, first_attempt) = mpsc::sync_channel(1);
        let log = Arc::clone(store.log());
        let (driven, counted) = (Arc::clone(&store), Arc::clone(&counters));
        let mut first = Some(runtime()?);
        let thread = std::thread::Builder::new().name("pylae-store".to_owned()).spawn(move || {
            supervise(Some(&log), Duty::Store, || {
                let is_stopped = || stopped.has_changed().is_err();
                let Some(runtime) = first.take().or_else(|| rebuild_runtime(&log, is_stopped)) else { return };
                run(&runtime, &driven, (&counted, feed.as_ref()), stopped.clone(), &attempted);
                runtime.shutdown_background();
            });
        })?;
        // If it ends early, it has said why.
        let _ = first_attempt.recv_timeout(2 * PATIENCE);
        Ok(Self { store, counters, stop: Some(stop), thread: Some(thread) })
    }

    /// Counters and states.
    pub(crate) fn stats(&self) -> StoreStats {
        let mut stats = self.store.stats();
        (stats.views, stats.view_bytes) = self.counters.size();
        stats.waits = self.counters.waits();
        stats
    }
}

fn run(
    runtime: &Runtime,
    store: &Arc<Store>,
    (counters, feed): (&Arc<ClusterCounters>, Option<&Arc<ClusterFeed>>),
    mut stopped: watch::Receiver<()>,
    attempted: &mpsc::SyncSender<()>,
) {
    LocalSet::new().block_on(runtime, async {
        let counted = Arc::clone(counters);
        supervise_task(Duty::Store, move || Arc::clone(&counted).run());
        let (waiting, attempted) = (Arc::clone(store), attempted.clone());
        let joining = feed.cloned();
        tokio::task::spawn_local(async move {
            waiting.attempted(PATIENCE).await;
            if let (true, Some(joining)) = (waiting.is_available(), joining) {
                joining.joined(PATIENCE).await;
            }
            // After a panic nobody waits any more.
            let _ = attempted.try_send(());
        });
        if let Some(feed) = feed {
            for_feed(feed);
        }
        let (end, ended) = watch::channel(());
        let stopping = async {
            // It is never changed.
            let _ = stopped.changed().await;
            let told = async {
                if let Some(feed) = feed {
                    feed.flush().await;
                }
            };
            tokio::join!(told, Arc::clone(counters).leave());
            drop(end);
        };
        tokio::join!(Arc::clone(store).drive(ended), stopping);
    });
}

/// Starts what the node has to do with the stream of its cluster.
fn for_feed(feed: &Arc<ClusterFeed>) {
    let (followed, joining) = (Arc::clone(feed), Arc::clone(feed));
    supervise_task(Duty::Store, move || Arc::clone(&followed).follow());
    supervise_task(Duty::Store, move || {
        let joining = Arc::clone(&joining);
        async move { joining.join(JOIN).await }
    });
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do.
            let _ = thread.join();
        }
    }
}
