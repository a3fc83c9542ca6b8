//! Metrics of what is around the engine, which Python has.

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::gil;

/// A function of Python that returns them in the text format of Prometheus, once there is one.
#[derive(Default)]
pub(crate) struct SurroundingMetrics(Mutex<Option<Py<PyAny>>>);

impl SurroundingMetrics {
    pub(crate) fn set(&self, page: Py<PyAny>) {
        *self.0.lock() = Some(page);
    }

    /// Calls the function; nothing without one. A failure is told as one that nobody can be told of.
    pub(crate) fn page(&self) -> String {
        let called = gil::attached(|py| {
            let function = self.0.lock().as_ref()?.clone_ref(py);
            let page = function.call0(py).and_then(|page| page.extract::<String>(py));
            page.map_err(|error| error.write_unraisable(py, Some(function.bind(py)))).ok()
        });
        called.flatten().unwrap_or_default()
    }
}
