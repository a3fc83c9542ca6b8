//! Access log lines on their way from the workers to a file or pipe. A worker never waits for it: a sink that is slow or
//! full costs lines, which are counted, and no request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::Problem;
use serde::Serialize;

use crate::snapshot::Snapshot;

/// Bytes that may wait per worker and sink; beyond it lines are dropped and counted.
const MOST_WAITING: usize = 1 << 20;
/// Waiting bytes at which the writer is called before its nap is over.
const HURRY: usize = MOST_WAITING / 8;
/// What the writer sleeps between two batches, so that busy workers wake it seldom.
const NAP: Duration = Duration::from_millis(20);
/// How often an idle writer looks whether it is still needed.
const IDLE: Duration = Duration::from_secs(1);
/// How long the end waits for lines to be written.
const LAST: Duration = Duration::from_secs(1);
/// Who may read a log file: it names people.
const MODE: u32 = 0o640;

/// One output of access logs.
pub(crate) struct Sink {
    output: String,
    /// One per worker.
    lanes: Box<[Mutex<Lane>]>,
    /// Somebody has called the writer since it last looked.
    called: AtomicBool,
    finishing: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
    writer: Thread,
}

/// Lines of one worker that wait to be written.
#[derive(Default)]
struct Lane {
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
    open: Mutex<BTreeMap<String, Opened>>,
}

struct Opened {
    sink: Arc<Sink>,
    ended: mpsc::Receiver<()>,
}

impl Sinks {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, open: Mutex::default() }
    }

    /// Opens what the access logs of `snapshot` need and is not open yet.
    pub(crate) fn connect(&self, snapshot: &mut Snapshot) -> Result<(), Vec<Problem>> {
        let mut open = self.open.lock();
        snapshot.connect_logs(|output| {
            if let Some(opened) = open.get(output) {
                return Ok(Arc::clone(&opened.sink));
            }
            let opened = start(output, self.workers).map_err(|error| format!("cannot be opened: {error}"))?;
            let sink = Arc::clone(&opened.sink);
            open.insert(output.to_owned(), opened);
            Ok(sink)
        })?;
        // Those that no snapshot uses any more end once their last line is written.
        open.retain(|_, opened| Arc::strong_count(&opened.sink) > 2);
        Ok(())
    }

    pub(crate) fn stats(&self) -> Vec<SinkStats> {
        let open = self.open.lock();
        let stats = open.values().map(|opened| SinkStats {
            output: opened.sink.output.clone(),
            written: opened.sink.written.load(Ordering::Relaxed),
            dropped: opened.sink.dropped.load(Ordering::Relaxed),
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
            let _ = opened.ended.recv_timeout(LAST);
        }
    }
}

/// Opens the output and starts its writer.
fn start(output: &str, workers: usize) -> io::Result<Opened> {
    let mut target = Target::open(output)?;
    let (tell, ended) = mpsc::channel();
    let (give, taken) = mpsc::channel::<Arc<Sink>>();
    let thread = thread::Builder::new().name("pylae-access-log".to_owned()).spawn(move || {
        if let Ok(sink) = taken.recv() {
            sink.run(&mut target);
        }
        // Nobody waits if the gateway is not stopping.
        let _ = tell.send(());
    })?;
    let sink = Arc::new(Sink {
        output: output.to_owned(),
        lanes: (0..workers).map(|_| Mutex::default()).collect(),
        called: AtomicBool::new(false),
        finishing: AtomicBool::new(false),
        written: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        writer: thread.thread().clone(),
    });
    // The thread has only just begun and waits for it.
    let _ = give.send(Arc::clone(&sink));
    Ok(Opened { sink, ended })
}

impl Sink {
    /// The writer's life.
    fn run(self: Arc<Self>, target: &mut Target) {
        let mut batch = Lane::default();
        loop {
            let finishing = self.finishing.load(Ordering::Acquire);
            let alone = Arc::strong_count(&self) == 1;
            self.called.store(false, Ordering::SeqCst);
            for lane in &self.lanes {
                std::mem::swap(&mut *lane.lock(), &mut batch);
                if batch.lines > 0 {
                    let result = target.write(&batch.bytes);
                    let counter = if result.is_ok() { &self.written } else { &self.dropped };
                    counter.fetch_add(batch.lines, Ordering::Relaxed);
                }
                batch.bytes.clear();
                batch.lines = 0;
            }
            if finishing || alone {
                return;
            }
            thread::park_timeout(NAP);
            if !self.called.load(Ordering::SeqCst) && !self.finishing.load(Ordering::Acquire) {
                thread::park_timeout(IDLE);
            }
        }
    }

    /// Hands lines over unless the writer is just taking some; then they stay in `lines`.
    fn offer(&self, worker: usize, pending: &mut Lane) {
        let Some(mut lane) = self.lanes.get(worker).and_then(Mutex::try_lock) else { return };
        let before = lane.bytes.len();
        if before == 0 {
            std::mem::swap(&mut *lane, pending);
        } else if before + pending.bytes.len() <= MOST_WAITING {
            lane.bytes.extend_from_slice(&pending.bytes);
            lane.lines += pending.lines;
            pending.clear();
        } else {
            self.dropped.fetch_add(pending.lines, Ordering::Relaxed);
            pending.clear();
        }
        let hurry = before < HURRY && lane.bytes.len() >= HURRY;
        drop(lane);
        // Read first: the word is shared, and nearly always set already while there is traffic.
        if hurry || (!self.called.load(Ordering::Relaxed) && !self.called.swap(true, Ordering::SeqCst)) {
            self.writer.unpark();
        }
    }
}

impl Lane {
    fn clear(&mut self) {
        self.bytes.clear();
        self.lines = 0;
    }
}

/// A worker's own lines, until they are handed over.
pub(crate) struct Lines {
    worker: usize,
    pending: RefCell<Vec<(Arc<Sink>, Lane)>>,
}

impl Lines {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, pending: RefCell::default() }
    }

    /// Lets `format` append one line and hands it over.
    pub(crate) fn write(&self, sink: &Arc<Sink>, format: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.pending.borrow_mut();
        let at = pending.iter().position(|(one, _)| Arc::ptr_eq(one, sink)).unwrap_or_else(|| {
            pending.push((Arc::clone(sink), Lane::default()));
            pending.len() - 1
        });
        let lane = &mut pending[at].1;
        format(&mut lane.bytes);
        lane.lines += 1;
        sink.offer(self.worker, lane);
    }

    /// Hands over what is left, and forgets sinks for which nothing is.
    pub(crate) fn pass_on(&self) {
        self.pending.borrow_mut().retain_mut(|(sink, lane)| {
            if lane.lines > 0 {
                sink.offer(self.worker, lane);
            }
            lane.lines > 0
        });
    }
}

/// Where lines are written.
enum Target {
    Stdout,
    Stderr,
    File { path: String, file: File },
}

impl Target {
    fn open(output: &str) -> io::Result<Self> {
        Ok(match output {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            path => Self::File { path: path.to_owned(), file: append(path)? },
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File { path, file } => {
                // Renamed or removed, as log rotation does: the name decides where lines go.
                let named = std::fs::metadata(&*path).ok().map(|named| (named.dev(), named.ino()));
                let open = file.metadata().ok().map(|open| (open.dev(), open.ino()));
                if named != open {
                    *file = append(path)?;
                }
                file.write_all(bytes)
            }
        }
    }
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
