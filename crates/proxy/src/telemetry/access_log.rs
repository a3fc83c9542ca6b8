//! Access logs: carries lines from the workers to a file or pipe. Workers never wait: if an output is slow or full,
//! lines are dropped and counted.

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
pub(crate) use self::output::FINAL_TIMEOUT;
use self::output::{IDLE_INTERVAL, LogOutput};
use crate::telemetry::log::Log;
use crate::telemetry::panics::{Duty, supervise};

mod loss;
pub(super) mod output;

/// Most pending bytes per worker and sink. Lines beyond that are dropped and counted.
const MAX_PENDING: usize = 1 << 20;
/// Pending bytes at which the writer is woken before `BATCH_INTERVAL` is over.
const WAKE_THRESHOLD: usize = MAX_PENDING / 8;
/// Pause of the writer after a batch. Until it finds nothing, workers wake it only at `WAKE_THRESHOLD`: each time it
/// runs it may take their core from them.
const BATCH_INTERVAL: Duration = Duration::from_millis(20);

/// One output of access logs.
pub(crate) struct Sink {
    output: String,
    /// One lane per worker.
    lanes: Box<[Mutex<PendingLines>]>,
    /// The writer was woken, or will look again by itself.
    notified: AtomicBool,
    finishing: AtomicBool,
    /// The output must be opened again.
    reopening: AtomicBool,
    written: AtomicU64,
    loss: Loss,
    writer: Thread,
}

/// Pending lines of one worker.
#[derive(Default)]
struct PendingLines {
    bytes: Vec<u8>,
    lines: u64,
}

/// What the writer of a sink works with.
struct Writing {
    target: LogOutput,
    /// The lines being written.
    batch: PendingLines,
    watch: LossWatch,
}

/// Counters of an access log output.
#[derive(Clone, Debug, Serialize)]
pub struct SinkStats {
    /// `stdout`, `stderr` or the path of a file.
    pub output: String,
    /// Lines written.
    pub written: u64,
    /// Lines lost because the output was too slow or failed.
    pub dropped: u64,
}

/// All sinks by output. They outlive reloads.
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

    /// Returns the sink of an output, which is opened if necessary. The error says what is wrong.
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

    /// Drops the sinks that no snapshot uses. Their writers end once the last line is written.
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

    /// Has the writers open their files again, so that what follows goes to those that have the names now.
    pub(crate) fn reopen(&self) {
        for opened in self.open.lock().values() {
            opened.sink.reopening.store(true, Ordering::Release);
            opened.sink.writer.unpark();
        }
    }

    /// Waits for the writers to finish, until `end` at most: the reader of a pipe may have stopped reading.
    pub(crate) fn finish(&self, end: Instant) {
        let open = self.open.lock();
        for opened in open.values() {
            opened.sink.finishing.store(true, Ordering::Release);
            opened.sink.writer.unpark();
        }
        for opened in open.values() {
            let _ = opened.ended.recv_timeout(end.saturating_duration_since(Instant::now()));
            opened.sink.loss.end();
        }
    }
}

/// Opens the output and starts its writer.
fn start(output: &str, workers: usize, log: &Arc<Log>) -> io::Result<OpenedSink> {
    let target = LogOutput::open(output)?;
    let thread_log = Arc::clone(log);
    let (done, ended) = mpsc::channel();
    let (handoff, receiver) = mpsc::channel::<Arc<Sink>>();
    let thread = thread::Builder::new().name("pylae-access-log".to_owned()).spawn(move || {
        if let Ok(sink) = receiver.recv() {
            let mut writing = Writing { target, batch: PendingLines::default(), watch: LossWatch::default() };
            supervise(Some(&thread_log), Duty::AccessLog, || sink.run(&mut writing, thread::park_timeout));
        }
        // There is no receiver unless the gateway is stopping.
        let _ = done.send(());
    })?;
    let sink = Arc::new(Sink {
        output: output.to_owned(),
        lanes: (0..workers).map(|_| Mutex::default()).collect(),
        notified: AtomicBool::new(false),
        finishing: AtomicBool::new(false),
        reopening: AtomicBool::new(false),
        written: AtomicU64::new(0),
        loss: Loss::new(output, Arc::clone(log)),
        writer: thread.thread().clone(),
    });
    // The thread has just started and waits for this.
    let _ = handoff.send(Arc::clone(&sink));
    Ok(OpenedSink { sink, ended })
}

impl Sink {
    /// The loop of the writer, which waits by `park` until it is woken or so much time is over.
    fn run(self: &Arc<Self>, writing: &mut Writing, mut park: impl FnMut(Duration)) {
        // A panic has left these, and some of them may be written.
        self.loss.add(writing.batch.lines);
        writing.batch.clear();
        loop {
            let closing = self.is_closing();
            if self.reopening.swap(false, Ordering::AcqRel) {
                self.reopen(&mut writing.target);
            }
            let mut found = self.write_pending(writing);
            if !closing && !found {
                // From here on the next line wakes the writer. One that came just before it is seen below.
                self.notified.store(false, Ordering::SeqCst);
                found = self.write_pending(writing);
            }
            if closing {
                self.loss.end();
                return;
            }
            self.loss.check(&mut writing.watch, self.written.load(Ordering::Relaxed), Instant::now);
            if found {
                self.notified.store(true, Ordering::SeqCst);
                park(BATCH_INTERVAL);
            } else if !self.is_wanted() {
                park(IDLE_INTERVAL);
            }
        }
    }

    /// Writes what the lanes hold. Returns true if that was something.
    fn write_pending(self: &Arc<Self>, Writing { target, batch, .. }: &mut Writing) -> bool {
        let mut found = false;
        for lane in &self.lanes {
            std::mem::swap(&mut *lane.lock(), batch);
            if batch.lines > 0 {
                found = true;
                let result = target.write(&batch.bytes, batch.lines, &|| self.is_closing());
                self.written.fetch_add(result.written, Ordering::Relaxed);
                self.loss.add(result.dropped);
            }
            batch.clear();
        }
        found
    }

    fn reopen(&self, target: &mut LogOutput) {
        match target.reopen() {
            Ok(dropped) => self.loss.add(dropped),
            Err(error) => self.loss.report_closed(&error),
        }
    }

    /// Returns true if no more lines will come: the gateway is stopping, or no snapshot uses the sink.
    fn is_closing(self: &Arc<Self>) -> bool {
        self.finishing.load(Ordering::Acquire) || Arc::strong_count(self) == 1
    }

    /// Returns true if the writer has something to do besides writing lines.
    fn is_wanted(&self) -> bool {
        self.finishing.load(Ordering::Acquire) || self.reopening.load(Ordering::Acquire)
    }

    /// Hands lines over, unless the writer holds the lane at this moment. They stay pending then.
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
        // Read first: the flag is shared, and nearly always set while there is traffic.
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

/// A worker's lines until they are handed over to their sinks.
pub(crate) struct LogBuffer {
    worker: usize,
    pending: RefCell<Vec<(Arc<Sink>, PendingLines)>>,
}

impl LogBuffer {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, pending: RefCell::default() }
    }

    /// Appends the line that `format` writes, and hands it over.
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

    /// Hands over the remaining lines, and drops sinks that have none.
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
    /// Waits for the lane to hand over the last lines, as there is no later chance.
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
