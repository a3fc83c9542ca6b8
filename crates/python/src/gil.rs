//! The only place that acquires and releases the interpreter's lock.

use std::cell::Cell;

use pylae_proxy::{InterpreterGate, Pass};
use pyo3::Python;
use pyo3::ffi;
use pyo3::marker::Ungil;

/// The gate before the interpreter's lock, which workers pass.
pub(crate) static GATE: InterpreterGate = InterpreterGate::new();

thread_local! {
    /// The index of the worker, if this thread is one.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
    /// Set while this worker keeps its Python thread state.
    static KEPT: Cell<Option<ffi::PyGILState_STATE>> = const { Cell::new(None) };
}

/// The index of the worker, if this thread is one. Workers must not wait for other workers.
pub(crate) fn worker() -> Option<usize> {
    WORKER.get()
}

/// Releases the interpreter's lock while `work` runs.
pub(crate) fn detached<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    py.detach(work)
}

/// Acquires the interpreter's lock and runs `work`. Returns None if the interpreter is shutting down. Waits as long as
/// somebody keeps the lock, so workers use [`attached_worker`].
pub(crate) fn attached<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    Python::try_attach(work)
}

/// The same on a worker that has passed the gate. Its Python thread state is kept from the first call on, so that
/// entering costs only the lock.
pub(crate) fn attached_worker<T>(_pass: &Pass, work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    Python::try_attach(|py| {
        if KEPT.get().is_none() {
            // SAFETY: this thread is attached. `give_back_thread_state` makes the matching call.
            KEPT.set(Some(unsafe { ffi::PyGILState_Ensure() }));
        }
        work(py)
    })
}

/// Runs the body of a native thread that enters the interpreter repeatedly. Creates the Python thread state once, so
/// that entering costs only the lock.
pub(crate) fn with_thread_state(mut body: impl FnMut() + Send) {
    let attached = Python::try_attach(|py| py.detach(&mut body)).is_some();
    if !attached {
        body();
    }
}

/// Runs the thread of the worker at `index`. `is_held` tells whether the interpreter's lock cannot be had.
pub(crate) fn run_worker(index: usize, body: &mut (dyn FnMut() + Send), is_held: impl Fn() -> bool) {
    WORKER.set(Some(index));
    body();
    if !is_held() {
        give_back_thread_state();
    }
}

/// Frees the Python thread state of this worker, unless another one is inside: the end does not wait.
fn give_back_thread_state() {
    if KEPT.get().is_none() {
        return;
    }
    let Some(pass) = GATE.pass() else { return };
    attached_worker(&pass, |_| {
        if let Some(kept) = KEPT.take() {
            // SAFETY: this thread is attached, and `kept` is what the matching call returned.
            unsafe { ffi::PyGILState_Release(kept) };
        }
    });
}
