//! Errors as Python exceptions.

use pylae_core::Problem;
use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyValueError};

create_exception!(
    _native,
    PlanError,
    PyValueError,
    "A plan that cannot be used. `args[0]` is a JSON list of {path, message}."
);

/// Returns all problems as one `PlanError`.
pub(crate) fn plan_error(problems: &[Problem]) -> PyErr {
    // Cannot fail: problems contain only strings.
    PlanError::new_err(serde_json::to_string(problems).unwrap_or_default())
}

/// Returns a `pylae.HookError`, for something that hooks may not do.
pub(crate) fn hook_error(py: Python<'_>, message: &str) -> PyErr {
    let kind = py.import("pylae.errors").and_then(|errors| errors.getattr("HookError"));
    match kind.and_then(|kind| kind.call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Returns a `pylae.HTTPError`, which is the answer to the request.
pub(crate) fn http_error(py: Python<'_>, status: u16, detail: &str) -> PyResult<PyErr> {
    let kind = py.import("pylae.errors")?.getattr("HTTPError")?;
    Ok(PyErr::from_value(kind.call1((status, detail))?))
}
