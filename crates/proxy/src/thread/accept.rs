//! Accepts connections from the sockets that a worker listens on.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::connection::{Accepted, ConnectionTasks};
use crate::io::fresh::FreshStream;
use crate::snapshot::Listener;
use crate::telemetry::panics::{Duty, supervise_task};
use crate::worker::Worker;

/// The pause before another try to use a socket.
const RETRY: Duration = Duration::from_secs(1);

/// Connections that are accepted one after another before other tasks run.
const MOST_IN_TURN: usize = 4;

/// A listening socket, which all workers share, and its address in the plan. The actual port may differ, if the kernel
/// chose it.
pub(crate) type Listening = (SocketAddr, Arc<TcpListener>);

/// The task that accepts the connections of a listener.
pub(super) struct Accepting {
    /// The address in the plan.
    pub(super) address: SocketAddr,
    state: Rc<AcceptState>,
    task: JoinHandle<()>,
}

/// What the task goes on with when it starts again after a panic.
struct AcceptState {
    worker: Rc<Worker>,
    tasks: Rc<ConnectionTasks>,
    /// None once this worker has closed its share.
    socket: RefCell<Option<Arc<TcpListener>>>,
    /// The listener in the plan in force, or the last known one after it was removed.
    listener: RefCell<Arc<Listener>>,
    is_stopped: Cell<bool>,
    /// Wakes the task to see that it is stopped.
    stop: Notify,
}

impl Accepting {
    /// Starts to accept. Returns None if the address is not in the plan.
    pub(super) fn start(worker: &Rc<Worker>, (address, socket): &Listening) -> Option<Self> {
        let state = Rc::new(AcceptState {
            worker: Rc::clone(worker),
            tasks: ConnectionTasks::new(worker),
            socket: RefCell::new(Some(Arc::clone(socket))),
            listener: RefCell::new(worker.listener(*address)?),
            is_stopped: Cell::default(),
            stop: Notify::new(),
        });
        let again = Rc::clone(&state);
        let task = supervise_task(Duty::Accept, move || accept(Rc::clone(&again)));
        Some(Self { address: *address, state, task })
    }

    /// Takes the settings of the listener from the plan in force.
    pub(super) fn update(&self, worker: &Worker) {
        if let Some(listener) = worker.listener(self.address) {
            self.state.listener.replace(listener);
        }
    }

    /// Stops the task. Connections that were in the accept queue are served.
    pub(super) async fn stop(self) {
        self.state.is_stopped.set(true);
        self.state.stop.notify_one();
        // Fails only if the worker is being dropped.
        let _ = self.task.await;
    }
}

/// Accepts until stopped, then empties the accept queue and closes the socket.
async fn accept(state: Rc<AcceptState>) {
    accept_until_stopped(&state).await;
    // Ask the kernel directly: the runtime may not know of the latest connections yet.
    while let Some(accepted) = state.socket.borrow().as_ref().map(|socket| FreshStream::accept(socket)) {
        match accepted {
            Ok((stream, peer)) => state.serve(stream, peer),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
    // At once, before another task runs: who connects after that last look is reset, unless another worker looks again.
    state.socket.take();
    state.tasks.end();
}

async fn accept_until_stopped(state: &AcceptState) {
    let Some(shared) = state.socket.borrow().clone() else { return };
    let socket = open(&state.worker, &shared).await;
    let mut accepted_in_turn = 0;
    while !state.is_stopped.get() {
        let accepted = tokio::select! {
            biased;
            () = state.stop.notified() => return,
            accepted = accept_one(&state.worker, &socket) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => state.serve(stream, peer),
            Err(error) => {
                // Out of descriptors or memory: wait for others to be freed.
                state.worker.report_accept_failure(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Let other tasks run now and then, so that a full accept queue is spread over the workers.
        accepted_in_turn = (accepted_in_turn + 1) % MOST_IN_TURN;
        if accepted_in_turn == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Has the runtime watch the socket. Tries until it does: a worker that does not accept is of no use.
async fn open(worker: &Worker, socket: &TcpListener) -> AsyncFd<TcpListener> {
    loop {
        // SAFETY: a `TcpListener` owns its descriptor until it is dropped, and nobody replaces one in an `AsyncFd`.
        let watch = |socket| Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?);
        match socket.try_clone().and_then(watch) {
            Ok(socket) => return socket,
            Err(error) => {
                worker.log().write("error", "listen_failed", format!("a worker cannot listen: {error}"));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Accepts the next connection once connections are accepted.
async fn accept_one(worker: &Worker, socket: &AsyncFd<TcpListener>) -> io::Result<(FreshStream, SocketAddr)> {
    worker.wait_until_accepting().await;
    socket.async_io(Interest::READABLE, FreshStream::accept).await
}

impl AcceptState {
    /// Serves a connection if there is room for it.
    fn serve(&self, stream: FreshStream, peer: SocketAddr) {
        let worker = &self.worker;
        if !worker.admit() {
            worker.report_refused_connection();
            debug!(%peer, "connection refused for want of room");
            return;
        }
        worker.stats.connections_accepted.add(1);
        // Counted before its task runs, so that a drain that begins meanwhile waits for it.
        let listener = Arc::clone(&self.listener.borrow());
        debug!(%peer, listener = %listener.plan.address, "connection accepted");
        let open = worker.open_connection(stream.as_raw_fd(), peer);
        self.tasks.serve(Accepted { open, listener, stream, peer });
    }
}

#[cfg(test)]
mod tests;
