//! Lanes: what workers have encoded for a collector, until it is sent. Workers never wait: what a full lane does not
//! take is dropped and counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use pylae_core::plan::CollectorPlan;

use super::exporters::{Resource, Signal};

/// Most bytes that wait in the lanes of an exporter together.
const MOST_WAITING: usize = 8 << 20;

/// What is sent to one collector. It outlives reloads that do not change how.
pub(crate) struct Exporter {
    pub(crate) signal: Signal,
    pub(crate) collector: CollectorPlan,
    pub(crate) resource: Resource,
    /// One lane per worker.
    lanes: Box<[Mutex<Encoded>]>,
    /// Most bytes of a lane.
    most: usize,
    /// Items that the lanes had no room for.
    overflowed: AtomicU64,
}

/// Encoded items: each a field of the message that the exporter puts around them, with its tag and length.
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

impl Exporter {
    pub(crate) fn new(signal: Signal, collector: CollectorPlan, resource: Resource, workers: usize) -> Self {
        let lanes: Box<[Mutex<Encoded>]> = (0..workers).map(|_| Mutex::default()).collect();
        let (most, overflowed) = (MOST_WAITING / lanes.len().max(1), AtomicU64::new(0));
        Self { signal, collector, resource, lanes, most, overflowed }
    }

    /// Items that were dropped because a lane was full.
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Takes what is in the lanes, until `batch` has `enough` bytes. Returns true if there may be more.
    pub(crate) fn take(&self, batch: &mut Encoded, enough: usize) -> bool {
        for lane in &self.lanes {
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

    /// Hands items over, unless the lane is being emptied at this moment. They stay pending then.
    fn try_push(&self, worker: usize, pending: &mut Encoded) {
        if let Some(lane) = self.lanes.get(worker).and_then(Mutex::try_lock) {
            self.push(lane, pending);
        }
    }

    fn push(&self, mut lane: MutexGuard<'_, Encoded>, pending: &mut Encoded) {
        if lane.bytes.len() + pending.bytes.len() > self.most {
            self.overflowed.fetch_add(pending.items, Ordering::Relaxed);
        } else {
            lane.bytes.extend_from_slice(&pending.bytes);
            lane.items += pending.items;
        }
        drop(lane);
        pending.clear();
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

    /// Appends `items` items that `encode` writes, each with its tag and length, and hands them over.
    pub(crate) fn write(&self, exporter: &Arc<Exporter>, items: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.pending.borrow_mut();
        let at = pending.iter().position(|(known, _)| Arc::ptr_eq(known, exporter)).unwrap_or_else(|| {
            pending.push((Arc::clone(exporter), Encoded::default()));
            pending.len() - 1
        });
        let encoded = &mut pending[at].1;
        encode(&mut encoded.bytes);
        encoded.items += items;
        exporter.try_push(self.worker, encoded);
    }

    /// Hands over what remains, and forgets exporters that nothing remains of.
    pub(crate) fn flush(&self) {
        self.pending.borrow_mut().retain_mut(|(exporter, encoded)| {
            if encoded.items > 0 {
                exporter.try_push(self.worker, encoded);
            }
            encoded.items > 0
        });
    }
}

impl Drop for ExportBuffer {
    /// Waits for the lanes, as there is no later chance.
    fn drop(&mut self) {
        for (exporter, encoded) in self.pending.get_mut() {
            if let Some(lane) = exporter.lanes.get(self.worker).filter(|_| encoded.items > 0) {
                exporter.push(lane.lock(), encoded);
            }
        }
    }
}

#[cfg(test)]
mod tests;
