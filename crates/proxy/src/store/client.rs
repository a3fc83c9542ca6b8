//! The store as other threads see it.

mod answers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pylae_core::Problem;
use pylae_core::cluster::{StreamEntry, StreamId};
use pylae_core::plan::ClusterPlan;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::answers::StoreAnswers;
use super::call::{ScriptCall, StoreError, StoreResult};
use super::driver::{self, PlacedResult, StoreQueues, StoreRequest};
use super::shared::{StoreShared, StoreState, connector};
use super::slots::Reach;
use super::stream::ReadRequest;
use crate::io::clock;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::StoreStats;

/// Most requests that wait for answers. Each has a few calls.
const MAX_REQUESTS: usize = 1024;
/// Most streams that are read at once.
const MAX_READERS: usize = 16;

/// The store of the cluster that this gateway is a node of.
pub(crate) struct Store {
    shared: Arc<StoreShared>,
    requests: mpsc::Sender<StoreRequest>,
    readers: mpsc::Sender<ReadRequest>,
    /// One permit for each request that waits for an answer.
    room: Arc<Semaphore>,
    /// What the thread that drives the store takes from. It keeps the lock as long as it does.
    incoming: tokio::sync::Mutex<StoreQueues>,
}

impl Store {
    /// Prepares the store of `plan`. Nothing is connected until it is driven.
    pub(crate) fn new(plan: &ClusterPlan, log: &Arc<Log>) -> Result<Arc<Self>, Vec<Problem>> {
        let shared = Arc::new(StoreShared::new(plan, log)?);
        let (requests, incoming) = mpsc::channel(MAX_REQUESTS);
        let (readers, incoming_readers) = mpsc::channel(MAX_READERS);
        Ok(Arc::new(Self {
            shared,
            requests,
            readers,
            room: Arc::new(Semaphore::new(MAX_REQUESTS)),
            incoming: tokio::sync::Mutex::new(StoreQueues { requests: incoming, readers: incoming_readers }),
        }))
    }

    /// Reports the problems of `plan` that can be seen without its servers.
    pub(crate) fn check(plan: &ClusterPlan) -> Result<(), Vec<Problem>> {
        connector(plan).map(drop)
    }

    /// Runs scripts. Those whose keys are on one server go there in one pipeline. Returns their results in the order of
    /// the calls, after the time-out at the latest.
    pub(crate) async fn run(&self, calls: Vec<ScriptCall>) -> Vec<StoreResult> {
        self.ask(calls, false).all().await
    }

    /// Runs scripts as [`run`](Self::run) does, and has them fail unless as many replicas as configured have
    /// acknowledged what they wrote. Yields the results of each server when it has answered.
    pub(crate) fn ask_replicated(&self, calls: Vec<ScriptCall>) -> StoreAnswers {
        self.ask(calls, self.shared.plan.wait_replicas > 0)
    }

    fn ask(&self, calls: Vec<ScriptCall>, replicated: bool) -> StoreAnswers {
        let number = calls.len();
        StoreAnswers::new(&self.shared, number, self.send(calls, replicated))
    }

    fn send(&self, calls: Vec<ScriptCall>, replicated: bool) -> Result<mpsc::Receiver<PlacedResult>, StoreError> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let (answer, answered) = mpsc::channel(calls.len().max(1));
        let request = StoreRequest { calls, replicated, answer, permit, since: clock::now() };
        self.requests.try_send(request).map_err(|_| StoreError::Busy)?;
        Ok(answered)
    }

    /// Returns up to `count` entries of a stream after `after`, once there are some. Reads over a connection of its
    /// own.
    pub(crate) async fn read_stream(
        &self,
        key: Vec<u8>,
        after: StreamId,
        count: u32,
    ) -> Result<Vec<StreamEntry<Vec<u8>>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = ReadRequest { key, after, count, answer };
        self.readers.try_send(request).map_err(|_| StoreError::Busy)?;
        answered.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Returns true while the server is connected that has what the whole cluster has.
    pub(crate) fn is_available(&self) -> bool {
        self.shared.reaches(&self.key(""))
    }

    /// Which keys the store answers for: `changed` of the receiver waits for the next change.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.shared.reach.subscribe()
    }

    /// The number of live nodes, this one included.
    pub(crate) fn nodes(&self) -> usize {
        self.shared.nodes()
    }

    /// Follows [`nodes`](Self::nodes).
    pub(crate) fn follow_nodes(&self) -> watch::Receiver<usize> {
        self.shared.follow_nodes()
    }

    /// Sets by what the other nodes compare the configuration in force with theirs.
    pub(crate) fn set_configuration(&self, digest: String) {
        self.shared.node.set_configuration(digest);
    }

    /// Counters and states, without those of what limits know of it.
    pub(crate) fn stats(&self) -> StoreStats {
        let StoreShared { figures, node, plan, .. } = &*self.shared;
        let (state, seen) = (self.shared.state(), self.shared.seen.lock());
        let since = state.problem_since;
        let StoreState { servers, connected, problem, .. } = state.now;
        StoreStats {
            cluster: plan.name.clone(),
            node: node.name().to_owned(),
            id: node.id().to_owned(),
            available: problem.is_none(),
            unavailable_for: problem.as_ref().map(|_| clock::now().since(since).as_secs_f64()),
            problem,
            servers,
            connected,
            nodes: self.nodes(),
            members: seen.stats(),
            disagreements: seen.disagreements.clone(),
            calls: figures.calls(),
            errors: figures.errors(),
            connections: figures.connections(),
            waiting: MAX_REQUESTS.saturating_sub(self.room.available_permits()),
            durations: figures.durations(),
            views: 0,
            waits: 0,
            view_bytes: 0,
        }
    }

    /// The settings.
    pub(crate) fn plan(&self) -> &ClusterPlan {
        &self.shared.plan
    }

    /// Where what is strange about answers is reported.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.shared.timeout()
    }

    /// The key of something that the whole cluster has. All such keys are on one server.
    pub(crate) fn key(&self, rest: &str) -> Vec<u8> {
        self.shared.key(rest)
    }

    /// A key that is one of many, which are spread over all servers. `rest` may be anything.
    pub(crate) fn spread_key(&self, kind: &str, rest: &[u8]) -> Vec<u8> {
        let mut key = format!("pylae:{}:{kind}:", self.shared.plan.name).into_bytes();
        key.extend_from_slice(rest);
        key
    }

    /// Waits until the first attempt to connect has ended, for `patience` at most.
    pub(crate) async fn attempted(&self, patience: Duration) {
        let mut attempted = self.shared.attempted.subscribe();
        // The store is not available then, which its callers see.
        let _ = tokio::time::timeout(patience, attempted.wait_for(|attempted| *attempted)).await;
    }

    /// Connects and serves calls until the sender of `stopped` is gone. Must run within a `LocalSet`.
    pub(crate) async fn drive(self: Arc<Self>, stopped: watch::Receiver<()>) {
        let mut incoming = self.incoming.lock().await;
        driver::run(Arc::clone(&self.shared), &mut incoming, stopped).await;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Store").field("plan", &self.shared.plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
