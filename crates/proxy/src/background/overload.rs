//! Watches how many descriptors and how much memory are in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pylae_core::cache::Purge;
use pylae_policies::PolicyShared;
use tokio::sync::watch;

use crate::io::clock;
use crate::overload::{OverloadLevel, Readings, memory};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{open_descriptors, resident_memory};
use crate::worker::WorkerShared;

/// Pause between two readings.
const INTERVAL: Duration = Duration::from_millis(100);
/// A reading may take this share of the time: counting many descriptors is dear on kernels before 6.2.
const SHARE: u32 = 100;
/// Pause between two attempts to free memory while it is short.
const FREEING: Duration = Duration::from_secs(5);

/// Reads, and acts on what it finds, until its task is dropped.
pub(crate) async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    shared: Arc<WorkerShared>,
    policies: Arc<PolicyShared>,
) {
    let mut freed = Instant::now();
    loop {
        let began = Instant::now();
        let readings = Readings {
            descriptors: open_descriptors(),
            memory: resident_memory(),
            connections: shared.connections(),
            workers: snapshots.borrow().plan.workers,
        };
        let took = began.elapsed();
        let (level, rose) = shared.overload.update(readings, &shared.log);
        if rose || (level > OverloadLevel::Normal && freed.elapsed() >= FREEING) {
            free_memory(level, &policies);
            freed = Instant::now();
        }
        tokio::time::sleep(INTERVAL.max(took * SHARE)).await;
    }
}

/// Gives back memory that serves no request: free memory that the allocator keeps and, before requests are refused for
/// want of it, stored responses.
fn free_memory(level: OverloadLevel, policies: &PolicyShared) {
    if level >= OverloadLevel::Refusing
        && let Some(cache) = policies.cache_if_used()
    {
        cache.purge(&Purge::All, clock::now());
    }
    memory::trim();
}
