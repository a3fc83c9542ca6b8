//! Accepts connections from the sockets that a worker listens on.

use std::cell::RefCell;
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
use crate::worker::Worker;

/// A listening socket and its address in the plan. The actual port may differ, if the kernel chose it.
pub(crate) type Listening = (SocketAddr, std::net::TcpListener);

/// The task that accepts the connections of a listener.
pub(super) struct Accepting {
    /// The address in the plan.
    pub(super) address: SocketAddr,
    /// The listener in the plan in force, or the last known one after it was removed.
    listener: Rc<RefCell<Arc<Listener>>>,
    stop: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Starts to accept. Returns None if the address is not in the plan, or if the socket cannot be used, which is
    /// logged.
    pub(super) fn start(worker: &Rc<Worker>, (address, socket): Listening) -> Option<Self> {
        let listener = Rc::new(RefCell::new(worker.listener(address)?));
        let socket = TcpListener::from_std(socket)
            .map_err(|error| {
                worker.log().write("error", "listen_failed", format!("a worker cannot listen: {error}"));
            })
            .ok()?;
        let stop = Rc::new(Notify::new());
        let task = tokio::task::spawn_local(accept(Rc::clone(worker), socket, Rc::clone(&listener), Rc::clone(&stop)));
        Some(Self { address, listener, stop, task })
    }

    /// Takes the settings of the listener from the plan in force.
    pub(super) fn update(&self, worker: &Worker) {
        if let Some(listener) = worker.listener(self.address) {
            self.listener.replace(listener);
        }
    }

    /// Stops the task. Connections that were in the accept queue are served.
    pub(super) async fn stop(self) {
        self.stop.notify_one();
        // Fails only after a panic, which the engine reports.
        let _ = self.task.await;
    }
}

/// Accepts until `stop`, then empties the accept queue.
async fn accept(worker: Rc<Worker>, socket: TcpListener, listener: Rc<RefCell<Arc<Listener>>>, stop: Rc<Notify>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.notified() => break,
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
    let Ok(socket) = socket.into_std() else { return };
    loop {
        match socket.accept() {
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
