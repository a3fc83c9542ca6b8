//! `pylae._native`: what crosses between Python and the data plane. A plan goes in as JSON, statistics, log records and
//! explanations come out as JSON. Hooks are called from here.

mod engine;
mod errors;
mod gil;
mod hooks;
mod plan;
mod primitives;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::Engine>()?;
    module.add_class::<primitives::SlidingWindow>()?;
    module.add_class::<primitives::TokenBucket>()?;
    module.add_class::<hooks::Request>()?;
    module.add_class::<hooks::Response>()?;
    module.add_class::<hooks::Headers>()?;
    module.add_class::<hooks::User>()?;
    module.add_class::<hooks::Ready>()?;
    module.add_class::<hooks::Lane>()?;
    module.add_class::<hooks::Task>()?;
    module.add_class::<hooks::CallNext>()?;
    module.add_class::<hooks::Next>()?;
    module.add("HookTimeout", module.py().get_type::<hooks::HookTimeout>())?;
    module.add_function(wrap_pyfunction!(hooks::live_requests, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::after_fork_in_child, module)?)?;
    module.add("PlanError", module.py().get_type::<errors::PlanError>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("POLICIES", pylae_policies::TABLE.to_vec())?;
    module.add_function(wrap_pyfunction!(plan::check, module)?)?;
    module.add_function(wrap_pyfunction!(plan::explain, module)?)?;
    module.add_function(wrap_pyfunction!(plan::echo_policy, module)?)?;
    Ok(())
}
