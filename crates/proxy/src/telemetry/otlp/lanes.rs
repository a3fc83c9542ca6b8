//! Lanes: what workers have encoded for a collector, until it is sent. Workers never wait: what a full lane does not
//! take is dropped and counted.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use parking_lot::{Mutex, MutexGuard};
use pylae_core::plan::CollectorPlan;

use super::figures::{DropReason, ExportCounters};
use super::resource::TelemetryResource;

/// Most bytes that wait in the lanes of an exporter together.
const MOST_WAITING: usize = 4 << 20;
/// Bytes in a lane at which the sender is woken before its time, if they are not more than a quarter of the lane. What
/// workers write and the sender copies stays in the cache of a core.
const WAKE_AT: usize = 256 << 10;
const WAKE_SHARE: usize = 4;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// How one signal is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExportSettings {
    pub(crate) signal: Signal,
    pub(crate) collector: CollectorPlan,
    pub(crate) resource: TelemetryResource,
    /// Seconds between two transmissions of metrics; nothing for others.
    pub(crate) interval: Option<f64>,
}

/// What workers put items into. It outlives reloads that do not change how they are sent. What waits is sent, and its
/// sender ends, once nothing uses this any more.
pub(crate) struct Exporter(Arc<Lanes>);

/// The lanes of an exporter, one per worker.
pub(crate) struct Lanes {
    pub(crate) settings: ExportSettings,
    pub(crate) counters: Arc<ExportCounters>,
    workers: Box<[Mutex<Encoded>]>,
    /// Most bytes of a lane.
    most: usize,
    /// No more items will come, besides those that workers have pending.
    closed: AtomicBool,
    /// The thread that sends.
    sender: OnceLock<Thread>,
}

/// Encoded items: each a field of the message that goes around them, with its tag and length.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: u64,
}

impl Encoded {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.items = 0;
    }
}

impl Signal {
    /// The word that it has in settings and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

impl Exporter {
    pub(super) fn new(settings: ExportSettings, counters: Arc<ExportCounters>, workers: usize) -> Self {
        let lanes: Box<[Mutex<Encoded>]> = (0..workers).map(|_| Mutex::default()).collect();
        let (most, closed, sender) = (MOST_WAITING / lanes.len().max(1), AtomicBool::new(false), OnceLock::new());
        Self(Arc::new(Lanes { settings, counters, workers: lanes, most, closed, sender }))
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.0
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Lanes {
    /// Takes what is in the lanes, until `batch` has `enough` bytes. Returns true if there may be more.
    pub(crate) fn take(&self, batch: &mut Encoded, enough: usize) -> bool {
        for lane in &self.workers {
            if batch.bytes.len() >= enough {
                return true;
            }
            let mut lane = lane.lock();
            if batch.items == 0 {
                std::mem::swap(&mut *lane, batch);
            } else {
                batch.bytes.extend_from_slice(&lane.bytes);
                batch.items += lane.items;
            }
            lane.clear();
        }
        false
    }

    /// Puts back what another exporter could not send.
    pub(crate) fn give(&self, batch: &mut Encoded) {
        match self.workers.first() {
            Some(lane) => self.push(lane.lock(), batch),
            None => batch.clear(),
        }
    }

    /// Says which thread sends.
    pub(crate) fn set_sender(&self, thread: Thread) {
        // There is one sender per exporter.
        let _ = self.sender.set(thread);
    }

    pub(crate) fn has_sender(&self) -> bool {
        self.sender.get().is_some()
    }

    /// Has the sender send what waits, and end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if let Some(thread) = self.sender.get() {
            thread.unpark();
        }
    }

    /// The lane of a worker, unless it is being emptied at this moment.
    fn try_lock(&self, worker: usize) -> Option<MutexGuard<'_, Encoded>> {
        self.workers.get(worker).and_then(Mutex::try_lock)
    }

    fn push(&self, lane: MutexGuard<'_, Encoded>, pending: &mut Encoded) {
        self.append(lane, pending.items, |out| out.extend_from_slice(&pending.bytes));
        pending.clear();
    }

    /// Appends what `encode` writes to a lane. It is dropped if the lane is full.
    fn append(&self, mut lane: MutexGuard<'_, Encoded>, items: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let (before, wake) = (lane.bytes.len(), WAKE_AT.min(self.most / WAKE_SHARE));
        encode(&mut lane.bytes);
        let after = lane.bytes.len();
        if after > self.most {
            lane.bytes.truncate(before);
            self.counters.drop_items(DropReason::QueueFull, items);
            return;
        }
        lane.items += items;
        drop(lane);
        if before < wake && after >= wake {
            self.wake();
        }
    }
}

/// A worker's items until they are in the lanes of their exporters.
pub(crate) struct ExportBuffer {
    worker: usize,
    pending: RefCell<Vec<(Arc<Exporter>, Encoded)>>,
}

impl ExportBuffer {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, pending: RefCell::default() }
    }

    /// Hands over `items` items that `encode` writes, each a field with its tag and length. They stay pending while the
    /// lane is being emptied.
    pub(crate) fn write(&self, exporter: &Arc<Exporter>, items: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.pending.borrow_mut();
        let lane = exporter.0.try_lock(self.worker);
        let earlier = pending.iter_mut().find(|(known, _)| Arc::ptr_eq(known, exporter));
        match (lane, earlier) {
            (Some(lane), None) => exporter.0.append(lane, items, encode),
            (lane, Some((_, earlier))) => {
                encode(&mut earlier.bytes);
                earlier.items += items;
                if let Some(lane) = lane {
                    exporter.0.push(lane, earlier);
                }
            }
            (None, None) => {
                let mut encoded = Encoded::default();
                encode(&mut encoded.bytes);
                encoded.items = items;
                pending.push((Arc::clone(exporter), encoded));
            }
        }
    }

    /// Hands over what remains, and forgets exporters that nothing remains of.
    pub(crate) fn flush(&self) {
        self.pending.borrow_mut().retain_mut(|(exporter, encoded)| {
            if let Some(lane) = exporter.0.try_lock(self.worker).filter(|_| encoded.items > 0) {
                exporter.0.push(lane, encoded);
            }
            encoded.items > 0
        });
    }
}

impl Drop for ExportBuffer {
    /// Waits for the lanes, as there is no later chance.
    fn drop(&mut self) {
        for (exporter, encoded) in self.pending.get_mut() {
            if let Some(lane) = exporter.0.workers.get(self.worker).filter(|_| encoded.items > 0) {
                exporter.0.push(lane.lock(), encoded);
            }
        }
    }
}

#[cfg(test)]
mod tests;
