//! The tables that Python reads: which policies and balancers there are, and what sets each apart.

use pylae_core::service::{BALANCERS, BalancerRole};
use pylae_policies::{PolicyRole, TABLE};
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
    module.add("BALANCERS", PyTuple::new(py, balancers.collect::<PyResult<Vec<_>>>()?)?)
}
