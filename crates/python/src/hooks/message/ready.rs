//! A value that can be awaited without waiting.

use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

/// An awaitable that has its value already.
#[pyclass(frozen, module = "pylae.hooks")]
pub(crate) struct Ready(Mutex<Option<Py<PyAny>>>);

impl Ready {
    pub(crate) fn new(value: Py<PyAny>) -> Self {
        Self(Mutex::new(Some(value)))
    }
}

#[pymethods]
impl Ready {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let value = self.0.lock().take().unwrap_or_else(|| py.None());
        // In a tuple, so that a value that is a tuple or an exception is not taken apart.
        Err(PyStopIteration::new_err((value,)))
    }
}
