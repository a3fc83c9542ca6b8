//! A node of the cluster, as it is written in the store.

use serde::{Deserialize, Serialize};

use crate::io::clock;

/// Version of what the nodes of a cluster say to each other through the store. Those of the neighbouring versions work
/// together, others refuse.
pub(super) const PROTOCOL: u32 = 1;

/// This node.
pub(super) struct ThisNode {
    said: NodeRecord,
}

/// A node as it is written in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeRecord {
    /// Tells apart nodes of the same name.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) protocol: u32,
    pub(super) version: String,
    /// Start, in seconds since 1970.
    pub(super) since: u64,
}

impl ThisNode {
    /// The node of this process. Without a name it gets that of the host and something unique.
    pub(super) fn new(name: Option<&str>) -> Self {
        let id = format!("{:016x}", fastrand::u64(..));
        let name = name.map_or_else(|| default_name(&id), str::to_owned);
        let (protocol, version) = (PROTOCOL, env!("CARGO_PKG_VERSION").to_owned());
        Self { said: NodeRecord { id, name, protocol, version, since: clock::wall().as_secs() } }
    }

    pub(super) fn name(&self) -> &str {
        &self.said.name
    }

    /// The node as the store has it.
    pub(super) fn member(&self) -> Vec<u8> {
        // A struct of numbers and texts can always be written.
        serde_json::to_vec(&self.said).unwrap_or_default()
    }
}

fn default_name(id: &str) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{}-{}", host.split('.').next().unwrap_or("node"), &id[..4])
}
