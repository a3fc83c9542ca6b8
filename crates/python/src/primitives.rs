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
    module.add_class::<balancer::LoadBalancer>()?;
    module.add_class::<balancer::Pick>()?;
    module.add_class::<breaker::CircuitBreaker>()?;
    module.add_class::<breaker::Permit>()?;
    module.add_class::<cache::Cache>()?;
    module.add_class::<cache::Lookup>()?;
    module.add_class::<limit::SlidingWindow>()?;
    module.add_class::<limit::TokenBucket>()?;
    module.add_class::<router::Router>()
}
