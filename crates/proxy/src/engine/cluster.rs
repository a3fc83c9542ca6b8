//! What takes effect on all nodes of the cluster.

use std::time::Duration;

use pylae_core::Problem;
use pylae_core::cache::Purge;
use pylae_core::cluster::Revoked;
use pylae_core::limit::Clocks;

use super::Engine;
use crate::io::clock;
use crate::telemetry::metrics::FeedFigures;

impl Engine {
    /// Revokes a credential for `span` on all workers, and soon on all nodes of the cluster. Returns false if there are
    /// too many revocations.
    pub fn revoke(&self, what: Revoked<'_>, span: Duration) -> bool {
        let revoked = self.policies.identity.revoke(what, Clocks { now: clock::now(), wall: clock::wall() }, span);
        if let Some(feed) = &self.feed {
            feed.revoked();
        }
        revoked
    }

    /// Removes what `purge` names from the response cache, and soon from those of all nodes of the cluster. Returns the
    /// number of responses removed here.
    pub fn purge_cache(&self, purge: Purge) -> Result<usize, Vec<Problem>> {
        let purge = purge.canonicalize().map_err(|error| vec![Problem::at("path", error)])?;
        let removed = self.policies.cache_if_used().map_or(0, |cache| cache.purge(&purge, clock::now()));
        if let Some(feed) = &self.feed {
            feed.purged(purge);
        }
        Ok(removed)
    }

    /// How many revocations are held, and what the nodes of the cluster tell each other.
    pub(super) fn cluster_figures(&self) -> (usize, Option<FeedFigures>) {
        let held = self.policies.identity.with_revocations(|set| set.len());
        (held, self.feed.as_ref().map(|feed| feed.figures()))
    }
}
