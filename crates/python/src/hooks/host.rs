//! A hook host: what runs in the process.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pylae_core::hook::HookSource;
use pylae_proxy::{HostDuty, HostStop, Log, serve_host};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::names::HookNames;
use super::table::{HookTable, executors};
use crate::gil;
use crate::hooks::call::job::Job;
use crate::hooks::call::task::PyExecutor;
use crate::hooks::executor::Executors;

/// A hook host, in its own process.
#[pyclass(name = "HookHost", frozen, module = "pylae.hooks")]
pub(crate) struct PyHookHost {
    table: Arc<HookTable>,
    executors: Arc<Executors<Job>>,
    log: Arc<Log>,
    duty: Mutex<Option<HostDuty>>,
    stop: HostStop,
}

#[pymethods]
impl PyHookHost {
    /// Takes over `descriptors`, which are those of `HostEnds`. `names` are the routes with their services, and the
    /// services, as JSON; `functions` are the callables that calls name by their places. Raises `OSError`.
    #[new]
    fn new(names: &str, functions: Vec<Py<PyAny>>, descriptors: Vec<RawFd>) -> PyResult<Self> {
        let names: HookNames = serde_json::from_str(names).map_err(|error| PyValueError::new_err(error.to_string()))?;
        if descriptors.iter().any(|descriptor| *descriptor < 0) {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        // SAFETY: not negative, and the caller hands them over.
        let owned = descriptors.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect();
        let duty = HostDuty::new(owned)?;
        let (log, executors) = (Arc::<Log>::default(), executors()?);
        let table = Arc::new(HookTable::in_host(names, functions, &log, &executors));
        Ok(Self { table, executors, log, stop: duty.stopper(), duty: Mutex::new(Some(duty)) })
    }

    /// Returns the loop's side of the executor, which an asyncio loop must serve.
    fn executor(&self) -> PyExecutor {
        PyExecutor(Arc::clone(&self.executors))
    }

    /// Serves on this thread until it is stopped. Raises `OSError` if a worker has sent what it cannot mean.
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let Some(duty) = self.duty.lock().take() else { return Ok(()) };
        let source: Arc<dyn HookSource> = Arc::clone(&self.table) as _;
        gil::detached(py, || {
            let served = serve_host(duty, &source);
            self.executors.stop();
            self.log.close();
            served
        })?;
        Ok(())
    }

    /// Ends `serve` soon. May be called from any thread.
    fn stop(&self) {
        self.stop.stop();
    }

    /// Returns the figures of the hooks as JSON.
    fn figures(&self, py: Python<'_>) -> String {
        gil::detached(py, || serde_json::json!(self.table.figures()).to_string())
    }

    /// Returns how many calls should have returned by now.
    fn overdue(&self, py: Python<'_>) -> usize {
        gil::detached(py, || self.table.overdue().len())
    }

    /// Waits up to `patience` seconds for records of the log and returns them as JSON; None once it is closed.
    fn read_log(&self, py: Python<'_>, patience: f64) -> PyResult<Option<String>> {
        let patience =
            Duration::try_from_secs_f64(patience).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let records = gil::detached(py, || {
            self.log.wait(patience);
            self.log.take()
        });
        Ok(records.map(|records| serde_json::json!(records).to_string()))
    }
}
