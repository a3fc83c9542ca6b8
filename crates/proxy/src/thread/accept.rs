//! New connections, from the sockets that a worker listens on.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
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

/// Connections beyond the bound that are taken on while others, which are idle, make room for them.
const OVERFLOW: usize = 32;

/// A socket that listens, and the address that the plan has for it: the kernel may have chosen the port.
pub(crate) type Listening = (SocketAddr, std::net::TcpListener);

/// A listener's accepting task.
pub(super) struct Accepting {
    /// As the plan has it.
    pub(super) address: SocketAddr,
    /// What the plan in force says about it; what an earlier one said once it is not in force any more.
    listener: Rc<RefCell<Arc<Listener>>>,
    stop: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Starts to accept. `None`: the plan in force does not know the address, or the socket cannot be used, which is logged.
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

    /// Goes on by what the plan in force says.
    pub(super) fn update(&self, worker: &Worker) {
        if let Some(listener) = worker.listener(self.address) {
            self.listener.replace(listener);
        }
    }

    /// Ends it. What the kernel had accepted by then is taken on when this returns.
    pub(super) async fn stop(self) {
        self.stop.notify_one();
        // It fails only by a panic, which the engine reports.
        let _ = self.task.await;
    }
}

/// Accepts until told to end. What the kernel has accepted by then is served all the same.
async fn accept(worker: Rc<Worker>, socket: TcpListener, listener: Rc<RefCell<Arc<Listener>>>, stop: Rc<Notify>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.notified() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(&worker, &listener, stream, peer),
            Err(error) => {
                // Out of descriptors or memory: others may give some back.
                let message = format!("a connection could not be accepted: {error}");
                worker.log().write("warning", "accept_failed", message);
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
                    serve(&worker, &listener, stream, peer);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Serves a connection, if there is room for it.
fn serve(worker: &Rc<Worker>, listener: &RefCell<Arc<Listener>>, stream: TcpStream, peer: SocketAddr) {
    let (open, max) = worker.connection_load();
    if open >= max + OVERFLOW {
        worker.stats.connections_refused.add(1);
        debug!(%peer, open, "connection refused for want of room");
        return;
    }
    if open >= max {
        worker.wheel.wake_idle();
    }
    worker.stats.connections_accepted.add(1);
    // Counted before its task runs, so that a drain that begins now waits for it.
    let listener = Arc::clone(&listener.borrow());
    debug!(%peer, listener = %listener.plan.address, "connection accepted");
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), worker.open_connection(), listener, stream, peer));
}
