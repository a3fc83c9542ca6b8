//! The store of the cluster, for what nodes share of where instances come from.

use std::sync::Arc;

use crate::store::{Store, StoreValue, registry};
use crate::worker::WorkerShared;

/// A call: what its key ends with, and its arguments.
type RegistryCall = (Vec<u8>, Vec<Vec<u8>>);

/// The store of a gateway that is a node of a cluster. It fails at once while the store is away or the gateway has
/// stopped.
#[derive(Debug)]
pub struct RegistryStore(Arc<Store>);

impl RegistryStore {
    pub(super) fn of(shared: &WorkerShared) -> Option<Self> {
        shared.store.as_ref().map(|store| Self(Arc::clone(store)))
    }

    /// Runs a script with each of the calls, and returns what it returns or why there is nothing, in their order. Waits
    /// for it, for as long as the cluster's time-out at most. None if there is no such script.
    pub fn run(&self, script: &str, calls: Vec<RegistryCall>) -> Option<Vec<Result<StoreValue, String>>> {
        let script = registry::script(script)?;
        let calls: Vec<_> = calls
            .into_iter()
            .map(|(rest, args)| registry::call(script, self.0.spread_key(script.name, &rest), args))
            .collect();
        // Only the time-out is waited for here: the thread of the store has the sockets.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return Some(vec![Err(error.to_string()); calls.len()]),
        };
        let results = runtime.block_on(self.0.run(calls));
        Some(results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect())
    }
}
