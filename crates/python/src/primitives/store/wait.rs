//! Waits for the store: a thread, which releases the interpreter's lock, or a task of an asyncio loop.

use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pylae_core::limit::{ChargeDecisions, Decision, PendingCharges};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::charge::StoreCharge;
use crate::gil;
use crate::primitives::limit::{CheckResult, PyReservation};

/// A charge that waits for the store. Dropped before it is decided, it gives back what the store may have charged.
#[pyclass(name = "StoreWait", frozen)]
pub(crate) struct PyStoreWait {
    state: Mutex<Option<(StoreCharge, PendingCharges)>>,
    patience: Duration,
}

impl PyStoreWait {
    pub(super) fn new(charged: StoreCharge, pending: PendingCharges) -> Self {
        let patience = charged.limits.patience();
        Self { state: Mutex::new(Some((charged, pending))), patience }
    }
}

#[pymethods]
impl PyStoreWait {
    /// Seconds after which there is no decision because something is broken here.
    #[getter]
    fn patience(&self) -> f64 {
        self.patience.as_secs_f64()
    }

    /// Waits for the decision with the interpreter's lock released. Returns None if something is broken here.
    fn wait(&self, py: Python<'_>) -> PyResult<Option<(CheckResult, PyReservation)>> {
        let (charged, mut pending) = self.state.lock().take().ok_or_else(over)?;
        let until = Instant::now() + self.patience;
        let decision = gil::detached(py, || {
            let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
            loop {
                if let Poll::Ready(decisions) = pending.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(decided(&decisions));
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        });
        Ok(decision.map(|decision| charged.decided(decision)))
    }

    /// Returns the decision, or None if it is not there yet: once it is, `wakes` has `token`.
    fn poll(&self, wakes: &PyStoreWakes, token: u64) -> PyResult<Option<(CheckResult, PyReservation)>> {
        let mut state = self.state.lock();
        let (charged, mut pending) = state.take().ok_or_else(over)?;
        let waker = Waker::from(Arc::new(TaskWaker { wakes: Arc::clone(&wakes.0), token }));
        if let Poll::Ready(decisions) = pending.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(Some(charged.decided(decided(&decisions))));
        }
        *state = Some((charged, pending));
        Ok(None)
    }

    /// Waits no more.
    fn abandon(&self) {
        drop(self.state.lock().take());
    }
}

impl Drop for PyStoreWait {
    fn drop(&mut self) {
        let left = self.state.get_mut().take();
        if left.as_ref().is_some_and(|(charged, _)| charged.limits.is_inherited()) {
            // Another thread may have held its lock when this process was forked.
            mem::forget(left);
        }
    }
}

fn over() -> PyErr {
    PyRuntimeError::new_err("the decision was taken before")
}

/// The decision on the only charge.
fn decided(decisions: &ChargeDecisions) -> Decision {
    decisions.decisions.first().copied().unwrap_or_default()
}

/// Wakes a thread that waits.
struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Tells an event loop which of its tasks need not wait any more. Any number of them wakes it once.
#[pyclass(name = "StoreWakes", frozen)]
pub(crate) struct PyStoreWakes(Arc<LoopWakes>);

struct LoopWakes {
    /// Tokens of tasks, until the loop takes them.
    tokens: Mutex<Vec<u64>>,
    waker: UnixStream,
    woken: UnixStream,
}

#[pymethods]
impl PyStoreWakes {
    #[new]
    fn make() -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self(Arc::new(LoopWakes { tokens: Mutex::default(), waker, woken })))
    }

    /// The descriptor that is readable while there are tokens.
    fn fileno(&self) -> RawFd {
        self.0.woken.as_raw_fd()
    }

    /// Takes the tokens.
    fn take(&self) -> Vec<u64> {
        let mut tokens = self.0.tokens.lock();
        // One byte for any number of tokens. There may be none if no task waits any more.
        let _ = (&self.0.woken).read(&mut [0]);
        mem::take(&mut *tokens)
    }
}

/// Wakes a task of an event loop.
struct TaskWaker {
    wakes: Arc<LoopWakes>,
    token: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut tokens = self.wakes.tokens.lock();
        if tokens.is_empty() {
            // One byte always fits.
            let _ = (&self.wakes.waker).write(&[1]);
        }
        tokens.push(self.token);
    }
}
