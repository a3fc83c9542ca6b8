//! The loop of a worker: it accepts, follows plans, and drains.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tracing::debug;

use super::accept::{Accepting, Listening};
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// How long a stop waits for requests that were sent before their clients could know of it.
const IN_TRANSIT: Duration = Duration::from_millis(500);

/// What the engine tells a worker. Each is answered once it is done.
pub(crate) enum Control {
    /// Serve by this snapshot, and listen on these sockets in addition, and no longer on these addresses.
    Apply { snapshot: Arc<Snapshot>, added: Vec<Listening>, removed: Vec<SocketAddr>, done: oneshot::Sender<()> },
    /// Stop accepting, finish what is in flight within this time; none: at once.
    Stop { drain: Option<Duration> },
}

/// Runs until a stop is asked for and done.
pub(super) async fn run(worker: Rc<Worker>, listeners: Vec<Listening>, mut control: mpsc::UnboundedReceiver<Control>) {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            tokio::task::spawn_local(Rc::clone(&worker.wheel).run());
            tokio::task::spawn_local(sweep(Rc::clone(&worker)));
            let mut accepting: Vec<Accepting> = Vec::new();
            accepting.extend(listeners.into_iter().filter_map(|listening| Accepting::start(&worker, listening)));
            while let Some(message) = control.recv().await {
                match message {
                    Control::Apply { snapshot, added, removed, done } => {
                        worker.set_snapshot(snapshot);
                        accepting.iter().for_each(|listener| listener.update(&worker));
                        for listener in accepting.extract_if(.., |listener| removed.contains(&listener.address)) {
                            listener.stop().await;
                        }
                        accepting
                            .extend(added.into_iter().filter_map(|listening| Accepting::start(&worker, listening)));
                        // The engine may have given up waiting; the snapshot is in force all the same.
                        let _ = done.send(());
                    }
                    Control::Stop { drain: time } => {
                        for listener in accepting {
                            listener.stop().await;
                        }
                        return drain(&worker, time, &mut control).await;
                    }
                }
            }
        })
        .await;
}

/// Waits for what is in flight. Another stop cuts it short.
async fn drain(worker: &Rc<Worker>, time: Option<Duration>, control: &mut mpsc::UnboundedReceiver<Control>) {
    worker.draining.set(true);
    // Open WebSockets say good-bye, and connections that speak HTTP/2 that they take nothing more.
    worker.wheel.wake_all();
    let Some(time) = time else { return };
    debug!(connections = worker.connections(), ?time, "drain begun");
    let finished = async {
        // A request may be on its way on a connection that looks idle: it is served, and told that it is the last.
        if tokio::time::timeout(IN_TRANSIT, worker.wait_all_closed()).await.is_err() {
            worker.close_idle();
            worker.wait_all_closed().await;
        }
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(time) => {}
        _ = control.recv() => {}
    }
    debug!(cut_off = worker.connections(), "drain ended");
}

/// Does once a second what nobody else has an occasion for.
async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.pools.sweep(clock::coarse());
        worker.shared_connections.sweep(clock::coarse());
        worker.log_buffer.flush();
        worker.recent.refill(clock::second());
        worker.stats.idle_upstream.set((worker.pools.len() + worker.shared_connections.idle()) as u64);
    }
}
