//! The hook hosts of a configuration, as the control plane looks after them.

use std::os::fd::RawFd;
use std::sync::Arc;

use pylae_proxy::{HookFigures, HostEnds, HostSet, HostState};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::table::PlanFunctions;
use crate::gil;

/// The hook hosts of a configuration, from which workers choose.
#[pyclass(name = "HookHosts", frozen, module = "pylae.hooks")]
pub(crate) struct PyHookHosts(pub(crate) Arc<HostSet>);

/// What a host shares with the workers, until it has got it.
#[pyclass(name = "HostEnds", frozen, module = "pylae.hooks")]
pub(crate) struct PyHostEnds {
    /// Number of the host: no other one of the configuration ever has it.
    #[pyo3(get)]
    number: u64,
    ends: HostEnds,
}

/// The callables of a plan, and the hosts that run them, but for authenticators.
pub(crate) type HookFunctions = (Vec<Py<PyAny>>, Option<Py<PyHookHosts>>);

impl PyHookHosts {
    /// The same without the object.
    pub(crate) fn split(functions: HookFunctions) -> PlanFunctions {
        (functions.0, functions.1.map(|hosts| Arc::clone(&hosts.get().0)))
    }
}

#[pymethods]
impl PyHostEnds {
    /// The descriptors for the host, in the order in which it takes them. They are closed with this object.
    fn descriptors(&self) -> Vec<RawFd> {
        self.ends.descriptors()
    }
}

#[pymethods]
impl PyHookHosts {
    /// Hosts for this many workers, none of which has more than `most` calls that it has not answered.
    #[new]
    fn new(workers: usize, most: usize) -> PyResult<Self> {
        Ok(Self(HostSet::new(workers, most)?))
    }

    /// Returns a descriptor that is readable once a host is in trouble, or has nothing left to do.
    fn fileno(&self) -> RawFd {
        self.0.news()
    }

    /// Adds a host that is not ready yet. Raises `OSError`.
    fn add(&self) -> PyResult<PyHostEnds> {
        let (number, ends) = self.0.add()?;
        Ok(PyHostEnds { number, ends })
    }

    /// Takes a host to a later state: `warm`, `draining` or `lost`.
    fn advance(&self, py: Python<'_>, number: u64, state: &str) -> PyResult<()> {
        let state = match state {
            "warm" => HostState::Warm,
            "draining" => HostState::Draining,
            "lost" => HostState::Lost,
            _ => return Err(PyValueError::new_err("a host is warm, draining or lost")),
        };
        gil::detached(py, || self.0.advance(number, state));
        Ok(())
    }

    /// Takes the figures of a host, as it sends them. Raises `ValueError` if they are none.
    fn count(&self, py: Python<'_>, number: u64, figures: &str) -> PyResult<()> {
        let figures: Vec<HookFigures> =
            serde_json::from_str(figures).map_err(|error| PyValueError::new_err(error.to_string()))?;
        gil::detached(py, || self.0.count(number, figures));
        Ok(())
    }

    /// Returns what is known of each host as a JSON list.
    fn figures(&self, py: Python<'_>) -> String {
        gil::detached(py, || serde_json::json!(self.0.figures()).to_string())
    }
}
