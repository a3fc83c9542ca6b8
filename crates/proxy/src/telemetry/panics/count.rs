//! Counts panics by what panicked.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Most records of panics per second. A client may have found a request that panics.
pub(super) const MAX_RECORDS: u64 = 16;

/// What a thread or a task is for: the label `thread` of `pylae_panics_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// A worker's thread, outside its tasks.
    Worker,
    /// Accepts the connections of a listener.
    Accept,
    /// Turns the wheel of deadlines.
    Wheel,
    /// Does a worker's periodic work.
    Sweep,
    /// Serves a connection or one of its exchanges, on either side.
    Connection,
    /// The auxiliary thread, which checks health and samples metrics.
    Auxiliary,
    /// Verifies passwords.
    Background,
    /// Fetches key sets, and tokens for instances.
    Keys,
    /// Writes an access log.
    AccessLog,
    /// Sends to an OpenTelemetry collector.
    Export,
    /// Runs hooks outside the workers.
    Hook,
    /// Talks to the store of the cluster.
    Store,
    /// Watches workers and hooks that take too long.
    Watchdog,
    /// Serves the admin address.
    Admin,
    /// A thread that is not the engine's, but has called it.
    Other,
}

/// The panics of one engine.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    counts: [AtomicU64; Duty::ALL.len()],
    records: Mutex<RecordRate>,
}

/// Bounds the records of each second.
#[derive(Debug, Default)]
struct RecordRate {
    second: u64,
    written: u64,
    /// Left out since the last record.
    left_out: u64,
}

impl Duty {
    pub(crate) const ALL: [Self; 15] = [
        Self::Worker,
        Self::Accept,
        Self::Wheel,
        Self::Sweep,
        Self::Connection,
        Self::Auxiliary,
        Self::Background,
        Self::Keys,
        Self::AccessLog,
        Self::Export,
        Self::Hook,
        Self::Store,
        Self::Watchdog,
        Self::Admin,
        Self::Other,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Accept => "accept",
            Self::Wheel => "wheel",
            Self::Sweep => "sweep",
            Self::Connection => "connection",
            Self::Auxiliary => "auxiliary",
            Self::Background => "background",
            Self::Keys => "keys",
            Self::AccessLog => "access_log",
            Self::Export => "export",
            Self::Hook => "hook",
            Self::Store => "store",
            Self::Watchdog => "watchdog",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }

    /// The duty of tasks that have none of their own, on a thread with this duty.
    pub(super) fn of_tasks(self) -> Self {
        if self == Self::Worker { Self::Connection } else { self }
    }
}

impl Panics {
    pub(super) fn count(&self, duty: Duty) {
        self.counts[duty as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Admits a record in this second of the clock. Returns how many panics were left out since the last record, or
    /// None if this one is left out as well.
    pub(super) fn admit_record(&self, second: u64) -> Option<u64> {
        self.records.lock().admit(second)
    }

    /// How often each duty has panicked.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Duty::ALL.iter().zip(&self.counts).map(|(duty, count)| (duty.name(), count.load(Ordering::Relaxed)))
    }
}

impl RecordRate {
    fn admit(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            (self.second, self.written) = (second, 0);
        }
        if self.written == MAX_RECORDS {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}
