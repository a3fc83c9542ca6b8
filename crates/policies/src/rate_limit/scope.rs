//! Which requests count together.

use serde::{Deserialize, Serialize};

/// Which nodes count together. By default those of the cluster, if the gateway is a node of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// Each node counts on its own.
    Node,
    /// All nodes of the cluster share the counts.
    Cluster,
}

impl Scope {
    /// Returns true if the nodes of a cluster share the counts. None is the default.
    pub(super) fn is_shared(scope: Option<Self>) -> bool {
        scope != Some(Self::Node)
    }
}

/// The identity of a counter. `per_route`: each route has its own, or else all routes with a limit of this name share
/// it.
pub(super) fn identity(per_route: bool, policy: &str, name: &str, route: &str) -> String {
    if per_route { format!("route/{route}/{policy}/{name}") } else { format!("gateway/{policy}/{name}") }
}
