//! The thread that interrupts late calls. It is the only one of the watchdog's that waits for the interpreter's lock,
//! and so finds out whether it can be had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::PyTypeInfo;
use pyo3::prelude::*;

use super::interrupt::{HookTimeout, interrupt};
use super::thread::{TICK, WatchedThread};
use crate::gil::{self, GATE};

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
                for thread in &threads {
                    interrupt_if_late(py, thread);
                }
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
