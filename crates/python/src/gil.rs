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
pub(crate) fn released<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    py.detach(work)
}

/// Runs `work` in the interpreter. None: the interpreter is shutting down, and nothing can run in it any more.
pub(crate) fn attached<T>(work: impl for<'py> FnOnce(Python<'py>) -> T) -> Option<T> {
    Python::try_attach(work)
}

/// Runs the life of a native thread that enters the interpreter now and then: its Python thread state is made once and
/// kept, so that entering costs no more than the lock.
pub(crate) fn kept(mut life: impl FnMut() + Send) {
    let known = Python::try_attach(|py| py.detach(&mut life)).is_some();
    if !known {
        life();
    }
}

/// The same for a thread that serves requests.
pub(crate) fn kept_on_worker(life: impl FnMut() + Send) {
    ON_WORKER.set(true);
    kept(life);
}
