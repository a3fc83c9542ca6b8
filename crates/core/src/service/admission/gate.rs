//! Exchanges in flight to a service and its queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

const WAITING: u32 = 32;

/// Exchanges in flight and waiting, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Number of waiting exchanges (high half) and of exchanges in flight (low half). While none waits, nothing else is
    /// touched.
    pub(super) counts: AtomicU64,
    /// The queue. The number of waiting exchanges in `counts` changes only while this is locked.
    pub(super) queue: Mutex<WaitQueue>,
}

#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    pub(super) next: u64,
    /// By ticket, in order of arrival. A ticket that is missing was admitted.
    pub(super) waiting: VecDeque<(u64, Option<Waker>)>,
}

pub(super) fn unpack(word: u64) -> (u32, u32) {
    ((word >> WAITING) as u32, word as u32)
}

fn pack(waiting: u32, inside: u32) -> u64 {
    (u64::from(waiting) << WAITING) | u64::from(inside)
}

impl Gate {
    /// Updates `(waiting, inside)`, unless `to` returns None. Returns the values before the update.
    pub(super) fn update(&self, to: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Option<(u32, u32)> {
        let change = self.counts.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (waiting, inside) = unpack(word);
            to(waiting, inside).map(|(waiting, inside)| pack(waiting, inside))
        });
        change.ok().map(unpack)
    }

    /// Admits waiting exchanges in order as long as there is room. The caller wakes them after it has released the
    /// lock.
    pub(super) fn admit_waiting(&self, queue: &mut WaitQueue, limit: u32) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self
            .update(|waiting, inside| (waiting > 0 && inside < limit).then(|| (waiting - 1, inside + 1)))
            .is_some()
        {
            woken.extend(queue.waiting.pop_front().and_then(|(_, waker)| waker));
        }
        woken
    }

    /// Ends an exchange in flight.
    pub(super) fn leave(&self, limit: u32) {
        if self.update(|waiting, inside| (waiting == 0).then(|| (0, inside - 1))).is_some() {
            return;
        }
        let mut queue = self.queue.lock();
        self.update(|waiting, inside| Some((waiting, inside - 1)));
        let woken = self.admit_waiting(&mut queue, limit);
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }
}
