//! The loop of a worker: accepts, applies plans and drains.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::debug;

use super::accept::{Accepting, Listening};
use crate::io::clock;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// How long a stop waits for requests that are in transit on idle connections.
const IN_TRANSIT: Duration = Duration::from_millis(500);

/// Interval between two beats of a worker's heart.
pub(super) const BEAT: Duration = Duration::from_millis(100);

/// Commands of the engine to a worker.
pub(crate) enum Control {
    /// Use this snapshot, listen on the `added` sockets and no longer on the `removed` addresses. Signals `done`.
    Apply { snapshot: Arc<Snapshot>, added: Vec<Listening>, removed: Vec<SocketAddr>, done: SyncSender<()> },
    /// Stop accepting, drop `closed`, and drain within this time, or end at once if None, also during a drain.
    Stop { drain: Option<Duration>, closed: Option<SyncSender<()>> },
}

/// Runs until a stop is complete.
pub(super) async fn run(
    worker: Rc<Worker>,
    listeners: Vec<Listening>,
    mut control: mpsc::UnboundedReceiver<Control>,
    heart: Arc<AtomicU64>,
) {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            tokio::task::spawn_local(Rc::clone(&worker.wheel).run());
            tokio::task::spawn_local(sweep(Rc::clone(&worker)));
            tokio::task::spawn_local(beat(heart));
            let (crowded, short) = (Rc::clone(&worker), Rc::clone(&worker));
            tokio::task::spawn_local(async move { crowded.make_room().await });
            tokio::task::spawn_local(async move { short.shed().await });
            let mut accepting: Vec<Accepting> = Vec::new();
            accepting.extend(listeners.into_iter().filter_map(|listening| Accepting::start(&worker, listening)));
            while let Some(message) = control.recv().await {
                match message {
                    Control::Apply { snapshot, added, removed, done } => {
                        worker.set_snapshot(snapshot);
                        for listener in &accepting {
                            listener.update(&worker);
                        }
                        for listener in accepting.extract_if(.., |listener| removed.contains(&listener.address)) {
                            listener.stop().await;
                        }
                        accepting
                            .extend(added.into_iter().filter_map(|listening| Accepting::start(&worker, listening)));
                        // The engine may not wait any more. The snapshot is in force nevertheless.
                        let _ = done.send(());
                    }
                    Control::Stop { drain: time, closed } => {
                        for listener in accepting {
                            listener.stop().await;
                        }
                        drop(closed);
                        return drain(&worker, time, &mut control).await;
                    }
                }
            }
        })
        .await;
}

/// Waits for exchanges in flight. A stop at once ends the wait.
async fn drain(worker: &Rc<Worker>, time: Option<Duration>, control: &mut mpsc::UnboundedReceiver<Control>) {
    worker.draining.set(true);
    // Wakes open WebSockets to send a Close frame, and HTTP/2 connections to send a GOAWAY.
    worker.wheel.wake_all();
    let Some(time) = time else { return };
    debug!(connections = worker.connections(), ?time, "drain begun");
    let finished = async {
        // A request may be in transit on a connection that looks idle. It is served with `Connection: close`.
        if tokio::time::timeout(IN_TRANSIT, worker.wait_all_closed()).await.is_err() {
            worker.close_idle();
            worker.wait_all_closed().await;
        }
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(time) => {}
        () = stop_at_once(control) => {}
    }
    debug!(cut_off = worker.connections(), "drain ended");
}

/// Returns when the worker must end without a drain.
async fn stop_at_once(control: &mut mpsc::UnboundedReceiver<Control>) {
    while let Some(message) = control.recv().await {
        if matches!(message, Control::Stop { drain: None, .. }) {
            return;
        }
    }
}

/// Tells the watch that the worker comes back to its loop.
async fn beat(heart: Arc<AtomicU64>) {
    loop {
        heart.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(BEAT).await;
    }
}

/// Periodic work, once a second: closes idle connections, flushes logs and updates gauges.
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
