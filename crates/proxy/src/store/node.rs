//! A node of the cluster, as it is written in the store, and what nodes should agree about.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::Instant;
use pylae_core::plan::ClusterPlan;
use serde::{Deserialize, Serialize};

use crate::io::clock;
use crate::telemetry::metrics::NodeStats;

/// Version of what the nodes of a cluster say to each other through the store. Those of the neighbouring versions work
/// together, others refuse.
pub(super) const PROTOCOL: u32 = 1;

/// The protocol of nodes whose words cannot be read.
const UNREADABLE: u32 = u32::MAX;

/// Most words of this node that may still be in the store. Older ones have expired there.
const MAX_SAID: usize = 8;
/// Most names that one sentence has.
const MAX_NAMED: usize = 5;
/// A node that has said nothing for longer may have been replaced by another one of its name.
const RECENT: u64 = 2500;

/// This node.
pub(super) struct ThisNode {
    fixed: NodeRecord,
    words: Mutex<Words>,
}

/// What this node has said of itself.
#[derive(Default)]
struct Words {
    configuration: String,
    round_trip: Option<u64>,
    /// What may be in the store, because nobody has said that it was taken out.
    said: Vec<Vec<u8>>,
    /// Times that it has said something.
    number: usize,
}

/// A node as it is written in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeRecord {
    /// Tells apart nodes of the same name.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) protocol: u32,
    pub(super) version: String,
    /// Start, in seconds since 1970.
    pub(super) since: u64,
    /// A digest of what its routes do.
    #[serde(default)]
    configuration: String,
    /// Settings of the cluster that all nodes should have.
    #[serde(default)]
    settings: String,
    /// Time until the answer to its last word but one, in microseconds.
    #[serde(default)]
    round_trip: Option<u64>,
}

/// What a word of a node says whom this version cannot read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StrangeRecord {
    name: String,
    version: String,
}

/// A node that lives, with the milliseconds since its last word.
pub(super) type LiveNode = (NodeRecord, u64);

/// The nodes that live, as they were last seen.
#[derive(Default)]
pub(super) struct SeenNodes {
    at: Option<Instant>,
    nodes: Vec<LiveNode>,
    pub(super) disagreements: Vec<String>,
}

impl ThisNode {
    /// The node of this process. Without a name it gets that of the host and something unique.
    pub(super) fn new(plan: &ClusterPlan) -> Self {
        let id = format!("{:016x}", fastrand::u64(..));
        let name = plan.node.clone().unwrap_or_else(|| default_name(&id));
        let (protocol, version) = (PROTOCOL, env!("CARGO_PKG_VERSION").to_owned());
        let (since, settings) = (clock::wall().as_secs(), settings(plan));
        let fixed = NodeRecord { id, name, protocol, version, since, settings, ..NodeRecord::default() };
        Self { fixed, words: Mutex::default() }
    }

    pub(super) fn id(&self) -> &str {
        &self.fixed.id
    }

    pub(super) fn name(&self) -> &str {
        &self.fixed.name
    }

    pub(super) fn set_configuration(&self, digest: String) {
        self.words.lock().configuration = digest;
    }

    /// What the node says of itself now, and what that replaces.
    pub(super) fn speak(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut words = self.words.lock();
        let (configuration, round_trip) = (words.configuration.clone(), words.round_trip);
        let record = NodeRecord { configuration, round_trip, ..self.fixed.clone() };
        // A struct of numbers and texts can always be written.
        let word = serde_json::to_vec(&record).unwrap_or_default();
        words.said.retain(|said| *said != word);
        let before = words.said.clone();
        if words.said.len() == MAX_SAID {
            words.said.remove(0);
        }
        words.said.push(word.clone());
        words.number += 1;
        (word, before)
    }

    /// Returns true if it is time to look at the others: seldom if they are many.
    pub(super) fn looks(&self, nodes: usize) -> bool {
        self.words.lock().number.is_multiple_of((nodes / 10).clamp(1, 30))
    }

    /// Notes that what was said `before` is no longer in the store, and how long the answer took.
    pub(super) fn heard(&self, before: &[Vec<u8>], after: Duration) {
        let mut words = self.words.lock();
        words.said.retain(|said| !before.contains(said));
        words.round_trip = u64::try_from(after.as_micros()).ok();
    }

    /// What the store may have of this node.
    pub(super) fn said(&self) -> Vec<Vec<u8>> {
        self.words.lock().said.clone()
    }
}

impl NodeRecord {
    /// Reads what a node says of itself. What cannot be read is of a version further away than the next one.
    pub(super) fn read(word: &[u8]) -> Self {
        serde_json::from_slice(word).unwrap_or_else(|_| {
            let StrangeRecord { name, version } = serde_json::from_slice(word).unwrap_or_default();
            let known = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
            let (name, version) = (known(name, "without a name"), known(version, "unknown"));
            Self { name, version, protocol: UNREADABLE, ..Self::default() }
        })
    }

    /// Why a node of this version must not work together with it, or None.
    pub(super) fn mismatch(&self) -> Option<String> {
        let Self { name, version, protocol, .. } = self;
        if protocol.abs_diff(PROTOCOL) <= 1 {
            return None;
        }
        let why = if *protocol == UNREADABLE {
            "what it says of itself cannot be read".to_owned()
        } else {
            format!("their protocols are {protocol} and {PROTOCOL}")
        };
        let own = env!("CARGO_PKG_VERSION");
        Some(format!("node {name} has version {version} of Pylae, which does not work together with {own}: {why}"))
    }
}

impl SeenNodes {
    pub(super) fn new(nodes: Vec<LiveNode>) -> Self {
        let disagreements = disagreements(&nodes);
        Self { at: Some(clock::now()), nodes, disagreements }
    }

    /// The nodes, for those who ask this one.
    pub(super) fn stats(&self) -> Vec<NodeStats> {
        let ago = self.at.map_or(Duration::ZERO, |at| clock::now().since(at));
        let stats = |(node, silent): &LiveNode| NodeStats {
            id: node.id.clone(),
            name: node.name.clone(),
            version: node.version.clone(),
            protocol: node.protocol,
            configuration: node.configuration.clone(),
            since: node.since,
            round_trip: node.round_trip,
            silent: (Duration::from_millis(*silent) + ago).as_secs_f64(),
        };
        self.nodes.iter().map(stats).collect()
    }
}

/// What the nodes should agree about and do not, one sentence each.
fn disagreements(nodes: &[LiveNode]) -> Vec<String> {
    let nodes: Vec<&NodeRecord> = nodes.iter().filter(|(_, silent)| *silent < RECENT).map(|(node, _)| node).collect();
    let mut told = Vec::new();
    let mut names = BTreeMap::<&str, usize>::new();
    for node in &nodes {
        *names.entry(&node.name).or_default() += 1;
    }
    for (name, number) in names.into_iter().filter(|(_, number)| *number > 1).take(MAX_NAMED) {
        told.push(format!("{number} nodes have the name {name}: give each a `cluster.node` of its own"));
    }
    told.extend(difference("versions of Pylae", &nodes, |node| &node.version));
    told.extend(difference("configurations", &nodes, |node| &node.configuration));
    told.extend(difference("settings of `cluster`", &nodes, |node| &node.settings));
    told
}

fn difference(what: &str, nodes: &[&NodeRecord], of: impl Fn(&NodeRecord) -> &str) -> Option<String> {
    let mut groups = BTreeMap::<&str, Vec<&str>>::new();
    // A node of another version may not say it.
    for node in nodes.iter().filter(|node| !of(node).is_empty()) {
        groups.entry(of(node)).or_default().push(&node.name);
    }
    if groups.len() < 2 {
        return None;
    }
    let told = groups.into_iter().take(MAX_NAMED).map(|(value, mut names)| {
        names.sort_unstable();
        let more = names.len().saturating_sub(MAX_NAMED);
        names.truncate(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{value} ({}{more})", names.join(", "))
    });
    Some(format!("the nodes have different {what}: {}", told.collect::<Vec<_>>().join(", ")))
}

/// The settings that all nodes should have.
fn settings(plan: &ClusterPlan) -> String {
    let ClusterPlan { timeout, flush, on_store_error, wait_replicas, .. } = plan;
    let on_store_error = serde_json::to_string(on_store_error).unwrap_or_default();
    let (timeout, flush) = (timeout.0.as_millis(), flush.0.as_millis());
    format!(
        "timeout {timeout} ms, flush {flush} ms, on_store_error {}, wait_replicas {wait_replicas}",
        on_store_error.trim_matches('"')
    )
}

fn default_name(id: &str) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{}-{}", host.split('.').next().unwrap_or("node"), &id[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, version: &str, configuration: &str) -> LiveNode {
        let (name, version) = (name.to_owned(), version.to_owned());
        (NodeRecord { name, version, configuration: configuration.to_owned(), ..NodeRecord::default() }, 0)
    }

    #[test]
    fn what_nodes_should_agree_about_is_compared() {
        assert_eq!(disagreements(&[node("a", "1", "x"), node("b", "1", "x"), node("c", "1", "")]), [""; 0]);
        let names: Vec<LiveNode> = (1..8).map(|number| node(&format!("n{number}"), "1", "x")).collect();
        let found = disagreements(&[names, vec![node("a", "2", "x"), node("a", "2", "x")]].concat());
        assert_eq!(
            found,
            [
                "2 nodes have the name a: give each a `cluster.node` of its own",
                "the nodes have different versions of Pylae: 1 (n1, n2, n3, n4, n5 and 2 more), 2 (a, a)"
            ]
        );
    }

    #[test]
    fn nodes_of_the_neighbouring_versions_work_together() {
        let mismatch = |word: &str| NodeRecord::read(word.as_bytes()).mismatch();
        let word = |protocol: u32| {
            format!(r#"{{"id":"1","name":"b","protocol":{protocol},"version":"9","since":7,"later":[1]}}"#)
        };
        for protocol in [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1] {
            assert_eq!(mismatch(&word(protocol)), None);
        }
        let far = mismatch(&word(PROTOCOL + 2)).unwrap();
        assert!(far.starts_with("node b has version 9 of Pylae, which does not work together with "), "{far}");
        assert!(far.ends_with("their protocols are 3 and 1"), "{far}");
        for (word, named) in [
            (r#"{"name":"b","version":"9","since":"today"}"#, "node b has version 9 "),
            (r#"{"name":5}"#, "node without a name has version unknown "),
            ("\u{1}", "node without a name "),
        ] {
            let strange = mismatch(word).unwrap();
            assert!(strange.starts_with(named) && strange.ends_with("cannot be read"), "{strange}");
        }
    }

    #[test]
    fn a_node_that_was_replaced_is_not_compared() {
        let (old, new) = (node("a", "1", "x"), node("a", "2", "x"));
        assert_eq!(disagreements(&[(old.0, RECENT), new]), [""; 0]);
    }
}
