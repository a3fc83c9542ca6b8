//! What a request that waits for a place shares with those who decide it.

use std::task::{Poll, Waker};

use parking_lot::Mutex;

#[derive(Debug)]
enum PlacePhase {
    Waiting(Option<Waker>),
    /// It has a place, and does not know it yet: so many more are free.
    Admitted(u32),
    Refused,
    /// Nobody waits any more.
    Over,
}

/// A request that waits for a place. It may be locked while a shard is locked, never the other way round.
#[derive(Debug)]
pub(super) struct PlaceTicket(Mutex<PlacePhase>);

impl PlaceTicket {
    pub(super) fn new() -> Self {
        Self(Mutex::new(PlacePhase::Waiting(None)))
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.0.lock(), PlacePhase::Over)
    }

    /// Gives it a place, or refuses. Returns false if nobody waits any more. `wakers` gets who has to be woken, once no
    /// shard is locked.
    pub(super) fn decide(&self, remaining: Option<u32>, wakers: &mut Vec<Waker>) -> bool {
        let mut phase = self.0.lock();
        let PlacePhase::Waiting(waker) = &mut *phase else { return false };
        wakers.extend(waker.take());
        *phase = remaining.map_or(PlacePhase::Refused, PlacePhase::Admitted);
        true
    }

    /// Returns the decision, None for a refusal. What is returned is the caller's.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Option<u32>> {
        let mut phase = self.0.lock();
        if let PlacePhase::Waiting(waiting) = &mut *phase {
            *waiting = Some(waker.clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *phase, PlacePhase::Over) {
            PlacePhase::Admitted(remaining) => Poll::Ready(Some(remaining)),
            PlacePhase::Waiting(_) | PlacePhase::Refused | PlacePhase::Over => Poll::Ready(None),
        }
    }

    /// Ends the wait. Returns true if there is a place that nobody uses.
    pub(super) fn abandon(&self) -> bool {
        matches!(std::mem::replace(&mut *self.0.lock(), PlacePhase::Over), PlacePhase::Admitted(_))
    }
}
