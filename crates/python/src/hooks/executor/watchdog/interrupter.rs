//! Interrupts late calls by raising an exception in their threads. Code outside the interpreter (in C, or waiting) gets
//! the exception when it returns. This thread is the only one of the watchdog's that waits for the interpreter's lock,
//! and so finds out whether it can be had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::{PyTypeInfo, create_exception, exceptions::PyBaseException, ffi};

use super::TICK;
use super::thread::WatchedThread;
use crate::gate::GATE;
use crate::gil;

create_exception!(
    _native,
    HookTimeout,
    PyBaseException,
    "Raised in a hook that takes longer than its `timeout`. Not an Exception, so that it is not caught by mistake."
);

/// The thread's orders.
#[derive(Default)]
pub(super) struct Interrupter {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    wanted: bool,
    /// Since when the thread has waited for the interpreter's lock.
    waiting: Option<Instant>,
    stopped: bool,
}

impl Interrupter {
    /// Has the thread attach to the interpreter once.
    pub(super) fn wake(&self) {
        self.orders.lock().wanted = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.orders.lock().stopped = true;
        self.changed.notify_all();
    }

    /// How long the thread has waited for the interpreter's lock.
    pub(super) fn waiting_for(&self) -> Duration {
        self.orders.lock().waiting.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn run(&self, threads: impl Fn() -> Option<Vec<Arc<WatchedThread>>>) {
        loop {
            {
                let mut orders = self.orders.lock();
                self.changed.wait_while(&mut orders, |orders| !orders.wanted && !orders.stopped);
                if orders.stopped {
                    return;
                }
                orders.wanted = false;
                orders.waiting = Some(Instant::now());
            }
            let Some(threads) = threads() else { return };
            gil::attached(|py| {
                self.orders.lock().waiting = None;
                // The lock can be had: whoever is inside does not keep it.
                GATE.open_if_overdue();
                threads.iter().for_each(|thread| interrupt_if_late(py, thread));
            });
            self.orders.lock().waiting = None;
        }
    }
}

fn interrupt_if_late(py: Python<'_>, thread: &WatchedThread) {
    let mut state = thread.lock();
    let now = Instant::now();
    if state.deadline.is_some_and(|deadline| deadline <= now) {
        state.interrupted = true;
        // Interrupt again if the hook catches the exception and continues.
        state.deadline = now.checked_add(TICK * 4);
        interrupt(state.ident, HookTimeout::type_object(py).as_ptr());
    }
}

/// Raises `exception` in a thread, or withdraws a pending one if it is null. The caller must be attached.
fn interrupt(thread: std::ffi::c_ulong, exception: *mut ffi::PyObject) {
    // SAFETY: the caller is attached; the interpreter takes its own reference and checks that the thread exists.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread.cast_signed(), exception) };
}

/// Has an exception that may be pending in this thread raised, and discards it.
///
/// It cannot just be withdrawn: the interpreter remembers for all threads that there is one until one is raised
/// (`pending.async_exc` in its `ceval.c`), and checks for it at every call of a function until then. While calls are
/// traced Python 3.11 does nothing else.
pub(super) fn discard_interrupt(py: Python<'_>, ident: std::ffi::c_ulong) {
    // It may have been raised already: then this is the one that is discarded.
    interrupt(ident, HookTimeout::type_object(py).as_ptr());
    if py.eval(c"None", None, None).is_ok() {
        interrupt(ident, std::ptr::null_mut());
    }
}
