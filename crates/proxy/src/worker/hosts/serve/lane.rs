//! A host's end of a lane.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use pylae_core::hook::flat::{FlatMessage, FlatMessageKind, FlatWriter};

use super::bells::HostBells;
use crate::worker::hosts::lane::{RingOutbox, messages};
use crate::worker::hosts::memory::{LaneDirection, Mad, RingEnd, SharedMemory};

/// A message that waits to be taken.
pub(super) type WaitingMessage = (Rc<HostLane>, FlatMessage, Vec<u8>);

/// The lane of a worker. Taken apart, so that a hook that is called for a message can be answered.
pub(super) struct HostLane {
    index: usize,
    /// Wake the workers.
    bells: Rc<HostBells>,
    from_worker: RefCell<(RingEnd, Vec<u8>)>,
    to_worker: RefCell<(RingEnd, RingOutbox)>,
}

impl HostLane {
    pub(super) fn new(memory: &Arc<SharedMemory>, index: usize, bells: &Rc<HostBells>) -> Rc<Self> {
        let end = |direction| RingEnd::new(memory, index, direction);
        Rc::new(Self {
            index,
            bells: Rc::clone(bells),
            from_worker: RefCell::new((end(LaneDirection::ToHost), Vec::new())),
            to_worker: RefCell::new((end(LaneDirection::ToWorker), RingOutbox::default())),
        })
    }

    /// Takes what the worker has sent to `queue`, and sends what waits for room. Returns false if there was nothing to
    /// take.
    pub(super) fn pump(self: &Rc<Self>, queue: &mut VecDeque<WaitingMessage>) -> Result<bool, Mad> {
        self.flush()?;
        let (ring, inbox) = &mut *self.from_worker.borrow_mut();
        if ring.read(inbox)? == 0 {
            return Ok(!ring.fall_asleep()?);
        }
        if ring.must_feed() {
            self.bells.ring(self.index);
        }
        messages(inbox, |message, content| queue.push_back((Rc::clone(self), message, content.to_vec())))?;
        Ok(true)
    }

    fn flush(&self) -> Result<(), Mad> {
        let (ring, outbox) = &mut *self.to_worker.borrow_mut();
        if outbox.flush(ring)? {
            self.bells.ring(self.index);
        }
        Ok(())
    }

    /// Sends a message. Returns false if it is too large.
    pub(super) fn send(&self, kind: FlatMessageKind, key: u64, write: impl FnOnce(&mut FlatWriter)) -> bool {
        let sent = FlatMessage::write(&mut self.to_worker.borrow_mut().1.bytes, kind, key, write);
        // A worker that has gone mad is found out by the loop.
        sent && self.flush().is_ok()
    }
}
