//! The store of the cluster, as `pylae.registry` calls it.

use pylae_proxy::{RegistryStore, StoreValue};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::gil;

/// The store of a running gateway that is a node of a cluster.
#[pyclass(name = "RegistryStore", frozen)]
pub(crate) struct PyRegistryStore(RegistryStore);

impl PyRegistryStore {
    pub(crate) fn new(store: RegistryStore) -> Self {
        Self(store)
    }
}

#[pymethods]
impl PyRegistryStore {
    /// Runs the script of this name with each of the calls, which are what its key ends with and its arguments. Returns
    /// what it returns, in their order: an integer, bytes, a list or None, or as a string why there is nothing. Waits
    /// for the cluster's `timeout` at most.
    fn run(&self, py: Python<'_>, script: &str, calls: Vec<(Vec<u8>, Vec<Vec<u8>>)>) -> PyResult<Vec<Py<PyAny>>> {
        let results = gil::detached(py, || self.0.run(script, calls));
        let results = results.ok_or_else(|| PyValueError::new_err("there is no such script"))?;
        let results = results.into_iter().map(|result| match result {
            Ok(value) => value_of(py, &value),
            Err(why) => Ok(why.into_pyobject(py)?.into_any().unbind()),
        });
        results.collect()
    }
}

fn value_of(py: Python<'_>, value: &StoreValue) -> PyResult<Py<PyAny>> {
    Ok(match value {
        StoreValue::Nil => py.None(),
        StoreValue::Integer(number) => number.into_pyobject(py)?.into_any().unbind(),
        StoreValue::Bytes(bytes) => PyBytes::new(py, bytes).into_any().unbind(),
        StoreValue::Array(items) => {
            let items = items.iter().map(|item| value_of(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any().unbind()
        }
    })
}
