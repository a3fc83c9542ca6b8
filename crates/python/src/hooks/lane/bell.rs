//! Wakes a worker once for many calls that have come to something: waking costs a system call, and perhaps a switch of threads.

use std::cell::OnceCell;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

thread_local! {
    static MINE: OnceCell<Arc<Bell>> = const { OnceCell::new() };
}

/// A worker's. Whoever rings wakes one task; it wakes the others when it runs, or when it ends before that.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Owed>);

#[derive(Default)]
struct Owed {
    wakers: Vec<Waker>,
    /// A task was woken, and has not answered yet.
    rung: bool,
}

impl Bell {
    /// The one of this thread.
    pub(crate) fn mine() -> Arc<Self> {
        MINE.with(|mine| Arc::clone(mine.get_or_init(Arc::default)))
    }

    /// Notes a task that is to be woken. It must answer if it ends before it runs.
    pub(crate) fn add(&self, waker: Waker) {
        self.0.lock().wakers.push(waker);
    }

    /// Has all that are noted woken.
    pub(crate) fn ring(&self) {
        let first = {
            let mut owed = self.0.lock();
            let first = if owed.rung { None } else { owed.wakers.pop() };
            owed.rung |= first.is_some();
            first
        };
        if let Some(first) = first {
            first.wake();
        }
    }

    /// Wakes them. On the worker itself that is cheap.
    pub(crate) fn answer(&self) {
        let wakers = {
            let mut owed = self.0.lock();
            owed.rung = false;
            std::mem::take(&mut owed.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
