//! Passes a response body from the worker to the hooks on the loop and back. Both directions are bounded.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// Maximum number of pieces queued in each direction.
pub(super) const MAX_QUEUED: usize = 4;

/// Pieces on their way to the hooks, and back to the worker.
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
    /// Registers the task to wake when the pipe changes.
    pub(super) fn register_waker(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// Aborts the body, because no hook will process it.
pub(crate) fn abort(pipe: &Mutex<Pipe>) {
    pipe.lock().failed = true;
}

/// Changes the pipe and wakes the worker if it waits.
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
