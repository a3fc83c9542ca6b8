//! The engine's own limiters, breaker, balancers, cache and router, for Python code that wants them without a gateway.
//! They are those of `pylae-core`; this is their Python side. Time comes with each call, in nanoseconds.

// What Python hands in is converted, and owned.
#![allow(clippy::needless_pass_by_value)]

mod balancer;
mod breaker;
mod cache;
mod limit;
mod message;
mod router;
mod time;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<balancer::PyLoadBalancer>()?;
    module.add_class::<balancer::Pick>()?;
    module.add_class::<breaker::PyCircuitBreaker>()?;
    module.add_class::<breaker::PyPermit>()?;
    module.add_class::<cache::PyCache>()?;
    module.add_class::<cache::PyLookup>()?;
    module.add_class::<limit::PySlidingWindow>()?;
    module.add_class::<limit::PyTokenBucket>()?;
    module.add_class::<router::PyRouter>()
}
