//! Tests that run on the thread of a worker.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::overload::descriptors::ConnectionFit;
use crate::snapshot::Snapshot;
use crate::snapshot::fixture::{answering, listening};
use crate::telemetry::log::Log;
use crate::telemetry::metrics::WorkerStats;
use crate::telemetry::panics::fixture::{PATIENCE, records};
use crate::telemetry::panics::{Duty, enter, install};
use crate::telemetry::recent::RecentExchanges;
use crate::worker::{Worker, WorkerShared};

/// A worker, and a socket on which it listens.
pub(crate) struct Seated {
    pub(crate) worker: Rc<Worker>,
    pub(crate) shared: Arc<WorkerShared>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) address: SocketAddr,
    pub(crate) socket: Arc<TcpListener>,
}

impl Seated {
    pub(crate) fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Sends a request on a connection of its own. Returns the answer, or an empty text if there is none.
    pub(crate) async fn ask(&self) -> String {
        timeout(PATIENCE, ask(self.address)).await.unwrap()
    }
}

async fn ask(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    // The other side may close first.
    let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let _ = client.read_to_string(&mut answer).await;
    answer
}

/// What workers share, with room for connections.
pub(crate) fn shared() -> Arc<WorkerShared> {
    let shared = WorkerShared::default();
    shared.overload.set_fit(ConnectionFit::new(100, 100, 10_000, 0));
    Arc::new(shared)
}

/// Waits for a condition that can only be polled.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap();
}

/// Runs the test on a thread that counts as a worker's. Its panics, also those of assertions, are in the log only.
pub(crate) fn on_worker<F: Future<Output = ()>>(test: impl FnOnce(Seated) -> F + Send + 'static) {
    let shared = shared();
    install(&shared.log);
    let log = Arc::clone(&shared.log);
    let thread = std::thread::Builder::new().name("pylae-worker-0".to_owned()).spawn(move || {
        enter(Some(&shared.log), Duty::Worker);
        let (address, socket) = listening();
        let snapshot = Arc::new(answering(address, "served", &json!({})));
        let (stats, recent) = (Arc::<WorkerStats>::default(), RecentExchanges::default());
        let worker = Worker::new(0, Arc::clone(&snapshot), Arc::clone(&shared), stats, recent, Arc::default());
        let runtime = super::runtime().unwrap();
        let seated = Seated { worker, shared, snapshot, address, socket: Arc::new(socket) };
        LocalSet::new().block_on(&runtime, test(seated));
    });
    assert!(thread.unwrap().join().is_ok(), "{:?}", records(&log, "worker"));
}
