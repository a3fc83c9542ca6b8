//! The one place where the interpreter's lock is let go.

use pyo3::Python;
use pyo3::marker::Ungil;

/// Runs `work`, which may take long, while other Python threads go on.
pub(crate) fn released<T: Ungil>(py: Python<'_>, work: impl Ungil + FnOnce() -> T) -> T {
    py.detach(work)
}
