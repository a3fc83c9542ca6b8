//! The running data plane: start, apply and stop.

mod admin;
mod capacity;
mod cluster;
mod command;
mod configuration;
mod export;
mod figures;
mod listeners;
mod registry;
mod signals;
mod traces;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::hook::{HookSource, OverdueCall};
use pylae_core::maintenance::Maintenance;
use pylae_core::{Instant, Plan, Problem};
use pylae_policies::PolicyShared;
use tracing::debug;

use self::capacity::Capacity;
pub use self::command::LimitQuestion;
use self::configuration::ToldConfiguration;
use self::listeners::{bind_added, listed, shut_out};
pub use self::registry::RegistryStore;
pub use self::signals::{SignalEvent, Signals};
use crate::background::admin::AdminEdge;
use crate::background::auxiliary::Auxiliary;
use crate::background::counters::ClusterCounters;
use crate::background::export::ExportThreads;
use crate::background::feed::ClusterFeed;
use crate::background::jobs::JobPool;
use crate::background::store::StoreThread;
use crate::io::clock;
use crate::snapshot::{Outlets, PoolKeys, Snapshot};
use crate::store::Store;
use crate::telemetry::access_log::{FINAL_TIMEOUT, Sinks};
use crate::telemetry::liveness::Liveness;
use crate::telemetry::log::{Log, Record};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::exporters::Exporters;
use crate::telemetry::stderr::flush_stderr;
use crate::telemetry::{panics, subscriber};
use crate::thread::{Replacement, Watch, Workers};
use crate::worker::WorkerShared;

/// The drain of a QUIT: until all exchanges have ended.
const UNBOUNDED: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a stop waits for an apply in progress.
const APPLY_PATIENCE: Duration = Duration::from_millis(500);

/// What happens to exchanges in flight when the engine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// They are cut off.
    No,
    /// They may finish within `drain_timeout`.
    Within,
    /// They may finish, however long that takes.
    Unbounded,
}

/// The running data plane.
pub struct Engine {
    workers: Arc<Workers>,
    watch: Watch,
    state: Arc<EngineState>,
    auxiliary: Mutex<Option<Auxiliary>>,
    store: Mutex<Option<StoreThread>>,
    /// What the nodes of the cluster tell each other, if the gateway is one of them.
    feed: Option<Arc<ClusterFeed>>,
    /// Where Python has given the engine an admin address.
    admin: Mutex<Option<AdminEdge>>,
    liveness: Arc<Liveness>,
    shared: Arc<WorkerShared>,
    policies: Arc<PolicyShared>,
    sinks: Sinks,
    exporters: Arc<Exporters>,
    export: ExportThreads,
    metrics: Arc<Metrics>,
    started: Instant,
    capacity: Capacity,
}

/// What is in force.
struct EngineState {
    /// Held during a whole apply, so that applies are serialized.
    apply_lock: Mutex<()>,
    in_force: Mutex<InForce>,
}

/// What an apply changes. Not locked while waiting for workers, because hooks on them may read it.
struct InForce {
    snapshot: Arc<Snapshot>,
    keys: PoolKeys,
    /// Listening sockets by the address that the plan names.
    listeners: BTreeMap<SocketAddr, Arc<TcpListener>>,
    applied: u64,
    refused: u64,
    /// When the snapshot was applied.
    applied_at: Instant,
}

impl Engine {
    /// Starts the data plane. When this returns, all listeners accept connections. `maintenance` is what is switched
    /// from the first request on. `hooks` receives the log and creates the source of the plan's hooks. `bound` is
    /// called once all sockets are bound and all files are open, before anything is served: what it gives up, no
    /// request has ever had. `joined` is called after that, in a cluster, once the store is connected or cannot be for
    /// now; it may return a plan with other instances to begin with.
    pub fn start(
        plan: Plan,
        maintenance: Maintenance,
        hooks: impl FnOnce(&Plan, &Arc<Log>) -> Result<Arc<dyn HookSource>, Vec<Problem>>,
        bound: impl FnOnce() -> Result<(), Vec<Problem>>,
        joined: impl FnOnce(RegistryStore) -> Result<Option<Plan>, Vec<Problem>>,
    ) -> Result<Self, Vec<Problem>> {
        let log = Arc::<Log>::default();
        subscriber::install(&log)?;
        let mut keys = PoolKeys::default();
        let store = plan.cluster.as_ref().map(|cluster| Store::new(cluster, &log)).transpose();
        let store = store.map_err(|found| under("cluster", found))?;
        let counters = store.as_ref().map(|store| ClusterCounters::new(store, plan.limits.max_keys));
        let mut policies = PolicyShared::new(plan.limits.max_keys).with_cache(plan.limits.cache_size);
        if let Some(counters) = &counters {
            policies = policies.with_shared_counters(counters.counters()).with_shared_in_flight(counters.places());
        }
        let (policies, liveness) = (Arc::new(policies), Arc::<Liveness>::default());
        let feed = store.as_ref().map(|store| ClusterFeed::new(store, &policies, &liveness, &log));
        let shared = Arc::new(WorkerShared::new(log, store));
        shared.maintenance.set(maintenance);
        panics::install(&shared.log);
        policies.identity.set_background(Box::new(JobPool::start(&shared.log)));
        let told = ToldConfiguration::of(shared.store.as_ref(), &plan);
        let mut snapshot = Snapshot::build(plan, None, &mut keys, &policies)?;
        let hooks = hooks(&snapshot.plan, &shared.log)?;
        let sinks = Sinks::new(snapshot.plan.workers, Arc::clone(&shared.log));
        let exporters = Arc::new(Exporters::new(snapshot.plan.workers));
        let metrics = Arc::new(Metrics::new(snapshot.plan.workers, clock::now()));
        snapshot.connect(&Outlets { hooks: &*hooks, sinks: &sinks, metrics: &metrics, exporters: &exporters })?;
        let listeners = bind_added(&BTreeMap::new(), &snapshot)?;
        let capacity = Capacity::new(&snapshot.plan, listeners.len());
        capacity.apply(&shared, &snapshot.plan);
        bound()?;
        told.tell();
        let store = shared.store.clone().zip(counters);
        let store = store.map(|(store, counters)| StoreThread::start(store, counters, feed.clone())).transpose();
        let store = store
            .map_err(|error| vec![Problem::at("", format!("the thread of the store cannot be started: {error}"))])?;
        if let Some(plan) = RegistryStore::of(&shared).map_or(Ok(None), joined)? {
            snapshot = Snapshot::build(plan, Some(&snapshot), &mut keys, &policies)?;
            snapshot.connect(&Outlets { hooks: &*hooks, sinks: &sinks, metrics: &metrics, exporters: &exporters })?;
        }
        let export = ExportThreads::new(&exporters, &shared.log);
        export.follow(&snapshot.exports)?;
        let snapshot = Arc::new(snapshot);
        let workers = Workers::start(&snapshot, &listed(&listeners), &shared, hooks)
            .map_err(|error| vec![Problem::at("workers", format!("a worker cannot be started: {error}"))])?;
        let (watched, memory) = (Arc::clone(&shared), Arc::clone(&policies));
        let auxiliary = Auxiliary::start(Arc::clone(&snapshot), watched, memory, Arc::clone(&metrics))
            .map_err(|error| vec![Problem::at("", format!("the auxiliary thread cannot be started: {error}"))])?;
        let auxiliary = Mutex::new(Some(auxiliary));
        let started = clock::now();
        let in_force = InForce { snapshot, keys, listeners, applied: 1, refused: 0, applied_at: started };
        let state = Arc::new(EngineState { apply_lock: Mutex::default(), in_force: Mutex::new(in_force) });
        let watch = Watch::start(&workers, &liveness, replacement(&state))
            .map_err(|error| vec![Problem::at("", format!("the watching thread cannot be started: {error}"))])?;
        Ok(Self {
            workers,
            watch,
            state,
            auxiliary,
            store: Mutex::new(store),
            feed,
            admin: Mutex::default(),
            liveness,
            shared,
            policies,
            sinks,
            exporters,
            export,
            metrics,
            started,
            capacity,
        })
    }

    /// Replaces the plan in force, as a whole or not at all. When this returns, every new exchange is served by the new
    /// plan. `hooks` is the source of its hooks.
    pub fn apply(&self, plan: Plan, hooks: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let _guard = self.state.apply_lock.lock();
        self.replace(plan, hooks).inspect_err(|_| self.count_refusal())
    }

    /// Counts a configuration that was refused before it became a plan.
    pub fn count_refusal(&self) {
        self.state.in_force.lock().refused += 1;
    }

    fn replace(&self, plan: Plan, hooks: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let (before, mut keys) = {
            let in_force = self.state.in_force.lock();
            (Arc::clone(&in_force.snapshot), in_force.keys.clone())
        };
        let workers = before.plan.workers;
        if plan.workers != workers {
            return Err(vec![Problem::at("workers", format!("stays {workers} until the gateway is started again"))]);
        }
        if plan.cluster != before.plan.cluster {
            return Err(vec![Problem::at("cluster", "stays as it is until the gateway is started again")]);
        }
        let told = ToldConfiguration::of(self.shared.store.as_ref(), &plan);
        let mut snapshot = Snapshot::build(plan, Some(&before), &mut keys, &self.policies)?;
        let (sinks, metrics, exporters) = (&self.sinks, &self.metrics, &self.exporters);
        snapshot.connect(&Outlets { hooks, sinks, metrics, exporters })?;
        let snapshot = Arc::new(snapshot);
        let mut in_force = self.state.in_force.lock();
        let added = bind_added(&in_force.listeners, &snapshot)?;
        let wanted: Vec<SocketAddr> = snapshot.plan.listeners.iter().map(|listener| listener.address).collect();
        self.export.follow(&snapshot.exports)?;
        // Nothing can fail from here on. The workers serve the accept queues of removed sockets.
        let (kept, removed) = std::mem::take(&mut in_force.listeners)
            .into_iter()
            .partition::<Vec<_>, _>(|(address, _)| wanted.contains(address));
        in_force.listeners.extend(kept);
        drop(in_force);
        shut_out(removed.iter().map(|(_, socket)| socket));
        self.workers.apply(&snapshot, &listed(&added), removed);
        self.capacity.apply(&self.shared, &snapshot.plan);
        told.tell();
        if let Some(auxiliary) = &*self.auxiliary.lock() {
            auxiliary.set_snapshot(Arc::clone(&snapshot));
        }
        let mut in_force = self.state.in_force.lock();
        in_force.listeners.extend(added);
        in_force.snapshot = Arc::clone(&snapshot);
        in_force.keys = keys;
        in_force.applied += 1;
        in_force.applied_at = clock::now();
        debug!(applied = in_force.applied, "snapshot applied");
        drop(in_force);
        self.follow_admin_tls(&snapshot);
        Ok(())
    }

    /// The addresses of the listeners in the order of the plan, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let in_force = self.state.in_force.lock();
        let listeners = in_force.snapshot.plan.listeners.iter();
        listeners.filter_map(|listener| in_force.listeners.get(&listener.address)?.local_addr().ok()).collect()
    }

    /// Stops accepting, finishes exchanges in flight as `drain` says, and ends. May be called again from another thread
    /// to cut a drain short. Returns false if a worker is stuck and has not ended a second after that.
    pub fn stop(&self, drain: Drain) -> bool {
        // First of all: what follows may have to wait, and probes ask meanwhile.
        self.liveness.stop();
        let (drain_timeout, listeners) = {
            // An apply may wait for the interpreter, a stop must not. The workers ignore the plan then.
            let _guard = self.state.apply_lock.try_lock_for(APPLY_PATIENCE);
            let mut in_force = self.state.in_force.lock();
            let drain_timeout = match drain {
                Drain::No => None,
                Drain::Within => Some(in_force.snapshot.plan.limits.drain_timeout.0),
                Drain::Unbounded => Some(UNBOUNDED),
            };
            (drain_timeout, std::mem::take(&mut in_force.listeners).into_iter().collect::<Vec<_>>())
        };
        shut_out(listeners.iter().map(|(_, socket)| socket));
        // Exchanges in flight have an instance already, so nothing depends on health checks any more.
        drop(self.auxiliary.lock().take());
        let all_ended = self.workers.stop(drain_timeout, listeners);
        // Exchanges in flight may have asked it up to here.
        let store = self.store.lock().take();
        drop(store);
        self.watch.stop();
        let end = std::time::Instant::now() + FINAL_TIMEOUT;
        self.sinks.finish(end);
        self.export.finish();
        // Probes were answered up to here.
        let admin = self.admin.lock().take();
        drop(admin);
        self.shared.log.close();
        flush_stderr(end.saturating_duration_since(std::time::Instant::now()));
        all_ended
    }

    /// How long exchanges may take to finish once the engine stops.
    pub fn drain_timeout(&self) -> Duration {
        self.state.in_force.lock().snapshot.plan.limits.drain_timeout.0
    }

    /// The calls of hooks that should have returned by now.
    pub fn overdue(&self) -> Vec<OverdueCall> {
        self.workers.overdue()
    }

    /// Starts or ends draining of an instance, which then finishes its exchanges and receives no new ones. This
    /// outlives reloads. Returns true if the state changed. `instance` is its URL as the plan writes it.
    pub fn set_draining(&self, service: &str, instance: &str, draining: bool) -> Result<bool, Problem> {
        let found = self.service(service)?;
        let index = found.position(instance)?;
        let change = found.state.set_draining(index, clock::now(), draining);
        let changed = change.is_some();
        self.shared.log.write_changes(change);
        Ok(changed)
    }

    /// Has the files of access logs opened again, as after a rotation. Does not wait for it.
    pub fn reopen_logs(&self) {
        self.sinks.reopen();
    }

    /// The engine's log.
    pub fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }

    /// Waits up to `patience` for a log record, or for the end.
    pub fn wait_for_log(&self, patience: Duration) {
        self.shared.log.wait(patience);
    }

    /// Takes the log records written since the last call. Returns None once the engine has stopped.
    pub fn take_log(&self) -> Option<Vec<Record>> {
        self.shared.log.take()
    }
}

fn under(prefix: &str, problems: Vec<Problem>) -> Vec<Problem> {
    problems.into_iter().map(|problem| problem.under(prefix)).collect()
}

/// What a worker begins with that takes the place of another.
fn replacement(state: &Arc<EngineState>) -> Replacement {
    let state = Arc::clone(state);
    Box::new(move || {
        let _guard = state.apply_lock.try_lock()?;
        let in_force = state.in_force.lock();
        Some((Arc::clone(&in_force.snapshot), listed(&in_force.listeners)))
    })
}
