//! Metrics of the store that the nodes of a cluster share.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Durations;
use super::page::{COUNTER, GAUGE, HISTOGRAM, Page};

/// Counters and states of the store, and of what this node knows of its counters.
#[derive(Clone, Debug, Serialize)]
pub struct StoreStats {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this node.
    pub node: String,
    /// What tells it apart from others of the same name.
    pub id: String,
    /// Set while all servers that have keys are connected.
    pub available: bool,
    /// Why it is not available.
    pub problem: Option<String>,
    /// For how many seconds it has not been available.
    pub unavailable_for: Option<f64>,
    /// Its servers that have keys.
    pub servers: usize,
    /// Those of them that are connected.
    pub connected: usize,
    /// Live nodes, this one included.
    pub nodes: usize,
    /// The live nodes as they were last seen.
    pub members: Vec<NodeStats>,
    /// What they should agree about and do not, one sentence each.
    pub disagreements: Vec<String>,
    /// Calls of scripts.
    pub calls: u64,
    /// Calls without a result, by the kind of error.
    pub errors: BTreeMap<&'static str, u64>,
    /// Connections made to servers.
    pub connections: u64,
    /// Requests that wait for an answer.
    pub waiting: usize,
    /// Time from requests to their answers.
    #[serde(skip)]
    pub(crate) durations: Durations,
    /// Keys of limits that this node has a view of.
    pub views: usize,
    /// Requests that had to wait for the store to decide on their limits.
    pub waits: u64,
    /// Memory of the views, in bytes.
    pub view_bytes: usize,
}

/// A live node of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStats {
    /// Name of the node.
    pub name: String,
    /// What tells it apart from others of the same name.
    pub id: String,
    /// Version of Pylae.
    pub version: String,
    /// Version of what nodes say to each other.
    pub protocol: u32,
    /// A digest of what its routes do.
    pub configuration: String,
    /// Start, in seconds since 1970.
    pub since: u64,
    /// Time until the answer to its last word but one, in microseconds.
    pub round_trip: Option<u64>,
    /// Seconds since its last word.
    pub silent: f64,
}

impl Page {
    /// The store. Without a cluster, nothing but the names.
    pub(super) fn store(&mut self, stats: Option<&StoreStats>) {
        let single = |page: &mut Self, name: &str, kind: &str, help: &str, value: &dyn Fn(&StoreStats) -> u64| {
            page.family(name, kind, help);
            if let Some(stats) = stats {
                page.sample(name, &[], value(stats));
            }
        };
        let help = "1 while all servers of the store are connected, else 0.";
        single(self, "pylae_store_up", GAUGE, help, &|stats| stats.available.into());
        let name = "pylae_store_servers";
        self.family(name, GAUGE, "Servers of the store that have keys, by whether they are connected.");
        if let Some(StoreStats { servers, connected, .. }) = stats {
            self.sample(name, &[("state", "connected")], connected);
            self.sample(name, &[("state", "lost")], servers.saturating_sub(*connected));
        }
        let help = "Calls of scripts in the store.";
        single(self, "pylae_store_calls_total", COUNTER, help, &|stats| stats.calls);
        let name = "pylae_store_errors_total";
        self.family(name, COUNTER, "Calls of scripts in the store that had no result, by why.");
        for (kind, count) in stats.iter().flat_map(|stats| &stats.errors) {
            self.sample(name, &[("kind", kind)], count);
        }
        let name = "pylae_store_duration_seconds";
        self.family(name, HISTOGRAM, "Time from a request to the store until its answer, the queue included.");
        if let Some(stats) = stats {
            self.histogram(name, &[], &stats.durations);
        }
        let help = "Requests that wait for an answer of the store.";
        single(self, "pylae_store_waiting", GAUGE, help, &|stats| stats.waiting as u64);
        let help = "Requests that had to wait for the store to decide on their limits.";
        single(self, "pylae_store_waits_total", COUNTER, help, &|stats| stats.waits);
        let help = "Connections made to servers of the store.";
        single(self, "pylae_store_connections_total", COUNTER, help, &|stats| stats.connections);
        let help = "Keys of limits of which this node knows what the store has counted.";
        single(self, "pylae_store_views", GAUGE, help, &|stats| stats.views as u64);
        let help = "Bytes that they take.";
        single(self, "pylae_store_view_bytes", GAUGE, help, &|stats| stats.view_bytes as u64);
        let help = "Nodes of the cluster that live, this one included.";
        single(self, "pylae_cluster_nodes", GAUGE, help, &|stats| stats.nodes as u64);
    }
}
