//! The gateway's log: a bounded queue of records that Python reads.

mod area;
pub(crate) mod steps;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pylae_core::Instant;
use pylae_core::service::Change;
use serde::Serialize;
use tracing::debug;

pub use self::area::LogArea;
pub use self::steps::set_log_steps;
use super::stderr;
use crate::telemetry::panics::Panics;

/// Most records kept until they are read. Records beyond that are dropped and counted.
const CAPACITY: usize = 4096;
/// Most records while a step is added: other records find room even if there are many steps.
const CAPACITY_FOR_STEPS: usize = CAPACITY / 2;

/// Records of the process that its handlers of `logging` took too slowly.
static UNHANDLED: AtomicU64 = AtomicU64::new(0);

/// Counts records that were dropped before they reached Python's handlers of `logging`.
pub fn count_unhandled(records: u64) {
    UNHANDLED.fetch_add(records, Ordering::Relaxed);
}

/// How many records and lines of the logs were dropped.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DroppedRecords {
    /// Records of the data plane that Python did not read in time.
    pub engine: u64,
    /// Records that Python's handlers did not take in time.
    pub handlers: u64,
    /// Lines that standard error did not take in time.
    pub stderr: u64,
}

impl DroppedRecords {
    pub(crate) fn read(log: &Log) -> Self {
        Self { engine: log.dropped(), handlers: UNHANDLED.load(Ordering::Relaxed), stderr: stderr::dropped_lines() }
    }
}

/// One record of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// `debug`, `info`, `warning` or `error`.
    pub level: &'static str,
    /// What it is about.
    pub area: LogArea,
    /// What happened, in `snake_case`.
    pub event: &'static str,
    /// A sentence for people.
    pub message: String,
    /// What a step says besides, in the message too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(&'static str, String)>,
}

/// Shortest time between two records of an event that clients can cause at any rate.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Rate-limits the records of an event that clients can cause at any rate.
#[derive(Debug, Default)]
pub struct Refusals {
    /// When the last record was written, in nanoseconds, or 0 if none was.
    last: AtomicU64,
    suppressed: AtomicU64,
}

impl Refusals {
    /// Writes a record, unless one was written less than a second before `now`. The next record says how many were
    /// left out.
    pub fn report(&self, log: &Log, now: Instant, event: &'static str, what: impl FnOnce() -> String) {
        let last = self.last.load(Ordering::Relaxed);
        let early = last > 0 && now.since(Instant::from_nanos(last)) < REPORT_INTERVAL;
        // Of two threads at the same moment only one writes.
        let won = || self.last.compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if early || !won() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let more = match self.suppressed.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            n => format!("; {n} more like it since the last such record"),
        };
        log.write("warning", event, format!("{}{more}", what()));
    }
}

/// The queue of records waiting to be read.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<State>,
    filled: Condvar,
    /// The panics of the engine that this is the log of.
    pub(crate) panics: Panics,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    /// Records dropped in all.
    dropped: u64,
    /// Records dropped since the last record that says so.
    untold: u64,
    closed: bool,
}

impl Log {
    /// Writes a record, or counts it as dropped if the queue is full. Never waits for a reader.
    pub fn write(&self, level: &'static str, event: &'static str, message: String) {
        self.push(Record { level, area: LogArea::of_event(event), event, message, fields: Vec::new() });
    }

    fn push(&self, record: Record) {
        let capacity = if record.level == "debug" { CAPACITY_FOR_STEPS } else { CAPACITY };
        let mut state = self.state.lock();
        if state.records.len() >= capacity {
            state.dropped += 1;
            state.untold += 1;
            return;
        }
        state.records.push_back(record);
        self.filled.notify_one();
    }

    /// Writes one record for each change of a service's state.
    pub(crate) fn write_changes(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            debug!(%change, "health changed");
            let level = if change.event.is_loss() { "warning" } else { "info" };
            self.write(level, "service_changed", change.to_string());
        }
    }

    /// Waits up to `patience` for a record or the end.
    pub fn wait(&self, patience: Duration) {
        let mut state = self.state.lock();
        if state.records.is_empty() && !state.closed {
            self.filled.wait_for(&mut state, patience);
        }
    }

    /// Takes all records. Returns None once the log is closed and empty.
    pub fn take(&self) -> Option<Vec<Record>> {
        let mut state = self.state.lock();
        if state.records.is_empty() && state.closed {
            return None;
        }
        let mut records: Vec<Record> = state.records.drain(..).collect();
        let dropped = std::mem::take(&mut state.untold);
        if dropped > 0 {
            let message = format!("{dropped} log records were dropped because nobody read them in time");
            let (level, event) = ("warning", "log_overflow");
            records.push(Record { level, area: LogArea::of_event(event), event, message, fields: Vec::new() });
        }
        Some(records)
    }

    /// Number of records dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Ends it: what is written after that is not read.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }
}
