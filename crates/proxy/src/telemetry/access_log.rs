//! Access log lines on their way from the workers to a file or pipe. A worker never waits for it: a sink that is slow or
//! full costs lines, which are counted, and no request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use self::loss::{Loss, LossWatch};
use self::output::{FINAL_TIMEOUT, IDLE_INTERVAL, LogOutput};
use crate::telemetry::log::Log;

mod loss;
mod output;

/// Bytes that may wait per worker and sink; beyond it lines are dropped and counted.
const MAX_PENDING: usize = 1 << 20;
/// Waiting bytes at which the writer is called before its nap is over.
const WAKE_THRESHOLD: usize = MAX_PENDING / 8;
/// What the writer sleeps between two batches, so that busy workers wake it seldom.
const BATCH_INTERVAL: Duration = Duration::from_millis(20);

/// One output of access logs.
pub(crate) struct Sink {
    output: String,
    /// One per worker.
    lanes: Box<[Mutex<PendingLines>]>,
    /// Somebody has called the writer since it last looked.
    notified: AtomicBool,
    finishing: AtomicBool,
    written: AtomicU64,
    loss: Loss,
    writer: Thread,
}

/// Lines of one worker that wait to be written.
#[derive(Default)]
struct PendingLines {
    bytes: Vec<u8>,
    lines: u64,
}

/// What is counted about an output of access logs.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStats {
    /// `stdout`, `stderr` or the path of a file.
    pub output: String,
    /// Lines written.
    pub written: u64,
    /// Lines lost because the output was too slow or failed.
    pub dropped: u64,
}

/// All outputs, by name. They outlive reloads.
pub(crate) struct Sinks {
    workers: usize,
    log: Arc<Log>,
    open: Mutex<BTreeMap<String, OpenedSink>>,
}

struct OpenedSink {
    sink: Arc<Sink>,
    ended: mpsc::Receiver<()>,
}

impl Sinks {
    pub(crate) fn new(workers: usize, log: Arc<Log>) -> Self {
        Self { workers, log, open: Mutex::default() }
    }

    /// The sink of an output; opens it where it is not open yet. An error says what is wrong.
    pub(crate) fn open(&self, output: &str) -> Result<Arc<Sink>, String> {
        let mut open = self.open.lock();
        if let Some(opened) = open.get(output) {
            return Ok(Arc::clone(&opened.sink));
        }
        let opened = start(output, self.workers, &self.log).map_err(|error| format!("cannot be opened: {error}"))?;
        let sink = Arc::clone(&opened.sink);
        open.insert(output.to_owned(), opened);
        Ok(sink)
    }

    /// Lets go of those that no snapshot uses any more; they end once their last line is written.
    pub(crate) fn close_unused(&self) {
        self.open.lock().retain(|_, opened| Arc::strong_count(&opened.sink) > 2);
    }

    pub(crate) fn stats(&self) -> Vec<SinkStats> {
        let open = self.open.lock();
        let stats = open.values().map(|opened| SinkStats {
            output: opened.sink.output.clone(),
            written: opened.sink.written.load(Ordering::Relaxed),
            dropped: opened.sink.loss.lost(),
        });
        stats.collect()
    }

    /// Lets the writers finish, but not for ever: the reader of a pipe may have stopped reading.
    pub(crate) fn finish(&self) {
        let open = self.open.lock();
        for opened in open.values() {
            opened.sink.finishing.store(true, Ordering::Release);
            opened.sink.writer.unpark();
        }
        for opened in open.values() {
            let _ = opened.ended.recv_timeout(FINAL_TIMEOUT);
            opened.sink.loss.end();
        }
    }
}

/// Opens the output and starts its writer.
fn start(output: &str, workers: usize, log: &Arc<Log>) -> io::Result<OpenedSink> {
    let mut target = LogOutput::open(output)?;
    let (done, ended) = mpsc::channel();
    let (handoff, receiver) = mpsc::channel::<Arc<Sink>>();
    let thread = thread::Builder::new().name("pylae-access-log".to_owned()).spawn(move || {
        if let Ok(sink) = receiver.recv() {
            sink.run(&mut target);
        }
        // Nobody waits if the gateway is not stopping.
        let _ = done.send(());
    })?;
    let sink = Arc::new(Sink {
        output: output.to_owned(),
        lanes: (0..workers).map(|_| Mutex::default()).collect(),
        notified: AtomicBool::new(false),
        finishing: AtomicBool::new(false),
        written: AtomicU64::new(0),
        loss: Loss::new(output, Arc::clone(log)),
        writer: thread.thread().clone(),
    });
    // The thread has only just begun and waits for it.
    let _ = handoff.send(Arc::clone(&sink));
    Ok(OpenedSink { sink, ended })
}

impl Sink {
    /// The writer's life.
    fn run(self: Arc<Self>, target: &mut LogOutput) {
        let (mut batch, mut watch) = (PendingLines::default(), LossWatch::default());
        loop {
            let closing = self.is_closing();
            self.notified.store(false, Ordering::SeqCst);
            for lane in &self.lanes {
                std::mem::swap(&mut *lane.lock(), &mut batch);
                if batch.lines > 0 {
                    let result = target.write(&batch.bytes, batch.lines, &|| self.is_closing());
                    self.written.fetch_add(result.written, Ordering::Relaxed);
                    self.loss.add(result.dropped);
                }
                batch.bytes.clear();
                batch.lines = 0;
            }
            if closing {
                self.loss.end();
                return;
            }
            self.loss.check(&mut watch, self.written.load(Ordering::Relaxed), Instant::now);
            thread::park_timeout(BATCH_INTERVAL);
            if !self.notified.load(Ordering::SeqCst) && !self.finishing.load(Ordering::Acquire) {
                thread::park_timeout(IDLE_INTERVAL);
            }
        }
    }

    /// Whether nothing more will come: the gateway stops, or no snapshot uses it any more.
    fn is_closing(self: &Arc<Self>) -> bool {
        self.finishing.load(Ordering::Acquire) || Arc::strong_count(self) == 1
    }

    /// Hands lines over unless the writer is just taking some; then they stay in `lines`.
    fn try_push(&self, worker: usize, pending: &mut PendingLines) {
        if let Some(lane) = self.lanes.get(worker).and_then(Mutex::try_lock) {
            self.push(lane, pending);
        }
    }

    fn push(&self, mut lane: MutexGuard<'_, PendingLines>, pending: &mut PendingLines) {
        let before = lane.bytes.len();
        if before == 0 {
            std::mem::swap(&mut *lane, pending);
        } else if before + pending.bytes.len() <= MAX_PENDING {
            lane.bytes.extend_from_slice(&pending.bytes);
            lane.lines += pending.lines;
            pending.clear();
        } else {
            self.loss.add(pending.lines);
            pending.clear();
        }
        let wake = before < WAKE_THRESHOLD && lane.bytes.len() >= WAKE_THRESHOLD;
        drop(lane);
        // Read first: the word is shared, and nearly always set already while there is traffic.
        if wake || (!self.notified.load(Ordering::Relaxed) && !self.notified.swap(true, Ordering::SeqCst)) {
            self.writer.unpark();
        }
    }
}

impl PendingLines {
    fn clear(&mut self) {
        self.bytes.clear();
        self.lines = 0;
    }
}

/// A worker's own lines, until they are handed over.
pub(crate) struct LogBuffer {
    worker: usize,
    pending: RefCell<Vec<(Arc<Sink>, PendingLines)>>,
}

impl LogBuffer {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, pending: RefCell::default() }
    }

    /// Lets `format` append one line and hands it over.
    pub(crate) fn write(&self, sink: &Arc<Sink>, format: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.pending.borrow_mut();
        let at = pending.iter().position(|(known, _)| Arc::ptr_eq(known, sink)).unwrap_or_else(|| {
            pending.push((Arc::clone(sink), PendingLines::default()));
            pending.len() - 1
        });
        let lane = &mut pending[at].1;
        format(&mut lane.bytes);
        lane.lines += 1;
        sink.try_push(self.worker, lane);
    }

    /// Hands over what is left, and forgets sinks for which nothing is.
    pub(crate) fn flush(&self) {
        self.pending.borrow_mut().retain_mut(|(sink, lane)| {
            if lane.lines > 0 {
                sink.try_push(self.worker, lane);
            }
            lane.lines > 0
        });
    }
}

impl Drop for LogBuffer {
    /// The last ones wait for the writer: there is no later time to hand them over.
    fn drop(&mut self) {
        for (sink, lane) in self.pending.get_mut() {
            if let Some(shared) = sink.lanes.get(self.worker).filter(|_| lane.lines > 0) {
                sink.push(shared.lock(), lane);
            }
        }
    }
}

#[cfg(test)]
mod tests;
