//! Watches the workers: notices one that does not come back to its loop, and puts another in its place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::run::BEAT;
use super::{Listening, WorkerHandle, Workers};
use crate::snapshot::Snapshot;
use crate::telemetry::liveness::Liveness;
use crate::telemetry::panics::{Duty, supervise};

/// Beats that a worker may miss.
const MISSED: u32 = 3;
/// If this thread itself comes so late, the process did not run, and nothing is known about the workers.
const LATE: Duration = Duration::from_millis(300);

/// Interval between two attempts to start a thread.
const RETRY: Duration = Duration::from_secs(1);

/// Snapshot and listening sockets for a worker that takes the place of another. None while a plan is being applied.
pub(crate) type Replacement = Box<dyn Fn() -> Option<(Arc<Snapshot>, Vec<Listening>)> + Send>;

/// A handle to the watching thread.
pub(crate) struct Watch {
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread knows of a worker.
struct Observed {
    worker: Arc<WorkerHandle>,
    beats: u64,
    missed: u32,
    /// When no thread could take its place.
    failed: Option<Instant>,
}

impl Watch {
    /// Says in `liveness` whether any worker answers.
    pub(crate) fn start(
        workers: &Arc<Workers>,
        liveness: &Arc<Liveness>,
        replacement: Replacement,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (workers, liveness) = (Arc::clone(workers), Arc::clone(liveness));
        let thread = std::thread::Builder::new().name("pylae-watch".to_owned());
        let thread = thread.spawn(move || {
            let log = workers.shared_log();
            supervise(Some(&log), Duty::Watchdog, || run(&workers, &liveness, &replacement, &stopped));
        })?;
        Ok(Self { stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        drop(self.stop.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // It does nothing that could fail but for panics, which are logged.
            let _ = thread.join();
        }
    }
}

fn run(workers: &Workers, liveness: &Liveness, replacement: &Replacement, stopped: &Receiver<()>) {
    let mut observed: Vec<Observed> = Vec::new();
    let mut last = Instant::now();
    while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        let is_held = workers.overdue().iter().any(|call| call.holds_interpreter);
        liveness.set_held(is_held);
        if is_held {
            workers.say_unread();
        }
        let figures = workers.figures();
        liveness.set_live(figures.stuck < figures.number);
        let is_late = last.elapsed() > LATE;
        last = Instant::now();
        for (index, worker) in workers.seats().into_iter().enumerate() {
            match observed.get_mut(index) {
                Some(known) if Arc::ptr_eq(&known.worker, &worker) => known.look(workers, index, is_late),
                Some(known) => *known = Observed::new(worker),
                None => observed.push(Observed::new(worker)),
            }
            let known = &mut observed[index];
            if known.is_gone() && !known.has_just_failed() && workers.may_replace() {
                known.failed = replace(workers, index, replacement).then(Instant::now);
            }
        }
    }
}

impl Observed {
    fn new(worker: Arc<WorkerHandle>) -> Self {
        Self { worker, beats: 0, missed: 0, failed: None }
    }

    /// True if another worker must take the place of this one.
    fn is_gone(&self) -> bool {
        self.worker.given_up.load(Ordering::Relaxed) || self.worker.end.is_reached()
    }

    /// Looks whether the worker has come back to its loop since the last look.
    fn look(&mut self, workers: &Workers, index: usize, is_late: bool) {
        let beats = self.worker.heart.load(Ordering::Relaxed);
        if beats != self.beats || is_late {
            self.beats = beats;
            if self.worker.stuck.swap(false, Ordering::Relaxed) && !is_late {
                let message = format!("worker {index} is back after {:.1} s", self.silence().as_secs_f64());
                workers.log("info", "worker_back", message);
            }
            self.missed = 0;
            return;
        }
        self.missed = self.missed.saturating_add(1);
        if self.is_gone() || self.missed <= MISSED {
            return;
        }
        if !self.worker.stuck.swap(true, Ordering::Relaxed) {
            let message = format!("worker {index} does not come back{}", workers.reason(index));
            workers.log("error", "worker_stuck", message);
        }
        if self.silence() >= workers.stuck_timeout() {
            let reason = workers.reason(index);
            let connections = workers.give_up(&self.worker);
            let message = format!(
                "worker {index} is given up after {:.1} s{reason}; its {connections} connections are reset",
                self.silence().as_secs_f64()
            );
            workers.log("error", "worker_given_up", message);
        }
    }

    /// True if no thread could be started within the last second.
    fn has_just_failed(&self) -> bool {
        self.failed.is_some_and(|failed| failed.elapsed() < RETRY)
    }

    /// How long the worker has not come back.
    fn silence(&self) -> Duration {
        BEAT * self.missed
    }
}

/// Puts a worker in the place of the one at `index`, unless a plan is being applied. Returns true if that failed.
fn replace(workers: &Workers, index: usize, replacement: &Replacement) -> bool {
    let Some((snapshot, listeners)) = replacement() else { return false };
    let replaced = workers.replace(index, snapshot, listeners);
    match &replaced {
        Ok(()) => workers.log("info", "worker_replaced", format!("another thread is worker {index} from now on")),
        Err(error) => {
            let message = format!("no thread can take the place of worker {index}: {error}");
            workers.log("error", "thread_failed", message);
        }
    }
    replaced.is_err()
}
