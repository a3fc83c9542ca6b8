//! The tables that Python reads: which policies and balancers there are, and what sets each apart.

use pylae_policies::PolicyRole;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Adds the tables to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let row = |row: &pylae_policies::PolicyRow| {
        let roles = PyTuple::new(module.py(), row.roles.iter().map(|role| PolicyRole::name(*role)))?;
        Ok((row.name, roles))
    };
    let policies = pylae_policies::TABLE.iter().map(row).collect::<PyResult<Vec<_>>>()?;
    module.add("POLICIES", PyTuple::new(module.py(), policies)?)
}
