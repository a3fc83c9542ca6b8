//! The one place where the interpreter's lock is taken and let go.

use std::cell::Cell;

use pyo3::Python;
use pyo3::marker::Ungil;

thread_local! {
    /// This thread serves requests.
    static ON_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread serves requests, and must not wait for those that do.
pub(crate) fn on_worker() -> bool {
    ON_WORKER.get()
}

/// Runs `work`, which may take long, while other Python threads go on.
pub(crate) fn detached<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    py.detach(work)
}

/// Runs `work` in the interpreter. None: the interpreter is shutting down, and nothing can run in it any more.
pub(crate) fn attached<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    Python::try_attach(work)
}

/// Runs the body of a native thread that enters the interpreter now and then: its Python thread state is made once and
/// kept, so that entering costs no more than the lock.
pub(crate) fn with_thread_state(mut body: impl FnMut() + Send) {
    let attached = Python::try_attach(|py| py.detach(&mut body)).is_some();
    if !attached {
        body();
    }
}

/// The same for a thread that serves requests.
pub(crate) fn with_worker_thread_state(body: impl FnMut() + Send) {
    ON_WORKER.set(true);
    with_thread_state(body);
}
