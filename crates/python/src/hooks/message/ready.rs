//! An awaitable that is ready immediately.

use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

/// An awaitable whose value is available already.
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
        // Wrapped in a tuple, so that a value that is a tuple or an exception is not unpacked.
        Err(PyStopIteration::new_err((value,)))
    }
}
