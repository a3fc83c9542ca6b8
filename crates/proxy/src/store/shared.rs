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
use super::slots::Reach;
use crate::io::clock;
use crate::io::tls::Connector;
use crate::telemetry::log::{Log, Refusals};

/// Why a server is not connected before the first attempt has ended.
pub(super) const NOT_YET: &str = "not connected yet";

/// Which servers of the store are connected.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreState {
    /// Servers that have keys.
    pub(super) servers: usize,
    /// Those of them that are connected.
    pub(super) connected: usize,
    /// Which keys they have.
    pub(super) reach: Reach,
    /// Why not all keys can be reached.
    pub(super) problem: Option<String>,
}

/// The same, and since when not all keys can be reached.
#[derive(Clone)]
pub(super) struct StoreStateSince {
    pub(super) now: StoreState,
    pub(super) problem_since: Instant,
    /// What the log was last told of the problem.
    told: Option<String>,
}

/// The settings and the state of a store.
pub(super) struct StoreShared {
    pub(super) plan: ClusterPlan,
    pub(super) tls: Option<Arc<Connector>>,
    pub(super) node: ThisNode,
    pub(super) figures: StoreFigures,
    pub(super) reach: watch::Sender<Reach>,
    /// Set once the first attempt to connect has ended.
    pub(super) attempted: watch::Sender<bool>,
    state: Mutex<StoreStateSince>,
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
            reach: watch::Sender::new(Reach::Nothing),
            attempted: watch::Sender::new(false),
            state: Mutex::new(StoreStateSince {
                now: StoreState { problem: Some(NOT_YET.to_owned()), ..StoreState::default() },
                problem_since: clock::now(),
                told: None,
            }),
            nodes: watch::Sender::new(1),
            seen: Mutex::default(),
            log: Arc::clone(log),
            reports: Refusals::default(),
            reported: AtomicBool::new(false),
        })
    }

    /// Returns true if the server is connected that has `key`.
    pub(super) fn reaches(&self, key: &[u8]) -> bool {
        self.reach.borrow().covers(key)
    }

    /// Which servers are connected.
    pub(super) fn state(&self) -> StoreStateSince {
        self.state.lock().clone()
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

    /// Says that the first attempt to connect has ended.
    pub(super) fn set_attempted(&self) {
        self.attempted.send_if_modified(|attempted| !std::mem::replace(attempted, true));
    }

    /// Records which servers are connected, and reports it if not all keys can be reached.
    pub(super) fn set_state(&self, state: StoreState) {
        let now = clock::now();
        let StoreState { reach, problem, .. } = state.clone();
        // What is not connected yet is no news.
        let tell = *self.attempted.borrow();
        let told = {
            let mut current = self.state.lock();
            if current.now.problem.is_none() {
                current.problem_since = now;
            }
            current.now = state;
            let next = problem.clone().filter(|_| tell);
            std::mem::replace(&mut current.told, next)
        };
        let what = if matches!(reach, Reach::Some(_)) { "a part of the store" } else { "the store" };
        self.reach.send_if_modified(|now| {
            let is_other = *now != reach;
            *now = reach;
            is_other
        });
        let cluster = &self.plan.name;
        match problem {
            Some(problem) if tell && told.as_ref() != Some(&problem) => {
                self.reports.report(&self.log, now, "store_unavailable", || {
                    self.reported.store(true, Ordering::Relaxed);
                    format!("{what} of cluster {cluster} is not available: {problem}")
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
