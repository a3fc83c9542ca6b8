//! Python classes for the limiters, breaker, balancer, cache and router of `pylae-core` and the verification of tokens,
//! for programs that use them without a gateway. Callers pass the time with each call, in nanoseconds, but to limits in
//! a store.

// Arguments from Python are converted to owned values.
#![allow(clippy::needless_pass_by_value)]

mod balancer;
mod breaker;
mod cache;
mod limit;
mod message;
mod router;
mod sealer;
mod store;
mod time;
mod token;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<balancer::PyLoadBalancer>()?;
    module.add_class::<balancer::Pick>()?;
    module.add_class::<breaker::PyCircuitBreaker>()?;
    module.add_class::<breaker::PyPermit>()?;
    module.add_class::<cache::PyCache>()?;
    module.add_class::<cache::PyLookup>()?;
    module.add_class::<limit::PyKeyedLimiter>()?;
    module.add_class::<limit::PyReservation>()?;
    module.add_class::<limit::PySlidingWindow>()?;
    module.add_class::<limit::PyTokenBucket>()?;
    module.add_class::<store::PyStore>()?;
    module.add_class::<store::PyStoreLimit>()?;
    module.add_class::<store::PyStoreWait>()?;
    module.add_class::<store::PyStoreWakes>()?;
    module.add_class::<token::PyTokenVerifier>()?;
    module.add_class::<sealer::PySealer>()?;
    module.add_class::<router::PyRouter>()
}
