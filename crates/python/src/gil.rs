//! The only place that acquires and releases the interpreter's lock.

use std::cell::Cell;

use pyo3::Python;
use pyo3::marker::Ungil;

thread_local! {
    /// True if this thread is a worker.
    static ON_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Returns true if this thread is a worker, which must not wait for other workers.
pub(crate) fn on_worker() -> bool {
    ON_WORKER.get()
}

/// Releases the interpreter's lock while `work` runs.
pub(crate) fn detached<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    py.detach(work)
}

/// Acquires the interpreter's lock and runs `work`. Returns None if the interpreter is shutting down.
pub(crate) fn attached<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    Python::try_attach(work)
}

/// Runs the body of a native thread that enters the interpreter repeatedly. Creates the Python thread state once, so
/// that entering costs only the lock.
pub(crate) fn with_thread_state(mut body: impl FnMut() + Send) {
    let attached = Python::try_attach(|py| py.detach(&mut body)).is_some();
    if !attached {
        body();
    }
}

/// Runs the body of a worker thread like [`with_thread_state`].
pub(crate) fn with_worker_thread_state(body: impl FnMut() + Send) {
    ON_WORKER.set(true);
    with_thread_state(body);
}
