//! What the callers of the store and the thread that drives it both know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::plan::ClusterPlan;
use pylae_core::{Instant, Problem};
use tokio::sync::watch;

use super::figures::StoreFigures;
use super::node::{LiveNode, SeenNodes, ThisNode};
use crate::io::clock;
use crate::io::tls::Connector;
use crate::telemetry::log::{Log, Refusals};

/// Why the store is not available before the first attempt to connect has ended.
const NOT_YET: &str = "not connected yet";

/// Why the store is not available.
#[derive(Clone)]
pub(super) struct StoreProblem {
    pub(super) what: String,
    pub(super) since: Instant,
}

/// The settings and the state of a store.
pub(super) struct StoreShared {
    pub(super) plan: ClusterPlan,
    pub(super) tls: Option<Arc<Connector>>,
    pub(super) node: ThisNode,
    pub(super) figures: StoreFigures,
    /// Set while all servers that have keys are connected.
    available: AtomicBool,
    pub(super) changes: watch::Sender<bool>,
    /// Set once the first attempt to connect has ended.
    pub(super) attempted: watch::Sender<bool>,
    /// Why it is not available.
    problem: Mutex<Option<StoreProblem>>,
    /// How many live, this one included.
    nodes: watch::Sender<usize>,
    pub(super) seen: Mutex<SeenNodes>,
    pub(super) log: Arc<Log>,
    reports: Refusals,
    /// Set if the log says that it is not available.
    reported: AtomicBool,
}

impl StoreShared {
    pub(super) fn new(plan: &ClusterPlan, log: &Arc<Log>) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            tls: connector(plan)?,
            plan: plan.clone(),
            node: ThisNode::new(plan),
            figures: StoreFigures::default(),
            available: AtomicBool::new(false),
            changes: watch::Sender::new(false),
            attempted: watch::Sender::new(false),
            problem: Mutex::new(Some(StoreProblem { what: NOT_YET.to_owned(), since: clock::now() })),
            nodes: watch::Sender::new(1),
            seen: Mutex::default(),
            log: Arc::clone(log),
            reports: Refusals::default(),
            reported: AtomicBool::new(false),
        })
    }

    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// Why it is not available, or None if it is.
    pub(super) fn problem(&self) -> Option<StoreProblem> {
        self.problem.lock().clone()
    }

    /// How long a call may take.
    pub(super) fn timeout(&self) -> Duration {
        self.plan.timeout.0
    }

    /// The key of something that the whole cluster has. All such keys are on one server.
    pub(super) fn key(&self, rest: &str) -> Vec<u8> {
        format!("pylae:{{{}}}:{rest}", self.plan.name).into_bytes()
    }

    /// The number of live nodes, this one included.
    pub(super) fn nodes(&self) -> usize {
        *self.nodes.borrow()
    }

    pub(super) fn set_nodes(&self, nodes: usize) {
        let nodes = nodes.max(1);
        self.nodes.send_if_modified(|before| std::mem::replace(before, nodes) != nodes);
    }

    pub(super) fn follow_nodes(&self) -> watch::Receiver<usize> {
        self.nodes.subscribe()
    }

    /// Notes which nodes live, and says what they disagree about if that is new.
    pub(super) fn see(&self, nodes: Vec<LiveNode>) {
        let seen = SeenNodes::new(nodes);
        let before = std::mem::replace(&mut *self.seen.lock(), seen);
        let now = self.seen.lock().disagreements.clone();
        for told in now.iter().filter(|told| !before.disagreements.contains(told)) {
            self.log.write("warning", "nodes_disagree", format!("cluster {}: {told}", self.plan.name));
        }
    }

    /// Records whether all servers are connected, and if not, why.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        let available = problem.is_none();
        let now = clock::now();
        let before = {
            let mut current = self.problem.lock();
            let since = current.as_ref().map_or(now, |before| before.since);
            std::mem::replace(&mut *current, problem.clone().map(|what| StoreProblem { what, since }))
        };
        let before = before.map(|before| before.what);
        self.available.store(available, Ordering::Release);
        self.changes.send_if_modified(|now| std::mem::replace(now, available) != available);
        self.attempted.send_replace(true);
        let cluster = &self.plan.name;
        match problem {
            Some(problem) if before.as_ref() != Some(&problem) => {
                self.reports.report(&self.log, now, "store_unavailable", || {
                    self.reported.store(true, Ordering::Relaxed);
                    format!("the store of cluster {cluster} is not available: {problem}")
                });
            }
            None if self.reported.swap(false, Ordering::Relaxed) => {
                self.log.write("info", "store_available", format!("the store of cluster {cluster} is available again"));
            }
            _ => {}
        }
    }
}

/// Builds the TLS settings of `plan`. Reports what can be seen to be wrong without its servers.
pub(super) fn connector(plan: &ClusterPlan) -> Result<Option<Arc<Connector>>, Vec<Problem>> {
    let tls = plan.tls.as_ref().map(|tls| Connector::build(tls, None, None)).transpose();
    tls.map_err(|problems| problems.into_iter().map(|problem| problem.under("tls")).collect())
}
