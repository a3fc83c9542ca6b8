//! What the worker and the loop share of a response body that passes hooks. Both ways hold a few pieces, and no more.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// Pieces that wait on either side.
pub(super) const MAX_QUEUED: usize = 4;

/// Pieces on their way to the hooks, and those that come back.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(super) input: VecDeque<Vec<u8>>,
    pub(super) input_ended: bool,
    pub(super) output: VecDeque<Vec<u8>>,
    pub(super) finished: bool,
    pub(super) failed: bool,
    waker: Option<Waker>,
}

impl Pipe {
    /// Has the worker woken when something changes.
    pub(super) fn register_waker(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// Has a body break off, because nobody will see it.
pub(crate) fn abort(pipe: &Mutex<Pipe>) {
    pipe.lock().failed = true;
}

/// Changes what both share, and wakes the worker if it waits.
pub(super) fn update(pipe: &Mutex<Pipe>, change: impl FnOnce(&mut Pipe)) {
    let waker = {
        let mut pipe = pipe.lock();
        change(&mut pipe);
        pipe.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}
