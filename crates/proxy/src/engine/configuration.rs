//! Which configuration is in force, as other nodes are told.

use std::sync::Arc;

use aws_lc_rs::digest;
use pylae_core::Plan;

use crate::store::Store;

/// Tells the other nodes which configuration is in force.
pub(super) fn tell_configuration(store: Option<&Arc<Store>>, plan: &Plan) {
    let Some(store) = store else { return };
    // Plans that were read can be written.
    let routes = serde_json::to_vec(&plan.routes).unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, &routes);
    // Enough to tell configurations apart, and too little to find out what is in them.
    let start = digest.as_ref().iter().take(5).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    store.set_configuration(format!("{start:010x}"));
}
