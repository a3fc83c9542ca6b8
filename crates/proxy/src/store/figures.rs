//! Counts what is asked of the store, and what comes of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::call::{StoreError, StoreResult};
use crate::telemetry::metrics::{Counter, Durations, Histogram};

/// Figures since the start.
#[derive(Default)]
pub(super) struct StoreFigures {
    calls: AtomicU64,
    errors: [AtomicU64; StoreError::KINDS.len()],
    /// Time from requests to their answers. Only the thread that drives the store writes.
    durations: Histogram,
    /// Connections that were made, by the same thread.
    connections: Counter,
}

impl StoreFigures {
    /// Counts calls with what their caller gets, each once.
    pub(super) fn called<'a>(&self, results: impl Iterator<Item = &'a StoreResult>) {
        let mut calls = 0;
        for result in results {
            calls += 1;
            if let Err(error) = result {
                let place = StoreError::KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(0);
                self.errors[place].fetch_add(1, Ordering::Relaxed);
            }
        }
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, after: Duration) {
        self.durations.record(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn connected(&self) {
        self.connections.add(1);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.errors.iter().map(|count| count.load(Ordering::Relaxed));
        StoreError::KINDS.into_iter().zip(counts).collect()
    }

    pub(super) fn durations(&self) -> Durations {
        let mut read = Durations::default();
        read.add(&self.durations);
        read
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.get()
    }
}
