//! Access log lines on their way from the workers to a file or pipe. A worker never waits for it: a sink that is slow or
//! full costs lines, which are counted, and no request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pylae_core::Problem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
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
            let given_up = self.is_given_up();
            self.called.store(false, Ordering::SeqCst);
            for lane in &self.lanes {
                std::mem::swap(&mut *lane.lock(), &mut batch);
                if batch.lines > 0 {
                    let told = target.write(&batch.bytes, batch.lines, &|| self.is_given_up());
                    self.written.fetch_add(told.written, Ordering::Relaxed);
                    self.dropped.fetch_add(told.dropped, Ordering::Relaxed);
                }
                batch.bytes.clear();
                batch.lines = 0;
            }
            if given_up {
                return;
            }
            thread::park_timeout(NAP);
            if !self.called.load(Ordering::SeqCst) && !self.finishing.load(Ordering::Acquire) {
                thread::park_timeout(IDLE);
            }
        }
    }

    /// Whether nothing more will come: the gateway stops, or no snapshot uses it any more.
    fn is_given_up(self: &Arc<Self>) -> bool {
        self.finishing.load(Ordering::Acquire) || Arc::strong_count(self) == 1
    }

    /// Hands lines over unless the writer is just taking some; then they stay in `lines`.
    fn offer(&self, worker: usize, pending: &mut Lane) {
        if let Some(lane) = self.lanes.get(worker).and_then(Mutex::try_lock) {
            self.take(lane, pending);
        }
    }

    fn take(&self, mut lane: MutexGuard<'_, Lane>, pending: &mut Lane) {
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

impl Drop for Lines {
    /// The last ones wait for the writer: there is no later time to hand them over.
    fn drop(&mut self) {
        for (sink, lane) in self.pending.get_mut() {
            if let Some(shared) = sink.lanes.get(self.worker).filter(|_| lane.lines > 0) {
                sink.take(shared.lock(), lane);
            }
        }
    }
}

/// Where lines are written, as they are: what is left of a line after a short write must be known.
struct Target {
    place: Place,
    /// The rest of a line of which some was written. It goes first, so that no line begins in the middle of another.
    torn: Vec<u8>,
}

enum Place {
    Stdout,
    Stderr,
    /// No file while a pipe has no reader: opening it would mean waiting for one.
    File {
        path: String,
        file: Option<File>,
    },
}

/// What became of lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    written: u64,
    dropped: u64,
}

impl Target {
    fn open(output: &str) -> io::Result<Self> {
        let place = match output {
            "stdout" => Place::Stdout,
            "stderr" => Place::Stderr,
            path => Place::File { path: path.to_owned(), file: append(path)? },
        };
        Ok(Self { place, torn: Vec::new() })
    }

    /// Writes lines as far as the output takes them. Where it has no room it is waited for until `given_up`.
    fn write(&mut self, lines: &[u8], count: u64, given_up: &dyn Fn() -> bool) -> Told {
        let mut told = Told::default();
        let follows = self.place.follow();
        if follows != Some(false) && !self.torn.is_empty() {
            // The file with its beginning is gone.
            self.torn.clear();
            told.dropped += 1;
        }
        if follows.is_none() {
            told.dropped += count;
            return told;
        }
        let mut rest = std::mem::take(&mut self.torn);
        if !rest.is_empty() {
            rest.drain(..self.place.push(&rest, given_up));
            if !rest.is_empty() {
                self.torn = rest;
                told.dropped += count;
                return told;
            }
            told.written += 1;
        }
        let (done, left) = lines.split_at(self.place.push(lines, given_up));
        let whole = memchr::memchr_iter(b'\n', done).count() as u64;
        if done.last().is_some_and(|byte| *byte != b'\n') {
            let end = memchr::memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            self.torn.extend_from_slice(&left[..end]);
        }
        told.written += whole;
        told.dropped += count - whole - u64::from(!self.torn.is_empty());
        told
    }
}

impl Place {
    /// Opens the file that has the name now, if that is another one: renamed or removed, as log rotation does, it is the name
    /// that decides where lines go. Whether it was another one; none if there is nothing to write to.
    fn follow(&mut self) -> Option<bool> {
        let Self::File { path, file } = self else { return Some(false) };
        let named = std::fs::metadata(&*path).ok().map(|named| (named.dev(), named.ino()));
        let open = file.as_ref().and_then(|file| file.metadata().ok()).map(|open| (open.dev(), open.ino()));
        if open.is_some() && named == open {
            return Some(false);
        }
        *file = append(path).ok()?;
        file.is_some().then_some(true)
    }

    /// Writes as much of `bytes` as it can. The number of bytes written.
    fn push(&self, bytes: &[u8], given_up: &dyn Fn() -> bool) -> usize {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let output = match self {
            Self::Stdout => stdout.as_fd(),
            Self::Stderr => stderr.as_fd(),
            Self::File { file: Some(file), .. } => file.as_fd(),
            Self::File { file: None, .. } => return 0,
        };
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(output, &bytes[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if has_room(output, given_up) => {}
                _ => break,
            }
        }
        written
    }
}

/// Waits until a pipe or terminal that does not block takes more. False: it is given up.
fn has_room(output: BorrowedFd<'_>, given_up: &dyn Fn() -> bool) -> bool {
    loop {
        let last = given_up();
        let patience = if last { LAST } else { IDLE };
        let patience = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&output, PollFlags::OUT)], patience.as_ref()) {
            Ok(0) if !last => {}
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Opens a file, never waiting for the reader of a pipe: none while it has none.
fn append(path: &str) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && is_pipe(path) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_pipe(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|named| named.file_type().is_fifo())
}

#[cfg(test)]
mod tests;
