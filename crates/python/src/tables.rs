//! The tables that Python reads: which policies and balancers there are, and what sets each apart;
//! the areas of the log.

use pylae_core::service::{BALANCERS, BalancerRole};
use pylae_policies::{PolicyRole, TABLE};
use pylae_proxy::LogArea;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Adds the tables to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let policies = TABLE.iter().map(|row| {
        let roles = PyTuple::new(py, row.roles.iter().copied().map(PolicyRole::name))?;
        Ok((row.name, roles))
    });
    module.add("POLICIES", PyTuple::new(py, policies.collect::<PyResult<Vec<_>>>()?)?)?;
    let balancers = BALANCERS.iter().map(|row| {
        let roles = PyTuple::new(py, row.roles.iter().copied().map(BalancerRole::name))?;
        Ok((row.name, row.summary, roles))
    });
    module.add("BALANCERS", PyTuple::new(py, balancers.collect::<PyResult<Vec<_>>>()?)?)?;
    module.add("LOG_AREAS", PyTuple::new(py, LogArea::ALL.map(LogArea::name))?)
}
