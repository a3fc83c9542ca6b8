//! Counters of what is sent to collectors, and of what is not.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Why items were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Too many wait already: the collector is too slow, or away.
    QueueFull,
    /// The collector did not answer for too long.
    Unavailable,
    /// The collector does not want them.
    Refused,
}

/// Counters of a signal, from start to stop.
#[derive(Debug, Default)]
pub(crate) struct ExportCounters {
    sent: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    failures: AtomicU64,
}

/// Counters of a signal that is sent to a collector.
#[derive(Clone, Debug, Serialize)]
pub struct ExportStats {
    /// `traces` (spans), `metrics` (data points) or `logs` (records).
    pub signal: &'static str,
    /// Items that a collector has taken.
    pub sent: u64,
    /// Items that were dropped, by reason.
    pub dropped: [(&'static str, u64); 3],
    /// Requests that failed or were refused, repeated ones included.
    pub failures: u64,
}

impl DropReason {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unavailable, Self::Refused];

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

impl ExportCounters {
    pub(crate) fn send_items(&self, items: u64) {
        self.sent.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn drop_items(&self, reason: DropReason, items: u64) {
        self.dropped[reason as usize].fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Items that were dropped for a reason.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Items that were dropped for any reason.
    pub(crate) fn all_dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }

    pub(super) fn stats(&self, signal: &'static str) -> ExportStats {
        ExportStats {
            signal,
            sent: self.sent.load(Ordering::Relaxed),
            dropped: DropReason::ALL.map(|reason| (reason.name(), self.dropped(reason))),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
