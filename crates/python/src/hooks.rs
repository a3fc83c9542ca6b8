//! Hooks: the Python callables of a plan, and the machinery that calls them.

mod call;
mod executor;
mod host;
mod hosts;
mod message;
mod names;
mod route;
mod session;
mod spans;
mod table;

use pyo3::prelude::*;

pub(crate) use call::job::Job;
pub(crate) use call::task::PyExecutor;
pub(crate) use executor::Executors;
pub(crate) use hosts::{HookFunctions, PyHookHosts};
pub(crate) use message::handle::LIVE;
pub(crate) use table::{HookTable, executors};

use call::{failure, next, stream, task};
use executor::watchdog;
use message::{certificate, handle, headers, made, parsed, ready, request, user};

/// Adds the classes and functions for hooks to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<handle::PyRequest>()?;
    module.add_class::<made::PyResponse>()?;
    module.add_class::<headers::PyHeaders>()?;
    module.add_class::<user::PyUser>()?;
    module.add_class::<user::PyKnown>()?;
    module.add_class::<certificate::PyCertificate>()?;
    module.add_class::<ready::Ready>()?;
    module.add_class::<parsed::PyUrl>()?;
    module.add_class::<parsed::PyQueryParams>()?;
    module.add_class::<task::PyExecutor>()?;
    module.add_class::<task::Task>()?;
    module.add_class::<stream::Pieces>()?;
    module.add_class::<next::CallNext>()?;
    module.add_class::<next::Next>()?;
    module.add_class::<hosts::PyHookHosts>()?;
    module.add_class::<hosts::PyHostEnds>()?;
    module.add_class::<host::PyHookHost>()?;
    module.add("HookTimeout", module.py().get_type::<watchdog::HookTimeout>())?;
    module.add_function(wrap_pyfunction!(spans::record_span, module)?)?;
    module.add_function(wrap_pyfunction!(request::live_requests, module)?)?;
    module.add_function(wrap_pyfunction!(failure::after_fork_in_child, module)?)
}
