//! Counts what is asked of the store, and what comes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::call::StoreError;

/// Figures since the start.
#[derive(Default)]
pub(crate) struct StoreFigures {
    calls: AtomicU64,
    errors: [AtomicU64; StoreError::KINDS.len()],
    answers: AtomicU64,
    /// Time from requests to their answers, in nanoseconds.
    waited: AtomicU64,
    connections: AtomicU64,
}

impl StoreFigures {
    pub(super) fn called(&self, number: usize) {
        self.calls.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &StoreError, number: usize) {
        let place = StoreError::KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(0);
        self.errors[place].fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, after: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}
