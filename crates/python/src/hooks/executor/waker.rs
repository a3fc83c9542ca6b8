//! Wakes a worker once for many completed calls: each wake-up costs a system call, and perhaps a thread switch.

use std::cell::OnceCell;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

thread_local! {
    static CURRENT: OnceCell<Arc<WorkerWaker>> = const { OnceCell::new() };
}

/// Wakes the tasks of one worker. [`wake`](Self::wake) wakes one task, which wakes the others when it runs or is
/// dropped.
#[derive(Default)]
pub(crate) struct WorkerWaker(Mutex<PendingWakes>);

#[derive(Default)]
struct PendingWakes {
    wakers: Vec<Waker>,
    /// True while a woken task has not woken the others yet.
    woken: bool,
}

impl WorkerWaker {
    /// Returns the waker of this thread.
    pub(crate) fn current() -> Arc<Self> {
        CURRENT.with(|current| Arc::clone(current.get_or_init(Arc::default)))
    }

    /// Adds a task to wake. The task must call [`wake_all`](Self::wake_all) when it runs, or when it is dropped before
    /// that.
    pub(crate) fn add(&self, waker: Waker) {
        self.0.lock().wakers.push(waker);
    }

    /// Starts waking all added tasks.
    pub(crate) fn wake(&self) {
        let first = {
            let mut pending = self.0.lock();
            let first = if pending.woken { None } else { pending.wakers.pop() };
            pending.woken |= first.is_some();
            first
        };
        if let Some(first) = first {
            first.wake();
        }
    }

    /// Wakes all added tasks. This is cheap on the worker itself.
    pub(crate) fn wake_all(&self) {
        let wakers = {
            let mut pending = self.0.lock();
            pending.woken = false;
            std::mem::take(&mut pending.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
