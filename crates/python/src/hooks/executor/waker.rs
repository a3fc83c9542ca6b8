//! Wakes a worker once for many calls that have come to something: waking costs a system call, and perhaps a switch of
//! threads.

use std::cell::OnceCell;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

thread_local! {
    static CURRENT: OnceCell<Arc<WorkerWaker>> = const { OnceCell::new() };
}

/// A worker's. Whoever calls [`wake`](Self::wake) wakes one task; it wakes the others when it runs, or when it ends
/// before that.
#[derive(Default)]
pub(crate) struct WorkerWaker(Mutex<PendingWakes>);

#[derive(Default)]
struct PendingWakes {
    wakers: Vec<Waker>,
    /// A task was woken, and has not woken the others yet.
    woken: bool,
}

impl WorkerWaker {
    /// The one of this thread.
    pub(crate) fn current() -> Arc<Self> {
        CURRENT.with(|current| Arc::clone(current.get_or_init(Arc::default)))
    }

    /// Notes a task that is to be woken. It must call [`wake_all`](Self::wake_all) if it ends before it runs.
    pub(crate) fn add(&self, waker: Waker) {
        self.0.lock().wakers.push(waker);
    }

    /// Has all that are noted woken.
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

    /// Wakes them. On the worker itself that is cheap.
    pub(crate) fn wake_all(&self) {
        let wakers = {
            let mut pending = self.0.lock();
            pending.woken = false;
            std::mem::take(&mut pending.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
