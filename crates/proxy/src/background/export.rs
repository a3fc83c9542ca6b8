//! Sends what the lanes of exporters hold to OpenTelemetry collectors: one thread per exporter, so that a collector
//! that hangs delays only its own signal.

mod answer;
mod backoff;
mod grpc;
mod http;
mod report;
mod sender;
mod shared;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use pylae_core::Problem;

use self::sender::ExportSender;
use self::shared::ExportShared;
pub(crate) use self::shared::MetricsSource;
use crate::telemetry::log::Log;
use crate::telemetry::otlp::exporters::{Exporters, Exports};
use crate::telemetry::otlp::lanes::Lanes;
use crate::telemetry::panics::{Duty, supervise};

/// How long a stop waits for collectors to take what is left for them.
const FINAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long they may take after that to count what is lost.
const GRACE: Duration = Duration::from_millis(200);

/// The threads that send. They outlive reloads as their exporters do.
pub(crate) struct ExportThreads {
    shared: Arc<ExportShared>,
    running: Mutex<Vec<ExportThread>>,
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
    pub(crate) fn follow(&self, exports: &Exports) -> Result<(), Vec<Problem>> {
        let mut running = self.running.lock();
        running.retain(|thread| thread.ended.try_recv() == Err(mpsc::TryRecvError::Empty));
        for exporter in exports.all().filter(|exporter| !exporter.lanes().has_sender()) {
            let started = start(exporter.lanes(), &self.shared);
            let failed = |error| format!("the thread that sends it cannot be started: {error}");
            running.push(started.map_err(|error| vec![Problem::at("telemetry", failed(error))])?);
        }
        Ok(())
    }

    /// Has all that waits sent, for [`FINAL_PATIENCE`] at most. What is left then is lost, and counted.
    pub(crate) fn finish(&self) {
        // Held meanwhile: whoever else stops the gateway waits as well, and closes the log only then.
        let mut running = self.running.lock();
        let end = *self.shared.end.lock().get_or_insert_with(|| Instant::now() + FINAL_PATIENCE);
        for thread in running.iter() {
            thread.lanes.close();
        }
        for thread in running.drain(..) {
            // Whoever has not ended by then is left behind.
            let _ = thread.ended.recv_timeout((end + GRACE).saturating_duration_since(Instant::now()));
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
        let mut sender = ExportSender::new(sent, Arc::clone(&shared));
        supervise(Some(&shared.log), Duty::Export, || sender.run());
        // There is no receiver unless the gateway is stopping.
        let _ = done.send(());
    })?;
    lanes.set_sender(thread.thread().clone());
    Ok(ExportThread { lanes: Arc::clone(lanes), ended })
}
