//! The running data plane as Python holds it.

use std::time::Duration;

use pylae_core::Problem;
use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::{gil, plan};

/// The running data plane. Made by `Engine(plan)`, which starts it.
#[pyclass(frozen)]
pub(crate) struct Engine(pylae_proxy::Engine);

#[pymethods]
impl Engine {
    /// Starts the data plane; raises `PlanError` with all problems if it cannot.
    #[new]
    fn start(py: Python<'_>, plan: &str) -> PyResult<Self> {
        gil::released(py, || plan::read(plan).and_then(pylae_proxy::Engine::start))
            .map(Self)
            .map_err(|problems| to_python(&problems))
    }

    /// Replaces the plan in force, whole or not at all; raises `PlanError` with all problems if it cannot.
    fn apply(&self, py: Python<'_>, plan: &str) -> PyResult<()> {
        gil::released(py, || plan::read(plan).and_then(|plan| self.0.apply(plan)))
            .map_err(|problems| to_python(&problems))
    }

    /// The addresses that are listened on, as `host:port`.
    fn addresses(&self) -> Vec<String> {
        self.0.addresses().iter().map(ToString::to_string).collect()
    }

    /// Stops accepting, finishes what is in flight if `drain`, and ends.
    fn stop(&self, py: Python<'_>, drain: bool) {
        gil::released(py, || self.0.stop(drain));
    }

    /// Gives the instance of the service nothing more, or uses it again. Whether that is a change; raises `LookupError` if
    /// there is no such instance.
    fn set_draining(&self, py: Python<'_>, service: &str, instance: &str, draining: bool) -> PyResult<bool> {
        gil::released(py, || self.0.set_draining(service, instance, draining))
            .map_err(|problem| PyLookupError::new_err(problem.message))
    }

    /// What is counted and seen, as JSON.
    fn stats(&self, py: Python<'_>) -> String {
        gil::released(py, || serde_json::json!(self.0.stats()).to_string())
    }

    /// Makes the response cache forget what the JSON document names; returns how many answers that were.
    fn purge_cache(&self, py: Python<'_>, purge: &str) -> PyResult<usize> {
        gil::released(py, || {
            let purge = serde_json::from_str(purge).map_err(|error| vec![Problem::at("", error.to_string())])?;
            self.0.purge_cache(purge)
        })
        .map_err(|problems| to_python(&problems))
    }

    /// Log records since the last call as a JSON list, after at most `patience` seconds; None when the engine has stopped.
    fn read_log(&self, py: Python<'_>, patience: f64) -> Option<String> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        gil::released(py, || self.0.read_log(patience)).map(|records| serde_json::json!(records).to_string())
    }
}
