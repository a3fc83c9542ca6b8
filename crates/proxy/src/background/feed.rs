//! What this node tells the other nodes of its cluster, and what it learns from them: revocations, and changes of the
//! response cache. The rules are in `pylae_core::cluster`.

mod follow;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pylae_core::cache::Purge;
use pylae_core::cluster::{CacheChange, Learned, Outbox, RevocationSet};
use pylae_core::limit::OnStoreError;
use pylae_policies::PolicyShared;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::io::clock;
use crate::store::Store;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::metrics::FeedFigures;

/// How long a stop waits until all is published.
const FAREWELL: Duration = Duration::from_millis(250);

/// A node's part in the stream of its cluster.
pub(crate) struct ClusterFeed {
    store: Arc<Store>,
    policies: Arc<PolicyShared>,
    liveness: Arc<Liveness>,
    log: Arc<Log>,
    outbox: Arc<Outbox>,
    /// Told when there is something to publish.
    work: Arc<Notify>,
    /// Whether this node knows all revocations in force.
    current: watch::Sender<bool>,
    /// Counts what was published.
    published: watch::Sender<u64>,
    publishing: AtomicBool,
    entries: AtomicU64,
    catch_ups: AtomicU64,
    /// Set once the stream was followed.
    followed: AtomicBool,
    reports: Refusals,
}

impl ClusterFeed {
    /// Prepares what must be there before any plan is built. Nothing is told or learned until the feed is followed.
    pub(crate) fn new(
        store: &Arc<Store>,
        policies: &Arc<PolicyShared>,
        liveness: &Arc<Liveness>,
        log: &Arc<Log>,
    ) -> Arc<Self> {
        let work = Arc::<Notify>::default();
        let wake = Arc::clone(&work);
        let outbox = Arc::new(Outbox::new(Box::new(move || wake.notify_one())));
        policies.set_outbox(Arc::clone(&outbox));
        policies.identity.with_revocations(RevocationSet::share);
        liveness.set_joining(true);
        Arc::new(Self {
            store: Arc::clone(store),
            policies: Arc::clone(policies),
            liveness: Arc::clone(liveness),
            log: Arc::clone(log),
            outbox,
            work,
            current: watch::Sender::new(false),
            published: watch::Sender::new(0),
            publishing: AtomicBool::new(false),
            entries: AtomicU64::new(0),
            catch_ups: AtomicU64::new(0),
            followed: AtomicBool::new(false),
            reports: Refusals::default(),
        })
    }

    /// Says that something was revoked here.
    pub(crate) fn revoked(&self) {
        self.work.notify_one();
    }

    /// Tells the other nodes of a purge.
    pub(crate) fn purged(&self, purge: Purge) {
        self.outbox.push(CacheChange::Purge(purge));
    }

    /// The figures of now.
    pub(crate) fn figures(&self) -> FeedFigures {
        FeedFigures {
            current: *self.current.borrow(),
            available: self.store.is_available(),
            unpublished_revocations: self.policies.identity.with_revocations(|set| set.pending()),
            unpublished_changes: self.outbox.len(),
            entries_read: self.entries.load(Ordering::Relaxed),
            entries_published: *self.published.borrow(),
            catch_ups: self.catch_ups.load(Ordering::Relaxed),
        }
    }

    /// Waits until this node knows all revocations in force, for `patience` at most. Returns true if it does.
    pub(crate) async fn joined(&self, patience: Duration) -> bool {
        let mut current = self.current.subscribe();
        timeout(patience, current.wait_for(|current| *current)).await.is_ok()
    }

    /// Says when the node may get requests: once it knows what is revoked, or cannot learn it within `patience`.
    pub(crate) async fn join(&self, patience: Duration) {
        if !self.joined(patience).await {
            let then = match self.store.plan().on_store_error {
                OnStoreError::Deny => "the node is not ready until it does",
                OnStoreError::Share | OnStoreError::Allow => "what other nodes have revoked is not refused here",
            };
            let message = format!("the store has not told in time what is revoked in the cluster: {then}");
            self.log.write("warning", "revocations_unknown", message);
            if self.store.plan().on_store_error == OnStoreError::Deny {
                self.joined(Duration::MAX).await;
            }
        }
        self.liveness.set_joining(false);
    }

    /// Waits until everything is published, but not for long, and not if the store is away.
    pub(crate) async fn flush(&self) {
        let mut published = self.published.subscribe();
        let done =
            async { while self.store.is_available() && self.has_unpublished() && published.changed().await.is_ok() {} };
        // What is not published by then, is lost with this process.
        let _ = timeout(FAREWELL, done).await;
    }

    fn has_unpublished(&self) -> bool {
        let FeedFigures { unpublished_revocations, unpublished_changes, .. } = self.figures();
        self.publishing.load(Ordering::Relaxed) || unpublished_revocations + unpublished_changes > 0
    }

    /// Puts in force what was learned.
    fn apply(&self, learned: Learned) {
        let Learned { revocations, strange_revocations, changes, missed_changes } = learned;
        if strange_revocations > 0 {
            self.reports.report(&self.log, clock::now(), "revocations_strange", || {
                let what = "a later version of Pylae has made it, or something else than Pylae";
                format!(
                    "{strange_revocations} revocations are not in force here, this version cannot read them: {what}"
                )
            });
        }
        if !revocations.is_empty() {
            let refused = self.policies.identity.learn(&revocations, clock::wall());
            if refused > 0 {
                self.reports.report(&self.log, clock::now(), "revocations_full", || {
                    format!("{refused} revocations of other nodes were not taken: there are too many")
                });
            }
        }
        let Some(cache) = self.policies.cache_if_used() else { return };
        if missed_changes {
            cache.purge(&Purge::All, clock::now());
        }
        for change in changes {
            match change {
                CacheChange::Purge(purge) => drop(cache.purge(&purge, clock::now())),
                CacheChange::Changed { host, path } => drop(cache.invalidate(&host, &path, clock::now())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
