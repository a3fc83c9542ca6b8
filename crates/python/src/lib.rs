//! `pylae._native`: the interface between Python and the data plane. Plans come in as JSON; statistics, log records and
//! explanations go out as JSON. This crate also calls the Python hooks.

mod document;
mod engine;
mod errors;
mod gil;
mod hooks;
mod plan;
mod primitives;
mod registry;
mod signals;
mod surrounding;
mod tables;
mod tls;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::PyEngine>()?;
    module.add_class::<registry::PyRegistryStore>()?;
    module.add_class::<signals::PySignals>()?;
    primitives::register(module)?;
    hooks::register(module)?;
    module.add("PlanError", module.py().get_type::<errors::PlanError>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("PROFILE", if cfg!(debug_assertions) { "development" } else { "release" })?;
    module.add("RUSTLS", env!("PYLAE_RUSTLS"))?;
    tables::register(module)?;
    module.add_function(wrap_pyfunction!(document::read_document, module)?)?;
    module.add_function(wrap_pyfunction!(plan::check, module)?)?;
    module.add_function(wrap_pyfunction!(plan::explain, module)?)?;
    module.add_function(wrap_pyfunction!(plan::decide, module)?)?;
    module.add_function(wrap_pyfunction!(plan::echo_policy, module)?)?;
    module.add_function(wrap_pyfunction!(tls::local_certificate, module)?)?;
    module.add_function(wrap_pyfunction!(engine::write_stderr, module)?)?;
    module.add_function(wrap_pyfunction!(engine::flush_stderr, module)?)?;
    module.add_function(wrap_pyfunction!(engine::count_unhandled, module)?)?;
    module.add_function(wrap_pyfunction!(engine::set_log_steps, module)?)?;
    module.add_function(wrap_pyfunction!(engine::shift_clock, module)?)?;
    module.add_function(wrap_pyfunction!(engine::refuse_on_worker, module)?)?;
    Ok(())
}
