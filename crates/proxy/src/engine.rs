//! The running data plane: started, told a plan, stopped.

mod command;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::cache::{Purge, Usage};
use pylae_core::hook::HookSource;
use pylae_core::service::ServiceStats;
use pylae_core::{Instant, Plan, Problem};
use pylae_policies::authentication::Revoked;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

pub use self::command::LimitQuestion;
use self::command::position;
use crate::background::auxiliary::Auxiliary;
use crate::background::jobs::Background;
use crate::flow::observe::{Totals, WorkerStats};
use crate::io::clock;
use crate::io::unread::MOST_UNSENT;
use crate::snapshot::{PoolKeys, Snapshot};
use crate::telemetry::access_log::{SinkStats, Sinks};
use crate::telemetry::log::{Log, Record};
use crate::telemetry::metrics::{HookFigures, Metrics, Process, Reading, Summary, View, began_at, expose, summarize};
use crate::telemetry::recent::{Lane, Recent};
use crate::telemetry::subscriber;
use crate::upstream::dns;
use crate::worker::{Control, Listening, Shared, Worker};

/// Connections that the kernel holds until a worker accepts them.
const BACKLOG: i32 = 4096;

/// The running data plane.
pub struct Engine {
    workers: Vec<Handle>,
    /// Held by an apply from its beginning to its end: applies follow each other.
    changing: Mutex<()>,
    state: Mutex<State>,
    auxiliary: Mutex<Option<Auxiliary>>,
    shared: Arc<Shared>,
    policies: Arc<pylae_policies::Shared>,
    sinks: Sinks,
    metrics: Arc<Metrics>,
    started: Instant,
}

struct Handle {
    control: mpsc::UnboundedSender<Control>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stats: Arc<WorkerStats>,
    recent: Arc<Lane>,
}

/// What an apply changes. It is not locked while workers are waited for: hooks on them may look at it.
struct State {
    snapshot: Arc<Snapshot>,
    keys: PoolKeys,
    /// Listening sockets by the address that the plan names.
    listeners: BTreeMap<SocketAddr, TcpListener>,
    applied: u64,
    refused: u64,
    /// When the snapshot came into force.
    since: Instant,
}

/// What the engine counts and sees.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Over all workers.
    pub totals: Totals,
    /// Each service with its instances.
    pub services: Vec<ServiceStats>,
    /// Each output of access logs.
    pub access_logs: Vec<SinkStats>,
    /// What the response cache holds, if a route has one.
    pub cache: Option<Usage>,
    /// Plans applied, the first included.
    pub applied: u64,
    /// Plans and configurations refused.
    pub refused: u64,
}

impl Engine {
    /// Starts the data plane. When this returns, all listeners accept connections. `hooks` makes the source of the plan's
    /// hooks; it is given the log.
    pub fn start(
        plan: Plan,
        hooks: impl FnOnce(&Arc<Log>) -> Result<Arc<dyn HookSource>, Vec<Problem>>,
    ) -> Result<Self, Vec<Problem>> {
        subscriber::install()?;
        let mut keys = PoolKeys::default();
        let policies = Arc::new(pylae_policies::Shared::new(plan.limits.max_keys).with_cache(plan.limits.cache_size));
        let shared = Arc::new(Shared::default());
        policies.identity.use_background(Box::new(Background::start(&shared.log)));
        let mut snapshot = Snapshot::build(plan, None, &mut keys, &policies)?;
        let hooks = hooks(&shared.log)?;
        snapshot.connect_hooks(&*hooks)?;
        let sinks = Sinks::new(snapshot.plan.workers, Arc::clone(&shared.log));
        sinks.connect(&mut snapshot)?;
        let metrics = Arc::new(Metrics::new(snapshot.plan.workers, clock::now()));
        metrics.connect(&mut snapshot);
        let snapshot = Arc::new(snapshot);
        let listeners = bind_added(&BTreeMap::new(), &snapshot)?;
        let mut workers = Vec::with_capacity(snapshot.plan.workers);
        for index in 0..snapshot.plan.workers {
            let sockets = clone_all(&listeners)?;
            workers.push(
                spawn(index, Arc::clone(&snapshot), Arc::clone(&shared), sockets, Arc::clone(&hooks))
                    .map_err(|error| vec![Problem::at("workers", format!("a worker cannot be started: {error}"))])?,
            );
        }
        let auxiliary = Auxiliary::start(Arc::clone(&snapshot), Arc::clone(&shared.log), Arc::clone(&metrics))
            .map_err(|error| vec![Problem::at("", format!("the auxiliary thread cannot be started: {error}"))])?;
        let auxiliary = Mutex::new(Some(auxiliary));
        let started = clock::now();
        let state = State { snapshot, keys, listeners, applied: 1, refused: 0, since: started };
        let (changing, state) = (Mutex::default(), Mutex::new(state));
        Ok(Self { workers, changing, state, auxiliary, shared, policies, sinks, metrics, started })
    }

    /// Replaces the plan in force, whole or not at all. When this returns, every new exchange is served by the new plan.
    /// `hooks` is the source of its hooks.
    pub fn apply(&self, plan: Plan, hooks: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let _turn = self.changing.lock();
        self.replace(plan, hooks).inspect_err(|_| self.count_refusal())
    }

    /// Counts a configuration that was refused before it became a plan.
    pub fn count_refusal(&self) {
        self.state.lock().refused += 1;
    }

    fn replace(&self, plan: Plan, hooks: &dyn HookSource) -> Result<(), Vec<Problem>> {
        let (before, mut keys) = {
            let state = self.state.lock();
            (Arc::clone(&state.snapshot), state.keys.clone())
        };
        let workers = before.plan.workers;
        if plan.workers != workers {
            return Err(vec![Problem::at("workers", format!("stays {workers} until the gateway is started again"))]);
        }
        let mut snapshot = Snapshot::build(plan, Some(&before), &mut keys, &self.policies)?;
        snapshot.connect_hooks(hooks)?;
        self.sinks.connect(&mut snapshot)?;
        self.metrics.connect(&mut snapshot);
        let snapshot = Arc::new(snapshot);
        let mut state = self.state.lock();
        let added = bind_added(&state.listeners, &snapshot)?;
        let wanted: Vec<SocketAddr> = snapshot.plan.listeners.iter().map(|listener| listener.address).collect();
        let gone: Vec<SocketAddr> =
            state.listeners.keys().filter(|address| !wanted.contains(address)).copied().collect();
        let sockets = self.workers.iter().map(|_| clone_all(&added)).collect::<Result<Vec<_>, _>>()?;
        // From here on nothing can fail. The workers' copies of a socket are the last, so that what its queue holds is served.
        state.listeners.retain(|address, _| !gone.contains(address));
        drop(state);
        let mut applied = Vec::with_capacity(self.workers.len());
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            let (done, told) = oneshot::channel();
            let message =
                Control::Apply { snapshot: Arc::clone(&snapshot), added: sockets, removed: gone.clone(), done };
            if worker.control.send(message).is_ok() {
                applied.push(told);
            }
        }
        for told in applied {
            // A worker that is stopping does not answer and needs no plan.
            let _ = told.blocking_recv();
        }
        if let Some(auxiliary) = &*self.auxiliary.lock() {
            auxiliary.follow(Arc::clone(&snapshot));
        }
        let mut state = self.state.lock();
        state.listeners.extend(added);
        state.snapshot = snapshot;
        state.keys = keys;
        state.applied += 1;
        state.since = clock::now();
        debug!(applied = state.applied, "snapshot applied");
        Ok(())
    }

    /// The addresses that are listened on, in the order of the plan, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let state = self.state.lock();
        let listeners = state.snapshot.plan.listeners.iter();
        listeners.filter_map(|listener| state.listeners.get(&listener.address)?.local_addr().ok()).collect()
    }

    /// Stops accepting, finishes what is in flight within `drain_timeout` if `drain` says so, and ends. May be called
    /// again, from another thread, to cut a drain short.
    pub fn stop(&self, drain: bool) {
        let time = {
            let _turn = self.changing.lock();
            let mut state = self.state.lock();
            state.listeners.clear();
            drain.then_some(state.snapshot.plan.limits.drain_timeout.0)
        };
        // What is in flight has been given to an instance already: nothing depends on health any more.
        drop(self.auxiliary.lock().take());
        for worker in &self.workers {
            // A worker that has ended already needs no telling.
            let _ = worker.control.send(Control::Stop { drain: time });
        }
        for worker in &self.workers {
            let thread = worker.thread.lock().take();
            if let Some(thread) = thread
                && thread.join().is_err()
            {
                self.shared.log.write("error", "worker_panicked", "a worker thread ended by a panic".to_owned());
            }
        }
        self.sinks.finish();
        self.shared.log.close();
    }

    /// Lets an instance finish what it has and gives it nothing more, or uses it again; it stays so over reloads. Whether
    /// that is a change. `instance` is its URL as it stands in the plan.
    pub fn set_draining(&self, service: &str, instance: &str, draining: bool) -> Result<bool, Problem> {
        let found = self.service(service)?;
        let index = position(&found, instance)?;
        let change = found.state.set_draining(index, clock::now(), draining);
        let changed = change.is_some();
        self.shared.log.changes(change);
        Ok(changed)
    }

    /// Refuses a credential from now on, for `span`, on all workers. False if there are too many revocations to add one.
    pub fn revoke(&self, what: Revoked<'_>, span: Duration) -> bool {
        self.policies.identity.revoke(what, clock::wall(), span)
    }

    /// What is counted and seen at this moment.
    pub fn stats(&self) -> Stats {
        self.figures().0
    }

    /// What is counted now, and when the plan in force was applied.
    fn figures(&self) -> (Stats, Reading, Instant) {
        let state = self.state.lock();
        let reading = self.metrics.read(state.snapshot.all_series());
        let mut totals = Totals::default();
        self.workers.iter().for_each(|worker| totals.merge(&worker.stats));
        totals.add(&reading);
        let now = clock::now();
        let services = state.snapshot.services.values().map(|service| service.state.snapshot(now)).collect();
        let cache = self.policies.cache_in_use().map(|cache| cache.usage());
        let State { applied, refused, since, .. } = *state;
        let stats = Stats { totals, services, access_logs: self.sinks.stats(), cache, applied, refused };
        (stats, reading, since)
    }

    /// All figures as a page for Prometheus, in its text format 0.0.4. Reads what the workers write, and waits for none of
    /// them. `hooks` is what their caller counts.
    pub fn metrics(&self, hooks: &[HookFigures]) -> String {
        let (stats, reading, since) = self.figures();
        let (now, wall) = (clock::now(), clock::wall().as_secs_f64());
        expose(&View {
            stats: &stats,
            reading: &reading,
            process: Process::read(),
            workers: self.workers.len(),
            hooks,
            started: began_at(wall, now, self.started),
            last_applied: began_at(wall, now, since),
        })
    }

    /// The figures that people look at first.
    pub fn summary(&self) -> Summary {
        let (stats, reading, _) = self.figures();
        let now = clock::now();
        let window = self.metrics.recently(now, &reading);
        let uptime = now.since(self.started).as_secs_f64();
        summarize(uptime, &stats.totals, &reading, &window, &stats.services, stats.cache)
    }

    /// Makes the response cache forget what `purge` names; returns how many answers that were.
    pub fn purge_cache(&self, purge: Purge) -> Result<usize, Vec<Problem>> {
        let purge = purge.canonical().map_err(|error| vec![Problem::at("path", error)])?;
        Ok(self.policies.cache_in_use().map_or(0, |cache| cache.purge(&purge, clock::now())))
    }

    /// Where the engine's log records go.
    pub fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }

    /// Takes the log records written since the last call, waiting up to `patience` for the first. `None` when the engine has stopped.
    pub fn read_log(&self, patience: Duration) -> Option<Vec<Record>> {
        self.shared.log.read(patience)
    }
}

fn spawn(
    index: usize,
    snapshot: Arc<Snapshot>,
    shared: Arc<Shared>,
    listeners: Vec<Listening>,
    hooks: Arc<dyn HookSource>,
) -> io::Result<Handle> {
    let (control, receiver) = mpsc::unbounded_channel();
    let stats = Arc::new(WorkerStats::default());
    let counted = Arc::clone(&stats);
    let recent = Arc::<Lane>::default();
    let kept = Recent::new(Arc::clone(&recent));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(dns::THREADS).build()?;
    let thread = std::thread::Builder::new().name(format!("pylae-worker-{index}")).spawn(move || {
        let mut things = Some((snapshot, shared, counted, kept, runtime, listeners, receiver));
        hooks.live(&mut || {
            let Some((snapshot, shared, counted, kept, runtime, listeners, receiver)) = things.take() else { return };
            let worker = Worker::new(index, snapshot, shared, counted, kept);
            runtime.block_on(Rc::clone(&worker).run(listeners, receiver));
            worker.lines.pass_on();
            // A name look-up that hangs must not hold up the end.
            runtime.shutdown_background();
        });
    })?;
    Ok(Handle { control, thread: Mutex::new(Some(thread)), stats, recent })
}

/// Binds the addresses of the plan that are not listened on yet: all, or none and every problem.
fn bind_added(
    current: &BTreeMap<SocketAddr, TcpListener>,
    snapshot: &Snapshot,
) -> Result<BTreeMap<SocketAddr, TcpListener>, Vec<Problem>> {
    let mut added = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, listener) in snapshot.plan.listeners.iter().enumerate() {
        let address = listener.address;
        if current.contains_key(&address) || added.contains_key(&address) {
            continue;
        }
        match bind(address) {
            Ok(socket) => drop(added.insert(address, socket)),
            Err(error) => {
                let path = format!("listeners[{index}].address");
                let why = explain(&error, address, current.keys().chain(added.keys()));
                problems.push(Problem::at(path, format!("cannot listen on {address}: {why}")));
            }
        }
    }
    if problems.is_empty() { Ok(added) } else { Err(problems) }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections have it from the socket that accepts them.
    socket.set_tcp_notsent_lowat(MOST_UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain<'a>(error: &io::Error, address: SocketAddr, own: impl IntoIterator<Item = &'a SocketAddr>) -> String {
    // An address that stands for all overlaps each of them.
    let overlaps = |own: &&SocketAddr| {
        let all = own.ip().is_unspecified() || address.ip().is_unspecified();
        own.port() == address.port() && own.is_ipv4() == address.is_ipv4() && all
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => match own.into_iter().find(overlaps) {
            Some(own) => format!(
                "this gateway listens on {own}, which overlaps it; take another port, or start the gateway again with the new address alone"
            ),
            None => "the port is in use by another process".to_owned(),
        },
        io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need a privilege".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        _ => error.to_string(),
    }
}

fn clone_all(listeners: &BTreeMap<SocketAddr, TcpListener>) -> Result<Vec<Listening>, Vec<Problem>> {
    let cloned: io::Result<_> = listeners.iter().map(|(address, socket)| Ok((*address, socket.try_clone()?))).collect();
    cloned.map_err(|error| vec![Problem::at("listeners", format!("a socket cannot be shared: {error}"))])
}
