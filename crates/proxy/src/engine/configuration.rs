//! Which configuration is in force, as other nodes are told.

use std::sync::Arc;

use aws_lc_rs::digest;
use pylae_core::Plan;

use crate::store::Store;

/// What the other nodes are told of a configuration once it is in force: a digest of its routes.
pub(super) struct ToldConfiguration(Option<(Arc<Store>, String)>);

impl ToldConfiguration {
    /// Of a whole plan; a snapshot drops parts of its own.
    pub(super) fn of(store: Option<&Arc<Store>>, plan: &Plan) -> Self {
        Self(store.map(|store| {
            // Plans that were read can be written.
            let routes = serde_json::to_vec(&plan.routes).unwrap_or_default();
            let digest = digest::digest(&digest::SHA256, &routes);
            // Enough to tell configurations apart, and too little to find out what is in them.
            let start = digest.as_ref().iter().take(5).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            (Arc::clone(store), format!("{start:010x}"))
        }))
    }

    /// Tells them that it is in force.
    pub(super) fn tell(self) {
        if let Some((store, digest)) = self.0 {
            store.set_configuration(digest);
        }
    }
}
