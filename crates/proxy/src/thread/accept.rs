//! Accepts connections from the sockets that a worker listens on.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::connection;
use crate::snapshot::Listener;
use crate::telemetry::panics::{Duty, supervise_task};
use crate::worker::Worker;

/// The pause before another try to use a socket.
const RETRY: Duration = Duration::from_secs(1);

/// A listening socket and its address in the plan. The actual port may differ, if the kernel chose it.
pub(crate) type Listening = (SocketAddr, std::net::TcpListener);

/// The task that accepts the connections of a listener.
pub(super) struct Accepting {
    /// The address in the plan.
    pub(super) address: SocketAddr,
    /// The listener in the plan in force, or the last known one after it was removed.
    listener: Rc<RefCell<Arc<Listener>>>,
    stop: Rc<AcceptStop>,
    task: JoinHandle<()>,
}

/// Asks the task to stop.
#[derive(Default)]
struct AcceptStop {
    /// The task looks at this when it starts again after a panic.
    asked: Cell<bool>,
    notify: Notify,
}

impl Accepting {
    /// Starts to accept. Returns None if the address is not in the plan.
    pub(super) fn start(
        worker: &Rc<Worker>,
        (address, socket): &(SocketAddr, Arc<std::net::TcpListener>),
    ) -> Option<Self> {
        let listener = Rc::new(RefCell::new(worker.listener(*address)?));
        let stop = Rc::<AcceptStop>::default();
        let again = (Rc::clone(worker), Arc::clone(socket), Rc::clone(&listener), Rc::clone(&stop));
        let task = supervise_task(Duty::Accept, move || {
            let (worker, socket, listener, stop) = again.clone();
            accept(worker, socket, listener, stop)
        });
        Some(Self { address: *address, listener, stop, task })
    }

    /// Takes the settings of the listener from the plan in force.
    pub(super) fn update(&self, worker: &Worker) {
        if let Some(listener) = worker.listener(self.address) {
            self.listener.replace(listener);
        }
    }

    /// Stops the task. Connections that were in the accept queue are served.
    pub(super) async fn stop(self) {
        self.stop.asked.set(true);
        self.stop.notify.notify_one();
        // Fails only if the worker is being dropped.
        let _ = self.task.await;
    }
}

/// Accepts until `stop`, then empties the accept queue.
async fn accept(
    worker: Rc<Worker>,
    shared: Arc<std::net::TcpListener>,
    listener: Rc<RefCell<Arc<Listener>>>,
    stop: Rc<AcceptStop>,
) {
    let socket = open(&worker, &shared).await;
    while !stop.asked.get() {
        let accepted = tokio::select! {
            biased;
            () = stop.notify.notified() => break,
            accepted = accept_one(&worker, &socket) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(&worker, &listener, stream, peer),
            Err(error) => {
                // Out of descriptors or memory: wait for others to be freed.
                worker.report_accept_failure(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Let other tasks run first, so that a full accept queue is spread over the workers.
        tokio::task::yield_now().await;
    }
    // Ask the kernel directly: the runtime may not know of the latest connections yet.
    drop(socket);
    loop {
        match shared.accept() {
            Ok((stream, peer)) => {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    serve(&worker, &listener, stream, peer);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Has the runtime watch the socket. Tries until it does: a worker that does not accept is of no use.
async fn open(worker: &Worker, socket: &std::net::TcpListener) -> TcpListener {
    loop {
        match socket.try_clone().and_then(TcpListener::from_std) {
            Ok(socket) => return socket,
            Err(error) => {
                worker.log().write("error", "listen_failed", format!("a worker cannot listen: {error}"));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Accepts the next connection once connections are accepted.
async fn accept_one(worker: &Worker, socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    worker.wait_until_accepting().await;
    socket.accept().await
}

/// Serves a connection if there is room for it.
fn serve(worker: &Rc<Worker>, listener: &RefCell<Arc<Listener>>, stream: TcpStream, peer: SocketAddr) {
    if !worker.admit() {
        worker.stats.connections_refused.add(1);
        debug!(%peer, "connection refused for want of room");
        return;
    }
    worker.stats.connections_accepted.add(1);
    // Counted before its task runs, so that a drain that begins meanwhile waits for it.
    let listener = Arc::clone(&listener.borrow());
    debug!(%peer, listener = %listener.plan.address, "connection accepted");
    let open = worker.open_connection(stream.as_raw_fd(), peer);
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), open, listener, stream, peer));
}

#[cfg(test)]
mod tests;
