//! One data-plane thread: its loop, and everything that it need not share.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use pylae_core::Halt;
use pylae_core::route::Scratch;
use pylae_core::service::Changes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tracing::debug;

use crate::connection;
use crate::flow::observe::WorkerStats;
use crate::io::buffers::Buffers;
use crate::io::clock;
use crate::io::deadline::{Deadline, Wheel};
use crate::pool::Pools;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::access_log::Lines;
use crate::telemetry::log::{Log, Refusals};
use crate::telemetry::recent::Recent;
use crate::upstream::http2::Connections;

/// Connections beyond the bound that are taken on while others, which are idle, make room for them.
const LEAVING: usize = 32;
/// How long a stop waits for requests that were sent before their clients could know of it.
const CROSSING: Duration = Duration::from_millis(500);

/// A socket that listens, and the address that the plan has for it: the kernel may have chosen the port.
pub(crate) type Listening = (SocketAddr, std::net::TcpListener);

/// What the engine tells a worker. Each is answered once it is done.
pub(crate) enum Control {
    /// Serve by this snapshot, and listen on these sockets in addition, and no longer on these addresses.
    Apply { snapshot: Arc<Snapshot>, added: Vec<Listening>, removed: Vec<SocketAddr>, done: oneshot::Sender<()> },
    /// Stop accepting, finish what is in flight within this time; none: at once.
    Stop { drain: Option<Duration> },
}

/// What all workers share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) connections: AtomicUsize,
    pub(crate) log: Arc<Log>,
}

/// The snapshot in force: shared by the workers, and held by each exchange without touching the counter that they share.
pub(crate) type InForce = Rc<Arc<Snapshot>>;

/// One data-plane thread's own things.
pub(crate) struct Worker {
    /// Its place among all.
    pub(crate) index: usize,
    snapshot: RefCell<InForce>,
    shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) buffers: Buffers,
    pub(crate) pools: Pools,
    /// Connections that exchanges share.
    pub(crate) shared_connections: Connections,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) refusals: Refusals,
    pub(crate) draining: Cell<bool>,
    closing_idle: Cell<bool>,
    in_flight: Cell<usize>,
    tunnels: Cell<usize>,
    connections: Cell<usize>,
    idle: Notify,
    random: RefCell<fastrand::Rng>,
    date: RefCell<(u64, Rc<str>)>,
    pub(crate) lines: Lines,
    pub(crate) recent: Recent,
    /// Copies of requests under way.
    pub(crate) mirroring: Rc<Cell<usize>>,
}

/// Counts an exchange as in flight until it is dropped.
pub(crate) struct InFlight<'w>(&'w Worker);

/// Counts an exchange as an open WebSocket, and not as in flight, until it is dropped.
pub(crate) struct Tunnelling<'w>(&'w Worker);

/// Counts a connection as open until it is dropped.
pub(crate) struct Open(Rc<Worker>);

impl Worker {
    pub(crate) fn new(
        index: usize,
        snapshot: Arc<Snapshot>,
        shared: Arc<Shared>,
        stats: Arc<WorkerStats>,
        recent: Recent,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            snapshot: RefCell::new(Rc::new(snapshot)),
            shared,
            stats,
            wheel: Wheel::new(clock::coarse()),
            buffers: Buffers::default(),
            pools: Pools::default(),
            shared_connections: Connections::default(),
            scratch: RefCell::default(),
            refusals: Refusals::default(),
            draining: Cell::new(false),
            closing_idle: Cell::new(false),
            in_flight: Cell::new(0),
            tunnels: Cell::new(0),
            connections: Cell::new(0),
            idle: Notify::new(),
            random: RefCell::new(fastrand::Rng::new()),
            date: RefCell::new((0, "".into())),
            lines: Lines::new(index),
            recent,
            mirroring: Rc::default(),
        })
    }

    /// Runs until a stop is asked for and done.
    pub(crate) async fn run(self: Rc<Self>, listeners: Vec<Listening>, mut control: mpsc::UnboundedReceiver<Control>) {
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                tokio::task::spawn_local(Rc::clone(&self.wheel).run());
                tokio::task::spawn_local(Rc::clone(&self).sweep());
                let mut accepting: Vec<Accepting> = Vec::new();
                accepting.extend(listeners.into_iter().filter_map(|listening| self.listen(listening)));
                while let Some(message) = control.recv().await {
                    match message {
                        Control::Apply { snapshot, added, removed, done } => {
                            self.snapshot.replace(Rc::new(snapshot));
                            for one in &accepting {
                                if let Some(listener) = self.listener(one.address) {
                                    one.listener.replace(listener);
                                }
                            }
                            for gone in accepting.extract_if(.., |one| removed.contains(&one.address)) {
                                gone.end().await;
                            }
                            accepting.extend(added.into_iter().filter_map(|listening| self.listen(listening)));
                            // The engine may have given up waiting; the snapshot is in force all the same.
                            let _ = done.send(());
                        }
                        Control::Stop { drain } => {
                            for one in accepting {
                                one.end().await;
                            }
                            return self.drain(drain, &mut control).await;
                        }
                    }
                }
            })
            .await;
    }

    /// Waits for what is in flight. Another stop cuts it short.
    async fn drain(self: &Rc<Self>, time: Option<Duration>, control: &mut mpsc::UnboundedReceiver<Control>) {
        self.draining.set(true);
        // Open WebSockets say good-bye, and connections that speak HTTP/2 that they take nothing more.
        self.wheel.wake_all();
        let Some(time) = time else { return };
        debug!(connections = self.connections.get(), ?time, "drain begun");
        let closed = async || {
            while self.connections.get() > 0 {
                self.idle.notified().await;
            }
        };
        let finished = async {
            // A request may be on its way on a connection that looks idle: it is served, and told that it is the last.
            if tokio::time::timeout(CROSSING, closed()).await.is_err() {
                self.closing_idle.set(true);
                self.wheel.wake_all();
                closed().await;
            }
        };
        tokio::select! {
            () = finished => {}
            () = tokio::time::sleep(time) => {}
            _ = control.recv() => {}
        }
        debug!(cut_off = self.connections.get(), "drain ended");
    }

    /// What the plan in force says about a listener.
    fn listener(&self, address: SocketAddr) -> Option<Arc<Listener>> {
        self.snapshot.borrow().listeners.iter().find(|listener| listener.plan.address == address).cloned()
    }

    fn listen(self: &Rc<Self>, (address, socket): Listening) -> Option<Accepting> {
        let listener = Rc::new(RefCell::new(self.listener(address)?));
        let socket = TcpListener::from_std(socket)
            .map_err(|error| {
                self.shared.log.write("error", "listen_failed", format!("a worker cannot listen: {error}"));
            })
            .ok()?;
        let ended = Rc::new(Notify::new());
        let task = tokio::task::spawn_local(Rc::clone(self).accept(socket, Rc::clone(&listener), Rc::clone(&ended)));
        Some(Accepting { address, listener, ended, task })
    }

    /// Accepts until told to end. What the kernel has accepted by then is served all the same.
    async fn accept(self: Rc<Self>, socket: TcpListener, listener: Rc<RefCell<Arc<Listener>>>, ended: Rc<Notify>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = ended.notified() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take_on(&listener, stream, peer),
                Err(error) => {
                    // Out of descriptors or memory: others may give some back.
                    let message = format!("a connection could not be accepted: {error}");
                    self.shared.log.write("warning", "accept_failed", message);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            // Others on this thread come first: connections taken from a full queue are shared between the workers.
            tokio::task::yield_now().await;
        }
        // The kernel is asked directly: the runtime need not have heard of the latest yet.
        let Ok(socket) = socket.into_std() else { return };
        loop {
            match socket.accept() {
                Ok((stream, peer)) => {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        self.take_on(&listener, stream, peer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn take_on(self: &Rc<Self>, listener: &RefCell<Arc<Listener>>, stream: TcpStream, peer: SocketAddr) {
        let most = self.snapshot.borrow().plan.limits.max_connections;
        let open = self.shared.connections.load(Ordering::Relaxed);
        if open >= most + LEAVING {
            self.stats.connections_refused.add(1);
            debug!(%peer, open, "connection refused for want of room");
            return;
        }
        if open >= most {
            self.wheel.dismiss();
        }
        self.stats.connections_accepted.add(1);
        // Counted before its task runs, so that a drain that begins now waits for it.
        let listener = Arc::clone(&listener.borrow());
        debug!(%peer, listener = %listener.plan.address, "connection accepted");
        tokio::task::spawn_local(connection::serve(Rc::clone(self), self.open(), listener, stream, peer));
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.pools.sweep(clock::coarse());
            self.shared_connections.sweep(clock::coarse());
            self.lines.pass_on();
            self.recent.refill(clock::second());
            self.stats.idle_upstream.set((self.pools.len() + self.shared_connections.idle()) as u64);
        }
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> InForce {
        Rc::clone(&self.snapshot.borrow())
    }

    pub(crate) fn open(self: &Rc<Self>) -> Open {
        self.connections.set(self.connections.get() + 1);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.stats.connections.set(self.connections.get() as u64);
        Open(Rc::clone(self))
    }

    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.stats.in_flight.set(self.in_flight.get() as u64);
        InFlight(self)
    }

    /// Says that an exchange in flight has become a WebSocket.
    pub(crate) fn tunnel(&self) -> Tunnelling<'_> {
        self.count_tunnels(1, -1);
        Tunnelling(self)
    }

    fn count_tunnels(&self, tunnels: isize, in_flight: isize) {
        self.tunnels.set(self.tunnels.get().saturating_add_signed(tunnels));
        self.in_flight.set(self.in_flight.get().saturating_add_signed(in_flight));
        self.stats.tunnels.set(self.tunnels.get() as u64);
        self.stats.in_flight.set(self.in_flight.get() as u64);
    }

    /// Whether there is room for the exchange just entered: each worker has an equal share of `max_requests`.
    pub(crate) fn admits(&self, snapshot: &Snapshot) -> Result<(), Halt> {
        let share = snapshot.plan.limits.max_requests.div_ceil(snapshot.plan.workers.max(1));
        if self.in_flight.get() > share { Err(Halt::Overloaded) } else { Ok(()) }
    }

    /// Whether the idle connection that asks, whose deadline this is, is to be closed: the gateway is stopping, or others need its
    /// room. If not, it may be dismissed from now on.
    pub(crate) fn reaps(&self, deadline: &Deadline) -> bool {
        self.closing_idle.get() || !deadline.rest()
    }

    /// Whether there are more connections than there should be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.shared.connections.load(Ordering::Relaxed) > self.snapshot.borrow().plan.limits.max_connections
    }

    pub(crate) fn random(&self) -> u128 {
        self.random.borrow_mut().u128(..)
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Now, as the Date field writes it.
    pub(crate) fn date(&self) -> Rc<str> {
        let second = clock::wall().as_secs();
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second)).into());
        }
        Rc::clone(&date.1)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.shared.log
    }

    /// One line for each change of state of a service.
    pub(crate) fn log_changes(&self, changes: Changes) {
        self.shared.log.changes(changes);
    }
}

/// A listener's accepting task.
struct Accepting {
    /// As the plan has it.
    address: SocketAddr,
    /// What the plan in force says about it; what an earlier one said once it is not in force any more.
    listener: Rc<RefCell<Arc<Listener>>>,
    ended: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Ends it. What the kernel had accepted by then is taken on when this returns.
    async fn end(self) {
        self.ended.notify_one();
        // It fails only by a panic, which the engine reports.
        let _ = self.task.await;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.stats.in_flight.set(self.0.in_flight.get() as u64);
    }
}

impl Drop for Tunnelling<'_> {
    fn drop(&mut self) {
        self.0.count_tunnels(-1, 1);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.stats.connections.set(self.0.connections.get() as u64);
        if self.0.connections.get() == 0 {
            self.0.idle.notify_one();
        }
    }
}
