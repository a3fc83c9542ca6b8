//! The cluster that a gateway belongs to, and its store.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Seconds, ServiceTls};
use crate::limit::OnStoreError;

/// The nodes that share limits, and the store through which they do.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    /// Name of the cluster, which separates it from others in the same store.
    pub name: String,
    /// Name of this node; null means the host's name and something unique.
    pub node: Option<String>,
    /// How the servers of the store are found.
    pub kind: StoreKind,
    /// The servers to ask first, at least one: those of the store, or the Sentinels.
    pub servers: Vec<StoreServer>,
    /// The name by which Sentinels know the store; null for other kinds.
    pub primary: Option<String>,
    /// User to log in as; null means the default user.
    pub user: Option<String>,
    /// Password to log in with; null means none.
    pub password: Option<String>,
    /// User at the Sentinels; null means the default user.
    pub sentinel_user: Option<String>,
    /// Password at the Sentinels; null means none.
    pub sentinel_password: Option<String>,
    /// Number of the database.
    pub database: u32,
    /// TLS to the servers; null means none.
    pub tls: Option<ServiceTls>,
    /// How long a call may take.
    pub timeout: Seconds,
    /// How often a node tells the store what it has admitted.
    pub flush: Seconds,
    /// What happens to limits while the store does not answer.
    pub on_store_error: OnStoreError,
    /// Number of replicas that must have acknowledged what is written, where that was asked for.
    pub wait_replicas: u32,
}

/// How the servers of a store are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// There is one.
    Single,
    /// Sentinels say which one is the primary.
    Sentinel,
    /// Each says which server has which slots.
    Cluster,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreServer {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for StoreServer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(to, "[{}]:{}", self.host, self.port);
        }
        write!(to, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for ClusterPlan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what it logs in with.
        to.debug_struct("ClusterPlan")
            .field("name", &self.name)
            .field("node", &self.node)
            .field("kind", &self.kind)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}
