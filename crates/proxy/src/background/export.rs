//! Sends what the lanes of exporters hold to OpenTelemetry collectors: one thread per exporter, so that a collector that
//! hangs delays only its own signal.

mod answer;
mod backoff;
mod grpc;
mod http;
mod report;
mod sender;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use self::sender::Sender;
use crate::telemetry::log::Log;
use crate::telemetry::otlp::exporters::{Exporters, Exports};
use crate::telemetry::otlp::lanes::Lanes;
use crate::telemetry::otlp::metrics::MetricsPage;
use crate::telemetry::panics::{Duty, supervise};

/// Where metrics come from. There are none once the engine is gone.
pub(crate) type MetricsSource = Box<dyn Fn() -> Option<MetricsPage> + Send + Sync>;

/// The threads that send. They outlive reloads as their exporters do.
pub(crate) struct ExportThreads {
    shared: Arc<ExportShared>,
    running: Mutex<Vec<ExportThread>>,
}

/// What the threads share.
struct ExportShared {
    log: Arc<Log>,
    exporters: Arc<Exporters>,
    metrics: RwLock<Option<MetricsSource>>,
    /// When the last transmissions must be over, once the gateway stops.
    end: Mutex<Option<Instant>>,
}

struct ExportThread {
    lanes: Arc<Lanes>,
    ended: mpsc::Receiver<()>,
}

impl ExportThreads {
    pub(crate) fn new(exporters: &Arc<Exporters>, log: &Arc<Log>) -> Self {
        let (log, exporters) = (Arc::clone(log), Arc::clone(exporters));
        let shared = ExportShared { log, exporters, metrics: RwLock::default(), end: Mutex::default() };
        Self { shared: Arc::new(shared), running: Mutex::default() }
    }

    /// Says where metrics come from.
    pub(crate) fn set_metrics(&self, source: MetricsSource) {
        *self.shared.metrics.write() = Some(source);
    }

    /// Starts a thread for each exporter that has none.
    pub(crate) fn follow(&self, exports: &Exports) -> io::Result<()> {
        let mut running = self.running.lock();
        running.retain(|thread| thread.ended.try_recv() == Err(mpsc::TryRecvError::Empty));
        for exporter in exports.all().filter(|exporter| !exporter.lanes().has_sender()) {
            running.push(start(exporter.lanes(), &self.shared)?);
        }
        Ok(())
    }

    /// Has all that waits sent, until `end` at most. What is left then is lost, and counted.
    pub(crate) fn finish(&self, end: Instant) {
        *self.shared.end.lock() = Some(end);
        let running = std::mem::take(&mut *self.running.lock());
        for thread in &running {
            thread.lanes.close();
        }
        for thread in &running {
            // Whoever has not ended by then waits for a collector, and is left behind.
            let _ = thread.ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
        // They may refer to the engine.
        *self.shared.metrics.write() = None;
    }
}

fn start(lanes: &Arc<Lanes>, shared: &Arc<ExportShared>) -> io::Result<ExportThread> {
    let (done, ended) = mpsc::channel();
    let (sent, shared) = (Arc::clone(lanes), Arc::clone(shared));
    let name = format!("pylae-{}", lanes.settings.signal.name());
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut sender = Sender::new(sent, Arc::clone(&shared));
        supervise(Some(&shared.log), Duty::Export, || sender.run());
        // There is no receiver unless the gateway is stopping.
        let _ = done.send(());
    })?;
    lanes.set_sender(thread.thread().clone());
    Ok(ExportThread { lanes: Arc::clone(lanes), ended })
}
